// One job as it goes: its stream of events (server-sent) is shown in place, and it can be paused, resumed, cancelled, retried.

import { ask, embedded, submit, tell } from "./service.js";
import { bytes, duration, significant } from "./words.js";

const FINAL = ["succeeded", "failed", "cancelled"];
const ALLOWED = { queued: ["pause", "cancel"], running: ["pause", "cancel"], paused: ["resume", "cancel"], failed: ["retry"], cancelled: ["retry"], succeeded: [] };
const AGAIN = 3000; // milliseconds before a stream that broke is opened again

const box = document.getElementById("job");
const place = (name) => box.querySelector(`[data-show="${name}"]`);
let job = embedded("first");
let stream;

function write(name, text) {
  place(name).textContent = text;
}

function writeIf(name, text) {
  place(name).textContent = text ?? "";
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
  const allowed = ALLOWED[job.state] ?? [];
  for (const button of box.querySelectorAll("[data-do]")) button.hidden = !allowed.includes(button.dataset.do);
  place("result").hidden = job.state !== "succeeded";
  showFailures();
  document.body.dataset.state = job.state;
  document.body.dataset.done = job.done;
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
  stream.addEventListener("progress", (event) => {
    tell("");
    show(JSON.parse(event.data));
    if (FINAL.includes(job.state)) stream.close();
  });
  stream.addEventListener("error", () => {
    if (stream.readyState !== EventSource.CLOSED) return; // the browser comes again by itself
    setTimeout(catchUp, AGAIN);
  });
}

// A stream that the service refused does not say why; the job itself does, and leads to the sign-in form if a key is asked for.
async function catchUp() {
  try {
    show(await ask(`/v1/jobs/${box.dataset.job}`));
    follow();
  } catch (error) {
    tell(error.message);
    setTimeout(catchUp, AGAIN);
  }
}

for (const button of box.querySelectorAll("[data-do]")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    tell("");
    try {
      show(await submit(`/v1/jobs/${box.dataset.job}/${button.dataset.do}`));
      follow();
    } catch (error) {
      tell(error.message);
    } finally {
      button.disabled = false;
    }
  });
}

show(job);
follow();
setInterval(() => {
  if (!FINAL.includes(job.state)) showTime();
}, 1000);
