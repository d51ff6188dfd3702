// Why a layer of a stored plan has its format: what else it could have, what that would cost, what closes formats to it.

import { patternOf } from "/static/js/patterns.js";
import { ask } from "/static/js/service.js";
import { bytes, measured, significant } from "/static/js/words.js";

function element(name, text, attributes = {}) {
  return Object.assign(document.createElement(name), { textContent: text, ...attributes });
}

let asked = null; // what ends the older question
let opener = null; // where the reader was: goes back there from the panel

// Show the explanation of one layer in a panel. A newer question ends an older one.
export async function explain(panel, plan, layer) {
  asked?.abort();
  asked = new AbortController();
  const { signal } = asked;
  if (!panel.contains(document.activeElement)) opener = document.activeElement;
  let found;
  try {
    found = await ask(`/v1/plans/${plan}/explain?limit=1&layer=${encodeURIComponent(patternOf(layer))}`, { signal });
  } catch (error) {
    if (signal.aborted) return;
    panel.replaceChildren(shut(panel), element("p", error.message, { className: "problem" }));
    panel.hidden = false;
    return;
  }
  const [one] = found.layers;
  const group = found.groups[one.group];
  panel.replaceChildren(
    shut(panel),
    element("h3", `${one.layer}: ${one.format}`),
    element("p", told(one, group, found)),
    ...[...new Set([...group.tied_by, ...group.held_by])].map((text) => element("p", text, { className: "dim" })),
    options(group, found),
    ...(group.flip ? [element("p", group.flip.advice)] : []),
    ...found.notes.map((text) => element("p", text, { className: "dim" })),
  );
  panel.hidden = false;
  panel.dataset.layer = one.layer;
  panel.focus();
}

function shut(panel) {
  const button = element("button", "Close", { type: "button", className: "shut" });
  button.addEventListener("click", () => {
    panel.hidden = true;
    opener?.focus();
  });
  return button;
}

function told(one, group, found) {
  const shared = group.layers.length > 1 ? ` It shares its format with ${group.layers.length - 1} more, and they are decided together.` : "";
  const [rows, width] = one.shape;
  return `${rows} × ${width}, ${bytes(one.size_bits / 8)}, predicted to cost ${measured(group.predicted_loss, group.standard_error)} ${found.unit}.${shared}`;
}

function options(group, found) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const text of ["format", "stored", "predicted loss", "worse than chosen, at the plan's prices", ""]) head.append(element("th", text));
  const body = table.createTBody();
  for (const option of group.options) {
    const row = body.insertRow();
    row.className = option.chosen ? "own" : "";
    const isOpen = option.size_bits !== null;
    const cells = [
      option.format,
      isOpen ? bytes(option.size_bits / 8) : "–",
      isOpen ? measured(option.predicted_loss, option.standard_error) : "–",
      option.chosen ? "chosen" : significant(option.margin),
      [...option.refusals, found.kernels[option.format] ?? ""].filter(Boolean).join("; "),
    ];
    for (const text of cells) row.insertCell().textContent = text;
    row.lastElementChild.className = "long dim";
  }
  const wide = element("div", "", { className: "wide" });
  wide.append(table);
  return wide;
}
