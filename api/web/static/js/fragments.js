// Parts of a page that htmx asks for again: what goes wrong is told in words, once, and forgotten when it works again.

import { againWords, secondsOf, tell } from "./service.js";

const failing = new Set(); // ids of the parts that could not be had when they were asked for last

function fail(part, text) {
  failing.add(part);
  tell(text);
}

document.addEventListener("htmx:response:error", (event) => {
  const { ctx } = event.detail;
  if (ctx.response.status === 401) return; // the page is on its way to the sign-in form
  const again = secondsOf(ctx.response.headers.get("retry-after"));
  const words = wordsOf(ctx.text) ?? `the service answered ${ctx.response.status}`;
  fail(partOf(event), again === null ? words : `${words} (${againWords(again)})`);
});
document.addEventListener("htmx:error", (event) => {
  if (event.detail.error?.name !== "AbortError") fail(partOf(event), "The service does not answer; is it running?");
});
document.addEventListener("htmx:after:swap", (event) => {
  const { ctx } = event.detail; // also of an answer that was not swapped in
  if (ctx.response?.status < 400 && failing.delete(ctx.target?.id) && failing.size === 0) tell("");
});

// The part that would be replaced, whatever within it asked.
function partOf(event) {
  return event.detail.ctx?.target?.id ?? event.target.id;
}

function wordsOf(text) {
  try {
    const problem = JSON.parse(text);
    return problem.detail || problem.title;
  } catch {
    return undefined;
  }
}
