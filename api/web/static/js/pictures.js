// Drawings by Observable Plot under a policy that allows no inline style: the style element that Plot puts into each of them is
// taken out before the page gets it, and base.css says the same of its classes (plot, plot-ramp, plot-swatches).

const CLASS = { className: "plot" };

function styled(drawn) {
  for (const style of drawn.querySelectorAll("style")) style.remove();
  return drawn;
}

// As Plot.plot.
export function plot(options) {
  return styled(Plot.plot({ ...CLASS, ...options }));
}

// As Plot.legend.
export function legend(options) {
  return styled(Plot.legend({ ...CLASS, ...options }));
}
