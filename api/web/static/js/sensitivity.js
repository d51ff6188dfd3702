// The page of a model's sensitivity: one document is fetched for each measurement, everything is drawn from it.

import { drawComparison } from "./comparison.js";
import { drawCurves, pointsOf } from "./error_curves.js";
import { drawExperts, listExperts, tileOfExpert } from "./experts.js";
import { describe, drawHeatMap, partOf } from "./heat_map.js";
import { fillRanks } from "./layer_ranks.js";
import { patternOf, plainName } from "./patterns.js";
import { offerSaving } from "./saving.js";
import { ask, tell } from "./service.js";

const byId = (id) => document.getElementById(id);
const choice = byId("choice");
const { model, name: modelName } = choice.dataset;
const maps = new Map(); // documents by the id of their setting
const asked = new URLSearchParams(location.search);

let map; // the document that is shown
let wantedSetting; // id of the setting that was chosen last
let at = 0; // which of its formats
let heat; // what drawHeatMap gave
let tile; // the chosen tile
let expert = null; // name of the chosen expert
let cells = []; // of the tile's experts, in the chosen format
let curve = []; // points of the drawn curve
let pairs = []; // of the comparison
let drawings = 0;

const path = (rest) => `/v1/models/${model}/${rest}`;

async function fetchMap(setting) {
  if (!maps.has(setting)) maps.set(setting, await ask(path(`sensitivity?setting=${setting}`)));
  return maps.get(setting);
}

function remember() {
  const query = new URLSearchParams({ setting: map.setting.id, format: map.formats[at].name });
  if (tile) query.set("layer", expert ?? tile.pattern);
  if (byId("other")?.value) query.set("other", byId("other").value);
  history.replaceState(null, "", `?${query}`);
}

function drawn() {
  drawings += 1;
  document.body.dataset.drawn = drawings;
}

function drawAll() {
  byId("map-title").textContent = `Loss of each layer alone in ${map.formats[at].name}`;
  heat = drawHeatMap(byId("map"), byId("map-scale"), { map, at, onChoose: choose });
  drawRanks();
  choose(tile ?? mostSensitive(), tile ? expert : null);
  compare();
}

function mostSensitive() {
  return map.tiles.reduce((most, next) => ((next.loss[at] ?? -1) > (most.loss[at] ?? -1) ? next : most));
}

const tileOf = (pattern) => map.tiles.find((item) => item.pattern === pattern);

function choose(next, nextExpert = null) {
  tile = next;
  expert = tile.layers > 1 ? nextExpert : null;
  heat.mark(tile);
  byId("chosen").textContent = describe(tile, at, map.unit);
  byId("experts-part").hidden = tile.layers === 1;
  cells = [];
  remember();
  if (expert === null) drawCurve(tile);
  if (tile.layers > 1) showExperts();
  drawn();
}

// The curve of the tile, or of one of its experts with its own numbers.
function drawCurve(own) {
  curve = pointsOf(own, map);
  const title = curveTitle();
  byId("curves-title").textContent = `Error curve of ${title}`;
  drawCurves(byId("curves"), { map, tile: own, points: curve, title });
}

function curveTitle() {
  if (expert !== null) return expert;
  if (tile.layers === 1) return plainName(tile.pattern);
  const count = Math.max(...tile.measured);
  const only = count === 1 ? cells.find((cell) => cell.loss !== null) : undefined;
  if (only) return `${only.layer}, the only expert measured`;
  return [tile.name, partOf(tile, count), count > 1 ? "their mean" : ""].filter(Boolean).join(", ");
}

// What was asked for cannot be shown: nothing older stands in its place.
function clearExperts() {
  cells = [];
  for (const id of ["experts", "expert"]) byId(id).replaceChildren();
  byId("experts-title").textContent = "Experts";
  if (expert !== null) clearCurve();
}

function clearCurve() {
  curve = [];
  byId("curves-title").textContent = `Error curve of ${expert}`;
  byId("curves").replaceChildren();
}

async function showExperts() {
  const [wanted, wantedMap] = [tile, map];
  const format = map.formats[at].name;
  const isOld = () => wanted !== tile || wantedMap !== map || format !== map.formats[at].name; // something else was chosen meanwhile
  try {
    const query = new URLSearchParams({ setting: map.setting.id, formats: format, layers: tile.pattern });
    const found = await ask(path(`curves?${query}`));
    if (isOld()) return;
    cells = found.items;
    byId("experts-title").textContent = `${cells.length} expert${cells.length === 1 ? "" : "s"} of this tile in ${format}`;
    redrawExperts();
    if (expert !== null) await showExpert(expert);
    else if (Math.max(...tile.measured) === 1) drawCurve(tile); // now the expert has a name
    drawn();
  } catch (error) {
    if (isOld()) return;
    clearExperts();
    tell(error.message);
  }
}

function redrawExperts() {
  const shared = { cells, chosen: expert, unit: map.unit };
  drawExperts(byId("experts"), { ...shared, onChoose: showExpert });
  listExperts(byId("expert"), shared);
}

