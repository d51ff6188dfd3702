// The pictures of frontiers: one model with what was measured of it, and several models on one yardstick.

import { plot } from "/static/js/pictures.js";
import { bytes, measured, significant } from "/static/js/words.js";

const HUES = [1, 2, 3, 4, 5, 6].map((hue) => `var(--hue-${hue})`); // as base.css has them: they are told from its ground, as text too
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "cross"];
const NEAR = 0.06; // of the axis: names beside points that are closer would overlap

// A unit for an axis of sizes, by the largest of them.
function unitOf(largest) {
  return largest >= 2e9 ? { name: "GB", of: (size) => size / 1e9 } : { name: "MB", of: (size) => size / 1e6 };
}

// Of two formats of nearly one size, the second has its name below, on the side where no curve runs.
function apart(uniforms, range) {
  const sorted = [...uniforms].sort((a, b) => a.size - b.size);
  sorted.forEach((one, at) => {
    const before = sorted[at - 1];
    one.crowded = before !== undefined && !before.crowded && one.size - before.size < NEAR * range;
  });
  return sorted;
}

const positive = (loss) => (loss > 0 ? loss : NaN);

function frame(figure) {
  const width = Math.max(360, Math.min(1100, figure.parentElement.clientWidth));
  return { width, height: width < 600 ? 380 : 470, marginTop: 34, marginLeft: 58, marginRight: 64, marginBottom: 42 };
}

// One model.
//   found:    answer of POST /v1/frontiers
//   limit:    file_bytes or resident_bytes: the size that is shown
//   links:    where each of its points is opened
//   measured: evaluations with their size; those for another runtime are pale
export function drawFrontier(figure, { found, limit, links, measured: kept, runtime }) {
  const points = found.points.map((point, at) => ({ ...point, at, link: links[at], size: point[limit] }));
  const uniforms = apart(found.uniforms.map((one) => ({ ...one, size: one[limit] })), points.at(-1).size - points[0].size);
  const unit = unitOf(Math.max(...points.map((one) => one.size), ...kept.map((one) => one.size)));
  const x = (one) => unit.of(one.size);
  const loss = (one) => positive(one.predicted_loss);
  const told = (one) =>
    `${bytes(one.size)}, ${one.effective_bits.toFixed(2)} bits a weight\npredicted ${measured(one.predicted_loss, one.standard_error)} ${found.unit}\n` +
    `bound ${significant(one.lower_bound)}, one more MB buys ${significant(one.price_per_megabyte)}`;
  const shown = (one) => (one.runtime === runtime ? 1 : 0.4);
  const ofMeasured = (one) =>
    `${one.predicted === null ? one.label : "plan"}, ${bytes(one.size)}, ${one.effective_bits.toFixed(2)} bits a weight\n` +
    `measured KL ${measured(one.kl, one.kl_error)} over ${one.sequences} sequences` +
    `${one.predicted === null ? "" : `\npredicted ${significant(one.predicted)}`}\nfor ${one.runtime}`;
  const [plans, others] = [kept.filter((one) => one.predicted !== null), kept.filter((one) => one.predicted === null)];
  const knee = points.filter((one) => one.at === found.knee);
  const drawing = plot({
    ...frame(figure),
    ariaLabel: "Predicted loss of the best plan of each size",
    x: { label: `${limit === "file_bytes" ? "file" : "memory with the KV cache"}, ${unit.name} →`, nice: true, grid: true },
    y: { type: "log", label: `↑ loss, ${found.unit}`, grid: true, tickFormat: (value) => (value >= 1 ? value.toLocaleString("en") : significant(value, 1)) },
    marks: [
      Plot.areaY(points, { x, y1: (one) => positive(one.predicted_loss - one.standard_error), y2: (one) => loss(one) + one.standard_error, fill: "var(--curve)", fillOpacity: 0.18, clip: true }),
      Plot.line(points, { x, y: (one) => positive(one.lower_bound), stroke: "var(--bound)", strokeDasharray: "5,4", strokeWidth: 1.5 }),
      Plot.line(points, { x, y: loss, stroke: "var(--curve)", strokeWidth: 1.5 }),
      Plot.dot(uniforms, { x, y: loss, symbol: "square", r: 5, stroke: "var(--uniform)", strokeWidth: 2, fill: "var(--ground)", title: (one) => `${one.format} for every layer, ${bytes(one.size)}\npredicted ${significant(one.predicted_loss)}`, className: "uniforms" }),
      ...[false, true].map((crowded) =>
        Plot.text(uniforms.filter((one) => one.crowded === crowded), {
          x, y: loss, text: "format", dy: crowded ? 13 : -10, dx: crowded ? -6 : 7, textAnchor: crowded ? "end" : "start", fill: "var(--uniform)", stroke: "var(--ground)", strokeWidth: 3,
        }),
      ),
      Plot.dot(points, { x, y: loss, r: 3.5, fill: "var(--curve)", href: "link", title: told, className: "points" }),
      Plot.dot(knee, { x, y: loss, r: 9, stroke: "var(--curve)", strokeWidth: 2.5, className: "knee" }),
      Plot.text(knee, { x, y: loss, text: () => "knee", dx: -12, dy: 14, textAnchor: "end", fontWeight: 650, fill: "var(--curve)", stroke: "var(--ground)", strokeWidth: 3 }),
      Plot.dot(others, { x, y: "kl", r: 5, stroke: "var(--measured)", strokeWidth: 2, strokeOpacity: shown, fill: "var(--ground)", href: (one) => `/plans/${one.plan}`, title: ofMeasured, className: "measured-uniforms" }),
      Plot.dot(plans, { x, y: "kl", r: 5.5, fill: "var(--measured)", fillOpacity: shown, href: (one) => `/plans/${one.plan}`, title: ofMeasured, className: "measured-plans" }),
      Plot.link(kept.filter((one) => one.kl_error), { x, y1: (one) => positive(one.kl - one.kl_error), y2: (one) => one.kl + one.kl_error, stroke: "var(--text)", strokeWidth: 1.5, strokeOpacity: shown, pointerEvents: "none", className: "error-bars" }),
    ],
  });
  figure.replaceChildren(drawing);
}

