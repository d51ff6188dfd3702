// Requests to the service: JSON in, JSON out. A problem document (RFC 9457) becomes an error with its words.

import { duration } from "./words.js";

const BUSY = [429, 503]; // answers that say when to ask again
const TIMES = 2; // that a question asks again by itself
const LONGEST_WAIT = 10; // seconds; whoever is to wait longer is told so

// `again`: seconds after which the service says that it can be asked again, where it says so.
class ProblemError extends Error {
  constructor(problem, status, again = null) {
    super(problem.detail || problem.title || `the service answered ${status}`);
    this.problem = problem;
    this.status = status;
    this.again = again;
  }
}

// Ask the service. `signal` lets a newer question end an older one: the promise is then rejected with an AbortError.
// `harmless`: asked again where the service is busy, as it is by default where nothing is changed by it; a POST says so itself.
export async function ask(path, options = {}) {
  const answer = await answered(path, options);
  return answer.status === 204 ? null : answer.json();
}

// A file of the service: its answer, which has a name and content.
export function askFile(path) {
  return answered(path, { headers: { accept: "*/*" } });
}

async function answered(path, { method = "GET", body, headers = {}, signal, harmless = method === "GET" }) {
  const options = { method, signal, headers: { accept: "application/json", ...headers } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
  }
  for (let time = 0; ; time += 1) {
    try {
      return await answeredOnce(path, options);
    } catch (error) {
      const { again } = error;
      if (!BUSY.includes(error.status) || again === null) throw error;
      if (!harmless || time === TIMES || again > LONGEST_WAIT) {
        error.message += ` (${againWords(again)})`;
        throw error;
      }
      await wait(1000 * again, signal);
    }
  }
}

async function answeredOnce(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ProblemError({ title: "the service does not answer; is it running?" }, 0);
  }
  if (answer.status === 401) {
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
    throw new ProblemError({ title: "this needs an API key" }, 401);
  }
  if (answer.ok) return answer;
  const isJson = (answer.headers.get("content-type") || "").includes("json");
  const problem = isJson ? await answer.json() : { title: await answer.text() };
  throw new ProblemError(problem, answer.status, secondsOf(answer.headers.get("retry-after")));
}

export const againWords = (seconds) => `it can be asked again in ${duration(seconds)}`;

// What `Retry-After` says, in seconds: a number of them, or a date.
export function secondsOf(text) {
  if (text === null) return null;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? null : Math.max(seconds, 0);
}

// Some milliseconds, or until the question is given up.
function wait(time, signal) {
  return new Promise((done, given) => {
    const giveUp = () => {
      clearTimeout(timer);
      given(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", giveUp);
      done();
    }, time);
    if (signal?.aborted) giveUp();
    else signal?.addEventListener("abort", giveUp, { once: true });
  });
}

// A POST that may be repeated: the same key gives the same answer, so nothing is done twice.
export function submit(path, body) {
  return ask(path, { method: "POST", body, headers: { "idempotency-key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` } });
}

// What the server wrote into the page for its scripts: <script type="application/json" id="…">.
export function embedded(id) {
  const element = document.getElementById(id);
  return element === null ? null : JSON.parse(element.textContent);
}

// Tell what went wrong, in words, where a screen reader hears it. An empty text takes the notice away.
export function tell(text) {
  const notice = document.getElementById("notice");
  notice.textContent = text;
  notice.hidden = !text;
}