// The curve of one expert, or of their mean.
async function showExpert(layer) {
  const [ownMap, ownTile] = [map, tile];
  expert = layer || null;
  redrawExperts();
  remember();
  if (expert === null) {
    drawCurve(tile);
    return;
  }
  const isOld = () => map !== ownMap || tile !== ownTile || expert !== layer;
  try {
    const query = new URLSearchParams({ setting: map.setting.id, layers: patternOf(layer) });
    const found = await ask(path(`curves?${query}`));
    if (isOld()) return;
    drawCurve(tileOfExpert(tile, { map, layer, cells: found.items }));
    drawn();
  } catch (error) {
    if (isOld()) return;
    clearCurve();
    tell(error.message);
  }
}

function drawRanks() {
  const ends = map.extremes[at];
  const suffix = byId("order").value === "density" ? "_per_megabyte" : "";
  const onChoose = (layer) => {
    const found = tileOf(layer.tile);
    choose(found, layer.layer);
    byId("map").scrollIntoView({ block: "nearest" });
  };
  fillRanks(byId("most"), { caption: "Most sensitive", layers: ends[`most${suffix}`], unit: map.unit, onChoose });
  fillRanks(byId("least"), { caption: "Least sensitive", layers: ends[`least${suffix}`], unit: map.unit, onChoose });
}

async function compare() {
  const other = byId("other");
  if (other === null) return;
  for (const option of other.options) option.disabled = option.value === map.setting.id;
  if (other.value === map.setting.id) other.value = "";
  remember();
  saveComparison.hidden = other.value === "";
  if (!other.value) {
    clearComparison();
    return;
  }
  const [first, format, wanted] = [map, map.formats[at].name, other.value];
  const isOld = () => map !== first || map.formats[at].name !== format || other.value !== wanted; // another one was chosen meanwhile
  try {
    const second = await fetchMap(wanted);
    if (isOld()) return;
    const found = drawComparison(byId("comparison"), { first, second, format });
    pairs = found.pairs;
    byId("agreement").textContent = found.words;
    drawn();
  } catch (error) {
    if (isOld()) return;
    clearComparison();
    tell(error.message);
  }
}

function clearComparison() {
  pairs = [];
  byId("comparison").replaceChildren();
  byId("agreement").textContent = "";
}

async function show(setting, format) {
  wantedSetting = setting;
  try {
    const found = await fetchMap(setting);
    if (wantedSetting !== setting) return; // another one was chosen meanwhile
    map = found;
  } catch (error) {
    if (wantedSetting === setting) tell(error.message);
    return;
  }
  tell("");
  const select = choice.elements.format;
  select.replaceChildren(...map.formats.map((item) => new Option(item.name)));
  at = Math.max(0, map.formats.findIndex((item) => item.name === format));
  select.value = map.formats[at].name;
  if (tile) tile = tileOf(tile.pattern);
  else if (choice.dataset.tile) {
    tile = tileOf(choice.dataset.tile);
    expert = choice.dataset.expert ?? null;
  }
  byId("all-csv").href = path(`curves?setting=${setting}&format=csv`);
  byId("all-json").href = path(`curves?setting=${setting}`);
  drawAll();
}

choice.elements.setting.addEventListener("change", (event) => show(event.target.value, choice.elements.format.value));
choice.elements.format.addEventListener("change", (event) => {
  at = map.formats.findIndex((item) => item.name === event.target.value);
  drawAll();
});
choice.addEventListener("submit", (event) => event.preventDefault());
byId("order").addEventListener("change", drawRanks);
byId("expert").addEventListener("change", (event) => showExpert(event.target.value));
byId("other")?.addEventListener("change", compare);
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
byId("map").addEventListener("keydown", (event) => {
  if (!(event.key in MOVES) || !tile) return;
  event.preventDefault();
  choose(heat.beside(tile, ...MOVES[event.key]));
});

const kept = (item) => ({ block: item.block, row: item.row, kind: item.kind, layers: item.layers, pattern: item.pattern });
const saveMap = offerSaving(byId("map"), `${modelName}-sensitivity`, () =>
  map.tiles.map((item) => ({ ...kept(item), format: map.formats[at].name, loss: item.loss[at], standard_error: item.standard_error[at], bytes: item.bytes[at] })),
);
byId("chosen").after(saveMap);
offerSaving(byId("curves"), `${modelName}-curve`, () => curve.map(({ format, bits, loss, error }) => ({ format, bits, loss, standard_error: error })));
offerSaving(byId("experts"), `${modelName}-experts`, () => cells.map(({ layer, format, loss, standard_error }) => ({ layer, format, loss, standard_error })));
const saveComparison = byId("other") === null ? null : offerSaving(byId("comparison"), `${modelName}-comparison`, () => pairs);

const wantedOther = [...(byId("other")?.options ?? [])].find((option) => option.value !== "" && option.value === asked.get("other"));
if (wantedOther) wantedOther.selected = true;
show(choice.elements.setting.value, choice.elements.format.value);
