// What the bytes of models are for, as one picture with its names and numbers: the page shows bars in a table, this is saved.

import { offerSaving } from "./saving.js";
import { embedded } from "./service.js";
import { bytes } from "./words.js";

const [WIDTH, ROW, BAR] = [720, 44, 14];
const PARTS = [["layers", "layers that can be quantized"], ["embeddings", "token embedding"], ["others", "norms, biases, routers and other tensors"]];
const sizes = embedded("sizes");

function add(parent, name, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  parent.append(made);
  return made;
}

function draw(figure) {
  const svg = add(figure, "svg", { class: "size-picture", width: WIDTH, height: sizes.length * ROW + 30, viewBox: `0 0 ${WIDTH} ${sizes.length * ROW + 30}` });
  const most = Math.max(...sizes.map(total), 1);
  sizes.forEach((one, at) => {
    const words = PARTS.map(([part]) => bytes(one[part])).join(" + ");
    add(svg, "text", { x: 0, y: at * ROW + 16 }, `${one.model}: ${bytes(total(one))} = ${words}`);
    let x = 0;
    for (const [part] of PARTS) {
      const width = (WIDTH * one[part]) / most;
      add(svg, "rect", { class: `of-${part}`, x, y: at * ROW + 22, width, height: BAR });
      x += width;
    }
  });
  let x = 0;
  for (const [part, words] of PARTS) {
    add(svg, "rect", { class: `of-${part}`, x, y: sizes.length * ROW + 10, width: 12, height: 12 });
    x += 30 + add(svg, "text", { x: x + 18, y: sizes.length * ROW + 20 }, words).getComputedTextLength();
  }
}

const total = (one) => one.layers + one.embeddings + one.others;

if (sizes !== null) {
  const figure = document.getElementById("sizes-picture");
  draw(figure);
  offerSaving(figure, sizes.length === 1 ? `${sizes[0].model}-bytes` : "models-bytes", () =>
    sizes.map(({ model, layers, embeddings, others }) => ({ model, layer_bytes: layers, embedding_bytes: embeddings, other_bytes: others })));
}
