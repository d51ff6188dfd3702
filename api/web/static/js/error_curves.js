// Error curves: loss over stored bits a weight, of one layer with its error bars, and faintly of the same row in other blocks.

import { describe } from "./heat_map.js";
import { plot } from "./pictures.js";
import { logTick } from "./words.js";

// Okabe and Ito's colours, told apart by every eye; yellow is left out, it is hard to see on white.
const COLOURS = [1, 2, 3, 4, 5, 6, 7, 8].map((hue) => `var(--hue-${hue})`); // as base.css has them
const SMALL = 1e-3; // share of a loss that an error bar is drawn down to where it would reach below zero

// What formats of one family have in common: INT4_G64 and INT8_G64 are of INT·_G64.
const familyOf = (name) => name.replace(/\d+/, "·");

// Points of a tile: one for each format that it has a positive loss in.
export function pointsOf(tile, map) {
  return map.formats
    .map((format, at) => {
      const bits = tile.bytes[at] === null ? format.bits : (8 * tile.bytes[at]) / tile.weights;
      const [loss, error] = [tile.loss[at], tile.standard_error[at]];
      return { format: format.name, family: familyOf(format.name), at, bits, loss, error, block: tile.block };
    })
    .filter((point) => point.loss !== null && point.loss > 0 && point.bits !== null)
    .sort((a, b) => a.bits - b.bits);
}

// Draw the curve of a tile, or of one of its experts.
//   tile:   as in the map, or with the numbers of the expert alone
//   points: of the curve, by pointsOf
export function drawCurves(figure, { map, tile, points, title }) {
  if (points.length === 0) {
    const empty = document.createElement("p");
    empty.className = "empty";
    empty.textContent = "No format has a positive loss and stored bits here, so there is no curve to draw.";
    figure.replaceChildren(empty);
    return;
  }
  const others = map.tiles.filter((other) => other.pattern !== tile.pattern && other.row === tile.row);
  const neighbours = others.flatMap((other) => pointsOf(other, map));
  const low = (point) => Math.max(point.loss - (point.error ?? 0), SMALL * point.loss);
  for (const point of points) if (count(points, point.family) === 1) point.family = point.format;
  const families = [...new Set(points.map((point) => point.family))].sort((a, b) => count(points, b) - count(points, a));
  const width = Math.min(620, figure.clientWidth || 560);
  const svg = plot({
    width,
    height: 340,
    marginLeft: 56,
    marginRight: 16,
    marginBottom: 38,
    color: { domain: families, range: families.map((_, at) => COLOURS[at % COLOURS.length]) },
    symbol: { domain: families, legend: true },
    x: { label: "stored bits a weight →", nice: true, grid: true },
    y: { type: "log", label: `↑ loss, ${map.unit}`, grid: true, tickFormat: logTick, ticks: 6 },
    marks: [
      Plot.line(neighbours, { x: "bits", y: "loss", z: (point) => `${point.block} ${point.family}`, stroke: "currentColor", strokeWidth: 1, strokeOpacity: Math.min(0.22, 4 / others.length), className: "neighbours" }),
      Plot.line(points, { x: "bits", y: "loss", z: "family", stroke: "family", strokeWidth: 2 }),
      Plot.ruleX(points.filter((point) => point.error !== null), { x: "bits", y1: low, y2: (point) => point.loss + point.error, stroke: "family", strokeWidth: 1.5, className: "errors" }),
      Plot.dot(points, { x: "bits", y: "loss", fill: "family", symbol: "family", r: 4 }),
      Plot.tip(points, Plot.pointer({ x: "bits", y: "loss", title: (point) => `${point.format}\n${describe(tile, point.at, map.unit)}` })),
    ],
  });
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Loss over stored bits a weight of ${title}`);
  figure.replaceChildren(svg);
}

function count(points, family) {
  return points.filter((point) => point.family === family).length;
}
