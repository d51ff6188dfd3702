// One stored plan: its strip, why a layer has its format, and what can be done with the plan.

import { asCurl, offerCopy } from "/static/js/curl.js";
import { explain } from "/static/js/explanation.js";
import { plainName } from "/static/js/patterns.js";
import { keepReasons } from "/static/js/retarget_reasons.js";
import { offerSaving } from "/static/js/saving.js";
import { ask, askFile, embedded, submit, tell } from "/static/js/service.js";
import { drawStrip, rowsOf } from "/static/js/strip.js";
import { bytes, duration } from "/static/js/words.js";

const plan = embedded("plan-data");
const at = (id) => document.getElementById(id);
const here = `/v1/plans/${plan.id}`;

// A tile is one layer, which is explained, or the experts of a block, which the table lists.
function pick(tile) {
  if (tile.layers === 1) {
    explain(at("explanation"), plan.id, plainName(tile.pattern));
    return;
  }
  const search = at("layer-search");
  search.reset();
  search.elements.text.value = tile.pattern;
  search.elements.text.dispatchEvent(new Event("change", { bubbles: true }));
  at("all-layers").scrollIntoView({ behavior: "smooth" });
}

let acting = false; // something is being done: a second press starts nothing

// Do something; what goes wrong is told beside the control, else the page is loaded anew, or left.
async function act(problem, work, next) {
  if (acting) return;
  acting = true;
  problem.hidden = true;
  try {
    const found = await work();
    if (next) location.assign(next(found));
    else location.reload();
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
    acting = false;
  }
}
window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return; // come back to
  acting = false;
  for (const button of document.querySelectorAll("button.retarget")) button.disabled = false;
});

function listenToNames() {
  const problem = at("keeping-problem");
  const form = at("name");
  const why = () => form.elements.why.value;
  const nameOf = (name) => `/v1/models/${plan.model.id}/plan-names/${encodeURIComponent(name)}`;
  const reason = () => `why=${encodeURIComponent(why())}`;
  const bearer = (name) => (Object.hasOwn(plan.names, name) ? plan.names[name] : null);
  form.elements.name.addEventListener("input", (event) => {
    const current = bearer(event.target.value);
    at("moves").textContent = current === null || current === plan.id ? "" : `${event.target.value} is on plan ${current.slice(0, 8)} now and will be moved to this one.`;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = form.elements.name.value;
    // refused if the name moved since this page was made
    const body = { plan: plan.id, why: why(), replaces: bearer(name) };
    act(problem, () => ask(nameOf(name), { method: "PUT", body }));
  });
  for (const button of document.querySelectorAll("button.unname")) {
    button.addEventListener("click", () => act(problem, () => ask(`${nameOf(button.dataset.name)}?replaces=${plan.id}&${reason()}`, { method: "DELETE" })));
  }
  at("pin")?.addEventListener("click", () => act(problem, () => ask(`${here}/pin`, { method: "PUT", body: { why: why() } })));
  at("unpin")?.addEventListener("click", () => act(problem, () => ask(`${here}/pin?${reason()}`, { method: "DELETE" })));
  at("delete")?.addEventListener("click", (event) => {
    if (event.detail > 1) return; // a double click is one press
    const button = event.currentTarget;
    if (button.dataset.sure) act(problem, () => ask(`${here}?${reason()}`, { method: "DELETE" }), () => `/plans?model=${plan.model.id}`);
    else Object.assign(button, { textContent: "Really delete it, with its evaluations" }).dataset.sure = "yes";
  });
}

function listenToEvaluation() {
  const form = at("evaluate");
  if (form === null) return;
  const body = () => ({ calibration: form.elements.calibration.value, baselines: form.elements.uniform.checked ? ["uniform"] : [] });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act(at("evaluate-problem"), () => submit(`${here}/evaluate`, body()), (job) => `/jobs/${job.id}`);
  });
  let forecasting = new AbortController();
  const forecast = async () => {
    forecasting.abort();
    forecasting = new AbortController();
    try {
      const found = await ask(`${here}/evaluate/forecast`, { method: "POST", body: body(), signal: forecasting.signal, harmless: true });
      const parts = [
        found.seconds === null ? "" : `about ${duration(found.seconds)} of one worker`,
        found.memory_bytes === null ? "" : `${bytes(found.memory_bytes)} of memory`,
        found.waits_for ?? "", found.unfinished ? "queued already" : "", found.note ?? "",
      ];
      at("forecast").textContent = parts.filter(Boolean).join(", ");
    } catch (error) {
      if (error.name !== "AbortError") at("forecast").textContent = error.message;
    }
  };
  form.addEventListener("change", forecast);
  let isAsked = false;
  const begin = () => {
    if (!isAsked) forecast();
    isAsked = true;
  };
  for (const sign of ["pointerenter", "focusin"]) form.addEventListener(sign, begin); // nobody's forecast is computed unasked
}

// What comes later by htmx: exports, and other pages of the layers.
document.addEventListener("click", (event) => {
  const layer = event.target.closest("button.explain");
  if (layer) explain(at("explanation"), plan.id, layer.dataset.layer);
  const other = event.target.closest("button.retarget");
  if (other) retarget(other);
  const file = event.target.closest("a.export");
  if (file && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    download(file);
  }
});

async function retarget(button) {
  button.disabled = true;
  tell("");
  try {
    const made = await submit(`${here}/retarget`, { runtime: button.dataset.runtime });
    keepReasons(plan.id, made);
    location.assign(`/plans/${plan.id}/diff/${made.plan.id}`);
  } catch (error) {
    tell(error.message);
    button.disabled = false;
  }
}

// A file that the service refuses to write would replace the page by a problem document: its words are told instead.
async function download(link) {
  if (link.ariaBusy === "true") return;
  link.ariaBusy = "true";
  tell("");
  const words = link.textContent;
  link.textContent = "writing …"; // seconds, where a plan has tens of thousands of layers
  try {
    const answer = await askFile(link.href);
    const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "")?.[1] ?? "export";
    const saved = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await answer.blob()), download: name });
    saved.click();
    setTimeout(() => URL.revokeObjectURL(saved.href), 10_000);
  } catch (error) {
    tell(error.message);
  } finally {
    link.textContent = words;
    link.ariaBusy = null;
  }
}

drawStrip(at("strip"), { label: "Bits of each layer of the plan", onPick: pick }).update(plan.tiles);
offerSaving(at("strip"), `${plan.model.name}-${plan.id.slice(0, 8)}`, () => rowsOf(plan.tiles));
offerCopy(at("curl"), () => asCurl("/v1/plans", plan.request));
listenToNames();
listenToEvaluation();
document.body.dataset.drawn = "1";
