// Drawings by Observable Plot under a policy that allows no inline style: the style element that Plot puts into each of them is
// taken out before the page gets it, and the class `plot` of base.css says the same.

function styled(drawn) {
  for (const style of drawn.querySelectorAll("style")) style.remove();
  for (const svg of drawn.matches("svg") ? [drawn] : drawn.querySelectorAll("svg")) svg.classList.add("plot");
  return drawn;
}

// As Plot.plot.
export function plot(options) {
  return styled(Plot.plot(options));
}

// As Plot.legend.
export function legend(options) {
  return styled(Plot.legend(options));
}
