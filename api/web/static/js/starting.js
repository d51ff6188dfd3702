// Start a measurement or an evaluation: what it would be and take is said before it starts, whenever the form changes.

import { ask, embedded, submit } from "./service.js";
import { bytes, count, duration, significant } from "./words.js";

const PAUSE = 250; // milliseconds after the last change before the service is asked

const catalogue = embedded("catalogue");

// Keep the forecast of a form up to date, and start its job.
//   request: function that gives { path, body } of what the form says, or { missing } in words
//   prepare: function called before the start, which may change what the form says
function attend(form, { request, forecastPath, prepare = async () => {} }) {
  const line = form.querySelector("[data-forecast]");
  const button = form.querySelector("button[type=submit]");
  let waiting;
  let asked;
  let starting = false; // its request is under way: no forecast offers the button meanwhile
  const say = (className, text) => {
    line.className = `forecast ${className}`;
    line.textContent = text;
  };
  const forecast = async () => {
    asked?.abort();
    asked = new AbortController();
    const { missing, body } = request();
    button.disabled = missing !== undefined;
    if (missing !== undefined) {
      say("problem", missing);
      return;
    }
    try {
      const told = await ask(forecastPath(), { method: "POST", body, signal: asked.signal });
      say("", wordsOf(told));
      form.dataset.forecast = "told";
    } catch (error) {
      if (error.name === "AbortError") return;
      say("problem", error.message);
      button.disabled = true;
    }
  };
  const part = form.closest("details");
  const soon = () => {
    clearTimeout(waiting);
    if (starting) return;
    delete form.dataset.forecast;
    if (part.open) waiting = setTimeout(forecast, PAUSE);
  };
  form.addEventListener("input", soon);
  part.addEventListener("toggle", soon);
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    starting = false; // come back to: the forecast offers the button again
    soon();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (starting) return;
    const { missing } = request();
    if (missing !== undefined) {
      say("problem", missing);
      return;
    }
    starting = true;
    clearTimeout(waiting);
    asked?.abort();
    button.disabled = true;
    try {
      await prepare();
      const { path, body } = request();
      const job = await submit(path, body);
      location.assign(`/jobs/${job.id}`);
    } catch (error) {
      say("problem", error.message);
      starting = false;
      button.disabled = false; // else the page is being left: a second press would start it again
    }
  });
}

function wordsOf(told) {
  const parts = [];
  if (told.kind === "sensitivity" && !told.cells) parts.push("Nothing to do: every cell asked for is measured already, or taken over.");
  else {
    const what = told.cells === null ? `${told.layers.toLocaleString("en")} layers` : `${told.cells.toLocaleString("en")} cells`;
    const text = told.sequences ? ` on ${told.sequences} sequence${told.sequences === 1 ? "" : "s"}, ${count(told.tokens)} tokens` : "";
    parts.push(`${what} in ${told.formats.length} format${told.formats.length === 1 ? "" : "s"}${text}.`);
    parts.push(told.seconds === null ? "No job like it was done yet, so nobody knows how long it takes." : `About ${duration(told.seconds)} of one worker, by the last job like it.`);
    const streamed = told.streamed_bytes === null ? "" : `, ${bytes(told.streamed_bytes)} block by block`;
    if (told.whole_bytes !== null) parts.push(`Memory: about ${bytes(told.whole_bytes)} with the whole model${streamed}.`);
  }
  if (told.unfinished !== null) parts.push("The same job is queued already; starting leads to it.");
  else if (told.waits_for !== null) parts.push(`It would wait: ${told.waits_for}.`);
  return parts.join(" ");
}

const measuring = document.getElementById("measure-form");
if (measuring !== null) {
  const probe = measuring.elements.probe;
  const calibration = measuring.elements.calibration;
  const file = measuring.elements.text;
  probe.value = "fisher";

  const needsText = () =>
    catalogue.probes[probe.value].needs_calibration || catalogue.roundings_on_text.includes(measuring.elements.rounding.value);

  const offerFormats = () => {
    const facts = catalogue.probes[probe.value];
    const box = document.getElementById("formats");
    const offered = catalogue.formats[facts.formats];
    box.replaceChildren(box.querySelector("legend"));
    box.hidden = offered.length === 0;
    const usual = offered.filter((format) => facts.default_formats.includes(format.name));
    const more = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = `${offered.length - usual.length} more formats`;
    more.append(summary);
    for (const format of offered) {
      const label = document.createElement("label");
      const check = document.createElement("input");
      check.type = "checkbox";
      check.name = "formats";
      check.value = format.name;
      check.checked = facts.default_formats.includes(format.name);
      label.append(check, ` ${format.name} `);
      const bits = document.createElement("span");
      bits.className = "dim";
      bits.textContent = `${significant(format.bits)} bits`;
      label.append(bits);
      (usual.includes(format) ? box : more).append(label);
    }
    if (usual.length < offered.length) box.append(more);
    document.getElementById("rounding-part").hidden = facts.formats !== "weights";
    const unit = facts.is_ranking ? "orders layers" : facts.in_nats ? "losses in nats per token" : "relative losses";
    document.getElementById("probe-says").textContent = `${unit}${facts.needs_calibration ? ", runs on text" : ", needs no text"}`;
  };

  const showText = () => {
    document.getElementById("text-part").hidden = !needsText();
    file.hidden = calibration.value !== "file";
  };

  const asked = () => {
    const facts = catalogue.probes[probe.value];
    const given = new FormData(measuring);
    const body = { model: given.get("model"), probe: probe.value };
    if (facts.formats !== "any") {
      body.formats = given.getAll("formats");
      if (body.formats.length === 0) return { missing: "Choose at least one format." };
    }
    if (given.has("force")) body.force = true;
    if (facts.formats === "weights") body.rounding = given.get("rounding");
    if (needsText() && !["builtin", "file"].includes(calibration.value)) body.calibration = calibration.value;
    if (needsText() && calibration.value === "file" && file.files.length === 0) return { missing: "Choose a text file." };
    return { path: "/v1/jobs", body };
  };

  // A text that the service does not have yet is stored first; the same text is the same set.
  const storeText = async () => {
    if (!needsText() || !["builtin", "file"].includes(calibration.value)) return;
    const body = { source: "builtin" };
    if (calibration.value === "file") {
      delete body.source;
      body.text = await file.files[0].text();
      body.name = file.files[0].name;
    }
    const stored = await submit("/v1/calibrations", body);
    const option = new Option(stored.name, stored.id);
    calibration.add(option, 0);
    calibration.value = stored.id;
  };

  probe.addEventListener("input", offerFormats);
  measuring.addEventListener("input", showText);
  offerFormats();
  showText();
  attend(measuring, { request: asked, forecastPath: () => "/v1/jobs/forecast", prepare: storeText });
}

const evaluating = document.getElementById("evaluate-form");
if (evaluating !== null) {
  const address = () => `/v1/plans/${evaluating.elements.plan.value}/evaluate`;
  const asked = () => {
    const body = { baselines: evaluating.elements.uniform.checked ? ["uniform"] : [] };
    if (evaluating.elements.calibration.value) body.calibration = evaluating.elements.calibration.value;
    return { path: address(), body };
  };
  attend(evaluating, { request: asked, forecastPath: () => `${address()}/forecast` });
}

// A link to a form opens it.
function openLinked() {
  const part = document.getElementById(location.hash.slice(1));
  if (part instanceof HTMLDetailsElement) {
    part.open = true;
    part.scrollIntoView();
  }
}
window.addEventListener("hashchange", openLinked);
openLinked();
