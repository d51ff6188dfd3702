// What the studio shows of a plan: its facts, its strip, what would change next, and what it stands beside.

import { plot } from "/static/js/pictures.js";
import { bytes, changeInBytes, measured, percent, significant } from "/static/js/words.js";
import { colourOf } from "/static/js/strip.js";
import { UNITS } from "/static/js/studio_question.js";
import { inWords, shownIn } from "/static/js/studio_range.js";

const NARROWEST = 320; // pixels of the picture of sizes and losses
const WIDEST = 520;
const FEW_STEPS = 50; // of a power of ten in the largest value of a limit that is not of bytes
const NEAR = 0.07; // share of the picture's width in which a second label goes below its point
const LIMITS = { effective_bits: "effective bits", file_bytes: "bytes of the file", resident_bytes: "resident bytes", decode_seconds: "ms a token" };

// Facts of a plan: pairs of a name and what is said, the first one large. With caution, more than the loss is bounded.
export function factsOf(plan, caution = 0) {
  const { predicted, proof, size } = plan;
  const what = predicted.unit === "nats/token" ? "predicted KL, nats/token" : `predicted loss, ${predicted.unit}`;
  const facts = [
    [what, measured(predicted.loss, predicted.standard_error)],
    [caution ? `lower bound of loss + ${caution} × its error` : "lower bound", `${significant(proof.lower_bound)}, ${proven(proof)}`],
    ["file", bytes(size.file_bytes)],
    ["effective bits", size.effective_bits.toFixed(3)],
  ];
  if (size.kv_bytes) facts.push(["resident", bytes(size.resident_bytes)], ["of it KV cache", bytes(size.kv_bytes)]);
  facts.push(["what binds", binding(plan)]);
  facts.push(...plan.limits.filter((limit) => limit.binds).map((limit) => price(limit, predicted.unit)));
  for (const limit of plan.limits) {
    if (limit.kind === "decode_seconds") facts.push([`a token on ${limit.device}`, inWords(limit.kind, limit.used)]);
  }
  facts.push(["solved in", milliseconds(1000 * proof.solve_seconds)]);
  return facts;
}

const milliseconds = (time) => `${time < 10 ? significant(time, 2) : Math.round(time)} ms`;

function proven(proof) {
  if (proof.gap === 0) return "proven best";
  return `gap ${percent(proof.gap)}`;
}

function binding(plan) {
  if (plan.binding === null) return "nothing: more room would not help";
  return plan.binding.split(", ").map((kind) => LIMITS[kind] ?? kind).join(", ");
}

// What a little more of a limit buys, at the margin: of bytes a GB, or a MB for a small model.
function price(limit, unit) {
  const { factor, name } = shownIn(limit.kind, limit.most);
  const step = UNITS[limit.kind].inBytes ? 1 : 10 ** Math.floor(Math.log10((factor * limit.most) / FEW_STEPS));
  return [`${significant(step)} more ${name} saves`, `${significant((step * limit.price) / factor)} ${unit}`];
}

// Put facts into a <dl>, in place where their names are the same.
export function showFacts(list, facts) {
  d3.select(list).selectAll("div").data(facts, (fact) => fact[0])
    .join((added) => {
      const pair = added.append("div");
      pair.append("dt").text((fact) => fact[0]);
      pair.append("dd");
      return pair;
    })
    .order()
    .classed("main", (_, at) => at === 0)
    .select("dd").text((fact) => fact[1]);
}

// How many layers have each format, with its colour.
export function showCounts(element, tiles, bitsOf) {
  const counts = new Map();
  for (const tile of tiles) {
    for (const [format, count] of Object.entries(tile.formats)) counts.set(format, (counts.get(format) ?? 0) + count);
  }
  const items = [...counts].map(([format, count]) => ({ format, count, bits: bitsOf(format) })).sort((a, b) => a.bits - b.bits);
  const shown = d3.select(element).selectAll("span.count").data(items, (item) => item.format).join((added) => {
    const one = added.append("span").attr("class", "count");
    one.append("i").attr("class", "swatch");
    one.append("span").attr("class", "words");
    return one;
  }).order();
  shown.select(".swatch").style("background", (item) => colourOf(item.bits));
  shown.select(".words").text((item) => `${item.format}: ${item.count} ${item.count === 1 ? "layer" : "layers"}`);
}

// The sentence that compares the plan with the best that is well known and fits under the same limits.
export function verdict(plan) {
  if (plan.references.length === 0) return "There is no uniform format and no stock recipe to compare with.";
  const fitting = plan.references.filter((point) => point.fits);
  if (fitting.length === 0) return "No uniform format and no stock recipe fits under this limit.";
  const best = fitting.reduce((one, other) => (other.loss < one.loss ? other : one));
  const found = `Of uniform formats and stock recipes, the best that fits is ${best.label}: it is predicted to lose ${significant(best.loss)}`;
  if (!(plan.predicted.loss > 0)) return `${found}.`;
  const times = best.loss / plan.predicted.loss;
  return times < 1.005 ? `${found}, as much as this plan.` : `${found}, ${significant(times)} times as much as this plan.`;
}

// A table of rows of texts; the first row is the head.
function fill(table, head, rows) {
  const names = document.createElement("thead");
  names.append(row("th", head.map((text, at) => ({ text, number: at > 0 && head.length > 1 })), ""));
  const body = document.createElement("tbody");
  body.append(...rows.map(({ cells, mark }) => row("td", cells.map((text, at) => ({ text, number: at > 0 })), mark)));
  table.replaceChildren(names, body);
}

