// The heat map: block × row of the model for one format, on a logarithmic scale of cividis, whose lightness rises evenly for every eye.

import { legend, plot } from "./pictures.js";
import { rowLabels } from "./strip.js";
import { bytes, logTick, measured } from "./words.js";

const ROW = 26;
const LETTER = 6.3; // width of one in a label
const MARGIN = { right: 12, top: 24, bottom: 6 };
const OUTSIDE = "–"; // the column of what lies outside of the blocks

const blockOf = (tile) => (tile.block === null ? OUTSIDE : tile.block);

// A tile in one format, in words.
export function describe(tile, at, unit) {
  const size = tile.bytes[at] === null ? "" : `, ${bytes(tile.bytes[at])}`;
  if (tile.loss[at] === null) return `${tile.name}: no number (${tile.status[at] ?? "not measured"})${size}`;
  const part = partOf(tile, tile.measured[at]);
  const mean = tile.measured[at] === 1 ? "" : "mean ";
  const spread = tile.spread[at];
  const range = spread === null ? "" : `, from ${measured(spread.least)} to ${measured(spread.greatest)}`;
  return `${tile.name}${part && `, ${part}`}: ${mean}${measured(tile.loss[at], tile.standard_error[at])} ${unit}${range}${size}`;
}

// That so many experts of a tile have a number, where others have none.
export const partOf = (tile, count) => (count === tile.layers ? "" : `${count} of them measured`);

// Both ends of a scale, and the powers of ten that are not close to them.
function ticksOf([least, greatest]) {
  const inside = d3.range(Math.ceil(Math.log10(least)), Math.floor(Math.log10(greatest)) + 1).map((power) => 10 ** power);
  const rounded = [least, greatest].map((end) => Number(end.toPrecision(2)));
  return [rounded[0], ...inside.filter((tick) => tick > 3 * least && 3 * tick < greatest), rounded[1]];
}

// Draw the map; the returned object marks a tile as chosen, and finds the next one in a direction.
//   figure, scaleBox: where the map and its scale go
//   map:     the document of /v1/models/{model}/sensitivity
//   at:      which of its formats
//   onChoose: called with a tile when it is clicked or moved to
export function drawHeatMap(figure, scaleBox, { map, at, onChoose }) {
  const rows = rowLabels(map.tiles);
  const left = 14 + LETTER * Math.max(...rows.map((row) => row.length));
  const blocks = [...new Set(map.tiles.map(blockOf))].sort((a, b) => (a === OUTSIDE) - (b === OUTSIDE) || a - b);
  const step = Math.max(14, Math.min(36, (figure.clientWidth - left - MARGIN.right) / blocks.length));
  const width = Math.ceil(left + MARGIN.right + step * blocks.length);
  const positive = map.tiles.map((tile) => tile.loss[at]).filter((loss) => loss > 0);
  const domain = positive.length ? [Math.min(...positive), Math.max(...positive)] : [1, 1];
  const [least, greatest] = domain;
  if (least === greatest) domain.splice(0, 2, least / 2, greatest * 2);
  const shown = map.tiles.filter((tile) => tile.loss[at] !== null);
  const without = map.tiles.filter((tile) => tile.loss[at] === null);
  const every = Math.ceil(26 / step); // labels need room
  const x = { domain: blocks, label: null, axis: "top", tickSize: 0, padding: 0, ticks: blocks.filter((block) => block === OUTSIDE || block % every === 0) };
  const color = { type: "log", scheme: "cividis", domain, label: `loss, ${map.unit}` };
  const svg = plot({
    width,
    height: MARGIN.top + MARGIN.bottom + ROW * rows.length,
    marginLeft: left,
    marginRight: MARGIN.right,
    marginTop: MARGIN.top,
    marginBottom: MARGIN.bottom,
    x,
    y: { domain: rows, label: null, tickSize: 0, padding: 0 },
    color,
    marks: [
      Plot.cell(shown, { x: blockOf, y: "row", fill: (tile) => (positive.length ? Math.max(tile.loss[at], least) : domain[0]), inset: 0.75, rx: 2 }),
      Plot.text(without, { x: blockOf, y: "row", text: () => "×", fill: "currentColor", className: "no-number" }),
      Plot.tip(map.tiles, Plot.pointer({ x: blockOf, y: "row", title: (tile) => describe(tile, at, map.unit), lineWidth: 26, maxRadius: 30 })),
    ],
  });
  svg.classList.add("at-its-size");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Loss of each layer in ${map.formats[at].name}, block by row`);
  figure.replaceChildren(svg);
  scaleBox.replaceChildren(...(positive.length ? [legend({ color, width: 300, marginLeft: 22, marginRight: 22, tickFormat: logTick, ticks: ticksOf(domain) })] : []));

  const ring = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  ring.setAttribute("class", "ring");
  ring.setAttribute("visibility", "hidden");
  svg.append(ring);
  const scales = { x: svg.scale("x"), y: svg.scale("y") };
  const findTile = (block, row) => map.tiles.find((tile) => blockOf(tile) === block && tile.row === row);
  svg.addEventListener("click", (event) => {
    const [px, py] = d3.pointer(event, svg);
    const column = Math.floor((px - scales.x.apply(blocks[0])) / scales.x.bandwidth);
    const row = Math.floor((py - scales.y.apply(rows[0])) / scales.y.bandwidth);
    const tile = findTile(blocks[column], rows[row]);
    if (tile) onChoose(tile);
  });

  return {
    mark(tile) {
      ring.setAttribute("x", scales.x.apply(blockOf(tile)));
      ring.setAttribute("y", scales.y.apply(tile.row));
      ring.setAttribute("width", scales.x.bandwidth);
      ring.setAttribute("height", scales.y.bandwidth);
      ring.removeAttribute("visibility");
      const right = scales.x.apply(blockOf(tile)) + scales.x.bandwidth;
      if (right > figure.scrollLeft + figure.clientWidth) figure.scrollLeft = right - figure.clientWidth + 40;
      else if (right - 2 * scales.x.bandwidth < figure.scrollLeft) figure.scrollLeft = Math.max(0, right - figure.clientWidth / 2);
    },
    // The next tile in a direction of columns and rows, over holes; the same one at the edge.
    beside(tile, right, down) {
      let column = blocks.indexOf(blockOf(tile)) + right;
      let row = rows.indexOf(tile.row) + down;
      while (column in blocks && row in rows) {
        const next = findTile(blocks[column], rows[row]);
        if (next) return next;
        column += right;
        row += down;
      }
      return tile;
    },
  };
}
