// The list of plans: two that are ticked can be compared. htmx puts other pages of the list in place, and the whole page when the
// reader goes back, so what is ticked is kept here and elements are looked up when they are needed.

const picked = new Set();

// Say what is ticked, and tick it again where the list is a new one.
function show() {
  const ids = [...picked];
  for (const box of document.querySelectorAll("input.pick")) box.checked = picked.has(box.value);
  document.getElementById("compare").disabled = ids.length !== 2;
  const named = ids.map((id) => id.slice(0, 8)).join(" and ");
  const words = ["Tick two plans to see what they differ in.", `${named} is ticked: tick another one.`, named];
  document.getElementById("selected").textContent = words[ids.length];
}

document.addEventListener("change", (event) => {
  if (!event.target.matches("input.pick")) return;
  if (event.target.checked) picked.add(event.target.value);
  else picked.delete(event.target.value);
  if (picked.size > 2) picked.delete([...picked][0]); // the third takes the place of the first
  show();
});
document.addEventListener("click", (event) => {
  if (event.target.id === "compare") location.assign(`/plans/${[...picked].join("/diff/")}`);
});
document.addEventListener("htmx:after:swap", show);
// A browser that comes back to the page ticks what was ticked.
window.addEventListener("pageshow", () => {
  for (const box of [...document.querySelectorAll("input.pick:checked")].slice(0, 2)) picked.add(box.value);
  show();
});
