/* A job's panel in a page: draws the model's nodes, sends clicks, and watches whether the kernel answers.
 *
 * Text is only ever set as text, and only known tags and attributes are made. Each model has a module of its own, so
 * that what the panels of a page share is kept in `hub`: the kernels, by the id of their process, and the views.
 */

const TAGS = new Set(["b", "button", "code", "div", "li", "span", "ul"]);
const DRAWINGS = new Set(["path", "svg", "title"]);
const ATTRIBUTES = /^(aria-[a-z]+|class|d|data-c|data-copy|dir|preserveAspectRatio|role|title|viewBox)$/;
const SECTIONS = ["top", "body", "facts", "peek", "parts", "say"];
const TICK = 1000;
const ASK_EVERY = 15000; // the kernel beats for 45 s after each question
const ASK_AGAIN = 3000;
const COPIED = 1500; // milliseconds for which a button shows that it has copied
const PATIENCE = 400; // milliseconds until a click that nothing has answered is noted as heard
const DISCONNECTED = "jupyter-widgets-disconnected"; // set by ipywidgets where a kernel was restarted

const hub = (globalThis[Symbol.for("jupyter_batch.panels")] ??= { kernels: new Map(), views: new Set() });

// -- nodes ------------------------------------------------------------------------------------------------------------

function make(node) {
  if (!Array.isArray(node)) return document.createTextNode(node);
  const [tag, attributes, ...inner] = node;
  const made = DRAWINGS.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(TAGS.has(tag) ? tag : "span");
  if (tag === "button") made.type = "button";
  dress(made, attributes);
  made.append(...inner.map(make));
  return made;
}

function dress(element, attributes, before = {}) {
  for (const name of Object.keys(before)) {
    if (!(name in attributes)) element.removeAttribute(name);
  }
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "flex") element.style.flex = `${Number(value)} 0 0`;
    else if (ATTRIBUTES.test(name) && before[name] !== value) element.setAttribute(name, value);
  }
}

/** Whether it is another part of the bar: that part's width would move to its own, as a flash of red at the first failure. */
const isOther = (attributes, before) => "flex" in before && attributes["data-c"] !== before["data-c"];

/** Make the children of an element, which were drawn from `before`, those of `after`; what is alike is left alone. */
function patch(parent, before, after) {
  after.forEach((node, number) => {
    const was = before[number];
    const here = parent.childNodes[number];
    if (here === undefined) {
      parent.append(make(node));
    } else if (Array.isArray(node) && Array.isArray(was) && node[0] === was[0] && !isOther(node[1], was[1])) {
      dress(here, node[1], was[1]);
      patch(here, was.slice(2), node.slice(2));
    } else if (Array.isArray(node) || Array.isArray(was)) {
      here.replaceWith(make(node));
    } else if (node !== was) {
      here.data = node;
    }
  });
  while (parent.childNodes.length > after.length) parent.lastChild.remove();
}

// -- the kernel -------------------------------------------------------------------------------------------------------

function watch(view) {
  const { process } = view;
  if (!hub.kernels.has(process)) {
    const at = Date.now();
    const kernel = { views: new Set(), heard: at, checked: at, resumed: at, asked: 0, next: 4000, busy: false, gone: false };
    kernel.timer = setInterval(() => check(kernel), TICK);
    hub.kernels.set(process, kernel);
  }
  const kernel = hub.kernels.get(process);
  kernel.views.add(view);
  return kernel;
}

function leave(view) {
  view.kernel.views.delete(view);
  if (view.kernel.views.size) return;
  clearInterval(view.kernel.timer);
  hub.kernels.delete(view.process);
}

function check(kernel) {
  const at = Date.now();
  // A page in the background, or of a computer that slept, has heard nothing because it did not listen.
  if (document.hidden || at - kernel.checked > 5 * TICK) kernel.resumed = at;
  kernel.checked = at;
  const silent = at - Math.max(kernel.heard, kernel.resumed);
  const isLate = silent > kernel.next + TICK;
  if (!document.hidden && at - kernel.asked >= (isLate && !kernel.gone ? ASK_AGAIN : ASK_EVERY)) {
    kernel.asked = at;
    ask(kernel);
  }
  settle(kernel, silent > 2 * kernel.next + TICK);
  for (const view of kernel.views) view.look();
}

function ask(kernel) {
  for (const view of kernel.views) {
    if (view.isConnected() && view.send(view.model, { here: true })) return;
  }
}

function heard(kernel, beat = {}) {
  kernel.heard = Date.now();
  Object.assign(kernel, beat);
  settle(kernel, false);
}

function settle(kernel, gone) {
  if (kernel.gone === gone) return;
  kernel.gone = gone;
  for (const view of hub.views) view.look();
}

// -- the panel --------------------------------------------------------------------------------------------------------