function row(tag, cells, mark) {
  const line = document.createElement("tr");
  if (mark) line.className = mark;
  for (const { text, number } of cells) {
    const cell = document.createElement(tag);
    cell.textContent = text;
    if (number) cell.className = "number";
    line.append(cell);
  }
  return line;
}

// Layer groups and what another format would change.
export function showChanges(table, changes, none) {
  if (changes.length === 0) {
    fill(table, [none], []);
    return;
  }
  const rows = changes.map((change) => ({
    cells: [
      change.name,
      `${change.from_format} → ${change.to_format}`,
      changeInBytes(change.more_bits / 8),
      `${change.loss_change < 0 ? "−" : "+"}${significant(Math.abs(change.loss_change))}`,
    ],
  }));
  fill(table, ["layers", "format", "bytes", "predicted loss"], rows);
}

// The plan among uniform formats and stock recipes, by size.
export function showReferences(table, plan) {
  const own = { label: "this plan", loss: plan.predicted.loss, size: plan.size, fits: true, mark: "plan" };
  const points = [...plan.references, own].sort((a, b) => a.size.file_bytes - b.size.file_bytes);
  const rows = points.map((point) => ({
    mark: point.mark ?? (point.fits ? "" : "beyond"),
    cells: [
      point.label,
      bytes(point.size.file_bytes),
      point.size.effective_bits.toFixed(2),
      significant(point.loss),
      point.mark || !(own.loss > 0) ? "" : `${significant(point.loss / own.loss, 2)} ×`,
      point.fits ? "yes" : "no",
    ],
  }));
  fill(table, ["", "file", "bits", "predicted loss", "of the plan’s", "fits"], rows);
}

// What sizes are compared by: with a KV cache all that is resident, for the cache takes of it what the weights leave.
const countedBytes = (plan) => (plan.size.kv_bytes > 0 ? "resident_bytes" : "file_bytes");

// Size against predicted loss: the frontier, what is well known, and the plan as a dot that moves along.
export function makeBeside(figure) {
  let drawing = null;
  let place = null;
  return {
    draw(plan, frontier) {
      const counted = countedBytes(plan);
      const { factor, name } = shownIn(counted, plan.largest[counted]);
      const curve = frontier.map((point) => ({ size: factor * point[counted], loss: point.predicted_loss })).filter((point) => point.loss > 0);
      const points = plan.references.map((point) => ({ ...point, size: factor * point.size[counted] })).filter((point) => point.loss > 0);
      apart(points, factor * plan.largest[counted]);
      drawing = plot({
        width: Math.min(Math.max(figure.clientWidth, NARROWEST), WIDEST), height: 300, marginLeft: 56, marginRight: 24,
        x: { label: `${UNITS[counted].words}, ${name}`, nice: true },
        y: { label: `predicted loss, ${plan.predicted.unit}`, type: "log", grid: true, tickFormat: (value) => significant(value, 2) },
        marks: [
          Plot.line(curve, { x: "size", y: "loss", stroke: "currentColor", strokeOpacity: 0.55 }),
          Plot.dot(points, { x: "size", y: "loss", fill: "var(--accent)", r: 4, title: (point) => `${point.label}: ${significant(point.loss)}` }),
          ...[false, true].map((below) => Plot.text(points.filter((point) => point.below === below), {
            x: "size", y: "loss", text: (point) => point.label.replace("uniform ", ""), fontSize: 10.5,
            ...(below ? { dy: 12, dx: -7, textAnchor: "end" } : { dx: 7, textAnchor: "start" }),
          })),
          Plot.dot([plan], { x: (one) => factor * one.size[counted], y: (one) => one.predicted.loss || null, r: 7, symbol: "diamond", className: "now" }),
        ],
      });
      drawing.setAttribute("role", "img");
      drawing.setAttribute("aria-label", "Size against predicted loss: the best plans, uniform formats, and this plan");
      const [x, y] = [drawing.scale("x"), drawing.scale("y")];
      place = (one) => `translate(${x.apply(factor * one.size[counted])},${y.apply(one.predicted.loss)})`;
      figure.replaceChildren(drawing);
    },
    move(plan) {
      const dot = drawing?.querySelector(".now path, .now circle");
      if (!dot || !(plan.predicted.loss > 0)) return;
      dot.setAttribute("transform", place(plan));
    },
    rows: (plan, frontier) => [
      ...frontier.map((point) => lineOf("frontier", point, point.predicted_loss)),
      ...plan.references.map((point) => lineOf(point.label, point.size, point.loss)),
      lineOf("this plan", plan.size, plan.predicted.loss),
    ],
  };
}

const lineOf = (what, size, loss) => ({ what, file_bytes: size.file_bytes, resident_bytes: size.resident_bytes, predicted_loss: loss });

// Say which labels go below their point: those that would lie on the one before.
function apart(points, width) {
  points.forEach((point, at) => {
    const before = points[at - 1];
    point.below = before !== undefined && !before.below && point.size - before.size < NEAR * width && Math.abs(Math.log(point.loss / before.loss)) < 1;
  });
}

// Words of the options of the unit, for a model of this size.
export function unitWords(kind, most) {
  return UNITS[kind].inBytes ? `${shownIn(kind, most).name} ${UNITS[kind].words}` : UNITS[kind].words;
}
