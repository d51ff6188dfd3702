// Register a model: what would be registered, or why not, is said while the source is typed.

import { ask, submit, tell } from "./service.js";
import { bytes, count } from "./words.js";

const PAUSE = 350; // milliseconds without a key before the service is asked

const form = document.getElementById("register-form");
const found = document.getElementById("found");
const usual = found.textContent;
let waiting;
let asked;

function request() {
  const given = new FormData(form);
  const body = { source: given.get("source").trim() };
  for (const name of ["name", "revision"]) {
    const value = given.get(name).trim();
    if (value) body[name] = value;
  }
  return body;
}

function say(className, text, link) {
  found.className = `found ${className}`;
  found.textContent = text;
  if (link) {
    const anchor = document.createElement("a");
    anchor.href = link.href;
    anchor.textContent = link.text;
    found.append(" ", anchor);
  }
}

function wordsOf(seen) {
  const layers = `${seen.layers.toLocaleString("en")} layers in ${seen.blocks} blocks`;
  return `${seen.architecture}, ${layers}, ${count(seen.parameters)} parameters, ${bytes(seen.bytes)} in ${seen.dtype} (${seen.kind}).`;
}

async function look() {
  asked?.abort();
  const body = request();
  if (!body.source) {
    say("", usual);
    return;
  }
  asked = new AbortController();
  say("busy", "Reading headers …");
  try {
    const seen = await ask("/v1/models/inspect", { method: "POST", body, signal: asked.signal });
    if (seen.registered === null) say("good", `${wordsOf(seen)} It will be called ${body.name ?? seen.name}.`);
    else say("", `${wordsOf(seen)} Registered already:`, { href: `/models/${seen.id}`, text: seen.registered });
    document.getElementById("name").placeholder = seen.name;
  } catch (error) {
    if (error.name !== "AbortError") say("problem", error.message);
  }
}

form.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(look, PAUSE);
});

window.addEventListener("pageshow", (event) => {
  if (event.persisted) form.querySelector("button").disabled = false; // come back to
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearTimeout(waiting);
  asked?.abort();
  tell("");
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const model = await submit("/v1/models", request());
    location.assign(`/models/${model.id}`);
  } catch (error) {
    say("problem", error.message);
    button.disabled = false; // else the page is being left: a second press would start it again
  }
});