function render({ model, el }) {
  const { job, process, panel } = model.get("ids");
  const boxes = layOut(el);
  const drawn = Object.fromEntries([...SECTIONS, "gone"].map(name => [name, []]));
  const manager = model.widget_manager;
  const buttons = new Map();
  let timer;

  const view = {
    job, process, manager, model,
    isConnected: () => !el.classList.contains(DISCONNECTED),
    isLive: () => view.isConnected() && !view.kernel.gone,
    /** The model of this view or, once its kernel is gone, of another live one of the job in this notebook. */
    source() {
      if (view.isLive()) return model;
      const others = [...hub.views].filter(other => other.job === job && other.manager === manager);
      return others.find(other => other.isLive())?.model;
    },
    send(to, message) {
      try {
        to.send(message);
        return true;
      } catch {
        return false; // no kernel
      }
    },
    /** Draw where it changed whether, or through which model, the job can be reached. */
    look() {
      if (view.source() !== view.drawnFrom) view.draw();
    },
    draw() {
      const source = view.source();
      view.drawnFrom = source;
      for (const name of source ? SECTIONS : []) show(name, source.get(name));
      show("gone", source ? [] : model.get("gone"));
      boxes.panel.classList.toggle("jb-gone", !source);
      boxes.buttons.hidden = boxes.unfold.hidden = !source;
      if (source) source.get("buttons").forEach(drawButton);
      else answered();
    },
  };

  function show(name, nodes) {
    patch(boxes[name], drawn[name], nodes);
    drawn[name] = nodes;
  }

  function drawButton([name, label, title, isShown, price]) {
    const button = buttons.get(name) ?? makeButton(name);
    const nodes = price ? [label, " ", ["span", { class: "jb-price" }, price]] : [label];
    patch(button, button.drawn, nodes);
    button.drawn = nodes;
    button.title = title;
    button.hidden = !isShown;
    boxes.buttons.classList.toggle("jb-asking", buttons.get("confirm")?.hidden === false);
  }

  function makeButton(name) {
    const made = name === "unfold" ? boxes.unfold : document.createElement("button");
    made.type = "button";
    made.dataset.name = name;
    made.drawn = [];
    made.addEventListener("click", () => click(name));
    if (name !== "unfold") boxes.buttons.append(made);
    buttons.set(name, made);
    return made;
  }

  function click(name) {
    const label = buttons.get(name).textContent;
    answered();
    if (!view.send(view.drawnFrom, { click: name })) return settle(view.kernel, true);
    timer = setInterval(() => {
      boxes.heard.textContent = inWords(label);
    }, PATIENCE);
  }

  function inWords(label) {
    const busy = view.kernel.busy || manager?.kernel?.status === "busy";
    const words = busy ? "Click received: the kernel is busy with a cell; it answers after the cell."
      : "Click received; the kernel has not answered yet.";
    const hasPanel = document.querySelector(".jb-side") !== null; // of our JupyterLab extension
    return hasPanel && /cancel/i.test(label)
      ? `${words} In the panel LLM Batches, at the left, you can cancel meanwhile.` : words;
  }

  function answered() {
    clearInterval(timer);
    boxes.heard.textContent = "";
  }

  function changed() {
    heard(view.kernel);
    for (const other of hub.views) {
      if (other === view || other.drawnFrom === model) other.draw();
    }
  }

  function message({ beat, answer }) {
    heard(view.kernel, beat);
    if (answer) answered();
    for (const other of answer ? hub.views : []) other.drawnFrom === model && other.answered();
  }

  view.answered = answered;
  view.kernel = watch(view);
  hub.views.add(view);
  const style = hide(panel);
  for (const name of [...SECTIONS, "buttons", "gone"]) model.on(`change:${name}`, changed);
  model.on("msg:custom", message);
  view.draw();
  check(view.kernel);
  return () => {
    clearInterval(timer);
    hub.views.delete(view);
    leave(view);
    style.remove();
    for (const other of hub.views) other.look();
  };
}

function layOut(el) {
  const boxes = {};
  const add = (name, classes, tag = "div") => {
    boxes[name] = Object.assign(document.createElement(tag), { className: classes });
    return boxes[name];
  };
  el.classList.add("jb-place");
  el.append(add("panel", "jb jb-live"));
  boxes.panel.append(
    add("top", "jb-top"), add("buttons", "jb-buttons"), add("body", "jb-line"), add("facts", "jb-line"),
    add("peek", "jb-line jb-below"), add("unfold", "jb-unfold", "button"), add("parts", "jb-line jb-below"),
    add("say", "jb-line jb-below jb-say"), add("heard", "jb-line jb-below jb-say"),
    add("gone", "jb-line jb-below jb-say jb-dim"),
  );
  boxes.unfold.hidden = true;
  boxes.panel.append(add("copied", "jb-unseen"));
  boxes.panel.addEventListener("click", event => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button, boxes.copied);
  });
  for (const name of ["say", "heard", "gone", "copied"]) boxes[name].setAttribute("role", "status");
  return boxes;
}

/** Copy an id; `status` says so to a screen reader. */
async function copy(button, status) {
  let done = true;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch { // no permission, or no secure page
    const field = Object.assign(document.createElement("textarea"), { value: button.dataset.copy, className: "jb-unseen" });
    button.after(field);
    field.select();
    done = document.execCommand("copy");
    field.remove();
    button.focus();
  }
  button.classList.toggle("jb-copied", done);
  status.textContent = done ? "Copied" : "Not copied";
  setTimeout(() => {
    button.classList.remove("jb-copied");
    status.textContent = "";
  }, COPIED);
}

/** Hide the static card of this panel, wherever in the page it is, for as long as the panel is in the page. */
function hide(panel) {
  const card = `.jb-static[data-panel="${CSS.escape(panel)}"]`;
  const style = document.createElement("style");
  style.textContent = `${card},.jp-OutputArea-child:has(${card}){display:none}`;
  document.head.append(style);
  return style;
}

export default { render };
