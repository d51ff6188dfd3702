// Size against predicted loss: the controls, the request that they stand for, and what is told beside the picture.

import { drawFamily, drawFrontier } from "/static/js/frontier_picture.js";
import { offerSaving } from "/static/js/saving.js";
import { ask, embedded } from "/static/js/service.js";
import { bytes, duration, measured, percent, significant } from "/static/js/words.js";

const POINTS = 60;
const SOON = 2000; // layers up to which every point is solved to its proof in a fraction of a second
const controls = embedded("controls");
const form = document.getElementById("question");
const field = (name) => form.elements.namedItem(name);
const at = (id) => document.getElementById(id);
let newest = null; // what is being asked: a newer question ends it
let drawn = 0;
let table = []; // numbers behind the pictures
let familyTable = [];

function option(value, text) {
  return new Option(text ?? value, value);
}

function check(name, value, text, checked) {
  const label = document.createElement("label");
  const box = Object.assign(document.createElement("input"), { type: "checkbox", name, value, checked });
  label.append(box, ` ${text}`);
  return label;
}

// The controls, as the address of the page says.
function begin() {
  const given = new URLSearchParams(location.search);
  for (const name of controls.runtimes) field("runtime").append(option(name));
  for (const one of controls.settings) field("setting").append(option(one.id, `${one.probe} · ${one.rounding} · ${duration(one.age_seconds)} ago`));
  at("ties").hidden = !controls.experts;
  for (const name of ["runtime", "setting", "experts", "size", "context", "batch"]) {
    if (given.has(name)) field(name).value = given.get(name);
    if (field(name).value === "" && field(name).options) field(name).selectedIndex = 0;
  }
  fillMenu(given.get("formats")?.split(",") ?? null);
  const beside = given.getAll("beside");
  at("others").append(...controls.others.map((one) => check("beside", one.id, one.name, beside.includes(one.id))));
  if (controls.others.some((one) => one.vocab_size !== controls.model.vocab_size)) {
    at("others").append(check("alike", "yes", "vocabularies of different sizes cut text alike", given.has("alike")));
  }
  if (controls.others.length === 0) {
    at("others").textContent = "No other model was evaluated. Models are compared on one held-out text, so each needs an evaluation of a plan.";
  }
}

const setting = () => controls.settings.find((one) => one.id === field("setting").value);
const ticked = (name) => [...form.querySelectorAll(`input[name="${name}"]:checked`)].map((box) => box.value);

// Formats that were measured; all of them unless some are named.
function fillMenu(chosen) {
  const formats = setting().formats;
  const known = chosen?.filter((name) => formats.includes(name)) ?? [];
  at("menu").replaceChildren(...formats.map((name) => check("formats", name, name, known.length === 0 || known.includes(name))));
}

// What is asked for, in the words of a planning question.
function question() {
  const chosen = ticked("formats");
  const served = field("size").value === "resident_bytes";
  const asked = { runtime: field("runtime").value, setting: field("setting").value };
  if (field("experts").value) asked.experts = field("experts").value;
  if (chosen.length > 0 && chosen.length < setting().formats.length) asked.formats = chosen;
  if (served) Object.assign(asked, { context: Number(field("context").value) || 0, batch: Number(field("batch").value) || 1 });
  return asked;
}

// The same as the query of an address; the studio reads it too.
function address(asked) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(asked)) query.set(name, Array.isArray(value) ? value.join(",") : value);
  return query;
}

// Where a point of the frontier is opened: the studio, with its size as budget.
function studio(model, point, limit, asked) {
  const query = address(asked);
  query.set(limit, point[limit] ?? point.bytes);
  return `/models/${encodeURIComponent(model)}/studio?${query}`;
}

function remember(asked, beside) {
  const query = address(asked);
  query.set("size", field("size").value);
  for (const id of beside) query.append("beside", id);
  if (ticked("alike").length > 0) query.set("alike", "yes");
  history.replaceState(null, "", `${location.pathname}?${query}`);
}

async function show() {
  const asked = question();
  const beside = ticked("beside");
  at("served").hidden = field("size").value === "file_bytes";
  at("menu-count").textContent = asked.formats ? `${asked.formats.length} of ${setting().formats.length}` : `all ${setting().formats.length}`;
  at("others-count").textContent = beside.length ? String(beside.length) : "";
  remember(asked, beside);
  newest?.abort();
  const mine = new AbortController();
  newest = mine;
  await Promise.all([showFrontier(asked, mine.signal), showFamily(asked, beside, mine.signal)]);
  if (newest === mine) document.body.dataset.drawn = String(++drawn);
}

async function showFrontier(asked, signal) {
  const body = { model: controls.model.id, points: POINTS, proven: controls.model.layers <= SOON, ...asked };
  const found = await asking("/v1/frontiers", body, signal, at("problem"));
  if (found === undefined) return;
  at("picture").hidden = at("legend").hidden = at("table-of-points").hidden = found === null;
  if (found === null) {
    at("knee").textContent = at("notes").textContent = "";
    return;
  }
  const limit = field("size").value;
  const links = found.points.map((point) => studio(found.model, point, limit, asked));
  const kept = comparable(found, limit);
  drawFrontier(at("picture"), { found, limit, links, measured: kept, runtime: asked.runtime });
  at("of-plans").hidden = !kept.some((one) => one.predicted !== null);
  at("of-uniforms").hidden = !kept.some((one) => one.predicted === null);
  tellKnee(found, limit);
  tellNotes(found, kept);
  fillTable(found, limit, links);
}

