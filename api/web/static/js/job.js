// One job as it goes: its stream of events (server-sent) is shown in place, and it can be paused, resumed, cancelled, retried.

import { ask, embedded, submit, tell } from "./service.js";
import { bytes, duration, significant } from "./words.js";

const FINAL = ["succeeded", "failed", "cancelled"];
const ALLOWED = { queued: ["pause", "cancel"], running: ["pause", "cancel"], paused: ["resume", "cancel"], failed: ["retry"], cancelled: ["retry"], succeeded: [] };
const AGAIN = 3000; // milliseconds before a stream that broke is opened again
const LOST = "No connection to the service: what is shown is what was known last. This page goes on by itself.";

const box = document.getElementById("job");
const place = (name) => box.querySelector(`[data-show="${name}"]`);
let job = embedded("first");
let failures; // as they are shown
let stream;

// What says the same as before is left alone: a screen reader speaks of a change, and a selection stays.
function write(name, text) {
  if (place(name).textContent !== text) place(name).textContent = text;
}

function writeIf(name, text) {
  write(name, text ?? "");
  place(name).hidden = !text;
}

function show(found) {
  job = { ...job, ...found };
  place("state").className = `state ${job.state}`;
  write("state", job.state);
  const bar = place("progress");
  if (job.total === null) bar.removeAttribute("value");
  else {
    bar.max = Math.max(1, job.total);
    bar.value = job.total === 0 ? 1 : job.done + job.failed;
  }
  bar.hidden = job.total === null && job.state !== "running";
  const failed = job.failed ? `, ${job.failed} failed` : "";
  write("units", job.total === null ? "" : `${job.done} of ${job.total} units${failed}`);
  write("rate", speedOf(job.rate));
  write("eta", job.eta_seconds === null ? "–" : duration(job.eta_seconds));
  write("forecast", job.forecast_seconds === null ? "–" : `${duration(job.forecast_seconds)} of one worker`);
  write("memory", memoryOf(job));
  writeIf("waits", job.waits_for);
  writeIf("reason", job.reason);
  showTime();
  offer();
  showFailures();
  document.body.dataset.state = job.state;
  document.body.dataset.done = job.done;
}

// The buttons of the job's state. Who stood on one that goes stands on the first that is there instead, or on the state.
function offer() {
  const stood = document.activeElement;
  const allowed = ALLOWED[job.state] ?? [];
  const buttons = [...box.querySelectorAll("[data-do]")];
  for (const button of buttons) button.hidden = !allowed.includes(button.dataset.do);
  place("result").hidden = job.state !== "succeeded";
  if (!buttons.includes(stood) || !stood.hidden) return;
  (buttons.find((button) => !button.hidden) ?? place("state")).focus();
}

function speedOf(rate) {
  if (rate === null || rate === 0) return "–";
  return rate >= 0.1 ? `${significant(rate)} units a second` : `${duration(1 / rate)} a unit`;
}

function memoryOf({ request, memory_bytes: forecast }) {
  const peak = request?.memory?.peak_bytes;
  const about = forecast === null ? null : `about ${bytes(forecast)}`;
  if (peak === undefined) return about ?? "–";
  return about === null ? bytes(peak) : `${bytes(peak)}; ${about} by forecast`;
}

function showTime() {
  const end = job.finished_at === null ? Date.now() : Date.parse(job.finished_at);
  write("running", job.started_at === null ? "–" : duration(Math.max(0, end - Date.parse(job.started_at)) / 1000));
}

function showFailures() {
  const found = JSON.stringify(job.failures);
  if (found === failures) return;
  failures = found;
  const part = place("failures");
  part.hidden = job.failures.length === 0;
  const rows = job.failures.map((failure) => {
    const row = document.createElement("tr");
    for (const [text, className] of [[failure.unit, ""], [failure.attempts, "number"], [failure.reason, "reason-cell"]]) {
      const cell = document.createElement("td");
      cell.className = className;
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  });
  part.querySelector("tbody").replaceChildren(...rows);
}

function follow() {
  stream?.close();
  if (FINAL.includes(job.state)) return;
  stream = new EventSource(`/v1/jobs/${box.dataset.job}/events`);
  stream.addEventListener("open", () => connected(true));
  stream.addEventListener("progress", (event) => {
    connected(true);
    show(JSON.parse(event.data));
    if (FINAL.includes(job.state)) stream.close();
  });
  stream.addEventListener("error", () => {
    connected(false);
    if (stream.readyState === EventSource.CLOSED) setTimeout(catchUp, AGAIN); // else the browser comes again by itself
  });
}

// Whether what is shown is what is: said while it is not, and taken back when it is again.
function connected(yes) {
  if (yes === !box.dataset.lost) return;
  if (yes) delete box.dataset.lost;
  else box.dataset.lost = "yes";
  tell(yes ? "" : LOST);
}

// A stream that the service refused does not say why; the job itself does, and leads to the sign-in form if a key is asked for.
async function catchUp() {
  try {
    show(await ask(`/v1/jobs/${box.dataset.job}`));
    connected(true);
    follow();
  } catch (error) {
    if (error.status !== 0) tell(error.message);
    setTimeout(catchUp, AGAIN);
  }
}

for (const button of box.querySelectorAll("[data-do]")) {
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled")) return; // on its way: a button that is disabled would lose the focus
    button.setAttribute("aria-disabled", "true");
    tell("");
    try {
      show(await submit(`/v1/jobs/${box.dataset.job}/${button.dataset.do}`));
      follow();
    } catch (error) {
      tell(error.message);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
}

show(job);
follow();
setInterval(() => {
  if (!FINAL.includes(job.state)) showTime();
}, 1000);
