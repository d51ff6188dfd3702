// The studio's question beside its budget: engine, curves, menus of formats, context, further limits.

import { duration, significant } from "/static/js/words.js";
import { UNITS, usesDevice } from "/static/js/studio_question.js";
import { shownIn, inWords } from "/static/js/studio_range.js";
import { unitWords } from "/static/js/studio_picture.js";

const element = (id) => document.getElementById(id);

function option(value, text) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = text;
  return made;
}

// A box with its words; `why` it cannot be chosen, if so.
function check(name, words, { checked, why }) {
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.value = name;
  box.checked = checked && !why;
  box.disabled = Boolean(why);
  if (why) {
    label.className = "refused";
    label.title = why;
  }
  label.append(box, words);
  return label;
}

// Formats of caches with their tensor: INT8 stands for K_INT8 and V_INT8. Names that are none stay, for the service to tell.
function ofTensors(names, known) {
  if (names === null) return null;
  return names.flatMap((name) => {
    const found = known.filter((one) => one.name === name || one.name.slice(2) === name).map((one) => one.name);
    return found.length ? found : [name];
  });
}

// Build the controls over a state, which they change: `changed()` hears of it, and `measureAnew(unit)` of another device where the
// budget is one of its milliseconds.
export function makeControls(given, state, { changed, measureAnew }) {
  const runtimeOf = () => given.runtimes.find((one) => one.runtime === state.runtime) ?? given.runtimes[0];
  const settingOf = () => given.settings.find((one) => one.id === state.setting) ?? given.settings[0];

  state.kvFormats = ofTensors(state.kvFormats, given.kv_formats);

  element("runtime").append(...given.runtimes.map((one) => option(one.runtime, one.runtime)));
  element("runtime").value = state.runtime;
  element("runtime").addEventListener("change", (event) => {
    state.runtime = event.target.value;
    showMenus();
    changed();
  });

  element("setting").append(...given.settings.map((one) => option(one.id, `${one.probe}, ${one.rounding}, ${duration(one.age_seconds)} ago`)));
  if (state.setting && !given.settings.some((one) => one.id === state.setting)) element("setting").append(option(state.setting, `another setting, ${state.setting.slice(0, 8)}`));
  element("setting").value = state.setting ?? settingOf().id;
  element("setting").addEventListener("change", (event) => {
    state.setting = event.target.value;
    state.formats = null;
    showMenus();
    changed();
  });

  for (const [name, least] of [["context", 0], ["batch", 1]]) {
    element(name).value = state[name];
    element(name).addEventListener("change", (event) => {
      const value = Math.floor(event.target.valueAsNumber);
      state[name] = value >= least ? value : least;
      event.target.value = state[name];
      changed();
    });
  }

  element("device").append(...given.devices.map((name) => option(name, name)));
  if (!given.devices.includes(state.device)) state.device = given.devices[0] ?? null;
  element("device").value = state.device;
  element("device").addEventListener("change", (event) => {
    state.device = event.target.value;
    if (state.unit === "decode_seconds") measureAnew(state.unit);
    else changed();
  });

  function showMenus() {
    const { refused, kv_refused: kvRefused } = runtimeOf();
    menu(element("formats"), settingOf().formats, refused, state.formats, (chosen, all) => {
      state.formats = all || chosen.length === 0 ? null : chosen; // no format at all is no question: all are back
      if (chosen.length === 0) showMenus();
      const gone = new Set(state.formats === null ? [] : settingOf().formats.map((one) => one.name).filter((name) => !chosen.includes(name)));
      for (const [pattern, format] of state.pins) if (gone.has(format)) state.pins.delete(pattern);
    });
    menu(element("kv-formats"), given.kv_formats, kvRefused, state.kvFormats ?? [], (chosen) => { state.kvFormats = chosen.length ? chosen : null; });
    element("kv").hidden = given.kv_formats.length === 0;
    count();
  }

  function menu(place, formats, refused, chosen, choose) {
    const isChosen = (name) => chosen === null || chosen.includes(name);
    place.replaceChildren(...formats.map((one) => check(one.name, `${one.name} (${one.bits} bits)`, { checked: isChosen(one.name), why: refused[one.name] })));
    place.onchange = () => {
      const boxes = [...place.querySelectorAll("input:not(:disabled)")];
      const names = boxes.filter((box) => box.checked).map((box) => box.value);
      choose(names, names.length === boxes.length);
      count();
      changed();
    };
  }

  function count() {
    const offered = element("formats").querySelectorAll("input:not(:disabled)").length;
    const chosen = element("formats").querySelectorAll("input:checked").length;
    element("menu-count").textContent = `${chosen} of ${offered}`;
    element("kv-count").textContent = state.kvFormats ? `${state.kvFormats.length} formats` : "16 bits";
  }

  function showLimits(most) {
    const others = Object.keys(UNITS).filter((kind) => kind !== state.unit);
    element("limits").replaceChildren(...others.map((kind) => {
      const { factor } = shownIn(kind, most);
      const label = document.createElement("label");
      const field = document.createElement("input");
      field.type = "number";
      field.min = 0;
      field.step = "any";
      field.placeholder = "no limit";
      field.value = state.limits[kind] === null ? "" : significant(state.limits[kind] * factor, 6);
      field.addEventListener("change", () => {
        const value = field.valueAsNumber > 0 ? field.valueAsNumber / factor : null;
        state.limits[kind] = value !== null && UNITS[kind].inBytes ? Math.round(value) : value;
        further();
        changed();
      });
      label.append(`at most, ${unitWords(kind, most)}`, field);
      return label;
    }));
    further();
  }

  function further() {
    const used = Object.keys(UNITS).filter((kind) => kind !== state.unit && state.limits[kind] !== null);
    element("more-count").textContent = used.map((kind) => inWords(kind, state.limits[kind])).join(", ") || "none";
    element("device").hidden = !usesDevice(state) && state.unit !== "decode_seconds";
  }

  // The units of the budget, for a model of this size.
  function showUnits(most) {
    const units = Object.keys(UNITS).filter((kind) => !UNITS[kind].device || given.devices.length);
    element("unit").replaceChildren(...units.map((kind) => option(kind, unitWords(kind, most))));
    element("unit").value = state.unit;
    showLimits(most);
  }

  // Names of the formats that a tile may be pinned to.
  function formatsFor(tile) {
    const tensor = { k_cache: "K_", v_cache: "V_" }[tile.kind];
    const offered = tensor
      ? given.kv_formats.filter((one) => one.name.startsWith(tensor) && state.kvFormats?.includes(one.name))
      : settingOf().formats.filter((one) => !runtimeOf().refused[one.name] && (state.formats === null || state.formats.includes(one.name)));
    return offered.map((one) => one.name);
  }

  showMenus();
  const known = new Map([...given.settings.flatMap((one) => one.formats), ...given.kv_formats].map((one) => [one.name, one.bits]));
  return { showUnits, showDevice: further, formatsFor, bitsOf: (format) => known.get(format) ?? 16 };
}
