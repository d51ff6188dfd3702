// The plan studio: a budget is dragged, the plan follows.

import { ask, embedded, submit, tell } from "/static/js/service.js";
import { offerSaving } from "/static/js/saving.js";
import { asCurl, offerCopy } from "/static/js/curl.js";
import { askLatest } from "/static/js/latest.js";
import { describe, drawStrip, rowsOf } from "/static/js/strip.js";
import { makeControls } from "/static/js/studio_controls.js";
import { factsOf, makeBeside, showChanges, showCounts, showFacts, showReferences, verdict } from "/static/js/studio_picture.js";
import { askPin, showPins } from "/static/js/studio_pins.js";
import { planRequest, question, readAddress, serving, UNITS, writeAddress } from "/static/js/studio_question.js";
import { inWords, makeRange } from "/static/js/studio_range.js";
import { showRules } from "/static/js/studio_rules.js";

const USUAL_BITS = 4.5; // where a budget begins that nobody gave
const LEAST_SHARE = 0.05;
const CURVE_POINTS = 48;
const PREVIEW_SECONDS = 0.4; // of the solver; what it has by then is shown with its gap, and is searched longer when it is kept
const BUSY_AFTER = 250; // milliseconds until a plan that takes its time is said to be under way
const SLOW = 120; // milliseconds of a plan from which one is asked for where the hand rests, not at every move
const REST = 100; // milliseconds without a move
const PASSING = [0, 429, 503]; // no answer, or a busy service: the same question may be answered later

const element = (id) => document.getElementById(id);
const controls = embedded("controls");
const model = controls.model.id;
const state = readAddress(location.search);
let plan = null; // the newest answer
let share = null; // where the budget stood in its range, for a unit whose range is not known yet
let taken = 0; // milliseconds that the last plan took
let resting = null; // timer of a hand or a key that may have come to rest
let tiles = [];
let shownQuestion = null; // whose frontier is drawn, or was refused
let curveProblem = ""; // what is told of it
let drawingCurve = new AbortController(); // of the request for it
let frontier = [];
let drawings = 0;
let keeping = false; // a plan is being stored

const range = makeRange({ slider: element("slider"), amount: element("amount"), least: element("least"), most: element("most"), changed: moved });
const board = makeControls(controls, state, { changed: rethink, measureAnew });
const strip = drawStrip(element("strip"), { onPick: pick });
const beside = makeBeside(element("beside"));
const replan = askLatest(preview, show, refuse);

// A question as it is asked: its request, and the value of which limit it is about; without one it asks for the ends alone.
function asked() {
  const value = state.limits[state.unit];
  const probing = value === null;
  const limits = probing ? { ...state.limits, [state.unit]: UNITS[state.unit].huge } : state.limits;
  return { body: planRequest(model, { ...state, limits }), unit: state.unit, value, probing };
}

// What stores or moves a budget waits until there is one: while its ends are asked for, the question holds none of the user's.
function settle() {
  const unknown = state.limits[state.unit] === null;
  for (const id of ["slider", "amount", "curl"]) element(id).disabled = unknown;
  element("keep").disabled = unknown || keeping || !element("problem").hidden;
}

async function preview({ body }, signal) {
  const began = performance.now();
  const busy = setTimeout(() => element("facts").classList.add("stale"), BUSY_AFTER);
  try {
    const limited = { ...body, deadline_seconds: PREVIEW_SECONDS };
    const found = await ask("/v1/plans/preview?aggregate=true", { method: "POST", body: limited, signal, harmless: true });
    taken = performance.now() - began;
    return found;
  } finally {
    clearTimeout(busy);
  }
}

// A move that is not the last one is drawn if plans come fast enough, else where the hand or the key rests.
function moved(value, { final }) {
  state.limits[state.unit] = value;
  clearTimeout(resting);
  if (final || taken < SLOW) replan(asked(), { urgent: final, once: true });
  else resting = setTimeout(() => replan(asked(), { once: true }), REST);
  if (final) remember();
}

// The question itself is another one.
function rethink() {
  replan(asked(), { urgent: true });
  remember();
}

// What the question holds beside the controls, told above them.
function tellRules() {
  showRules(element("rules"), state, () => {
    tellRules();
    board.showDevice();
    rethink();
  });
}

// The budget is one of another unit, or of another device: it stays at its place between the ends, which are not known yet.
function measureAnew(unit) {
  share = plan === null ? null : range.share(state.limits[state.unit] ?? 0);
  state.limits[state.unit] = null;
  state.unit = unit;
  state.limits[unit] = null;
  range.use(unit);
  board.showUnits(plan?.largest.file_bytes ?? 0);
  settle();
  replan(asked(), { urgent: true });
}

function remember() {
  if (state.limits[state.unit] === null) return;
  history.replaceState(null, "", `?${writeAddress(state)}`);
}

function show(answer, { unit, value, probing }) {
  if (unit !== state.unit) return; // another unit was chosen meanwhile, and asked for
  const ends = answer.limits.find((limit) => limit.kind === unit);
  if (probing) {
    if (plan === null) board.showUnits(answer.largest.file_bytes);
    state.limits[unit] = range.at({ kind: unit, least: ends.least, most: ends.most }, share ?? usualShare(answer));
    settle();
    replan(asked());
    remember();
    return;
  }
  const first = plan === null;
  plan = answer;
  if (first) board.showUnits(answer.largest.file_bytes);
  range.set(unit, ends, state.limits[unit]);
  draw(value);
  drawFrontier();
}

