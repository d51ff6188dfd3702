// Two measurements of one model side by side: each tile a dot, and how far both put tiles in the same order.

import { plot } from "./pictures.js";
import { logTick, significant } from "./words.js";

const ANY = "ANY"; // the column of numbers that do not depend on a format

// Tiles that both have in the format, or in every format that both have where the format is null.
function inCommon(first, second, format) {
  const others = new Map(second.tiles.map((tile) => [tile.pattern, tile]));
  const place = (map, name) => {
    const own = map.formats.findIndex((item) => item.name === name);
    return own >= 0 ? own : map.formats.findIndex((item) => item.name === ANY);
  };
  const names = format === null ? [...new Set([...first.formats, ...second.formats].map((item) => item.name))] : [format];
  const found = [];
  for (const name of names) {
    const [i, j] = [place(first, name), place(second, name)];
    if (i < 0 || j < 0) continue;
    for (const tile of first.tiles) {
      const other = others.get(tile.pattern);
      const [x, y] = [other?.loss[j] ?? null, tile.loss[i]];
      if (x === null || y === null) continue;
      const [own, its] = [tile.measured[i], other.measured[j]];
      found.push({ format: name, tile: tile.name, row: tile.row, first: y, second: x, first_layers: own, second_layers: its });
    }
  }
  return found;
}

const isUneven = (pair) => pair.first_layers !== pair.second_layers;

// Spearman's rank correlation of two columns; null where either has no order.
function spearman(first, second) {
  const [a, b] = [ranks(first), ranks(second)];
  const mean = (a.length + 1) / 2;
  let [both, one, two] = [0, 0, 0];
  a.forEach((rank, at) => {
    both += (rank - mean) * (b[at] - mean);
    one += (rank - mean) ** 2;
    two += (b[at] - mean) ** 2;
  });
  return one === 0 || two === 0 ? null : both / Math.sqrt(one * two);
}

// Ranks from 1; equal values share the mean of theirs.
function ranks(values) {
  const order = values.map((_, at) => at).sort((a, b) => values[a] - values[b]);
  const found = new Array(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end < order.length && values[order[end]] === values[order[start]]) end += 1;
    for (let at = start; at < end; at += 1) found[order[at]] = (start + 1 + end) / 2;
    start = end;
  }
  return found;
}

// Draw both; the words that say how far they agree are returned.
export function drawComparison(figure, { first, second, format }) {
  const pairs = inCommon(first, second, format);
  if (pairs.length === 0) {
    figure.replaceChildren();
    return { pairs, words: `These two have no number of ${format} in common: choose another format above.` };
  }
  const positive = pairs.filter((pair) => pair.first > 0 && pair.second > 0);
  const range = d3.extent(positive.flatMap((pair) => [pair.first, pair.second]));
  const sameUnit = first.unit === second.unit && first.unit !== "ranking";
  const titles = [first, second].map(({ setting, unit }) => `${setting.probe} with ${setting.rounding} (${setting.id.slice(0, 6)}), ${unit}`);
  const rows = [...new Set(pairs.map((pair) => pair.row))];
  const svg = plot({
    width: Math.min(680, figure.clientWidth || 600),
    height: 420,
    marginLeft: 60,
    marginBottom: 40,
    x: { type: "log", label: `${titles[1]} →`, grid: true, tickFormat: logTick, ticks: 5 },
    y: { type: "log", label: `↑ ${titles[0]}`, grid: true, tickFormat: logTick, ticks: 5 },
    symbol: { domain: rows, legend: true },
    marks: [
      ...(sameUnit && positive.length ? [Plot.line([range, range].map(([low, high], at) => [at ? high : low, at ? high : low]), { stroke: "currentColor", strokeOpacity: 0.4, strokeDasharray: "4 3", className: "equal" })] : []),
      Plot.dot(positive, { x: "second", y: "first", symbol: "row", stroke: "var(--accent)", r: 3.5 }),
      Plot.tip(positive, Plot.pointer({ x: "second", y: "first", title: (pair) => `${pair.tile}\n${significant(pair.first)} beside ${significant(pair.second)}${isUneven(pair) ? `\nmeans of ${pair.first_layers} and of ${pair.second_layers} experts` : ""}` })),
    ],
  });
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${titles[0]} over ${titles[1]}`);
  figure.replaceChildren(svg);
  const rank = spearman(pairs.map((pair) => pair.first), pairs.map((pair) => pair.second));
  const left = pairs.length - positive.length;
  const uneven = pairs.filter(isUneven).length;
  const agreement = rank === null ? "there is no order to compare" : `rank correlation ${rank.toFixed(3)}`;
  const words = [
    `${pairs.length} tiles in ${format}: ${agreement} (1: the same order, 0: none).`,
    left ? `${left} are not positive and not drawn.` : "",
    uneven ? `In ${uneven} of them one measurement has more of the experts than the other, so their means are of different layers.` : "",
  ];
  return { pairs, words: words.filter(Boolean).join(" ") };
}
