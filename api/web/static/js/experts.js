// The experts of a tile: how their losses lie in one format, each a dot; one of them can be chosen.

import { plot } from "./pictures.js";
import { logTick, measured } from "./words.js";

// Draw the experts.
//   cells:    of one format, as /v1/models/{model}/curves gives them
//   chosen:   name of a layer, or null
//   onChoose: called with the name of a layer
export function drawExperts(figure, { cells, chosen, unit, onChoose }) {
  const shown = cells.filter((cell) => cell.loss !== null && cell.loss > 0);
  const svg = plot({
    width: Math.min(620, figure.clientWidth || 560),
    height: 200,
    marginLeft: 20,
    marginRight: 20,
    x: { type: "log", label: `loss, ${unit} →`, grid: true, tickFormat: logTick, ticks: 5 },
    marks: [
      Plot.dotX(shown, Plot.dodgeY({ x: "loss", r: 3.5, fill: (cell) => (cell.layer === chosen ? "var(--bad)" : "var(--accent)"), padding: 0.5 })),
      Plot.tip(shown, Plot.pointer(Plot.dodgeY({ x: "loss", r: 3.5, padding: 0.5, title: (cell) => `${cell.layer}\n${measured(cell.loss, cell.standard_error)} ${unit}` }))),
    ],
  });
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Losses of ${shown.length} experts`);
  svg.addEventListener("click", () => {
    if (svg.value) onChoose(svg.value.layer); // what the pointer is at
  });
  figure.replaceChildren(svg);
}

// Offer the experts in a list too, the most sensitive first.
export function listExperts(select, { cells, chosen, unit }) {
  const ordered = [...cells].sort((a, b) => (b.loss ?? -1) - (a.loss ?? -1));
  const all = new Option("all of them, their mean", "");
  const options = ordered.map((cell) => new Option(`${cell.layer} · ${cell.loss === null ? cell.status : `${measured(cell.loss)} ${unit}`}`, cell.layer));
  const isOffered = chosen === null || cells.some((cell) => cell.layer === chosen);
  select.replaceChildren(all, ...options, ...(isOffered ? [] : [new Option(`${chosen} · not measured`, chosen)]));
  select.value = chosen ?? "";
}

// One expert as if it were a tile. Experts of a tile have one shape, so each has its share of the bytes.
//   cells: of this expert, in any formats
export function tileOfExpert(tile, { map, layer, cells }) {
  const byFormat = new Map(cells.map((cell) => [cell.format, cell]));
  const each = (field) => map.formats.map(({ name }) => byFormat.get(name)?.[field] ?? null);
  const loss = each("loss");
  return {
    ...tile,
    name: layer,
    layers: 1,
    weights: tile.weights / tile.layers,
    bytes: tile.bytes.map((size) => (size === null ? null : size / tile.layers)),
    loss,
    standard_error: each("standard_error"),
    status: each("status"),
    measured: loss.map((value) => (value === null ? 0 : 1)),
    spread: loss.map(() => null),
  };
}
