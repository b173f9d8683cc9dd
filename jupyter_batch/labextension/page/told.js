/* How a person is told: what they wish to be told of, the notification at a job's end, the item in the status bar.
 * `lab` holds JupyterLab's own parts. It knows no list and no server.
 */
import { ending, inShort } from "./jobs.js";

const KINDS = { good: "success", bad: "error", warn: "warning" };

/** What the person wants; `desktop` is so only where the browser allows it. */
export class Wishes {
  constructor() { Object.assign(this, { changed: () => {}, toast: true, wanted: false }); }

  get desktop() { return this.wanted && window.Notification?.permission === "granted"; }

  async set(wanted) {
    this.wanted = wanted;
    await this.settings?.set("desktop", wanted);
  }

  async follow(registry, plugin) {
    this.settings = await registry.load(plugin);
    const read = () => {
      this.toast = this.settings.composite.notify !== false;
      this.wanted = this.settings.composite.desktop === true;
      this.changed();
    };
    this.settings.changed.connect(read);
    read();
  }
}

/** Say that a job has ended: in the page, and on the desktop where another window is in front. */
export function tell(app, wishes, job, show) {
  const message = ending(job);
  if (wishes.toast && app.commands.hasCommand("apputils:notify")) {
    const actions = [{ label: "Show", commandId: show, args: {} }];
    if (job.path) actions.unshift({ label: "Open notebook", commandId: "docmanager:open", args: { path: job.path } });
    app.commands.execute("apputils:notify",
      { message, type: KINDS[job.colour] || "info", options: { autoClose: false, actions } });
  }
  if (wishes.desktop && (document.hidden || !document.hasFocus())) {
    const [title, ...body] = message.split("\n");
    const shown = new Notification(title, { body: body.join("\n"), tag: `jupyter_batch:${job.id}` });
    shown.onclick = () => { window.focus(); app.commands.execute(show); shown.close(); };
  }
}

/** What is running, in the status bar; nothing while nothing is. */
export function statusItem({ Signal, Widget, icon }, jobs, bar, show) {
  const label = Object.assign(document.createElement("span"), { className: "jb-status-text" });
  const node = Object.assign(document.createElement("button"), { className: "jb-status", type: "button", onclick: show });
  const item = new Widget({ node }), changed = new Signal(item);
  node.append(icon.element({ tag: "span", width: "14px", height: "14px" }), label);
  jobs.on("change", () => {
    const running = jobs.running;
    if (running.length) {
      label.textContent = inShort(running);
      node.title = running.map(job => `${job.title}: ${job.state}, ${job.share}`).join("\n");
      node.setAttribute("aria-label", `LLM batches: ${label.textContent}`);
    }
    changed.emit(undefined);
  });
  bar.registerStatusItem("jupyter_batch:running",
    { item, align: "left", rank: 900, isActive: () => jobs.running.length > 0, activeStateChanged: changed });
}
