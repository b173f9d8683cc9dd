// What the user does with the rows of a selection: which of the source's columns are beside the answers, and a retry.
import { fetched, make, number, send } from "./page.js";

const BESIDE = 2; // columns that are shown at first
const NOT_HERE = "The columns of the frame are in the notebook's kernel and stored nowhere else: "
  + "job.view() in the notebook shows them here.";

/** The source's columns that are shown: chosen in a menu, else the first that the prompt does not show anyway. */
export class Columns {
  constructor(menu, changed) {
    Object.assign(this, { menu, changed, names: null, shown: [] });
    menu.addEventListener("change", ({ target }) => {
      const rest = this.shown.filter(name => name !== target.value);
      this.shown = target.checked ? this.names.filter(name => name === target.value || rest.includes(name)) : rest;
      this.changed();
    });
  }

  /** names: of the kernel's frame, none without it; asked: those that the prompt has. */
  offer(names, asked) {
    if (this.names !== null && String(names) === String(this.names)) return;
    this.names = names;
    this.menu.hidden = !names.length && !asked.length; // prompts without a frame
    if (!names.length) {
      this.menu.querySelector("ul").replaceChildren(make("li", { class: "dim" }, NOT_HERE));
      return;
    }
    const other = names.filter(name => !asked.includes(name));
    this.shown = (other.length ? other : names).slice(0, BESIDE);
    this.menu.querySelector("ul").replaceChildren(...names.map(name => make("li", {}, make("label", {},
      make("input", { type: "checkbox", value: name, checked: this.shown.includes(name) }), make("span", { dir: "auto" }, name)))));
  }
}

/** The retry of a selection's unanswered rows, with its price; of cut off answers with another limit. */
export class Retry {
  /** query(): the selection's URLSearchParams; sent(answer): the server answered. */
  constructor(node, query, sent) {
    Object.assign(this, { node, query, sent, asked: 0 });
    node.addEventListener("click", event => {
      const hit = event.target.closest("button");
      if (hit?.dataset.step === "ask") this.ask();
      else if (hit?.dataset.step === "send") this.send();
      else if (hit) this.look();
    });
    node.addEventListener("change", event => { if (event.target.type === "number") this.look(true); });
  }

  get limit() { return Number.parseInt(this.node.querySelector("input")?.value ?? "", 10) || 0; }

  /** Ask for the price of what is selected now, and offer the retry. */
  async look(keep = false) {
    const mine = ++this.asked, limit = keep ? this.limit : 0;
    const asked = this.query();
    if (limit) asked.set("max_tokens", limit);
    const found = await fetched(`price?${asked}`).catch(() => ({ rows: 0 }));
    if (mine === this.asked) this.draw(found, limit);
  }

  clear() {
    this.asked += 1;
    this.node.replaceChildren();
  }

  draw({ rows, price, cut }, limit) {
    this.price = price;
    if (!rows) return this.node.replaceChildren();
    if (!cut) return this.node.replaceChildren(this.button("ask", `Retry these: ${price}`));
    const field = make("input", { type: "number", min: "1", value: limit ? String(limit) : "", placeholder: "max_tokens",
      "aria-label": "max_tokens of the retry" });
    const done = limit ? this.button("ask", `Retry these: ${price}`)
      : make("span", { class: "dim" }, `${number.format(rows)} cut off: retry with a larger limit`);
    return this.node.replaceChildren(field, done);
  }

  button(step, title, kind = "") {
    return make("button", { type: "button", "data-step": step, class: kind || null }, title);
  }

  ask() {
    const limit = this.limit;
    this.node.replaceChildren(this.button("send", `Yes, retry: ${this.price}`, "danger"), this.button("no", "No"),
      limit ? make("input", { type: "number", value: String(limit), hidden: true }) : null);
    this.node.querySelector("button").focus();
  }

  async send() {
    const asked = this.query(), limit = this.limit;
    this.node.replaceChildren(make("span", { class: "dim" }, "…"));
    try {
      this.sent(await send("retry", { chip: asked.get("chip"), text: asked.get("text"),
        ...(limit ? { max_tokens: limit } : {}) }));
    } catch (error) {
      this.sent({ message: error.message });
    }
    this.clear();
  }
}
