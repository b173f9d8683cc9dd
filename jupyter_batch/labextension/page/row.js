/* One job in the panel: its element, made once and changed in place, so that focus and hover stay. Text is only ever set
 * as text. It knows no server: what a click does is given.
 */

import { cost } from "./jobs.js";

const make = (tag, name, props = {}) => Object.assign(document.createElement(tag), { className: name, ...props });

export class Row {
  /** does: {open, look, copy, copied, cancel, offered, act, exported}(job); icons: LabIcons {notebook, rows, copy, cancel}. */
  constructor(job, does, icons) {
    this.node = make("li", "jb-job");
    this.does = does;
    this.offered = [];
    this.state = make("span", "jb-job-state");
    this.title = make("button", "jb-job-title", { dir: "auto", type: "button" });
    this.title.addEventListener("click", () => this.unfold());
    this.title.setAttribute("aria-expanded", "false");
    this.details = make("div", "jb-job-details", { hidden: true });
    this.head = make("div", "jb-job-head");
    this.head.append(this.title, this.state);
    this.bar = make("div", "jb-job-bar");
    this.bar.setAttribute("role", "progressbar");
    this.bar.setAttribute("aria-valuemin", "0");
    this.counts = make("div", "jb-job-dim");
    this.model = make("div", "jb-job-dim");
    this.times = make("div", "jb-job-dim");
    this.say = make("div", "jb-job-say");
    this.lost = act("", () => does.look(this.job, "failed"));
    this.giveUp = act("Cancel", () => does.cancel(this.job));
    this.foot = make("div", "jb-job-foot");
    this.notebook = this.button("jb-job-notebook", icons.notebook, () => does.open(this.job));
    this.where = make("span", "");
    this.notebook.append(this.where);
    this.copy = this.button("jb-job-button", icons.copy, () => does.copy(this.job));
    this.cancel = this.button("jb-job-button", icons.cancel, () => does.cancel(this.job));
    this.rows = this.button("jb-job-button", icons.rows, () => does.look(this.job));
    this.foot.append(this.notebook, this.rows, this.copy, this.cancel);
    this.node.append(this.head, this.bar, this.counts, this.times, this.model, this.say, this.giveUp, this.lost, this.details, this.foot);
    this.show(job);
  }

  button(name, icon, act) {
    const button = make("button", name, { type: "button" });
    button.append(icon.element({ tag: "span", width: "14px", height: "14px" }));
    button.addEventListener("click", act);
    return button;
  }

  show(job) {
    const drawn = JSON.stringify(job);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const changed = this.job?.state !== job.state;
    this.job = job;
    this.node.dataset.id = job.id;
    this.title.textContent = job.title;
    this.title.title = `${job.title}\n${job.model}\n${job.id}`;
    this.state.textContent = job.state;
    this.state.dataset.c = job.colour;
    this.draw(job);
    line(this.counts, job.final ? job.share : `${job.share}${lost(job)}`, job.counts);
    line(this.times, job.times.slice(0, 2).reverse().join(" · "), job.times.join("\n"));
    line(this.model, [job.model, cost(job), job.estimate].filter(Boolean).join(" · "));
    const said = [...(job.blocked === "key" ? ["Waits for a key."] : []), ...job.lines, ...(job.final ? job.reasons.slice(0, 2) : [])];
    if (!job.followed) said.push("No kernel follows it. Open its notebook, or run: jupyter batch watch");
    this.say.replaceChildren(...said.map(sentence));
    this.giveUp.hidden = !(job.cancel && job.blocked === "key" && !job.batches.length);
    this.lost.hidden = !job.lost;
    this.lost.textContent = `Look at ${job.lost === 1 ? "the failed row" : `${job.lost.toLocaleString("en")} failed rows`}`;
    if (!this.details.hidden) changed ? this.ask() : this.drawDetails();
    this.where.textContent = job.notebook || "no notebook";
    this.notebook.disabled = !job.path;
    this.notebook.title = job.path ? `Open ${job.path}` : job.notebook ? `${job.notebook} is not on this server` : "";
    name(this.rows, `Show the rows of ${job.title}`, "Show the rows");
    name(this.copy, `Copy the line that fills a frame from ${job.title}`, `Copy: ${job.attach}`);
    name(this.cancel, `Cancel ${job.title}`, "Cancel");
    this.cancel.hidden = !job.cancel;
  }

