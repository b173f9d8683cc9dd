/* Feedback of the page for a click on a job's panel in a notebook, while the kernel is busy with a cell and can't answer
 * (ipykernel 6, or a JupyterLab without subshells).
 */

const PATIENCE = 400; // milliseconds; a kernel that can answer does so in a tenth of a second
const ANSWERS = ".jb-buttons, .jb-unfold, .jb-line"; // elements that change with an answer
const CHANGES = { attributes: true, characterData: true, childList: true, subtree: true };

export function listen(app) {
  const waiting = new WeakMap();
  document.addEventListener("click", event => {
    const button = event.target.closest?.(".jb-live .jupyter-button");
    const panel = button?.closest(".jb-live");
    if (!panel) return;
    waiting.get(panel)?.();
    waiting.set(panel, wait(panel, () => words(app, panel, button.textContent)));
  }, true);
}

/** Show feedback until the panel changes; returns a function that ends it. */
function wait(panel, say) {
  const note = Object.assign(document.createElement("div"), { className: "jb jb-say jb-rest-of-it jb-below" });
  note.setAttribute("role", "status");
  const observer = new MutationObserver(() => over());
  const timer = setTimeout(() => {
    panel.append(note);
    note.textContent = say(); // after it was put there, so that a screen reader says it
  }, PATIENCE);
  const over = () => {
    clearTimeout(timer);
    observer.disconnect();
    note.remove();
  };
  for (const part of panel.querySelectorAll(ANSWERS)) observer.observe(part, CHANGES);
  return over;
}

function words(app, panel, label) {
  const notebook = [...app.shell.widgets("main")].find(widget => widget.node.contains(panel));
  const busy = notebook?.context?.sessionContext?.session?.kernel?.status === "busy";
  const received = busy ? "Click received: the kernel is busy with a cell; it answers after the cell." :
    "Click received; the kernel has not answered yet.";
  return label.includes("ancel") ? `${received} The panel LLM Batches, at the left, can cancel now.` : received;
}
