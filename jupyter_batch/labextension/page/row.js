/* One job in the panel: its element, made once and changed in place, so that focus and hover stay. Text is only ever set
 * as text. It knows no server: what a click does is given.
 */

import { cost } from "./jobs.js";

const make = (tag, name, props = {}) => Object.assign(document.createElement(tag), { className: name, ...props });

export class Row {
  /** does: {open, look, copy, cancel}(job); icons: LabIcons {notebook, rows, copy, cancel}. */
  constructor(job, does, icons) {
    this.node = make("li", "jb-job");
    this.state = make("span", "jb-job-state");
    this.title = make("span", "jb-job-title", { dir: "auto" });
    this.head = make("div", "jb-job-head");
    this.head.append(this.title, this.state);
    this.bar = make("div", "jb-job-bar");
    this.bar.setAttribute("role", "progressbar");
    this.bar.setAttribute("aria-valuemin", "0");
    this.counts = make("div", "jb-job-dim");
    this.model = make("div", "jb-job-dim");
    this.times = make("div", "jb-job-dim");
    this.say = make("div", "jb-job-say");
    this.foot = make("div", "jb-job-foot");
    this.notebook = this.button("jb-job-notebook", icons.notebook, () => does.open(this.job));
    this.where = make("span", "");
    this.notebook.append(this.where);
    this.copy = this.button("jb-job-button", icons.copy, () => does.copy(this.job));
    this.cancel = this.button("jb-job-button", icons.cancel, () => does.cancel(this.job));
    this.rows = this.button("jb-job-button", icons.rows, () => does.look(this.job));
    this.foot.append(this.notebook, this.rows, this.copy, this.cancel);
    this.node.append(this.head, this.bar, this.counts, this.times, this.model, this.say, this.foot);
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
    this.job = job;
    this.node.dataset.id = job.id;
    this.title.textContent = job.title;
    this.title.title = `${job.title}\n${job.model}\n${job.id}`;
    this.state.textContent = job.state;
    this.state.dataset.c = job.colour;
    this.draw(job);
    line(this.counts, job.final ? job.share : `${job.share}${lost(job)}`, job.counts);
    line(this.times, job.times.slice(0, 2).reverse().join(" · "), job.times.join("\n"));
    line(this.model, [job.model, cost(job)].filter(Boolean).join(" · "));
    const said = [...job.lines, ...(job.final ? job.reasons.slice(0, 2) : [])];
    if (!job.followed) said.push("No kernel follows it. Open its notebook, or run: jupyter batch watch");
    this.say.replaceChildren(...said.map(line => make("div", "", { textContent: line })));
    this.where.textContent = job.notebook || "no notebook";
    this.notebook.disabled = !job.path;
    this.notebook.title = job.path ? `Open ${job.path}` : job.notebook ? `${job.notebook} is not on this server` : "";
    name(this.rows, `Show the rows of ${job.title}`, "Show the rows");
    name(this.copy, `Copy the line that re-attaches ${job.title}`, `Copy: ${job.attach}`);
    name(this.cancel, `Cancel ${job.title}`, "Cancel");
    this.cancel.hidden = !job.cancel;
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
