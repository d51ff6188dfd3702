// Every picture can be taken along: the drawing as SVG or PNG, its numbers as CSV.

import { tell } from "./service.js";

const NO_PICTURE = "There is no picture to save yet.";
const NO_NUMBERS = "There are no numbers to save yet.";
const SCALE = 2; // pixels of a PNG for one of the drawing
const KEPT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "fill-opacity", "opacity", "font", "text-anchor", "color"];

// Put the three buttons under a picture.
//   figure: the element that holds the <svg>; the drawing, or the first one in it, is saved when a button is pressed
//   name:   of the files, without their ending
//   rows:   function that gives the numbers, as an array of objects with the same fields
export function offerSaving(figure, name, rows) {
  const line = document.createElement("p");
  line.className = "saving";
  const add = (label, missing, save) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.setAttribute("aria-label", `Save ${name} as ${label}`);
    button.addEventListener("click", async () => {
      tell("");
      try {
        if (!(await save())) tell(missing);
      } catch (error) {
        tell(`${name} could not be saved as ${label}: ${error.message}`);
      }
    });
    line.append(button);
  };
  const drawing = () => figure.querySelector("svg.plot") ?? figure.querySelector("svg"); // not that of a legend
  const drawn = (write) => async () => {
    const svg = drawing();
    return svg !== null && keep(...(await write(svg)));
  };
  add("SVG", NO_PICTURE, drawn((svg) => [`${name}.svg`, new Blob([standalone(svg)], { type: "image/svg+xml" })]));
  add("PNG", NO_PICTURE, drawn(async (svg) => [`${name}.png`, await asPng(svg)]));
  add("CSV", NO_NUMBERS, () => {
    const lines = rows();
    return lines.length > 0 && keep(`${name}.csv`, new Blob([asCsv(lines)], { type: "text/csv" }));
  });
  figure.after(line);
  return line;
}

// Rows as CSV (RFC 4180).
function asCsv(rows) {
  const names = Object.keys(rows[0]);
  const quoted = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names, ...rows.map((row) => names.map((name) => row[name]))].map((cells) => cells.map(quoted).join(",")).join("\r\n") + "\r\n";
}

// The drawing by itself: what the page's style sheet gives it is written into its elements.
function standalone(svg) {
  const copy = svg.cloneNode(true);
  const originals = [svg, ...svg.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((element, at) => {
    const style = getComputedStyle(originals[at]);
    for (const property of KEPT) element.style.setProperty(property, style.getPropertyValue(property));
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const box = svg.getBoundingClientRect();
  copy.setAttribute("width", box.width);
  copy.setAttribute("height", box.height);
  copy.style.background = getComputedStyle(document.body).backgroundColor;
  return new XMLSerializer().serializeToString(copy);
}

async function asPng(svg) {
  const image = new Image();
  const address = URL.createObjectURL(new Blob([standalone(svg)], { type: "image/svg+xml" }));
  try {
    image.src = address;
    await image.decode();
    const canvas = document.createElement("canvas");
    const box = svg.getBoundingClientRect();
    canvas.width = SCALE * box.width;
    canvas.height = SCALE * box.height;
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((done) => canvas.toBlob(done, "image/png"));
  } finally {
    URL.revokeObjectURL(address);
  }
}

function keep(name, blob) {
  if (blob === null) throw new Error("the picture is too large for the browser; take the SVG");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  return true;
}
