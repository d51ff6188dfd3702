// Requests to the service: JSON in, JSON out. A problem document (RFC 9457) becomes an error with its words.

export class ProblemError extends Error {
  constructor(problem, status) {
    super(problem.detail || problem.title || `the service answered ${status}`);
    this.problem = problem;
    this.status = status;
  }
}

// Ask the service. `signal` lets a newer question end an older one: the promise is then rejected with an AbortError.
export async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  const options = { method, signal, headers: { accept: "application/json", ...headers } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
  }
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
  if (answer.status === 204) return null;
  const type = answer.headers.get("content-type") || "";
  const document = type.includes("json") ? await answer.json() : { title: await answer.text() };
  if (!answer.ok) throw new ProblemError(document, answer.status);
  return document;
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
