// Drawings by Observable Plot under a policy that allows no inline style: the style element that Plot puts into each of them is
// taken out before the page gets it, and base.css says the same of its classes (plot, plot-ramp, plot-swatches).

const CLASS = { className: "plot" };

function styled(drawn) {
  for (const style of drawn.querySelectorAll("style")) style.remove();
  // the words beside a swatch are what a screen reader needs of it
  for (const part of drawn.querySelectorAll(".plot-swatch svg, image")) part.setAttribute("aria-hidden", "true");
  return drawn;
}

// As Plot.plot.
export function plot(options) {
  return styled(Plot.plot({ ...CLASS, ...options }));
}

// As Plot.legend.
export function legend(options) {
  const drawn = styled(Plot.legend({ ...CLASS, ...options }));
  if (drawn.matches("svg")) {
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", options.label ?? "Legend");
  }
  return drawn;
}