  /** A click on the title: facts, ids, actions with their prices, exports. */
  async unfold() {
    this.details.hidden = !this.details.hidden;
    this.title.setAttribute("aria-expanded", String(!this.details.hidden));
    this.offered = [];
    if (!this.details.hidden) await this.ask();
  }

  /** The actions that are possible now. */
  async ask() {
    this.asking = true; // the first answer takes seconds: a process for the rows is started
    this.drawDetails();
    this.offered = await this.does.offered(this.job);
    this.asking = false;
    if (!this.details.hidden) this.drawDetails();
  }

  drawDetails() {
    const { job, does } = this, held = this.details.contains(document.activeElement) && document.activeElement.textContent;
    const estimate = this.offered.find(one => one.name === "estimate")?.price ?? job.estimate;
    const facts = [job.counts, ...job.times, [job.cost, estimate].filter(Boolean).join(", ")], ids = job.batches;
    const actions = this.offered.filter(({ name }) => LABELS[name]).map(({ name, price }) => act(`${LABELS[name]}${price ? `: ${price}` : ""}`,
      async () => { await does.act(job, name, price); if (!this.details.hidden) this.ask(); }));
    const exports = ["csv", "jsonl", "parquet"].map(form => act(`Export ${form.toUpperCase()}`, () => does.exported(job, form)));
    this.details.replaceChildren(
      ...facts.filter(Boolean).map(fact => make("div", "", { textContent: fact })),
      group(...(this.asking ? [make("span", "jb-job-dim", { textContent: "Actions and prices …" })] : actions)),
      group(act("Rows", () => does.look(job)), ...exports),
      group(copy("job id", job.id, does), ...(ids.length ? [copy(ids.length > 1 ? "batch ids" : "batch id", ids.join(" "), does)] : [])));
    if (held) [...this.details.querySelectorAll("button")].find(one => one.textContent === held)?.focus();
  }

  draw(job) {
    this.bar.hidden = job.final;
    this.bar.setAttribute("aria-label", job.title);
    this.bar.setAttribute("aria-valuemax", job.total);
    this.bar.setAttribute("aria-valuenow", job.done);
    this.bar.setAttribute("aria-valuetext", job.share);
    this.bar.replaceChildren(...job.segments.map(([kind, count, word]) => {
      const part = make("span", "", { title: `${count.toLocaleString("en")} ${word}` });
      part.dataset.c = kind;
      part.style.flexGrow = count;
      return part;
    }));
  }
}

const LABELS = { retry: "Retry", finish: "Finish now", cancel: "Cancel", forget: "Forget" };
const LONG = 140; // characters of a sentence that is not folded

/** A sentence; a long one is folded behind its beginning. */
function sentence(text) {
  if (text.length <= LONG) return make("div", "", { textContent: text });
  const fold = make("details", ""), whole = make("div", "", { textContent: text });
  fold.append(make("summary", "", { textContent: `${text.slice(0, LONG - 20).trimEnd()}…` }), whole);
  return fold;
}

function act(label, deed) {
  const button = make("button", "jb-job-act", { type: "button", textContent: label });
  button.addEventListener("click", deed);
  return button;
}

const copy = (what, text, does) => Object.assign(act(`Copy the ${what}`, () => does.copied(text)), { title: text });

function group(...buttons) {
  const node = make("div", "jb-job-acts");
  node.append(...buttons);
  return node;
}

function line(node, said, whole = said) {
  node.textContent = said;
  node.title = whole;
}

function name(button, label, title) {
  button.setAttribute("aria-label", label);
  button.title = title;
}

function lost(job) {
  const parts = job.segments.filter(([kind]) => kind === "failed" || kind === "expired");
  return parts.map(([, count, word]) => `, ${count.toLocaleString("en")} ${word}`).join("");
}

/** Make `list` hold one row for each job, in this order; rows that stay are not moved, so that focus stays too. */
export function fill(list, rows, jobs, create) {
  const wanted = new Set(jobs.map(job => job.id));
  for (const [id, row] of rows) if (!wanted.has(id)) { row.node.remove(); rows.delete(id); }
  jobs.forEach((job, at) => {
    let row = rows.get(job.id);
    if (row) row.show(job);
    else rows.set(job.id, (row = create(job)));
    if (list.children[at] !== row.node) list.insertBefore(row.node, list.children[at] || null);
  });
}
