// Why a plan looks otherwise for another runtime: what the service says when it plans anew is shown where both are compared.

import { significant } from "/static/js/words.js";

const SHOWN = 12; // reasons that are told one by one
const CAUSES = {
  refused: "the new runtime takes the old format for none of their group",
  tied: "layers that share a format now had several",
  packing: "the step between the two formats takes another number of bits there",
  menu: "the old format is not among those asked for",
  rebalanced: "nothing of the runtime holds them; the bits were worth more elsewhere",
};

const keyOf = (plan, other) => `retargeted ${plan} ${other}`;

// Keep the reasons for the page that compares the two, as long as this tab is open.
//   made: answer of POST /v1/plans/{plan}/retarget
export function keepReasons(plan, made) {
  const { causes, dropped, notes } = made;
  const reasons = [...new Set(made.reasons.map((one) => one.reason))].slice(0, SHOWN); // many groups of layers share one
  sessionStorage.setItem(keyOf(plan, made.plan.id), JSON.stringify({ causes, dropped, notes, reasons }));
}

// Show them, if this plan was made from the other one in this tab.
export function showReasons(section, plan, other) {
  const kept = sessionStorage.getItem(keyOf(plan, other));
  if (kept === null) return;
  const { causes, dropped, notes, reasons } = JSON.parse(kept);
  const lines = [
    ...dropped.map((one) => `${one.format} is dropped: ${one.reason}`),
    ...causes.map((one) => `${one.layers} ${one.layers === 1 ? "layer" : "layers"}: ${CAUSES[one.cause]}${cost(one)}`),
    ...notes,
  ];
  section.append(heading("Why it looks otherwise"), list(lines));
  if (reasons.length > causes.length) {
    const details = document.createElement("details");
    details.append(Object.assign(document.createElement("summary"), { textContent: "Layer by layer" }), list(reasons));
    section.append(details);
  }
  section.hidden = false;
}

function cost(cause) {
  return cause.loss_change === null ? "" : ` (predicted loss ${cause.loss_change < 0 ? "−" : "+"}${significant(Math.abs(cause.loss_change))})`;
}

function heading(text) {
  return Object.assign(document.createElement("h2"), { textContent: text });
}

function list(lines) {
  const items = document.createElement("ul");
  items.append(...lines.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  return items;
}
