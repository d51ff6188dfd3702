// Bits of each layer as a strip: blocks from left to right, rows of the model from top to bottom; experts of a block share a tile.
// The service says which layers a tile holds, its row and its name. The strip is made once; a new plan changes fills and words in
// place, so it can follow a slider.

const LARGE = 26; // side of a tile with its bits written in it
const SMALL = 14; // of one without, for models of many blocks
const MANY = 48; // blocks from which tiles are small
const GAP = 2;
const TOP = 20;
const FEWEST = 2; // bits at the dark end of the scale, which is logarithmic
const MOST = 9; // and at the light one: unquantized layers are as light as can be
const OUTSIDE = "–";

// Colour of so many bits a weight: cividis, light for many.
export function colourOf(bits) {
  const share = Math.log2(bits / FEWEST) / Math.log2(MOST / FEWEST);
  return d3.interpolateCividis(Math.min(Math.max(share, 0), 1));
}

// What a tile says of its layers: its name, its formats, its bits.
export function describe(tile) {
  const formats = Object.entries(tile.formats).sort((a, b) => b[1] - a[1]);
  const given = formats.length === 1 ? formats[0][0] : formats.map(([name, count]) => `${count} × ${name}`).join(", ");
  const notes = [tile.pinned ? "pinned" : "", tile.changed ? "differs" : ""].filter(Boolean).map((note) => `, ${note}`).join("");
  return `${tile.name}: ${given}, ${Number(tile.bits.toFixed(2))} bits${notes}`;
}

const keyOf = (tile) => tile.pattern;
const placeOf = (row, block) => `${row}|${block}`;

// Labels of the rows of some tiles, in the order of the model.
export function rowLabels(tiles) {
  const places = new Map(tiles.map((tile) => [tile.row, tile.row_index]));
  return [...places.keys()].sort((one, other) => places.get(one) - places.get(other));
}

// An empty strip.
//   element: where it is drawn; wide strips scroll in it
//   label:   what a screen reader calls it
//   onPick:  called with a tile that is clicked, or chosen by Enter or Space; without it tiles are no buttons
// Gives update(tiles), which draws, and focus(tile).
export function drawStrip(element, { label, onPick } = {}) {
  const svg = d3.select(element).append("svg").attr("class", "strip").attr("role", onPick ? "group" : "img");
  svg.attr("aria-label", label ?? "Bits of each layer, by block and row");
  const blocksGroup = svg.append("g").attr("class", "blocks");
  const kindsGroup = svg.append("g").attr("class", "kinds");
  const tilesGroup = svg.append("g").attr("class", "tiles");
  let shape = { signature: null, number: 0 };

  function layOut(tiles) {
    const signature = tiles.map(keyOf).join();
    if (signature === shape.signature) return;
    const rows = rowLabels(tiles);
    const blocks = [...new Set(tiles.map((tile) => tile.block))].sort((a, b) => (a ?? Infinity) - (b ?? Infinity));
    const step = (blocks.length > MANY ? SMALL : LARGE) + GAP;
    const left = 12 + 6.6 * Math.max(...rows.map((row) => row.length));
    const at = new Map(tiles.map((tile) => [placeOf(tile.row, tile.block), tile]));
    shape = { signature, number: shape.number + 1, rows, blocks, step, left, at, row: new Map(rows.map((row, at) => [row, at])), column: new Map(blocks.map((block, at) => [block, at])) };
    const width = left + step * blocks.length + GAP;
    const height = TOP + step * rows.length + GAP;
    svg.attr("viewBox", `0 0 ${width} ${height}`).attr("width", width).attr("height", height);
    kindsGroup.selectAll("text").data(rows).join("text").attr("x", left - 6).attr("y", (_, at) => TOP + step * (at + 0.5)).text((row) => row);
    const labelled = blocks.filter((block, at) => block === null || at % (step > SMALL + GAP ? 2 : 5) === 0);
    blocksGroup.selectAll("text").data(labelled).join("text")
      .attr("x", (block) => left + step * (shape.column.get(block) + 0.5) - GAP / 2).attr("y", TOP - 7).text((block) => block ?? OUTSIDE);
  }

  function enter(added) {
    const group = added.append("g").attr("class", "tile");
    group.append("title");
    group.append("rect").attr("rx", 3);
    group.append("text");
    if (onPick) {
      group.attr("role", "button").attr("tabindex", -1);
      group.on("click", (_, tile) => onPick(tile)).on("keydown", press).on("focus", (event) => makeCurrent(event.currentTarget));
    }
    return group;
  }

  function update(tiles) {
    layOut(tiles);
    const { left, step, row, column } = shape;
    const side = step - GAP;
    const drawn = tilesGroup.selectAll("g.tile").data(tiles, keyOf).join(enter);
    if (onPick && tilesGroup.select('g.tile[tabindex="0"]').empty()) drawn.filter((_, at) => at === 0).attr("tabindex", 0);
    const changed = drawn.filter(isOther);
    changed.attr("transform", (tile) => `translate(${left + step * column.get(tile.block)},${TOP + step * row.get(tile.row)})`);
    changed.classed("pinned", (tile) => Boolean(tile.pinned)).classed("changed", (tile) => Boolean(tile.changed));
    changed.select("rect").attr("width", side).attr("height", side).attr("fill", (tile) => colourOf(tile.bits));
    changed.select("title").text(describe);
    changed.select("text").attr("x", side / 2).attr("y", side / 2).text(side < LARGE ? "" : written)
      .attr("class", (tile) => (d3.lab(colourOf(tile.bits)).l > 55 ? "on-light" : "on-dark"));
    if (onPick) changed.attr("aria-label", describe);
  }

  // Whether a tile says something else than before, or stands elsewhere: most do not while a budget moves a little.
  function isOther(tile) {
    const said = `${describe(tile)} ${tile.bits} ${shape.number}`;
    if (this.said === said) return false;
    this.said = said;
    return true;
  }

  // One tile at a time is reached by Tab; arrows go to its neighbours.
  function makeCurrent(node) {
    tilesGroup.selectAll('g.tile[tabindex="0"]').attr("tabindex", -1);
    node.setAttribute("tabindex", "0");
  }

  function press(event, tile) {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      onPick(tile);
      return;
    }
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    const next = beside(tile, ...move);
    if (next) focus(next);
  }

  // The next tile in a direction, over holes; none behind the last one.
  function beside(tile, rows, columns) {
    let row = shape.row.get(tile.row) + rows;
    let column = shape.column.get(tile.block) + columns;
    while (row in shape.rows && column in shape.blocks) {
      const next = shape.at.get(placeOf(shape.rows[row], shape.blocks[column]));
      if (next) return next;
      row += rows;
      column += columns;
    }
    return null;
  }

  function focus(wanted) {
    tilesGroup.selectAll("g.tile").filter((tile) => keyOf(tile) === keyOf(wanted)).each(function reach() {
      makeCurrent(this);
      this.focus();
    });
  }

  return { update, focus };
}

// Bits in a tile: whole ones of a single format, a mean with a digit where experts differ.
function written(tile) {
  if (Object.keys(tile.formats).length === 1) return String(Math.floor(tile.bits));
  return tile.bits >= 10 ? String(Math.round(tile.bits)) : tile.bits.toFixed(1);
}

// Numbers behind a strip, for a CSV.
export function rowsOf(tiles) {
  return tiles.flatMap((tile) =>
    Object.entries(tile.formats).map(([format, count]) => ({ block: tile.block, row: tile.row, kind: tile.kind, layers: tile.pattern, format, count, tile_bits: tile.bits })),
  );
}
