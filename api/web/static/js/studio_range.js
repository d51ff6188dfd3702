// The budget's slider and its number: from the smallest plan to the largest, in the unit of the limit.

import { significant } from "/static/js/words.js";
import { UNITS } from "/static/js/studio_question.js";

const STEPS = 1000;
const SMALL_MODEL = 2e9; // bytes below which MB say more than GB

// How the values of a limit are written: the factor of the shown unit, and its name.
export function shownIn(kind, most) {
  const unit = UNITS[kind];
  if (unit.inBytes) return most < SMALL_MODEL ? { factor: 1e-6, name: "MB" } : { factor: 1e-9, name: "GB" };
  return { factor: unit.factor ?? 1, name: kind === "decode_seconds" ? "ms" : "bits" };
}

// A value of a limit in words: 5.5 GB, 4.25 bits, 12 ms.
export function inWords(kind, value, digits = 4) {
  const { factor, name } = shownIn(kind, value);
  return `${significant(value * factor, digits)} ${name}`;
}

// The elements of the range: `changed(value, { final })` hears of every move, and at last of where the hand or the key let go.
export function makeRange({ slider, amount, least, most, changed }) {
  let range = { kind: "file_bytes", least: 0, most: 0 };
  let held = false; // by the pointer
  let keyed = false; // a key is down, which repeats while it is held: none of its moves is the last one for sure
  let moved = false; // by this key

  const rounded = (value) => (UNITS[range.kind].inBytes ? Math.round(value) : Number(value.toPrecision(6)));
  const atStep = (step) => {
    if (step <= 0) return range.least;
    if (step >= STEPS) return range.most;
    return Math.min(Math.max(rounded(range.least + ((range.most - range.least) * step) / STEPS), range.least), range.most);
  };
  const shown = () => shownIn(range.kind, range.most);
  const write = (value) => { amount.value = significant(value * shown().factor, 6); };

  slider.max = STEPS;
  slider.addEventListener("pointerdown", () => { held = true; });
  for (const end of ["pointerup", "pointercancel"]) slider.addEventListener(end, () => { held = false; });
  slider.addEventListener("keydown", () => { keyed = true; });
  for (const end of ["keyup", "blur"]) slider.addEventListener(end, letGo);
  slider.addEventListener("input", () => {
    const value = atStep(slider.valueAsNumber);
    write(value);
    tellSlider(value);
    moved = true;
    changed(value, { final: false });
  });
  slider.addEventListener("change", () => {
    if (!keyed) letGo();
  });
  function letGo() {
    keyed = false;
    if (moved) changed(atStep(slider.valueAsNumber), { final: true });
    moved = false;
  }
  amount.addEventListener("change", () => {
    if (!(amount.valueAsNumber > 0)) return;
    changed(rounded(amount.valueAsNumber / shown().factor), { final: true });
  });

  function tellSlider(value) {
    slider.setAttribute("aria-valuetext", inWords(range.kind, value));
  }

  return {
    // Set the ends of the range and where the budget stands in it. A slider that is held stays where the hand is.
    set(kind, ends, value) {
      range = { kind, least: ends.least, most: ends.most };
      least.textContent = `smallest plan ${inWords(kind, ends.least)}`;
      most.textContent = `largest plan ${inWords(kind, ends.most)}`;
      tellSlider(value);
      if (held) return;
      slider.value = ends.most > ends.least ? (STEPS * (value - ends.least)) / (ends.most - ends.least) : STEPS;
      if (document.activeElement !== amount) write(value);
    },
    // The unit of the budget, while its ends are not known.
    use: (kind) => { range = { ...range, kind }; },
    share: (value) => (range.most > range.least ? (value - range.least) / (range.most - range.least) : 1),
    at: (ends, share) => {
      range = { ...range, ...ends };
      return atStep(STEPS * Math.min(Math.max(share, 0), 1));
    },
  };
}