// Losses among which a model is chosen: from the best to one nat above the worst model unquantized. Plans of very few bits lose
// so much more that all else would lie flat.
function interesting(found) {
  const least = Math.min(...found.envelope.map((point) => point.predicted_nll));
  const most = Math.max(...found.models.map((model) => model.reference_nll)) + 1;
  return [least - 0.05 * (most - least), most];
}

// Several models.
//   found: answer of POST /v1/families/frontier
//   link:  where a point of a model is opened
export function drawFamily(figure, { found, link }) {
  const points = found.models.flatMap((model, at) =>
    model.points.map((point) => ({ ...point, at, name: model.model_name, link: link(model, point) })),
  );
  const unit = unitOf(Math.max(...points.map((one) => one.bytes)));
  const x = (one) => unit.of(one.bytes);
  const hue = (one) => HUES[one.at % HUES.length];
  const [least, most] = interesting(found);
  const ends = found.models.map((model, at) => ({ at, name: model.model_name, ...model.points.at(-1) })).filter((one) => one.bytes);
  const drawing = plot({
    ...frame(figure),
    marginRight: 110,
    ariaLabel: "Predicted loss of several models on one text, by size",
    symbol: { type: "identity" },
    x: { label: `${found.limit === "file_bytes" ? "file" : "memory"}, ${unit.name} →`, nice: true, grid: true },
    y: { label: "↑ predicted loss on the text, nats/token", grid: true, domain: [least, most] },
    marks: [
      Plot.ruleX(found.crossings, { x: (one) => unit.of(one.budget_bytes), stroke: "var(--bound)", strokeDasharray: "2,3" }),
      Plot.line(points, { x, y: "predicted_nll", z: "at", stroke: hue, strokeWidth: 1.5, clip: true }),
      Plot.dot(points.filter((one) => one.predicted_nll <= most), {
        x, y: "predicted_nll", r: 3.5, symbol: (one) => SYMBOLS[one.at % SYMBOLS.length], fill: hue, href: "link", className: "points",
        title: (one) => `${one.name}, ${bytes(one.bytes)}, ${one.effective_bits.toFixed(2)} bits a weight\npredicted ${measured(one.predicted_nll, one.nll_error)} nats/token`,
      }),
      Plot.text(ends, { x, y: "predicted_nll", text: "name", dx: 8, textAnchor: "start", fill: hue, stroke: "var(--ground)", strokeWidth: 3 }),
    ],
  });
  figure.replaceChildren(drawing);
}