// Measurements on the picture's own axes: KL is nats per token, and the KV cache is the same beside every plan.
function comparable(found, limit) {
  if (found.unit !== "nats/token") return [];
  const cache = limit === "resident_bytes" ? found.points[0].resident_bytes - found.points[0].file_bytes : 0;
  return controls.measured.map((one) => ({ ...one, size: one.file_bytes + cache }));
}

function tellKnee(found, limit) {
  const point = found.points[found.knee];
  const [least, most] = [found.points[0], found.points.at(-1)];
  at("knee").textContent =
    `Bends at ${bytes(point[limit])}: ${point.effective_bits.toFixed(2)} bits a weight, predicted to lose ${measured(point.predicted_loss, point.standard_error)} ${found.unit}. ` +
    `The smallest plan, ${bytes(least[limit])}, loses ${significant(least.predicted_loss)}; the largest that helps, ${bytes(most[limit])}, loses ${significant(most.predicted_loss)}. ${proof(found)}`;
}

// How far any other plan could be better, over the whole curve.
function proof(found) {
  const gaps = found.points.map((point) => point.gap).filter((gap) => gap !== null);
  const worst = Math.max(0, ...gaps);
  return worst < 5e-7 ? "Every point is proven best." : `No plan of any of these sizes is predicted to be better by more than ${percent(worst)}.`;
}

function tellNotes(found, kept) {
  const missing = found.unit === "nats/token" ? "" : "Losses of this probe are relative, so measured KL is not on this axis. ";
  const none = found.unit === "nats/token" && kept.length === 0 ? "No plan was evaluated yet: open a plan and measure it on held-out text. " : "";
  const nothing = found.points.some((point) => point.predicted_loss <= 0) ? "Points that lose nothing are not on a logarithmic axis. " : "";
  at("notes").textContent = missing + none + nothing + found.notes.join(". ");
}

function fillTable(found, limit, links) {
  const head = ["size", "bits a weight", "predicted loss", "lower bound", "one more MB buys", ""];
  const rows = found.points.map((point, index) => {
    const row = document.createElement("tr");
    const cells = [
      bytes(point[limit]), point.effective_bits.toFixed(3), measured(point.predicted_loss, point.standard_error),
      significant(point.lower_bound), significant(point.price_per_megabyte),
    ];
    for (const text of cells) row.insertCell().textContent = text;
    const link = Object.assign(document.createElement("a"), { href: links[index], textContent: index === found.knee ? "knee: open" : "open" });
    row.insertCell().append(link);
    row.className = index === found.knee ? "is-knee" : "";
    return row;
  });
  const top = document.createElement("tr");
  top.append(...head.map((text) => Object.assign(document.createElement("th"), { textContent: text })));
  const [thead, tbody] = [document.createElement("thead"), document.createElement("tbody")];
  thead.append(top);
  tbody.append(...rows);
  at("points").replaceChildren(thead, tbody);
  table = found.points;
}

async function showFamily(asked, beside, signal) {
  at("family").hidden = beside.length === 0;
  if (beside.length === 0) return;
  const { setting: _, ...rest } = asked; // every model has settings of its own
  const limit = field("size").value;
  const body = { models: [controls.model.id, ...beside], limit, points: POINTS, ...rest };
  if (ticked("alike").length > 0) body.same_tokenizer = true;
  const found = await asking("/v1/families/frontier", body, signal, at("family-problem"));
  if (found === undefined) return;
  at("family-picture").hidden = found === null;
  at("crossings").replaceChildren(...(found?.crossings ?? []).map((one) => Object.assign(document.createElement("li"), { textContent: one.advice })));
  at("family-notes").textContent = found?.notes.join(". ") ?? "";
  if (found === null) return;
  familyTable = found.models.flatMap((model) => model.points.map((point) => ({ model: model.model_name, ...point })));
  drawFamily(at("family-picture"), { found, link: (model, point) => studio(model.model, { [limit]: point.bytes }, limit, rest) });
}

// The answer; null where it was refused, which is told in words; undefined where a newer question came.
async function asking(path, body, signal, problem) {
  try {
    const found = await ask(path, { method: "POST", body, signal, harmless: true });
    problem.hidden = true;
    return found;
  } catch (error) {
    if (signal.aborted) return undefined;
    problem.textContent = error.message;
    problem.hidden = false;
    return null;
  }
}

begin();
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", (event) => {
  if (event.target.name === "setting") fillMenu(null);
  show();
});
offerSaving(at("picture"), `${controls.model.name}-frontier`, () => table);
offerSaving(at("family-picture"), `${controls.model.name}-family`, () => familyTable);
show();
