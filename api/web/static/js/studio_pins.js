// Pins of the studio: a dialog that asks for a tile's format, and the pins that there are.

const element = (id) => document.getElementById(id);

function button(text, label) {
  const made = document.createElement("button");
  made.textContent = text;
  if (label) made.setAttribute("aria-label", label);
  return made;
}

// Ask which format a tile is pinned to.
//   name:    what the tile is called
//   formats: names of those to choose from
//   now:     the one that it has, which is offered first
//   chosen:  called with a format, with null for a tile that is left free, or with undefined where nothing is changed
export function askPin({ name, formats, now, chosen }) {
  const dialog = element("pin");
  element("pin-title").textContent = name;
  element("pin-formats").replaceChildren(...formats.map((format) => {
    const made = button(format);
    made.value = `pin ${format}`;
    if (format === now) made.setAttribute("aria-current", "true");
    return made;
  }));
  dialog.returnValue = "";
  dialog.onclose = () => {
    const given = dialog.returnValue;
    chosen(given.startsWith("pin ") ? given.slice(4) : given === "free" ? null : undefined);
  };
  dialog.showModal();
  (element("pin-formats").querySelector("[aria-current]") ?? dialog.querySelector("button")).focus();
}

// The pins as buttons that take them away; `taken(pattern)` hears of it.
export function showPins(pins, taken) {
  element("pins").replaceChildren(...[...pins].map(([pattern, format]) => {
    const made = button(`${pattern} = ${format} ✕`, `Take the pin of ${pattern} to ${format} away`);
    made.type = "button";
    made.addEventListener("click", () => taken(pattern));
    return made;
  }));
}
