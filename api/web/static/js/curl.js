// The REST request behind what the page does, as a command.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// A POST as a curl command. A key, where the service asks for one, is taken from the environment of whoever runs it.
export function asCurl(path, body) {
  const parts = ["curl -s", quoted(new URL(path, location.origin).href), "-H 'content-type: application/json'"];
  if (document.querySelector(".sign-out")) parts.push('-H "authorization: Bearer $BITPLAN_API_KEY"');
  return [...parts, `-d ${quoted(JSON.stringify(body))}`].join(" ");
}

// Let a button copy a text. Where the browser gives no clipboard (a page that came without TLS), the text is shown, selected.
//   write: function that gives the text when the button is pressed
export function offerCopy(button, write) {
  const words = button.textContent;
  button.addEventListener("click", async () => {
    const text = write();
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = words; }, 1500);
    } catch {
      show(button, text);
    }
  });
}

function show(button, text) {
  const next = button.nextElementSibling;
  const area = next?.matches("textarea.copied") ? next : document.createElement("textarea");
  area.className = "copied";
  area.readOnly = true;
  area.rows = 3;
  area.setAttribute("aria-label", "Text to copy");
  area.value = text;
  button.after(area);
  area.select();
}
