// Parts of a page that htmx asks for again: what goes wrong is told in words, once, and forgotten when it works again.

import { tell } from "./service.js";

let told = false;

function say(text) {
  told = text !== "";
  tell(text);
}

document.addEventListener("htmx:response:error", (event) => {
  const { ctx } = event.detail;
  if (ctx.response.status === 401) return; // the page is on its way to the sign-in form
  say(wordsOf(ctx.text) ?? `the service answered ${ctx.response.status}`);
});
document.addEventListener("htmx:error", (event) => {
  if (event.detail.error?.name !== "AbortError") say("The service does not answer; is it running?");
});
document.addEventListener("htmx:after:swap", () => {
  if (told) say("");
});

function wordsOf(text) {
  try {
    const problem = JSON.parse(text);
    return problem.detail || problem.title;
  } catch {
    return undefined;
  }
}
