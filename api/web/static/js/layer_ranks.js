// The layers at both ends of an order, as tables; a row's layer can be chosen.

import { bytes, measured, significant } from "./words.js";

// Fill a table.
//   layers:   as in `extremes` of /v1/models/{model}/sensitivity
//   onChoose: called with a layer of the list
export function fillRanks(table, { caption, layers, unit, onChoose }) {
  const head = document.createElement("thead");
  const names = ["layer", `loss, ${unit}`, "size", "loss per MB"];
  head.append(row("th", names));
  const body = document.createElement("tbody");
  for (const layer of layers) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = layer.layer.replace(/^model\./, "");
    button.addEventListener("click", () => onChoose(layer));
    const size = layer.bytes === null ? "–" : bytes(layer.bytes);
    body.append(row("td", [button, measured(layer.loss, layer.standard_error), size, significant(layer.loss_per_megabyte)]));
  }
  const title = document.createElement("caption");
  title.textContent = layers.length ? caption : `${caption}: nothing to order`;
  table.replaceChildren(title, head, body);
}

function row(kind, cells) {
  const made = document.createElement("tr");
  cells.forEach((content, at) => {
    const cell = document.createElement(kind);
    if (at > 0) cell.className = "number";
    cell.append(content);
    made.append(cell);
  });
  return made;
}