function usualShare({ smallest, largest }) {
  const found = (USUAL_BITS - smallest.effective_bits) / (largest.effective_bits - smallest.effective_bits);
  return Number.isFinite(found) ? Math.min(Math.max(found, LEAST_SHARE), 1) : 1;
}

function draw(value) {
  element("problem").hidden = element("repair").hidden = true;
  tiles = plan.tiles.map((tile) => ({ ...tile, pinned: state.pins.has(tile.pattern) }));
  strip.update(tiles);
  element("strip").classList.remove("stale");
  element("facts").classList.remove("stale");
  showFacts(element("facts"), factsOf(plan, state.rules.caution));
  showCounts(element("counts"), tiles, board.bitsOf);
  element("verdict").textContent = verdict(plan);
  element("caveat").textContent = plan.confidence.reasons.join(". ");
  element("caveat").hidden = plan.confidence.additivity === "usual";
  element("ratio").textContent = `${plan.size.effective_bits.toFixed(2)} effective bits`;
  showChanges(element("upgrades"), plan.upgrades, "Nothing: every layer has the format that loses least.");
  showChanges(element("downgrades"), plan.downgrades, "Nothing: every layer is in its smallest format.");
  showReferences(element("references"), plan);
  beside.move(plan);
  element("notes").replaceChildren(...plan.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })));
  showPins(state.pins, unpin);
  settle();
  drawings += 1; // for whoever waits for the picture of a budget: tests, and what measures how long it takes
  document.body.dataset.shown = String(value);
  document.body.dataset.drawn = String(drawings);
  if (drawings === 1) performance.mark("first-picture");
}

// Size against loss for all budgets of the question: asked for once it is still, and only where the question changed.
async function drawFrontier() {
  const body = { ...question(model, state), ...serving(state), points: CURVE_POINTS };
  const key = JSON.stringify(body);
  if (key === shownQuestion) return;
  shownQuestion = key;
  drawingCurve.abort();
  drawingCurve = new AbortController();
  frontier = [];
  tellOfCurve("");
  beside.draw(plan, frontier);
  try {
    const found = await ask("/v1/frontiers", { method: "POST", body, signal: drawingCurve.signal, harmless: true });
    if (key !== shownQuestion) return;
    frontier = found.points;
    beside.draw(plan, frontier);
    beside.move(plan);
    document.body.dataset.frontier = String(frontier.length);
  } catch (error) {
    if (key !== shownQuestion) return;
    if (PASSING.includes(error.status)) shownQuestion = null; // the next plan asks again
    tellOfCurve(`The curve of all budgets could not be drawn: ${error.message}`);
  }
}

// A notice of something else stays until it is told otherwise.
function tellOfCurve(problem) {
  if (problem || element("notice").textContent === curveProblem) tell(problem);
  curveProblem = problem;
}

// A refused question leaves the last picture, faint, with the words of the service and what would repair it.
function refuse(error, { unit }) {
  element("problem").textContent = error.message;
  element("problem").hidden = false;
  for (const id of ["strip", "facts"]) element(id).classList.add("stale");
  settle();
  const floor = error.problem?.smallest_feasible;
  const kind = error.problem?.unit ?? unit;
  element("repair").hidden = floor === undefined || UNITS[kind] === undefined;
  if (!element("repair").hidden) {
    element("take-floor").textContent = `Take the smallest plan: ${inWords(kind, floor)}`;
    element("take-floor").onclick = () => {
      state.limits[kind] = floor;
      board.showUnits(plan?.largest.file_bytes ?? 0);
      settle();
      rethink();
    };
  }
  if (plan === null) {
    board.showUnits(0);
    element("verdict").textContent = "";
  }
  showPins(state.pins, unpin);
  document.body.dataset.refused = error.problem?.type ?? "error";
}

function pick(tile) {
  const given = Object.keys(tile.formats);
  askPin({
    name: tile.name,
    formats: board.formatsFor(tile),
    now: given.length === 1 ? given[0] : state.pins.get(tile.pattern),
    chosen(format) {
      strip.focus(tile);
      if (format === undefined) return;
      if (format === null) state.pins.delete(tile.pattern);
      else state.pins.set(tile.pattern, format);
      rethink();
    },
  });
}

function unpin(pattern) {
  state.pins.delete(pattern);
  rethink();
}

element("studio").addEventListener("submit", (event) => event.preventDefault());

element("unit").addEventListener("change", (event) => measureAnew(event.target.value));

element("keep").addEventListener("click", async () => {
  keeping = true;
  settle();
  try {
    const kept = await submit("/v1/plans", asked().body);
    location.assign(`/plans/${kept.id}`);
  } catch (error) {
    tell(error.message);
    keeping = false;
    settle();
  }
});

window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return; // come back to
  keeping = false;
  settle();
});

offerCopy(element("curl"), () => asCurl("/v1/plans", asked().body));
const rows = () => rowsOf(tiles).map((line) => ({ ...line, said: describe(tiles.find((tile) => tile.pattern === line.layers)) }));
offerSaving(element("strip"), `${controls.model.name}-bits`, rows);
offerSaving(element("beside"), `${controls.model.name}-loss-by-size`, () => (plan === null ? [] : beside.rows(plan, frontier)));

range.use(state.unit);
tellRules();
settle();
replan(asked());
