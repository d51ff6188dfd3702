// The list of plans: two that are ticked can be compared. htmx puts other pages of the list in place, so what is ticked is kept here.

const picked = new Set();
const button = document.getElementById("compare");
const words = document.getElementById("selected");

function tell() {
  const ids = [...picked];
  button.disabled = ids.length !== 2;
  const named = ids.map((id) => id.slice(0, 8)).join(" and ");
  words.textContent = ids.length === 0 ? "Tick two plans to see what they differ in." : ids.length === 1 ? `${named} is ticked: tick another one.` : named;
}

// The third that is ticked takes the place of the first.
document.addEventListener("change", (event) => {
  if (!event.target.matches("input.pick")) return;
  if (event.target.checked) picked.add(event.target.value);
  else picked.delete(event.target.value);
  if (picked.size > 2) picked.delete([...picked][0]);
  mark();
  tell();
});

function mark() {
  for (const box of document.querySelectorAll("input.pick")) box.checked = picked.has(box.value);
}

document.addEventListener("htmx:after:swap", mark);
button.addEventListener("click", () => location.assign(`/plans/${[...picked].join("/diff/")}`));
mark();
