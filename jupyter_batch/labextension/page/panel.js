/* The panel of all jobs: what is open, what has ended, and a line that says what became of a click.
 *
 * `lab` holds JupyterLab's own parts. It knows the list (jobs.js) and the rows (row.js), and no kernel: all comes from
 * the server, which reads the ledger.
 */
import { chosen, money, ORDERS, totals } from "./selection.js";
import { fill, Row } from "./row.js";

export function panelClass(lab) {
  /** request(path, init) -> Response; base: the server's address. */
  return class Panel extends lab.SidePanel {
    constructor({ app, jobs, notifications, request, base }) {
      const header = new lab.Widget();
      super({ header });
      Object.assign(this, { app, jobs, notifications, request, base, id: "jupyter-batch-panel" });
      this.addClass("jb-side");
      Object.assign(this.title, { icon: lab.icon, caption: "LLM Batches" });
      this.node.setAttribute("role", "region");
      this.node.setAttribute("aria-label", "LLM batches");
      this.problem = text("p", "jb-side-problem", "alert");
      this.said = text("p", "jb-side-say", "status");
      this.place = text("p", "jb-side-place");
      this.place.title = "What a kernel with another JUPYTER_BATCH_HOME sends is not in this list";
      header.addClass("jb-side-line");
      header.node.append(this.problem, this.tools());
      this.fillToolbar();
      this.sections = [this.section("Open", job => !job.final, "Nothing is running."),
        this.section("Ended", job => job.final, "Nothing has ended yet.")];
      const foot = new lab.Widget();
      foot.addClass("jb-side-line");
      foot.node.append(this.said, this.place);
      this.layout.addWidget(foot);
      jobs.on("change", () => this.draw());
      new ResizeObserver(() => this.content.update()).observe(this.content.node); // the totals above it may be unfolded
    }

    /** Search, filter, order, and the totals of cost. */
    tools() {
      const node = text("div", "jb-side-tools");
      this.wanted = { text: "", only: "all", order: "newest" };
      const search = Object.assign(document.createElement("input"), { type: "search", placeholder: "Search", maxLength: 200 });
      search.setAttribute("aria-label", "Search jobs");
      search.addEventListener("input", () => this.want({ text: search.value.trim() }));
      const only = choice("Which jobs", { all: "All jobs", lost: "With failed rows", blocked: "Waiting for you" });
      only.addEventListener("change", () => this.want({ only: only.value }));
      const order = choice("Order", ORDERS);
      order.addEventListener("change", () => this.want({ order: order.value }));
      this.sums = Object.assign(document.createElement("details"), { className: "jb-side-sums" });
      this.sums.append(document.createElement("summary"), document.createElement("div"));
      node.append(search, only, order, this.sums);
      return node;
    }

    want(changes) {
      Object.assign(this.wanted, changes);
      this.draw();
    }

    drawSums() {
      const { whole, parts } = totals(this.jobs.spent);
      this.sums.hidden = !whole;
      this.sums.firstChild.textContent = whole;
      this.sums.lastChild.replaceChildren(...parts.map(([title, lines]) => {
        const table = document.createElement("table");
        table.createCaption().textContent = title;
        for (const [name, sum] of lines) {
          const row = table.insertRow();
          row.insertCell().textContent = name;
          row.insertCell().textContent = sum;
        }
        return table;
      }));
    }

    fillToolbar() {
      const { ToolbarButton, bellIcon, refreshIcon } = lab;
      this.bell = Object.assign(document.createElement("button"),
        { className: "jb-bell", type: "button", onclick: () => this.ring() }); // ours: ToolbarButton has no pressed state in 4.0
      this.bell.append(bellIcon.element({ tag: "span", width: "16px", height: "16px" }));
      this.toolbar.addItem("bell", new lab.Widget({ node: this.bell }));
      this.toolbar.addItem("refresh",
        new ToolbarButton({ icon: refreshIcon, tooltip: "Refresh the list", onClick: () => this.jobs.refresh() }));
      this.notifications.changed = () => this.drawBell();
      this.drawBell();
    }

    section(label, mine, nothing) {
      const widget = new lab.Widget();
      const list = text("ul", "jb-side-list"), empty = text("p", "jb-side-empty"), more = text("p", "jb-side-empty");
      list.setAttribute("aria-label", `${label} LLM batches`);
      widget.addClass("jb-side-section");
      widget.node.append(empty, list, more);
      widget.title.label = label;
      this.addWidget(widget);
      return { label, mine, nothing, widget, list, empty, more, rows: new Map() };
    }

    onAfterShow(message) {
      super.onAfterShow(message);
      this.jobs.refresh();
    }

    draw() {
      this.problem.textContent = this.jobs.problem;
      this.place.textContent = this.jobs.home ? `Ledger: ${this.jobs.home}` : "";
      this.share();
      this.drawSums();
      const listed = chosen(this.jobs.jobs, this.wanted);
      for (const { label, mine, nothing, widget, list, empty, more, rows } of this.sections) {
        const here = listed.filter(mine);
        fill(list, rows, here, job => new Row(job, this, lab.rowIcons));
        list.hidden = here.length === 0;
        empty.textContent = this.jobs.jobs.some(mine) ? "No job fits the search." : nothing;
        empty.hidden = here.length > 0 || !this.jobs.asked || Boolean(this.jobs.problem);
        widget.title.label = here.length ? `${label} (${here.length})` : label;
        more.textContent = label === "Ended" && this.jobs.older
          ? `and ${this.jobs.older.toLocaleString("en")} older: jupyter batch list` : "";
      }
    }

    /** A section that has little leaves room to the other; the user may move the border, until that changes. */
    share() {
      const sizes = this.sections.map(({ mine }) => 0.7 + Math.min(4, this.jobs.jobs.filter(mine).length));
      if (String(sizes) === this.sizes) return;
      this.sizes = String(sizes);
      this.content.setRelativeSizes(sizes);
    }

    say(sentence) { this.said.textContent = sentence; }

    async open(job) {
      if (job.path) await this.app.commands.execute("docmanager:open", { path: job.path });
    }

    /** The rows of a job in a tab, once for each job; chip: only these. The first row is shown whole. */
    look(job, chip = "") {
      const id = `jupyter-batch-rows-${job.id}`;
      const place = job.page || `#first=1${chip && `&chip=${chip}`}`;
      const open = document.getElementById(id)?.contentWindow?.location;
      if (chip && !job.page && open) open.replace(new URL(place, open.href)); // else it is relative to this page
      if (![...this.app.shell.widgets("main")].some(widget => widget.id === id)) {
        const frame = Object.assign(document.createElement("iframe"), { className: "jb-rows", title: `Rows of ${job.title}`,
          src: lab.URLExt.join(this.base, "jupyter-batch/rows", encodeURIComponent(job.id),
            "/") + place, allow: "clipboard-write" });
        const widget = Object.assign(new lab.Widget({ node: frame }), { id });
        Object.assign(widget.title, { label: job.title, caption: frame.title, icon: lab.rowIcons.rows, closable: true });
        this.app.shell.add(widget, "main");
      }
      this.app.shell.activateById(id);
    }

    copy(job) { this.copied(job.attach); }

    copied(text) {
      lab.Clipboard.copyToSystem(text);
      this.say(`Copied: ${text}`);
    }

    /** The actions that are possible now, with their prices, from the process that serves the rows. */
    async offered(job) {
      try {
        const answer = await this.request(`rows/${encodeURIComponent(job.id)}/actions`);
        return answer.status === 200 ? (await answer.json()).filter(({ name }) => name !== "cancel" || job.cancel) : [];
      } catch {
        return [];
      }
    }

    async act(job, name, price) {
      if (name === "cancel") return this.cancel(job);
      const asks = name !== "retry" || !price; // the price is on its button, as in the live panel
      if (asks && !await this.sure(job, QUESTIONS[name], name === "forget" && job.usd ? `They cost ${money(job.usd)}.` : price)) return undefined;
      this.say("…");
      try {
        const answer = await this.request(`rows/${encodeURIComponent(job.id)}/action`,
          { method: "POST", body: JSON.stringify({ name }), headers: { "Content-Type": "application/json" } });
        const { message, problem } = await answer.json();
        this.say(message ?? problem ?? `The server answered ${answer.status}.`);
      } catch {
        this.say(`${job.title}: the server does not answer.`);
      }
      return this.jobs.refresh();
    }

    async sure(job, { title, body, yes }, price) {
      const { button } = await lab.showDialog({
        title: title.replace("%", job.title), body: [body, price].filter(Boolean).join(" "),
        buttons: [lab.Dialog.cancelButton({ label: "No" }), lab.Dialog.warnButton({ label: yes })], defaultButton: 0,
      });
      return button.accept;
    }

    exported(job, form) {
      const href = lab.URLExt.join(this.base, "jupyter-batch/rows", encodeURIComponent(job.id), `export?format=${form}`);
      const link = Object.assign(document.createElement("a"), { href, download: "" });
      document.body.append(link);
      link.click();
      link.remove();
    }

    async cancel(job) {
      if (job.blocked === "key" && !job.batches.length) return this.cancelled(job); // nothing was sent: nothing to lose
      const { button } = await lab.showDialog({
        title: `Cancel ${job.title}?`,
        body: `${job.share}. Rows that are finished by then are kept; the others are not asked.`,
        buttons: [lab.Dialog.cancelButton({ label: "Keep it" }), lab.Dialog.warnButton({ label: "Cancel the job" })],
        defaultButton: 0,
      });
      return button.accept ? this.cancelled(job) : undefined;
    }

    async cancelled(job) {
      this.say(`Cancelling ${job.title} …`);
      try {
        const answer = await this.request(`jobs/${encodeURIComponent(job.id)}/cancel`, { method: "POST" });
        const problem = answer.status === 202 ? null : (await answer.json()).message;
        this.say(problem === null ? `${job.title} is being cancelled.` : `${job.title} was not cancelled: ${problem}`);
      } catch {
        this.say(`${job.title} was not cancelled: the server does not answer.`);
      }
      await this.jobs.refresh();
    }

    /** The bell: a desktop notification too at a job's end. The browser asks the user the first time. */
    async ring() {
      const on = !this.notifications.desktop;
      if (on && !("Notification" in window)) {
        this.say("This browser has no desktop notifications, or not for pages without https.");
      } else if (on && (await Notification.requestPermission()) !== "granted") {
        this.say("The browser does not allow notifications of this page; its settings for the site can change that.");
      } else {
        await this.notifications.set(on);
        this.say(on ? "A desktop notification comes when a job ends." : "No desktop notifications any more.");
      }
      this.drawBell();
    }

    drawBell() {
      const on = this.notifications.desktop;
      this.bell.classList.toggle("jb-bell-on", on);
      this.bell.title = "Notify me on the desktop too when a job ends";
      this.bell.setAttribute("aria-label", this.bell.title);
      this.bell.setAttribute("aria-pressed", String(on));
    }
  };
}

const QUESTIONS = {
  retry: { title: "Retry %?", body: "The rows without an answer are sent again.", yes: "Retry" },
  finish: { title: "Finish % now?", body: "What is open is cancelled and asked in real time.", yes: "Finish now" },
  forget: { title: "Forget %?", body: "Its answers are removed from this disk; asking the same again is paid again.", yes: "Forget" },
};

function choice(label, options) {
  const made = document.createElement("select");
  made.setAttribute("aria-label", label);
  made.append(...Object.entries(options).map(([value, title]) => Object.assign(document.createElement("option"),
    { value, textContent: title })));
  return made;
}

function text(tag, name, role = "") {
  const made = Object.assign(document.createElement(tag), { className: name });
  if (role) made.setAttribute("role", role);
  return made;
}
