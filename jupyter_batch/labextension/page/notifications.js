/* Notifications at the end of jobs, the user's settings for them, and the item in the status bar. `lab`: JupyterLab's parts. */
import { ending, inShort } from "./jobs.js";

const SHOWN = 15_000; // ms after which a notification closes
const LISTED = 10; // jobs named by the status bar's item
const KINDS = { good: "success", bad: "error", warn: "warning" };

/** The user's settings; `desktop` is true only where the browser allows it. */
export class NotificationSettings {
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

/** Reports ended jobs: in the page, and on the desktop where another window is in front. There is one notification at a
 * time, so that many jobs do not cover the notebook: ended jobs are added to it until a key or a click, then a new one
 * replaces it. */
export class Notifier {
  constructor(app, notifications, show) {
    Object.assign(this, { app, notifications, show, shown: [], before: Promise.resolve() });
    for (const act of ["pointerdown", "keydown"]) document.addEventListener(act, () => { this.shown = []; }, true);
  }

  /** Nothing for a notebook that is in front: its monitor shows the end. */
  notify(ended) {
    const jobs = ended.filter(job => !this.inFront(job));
    if (!jobs.length) return;
    if (this.notifications.toast && this.app.commands.hasCommand("apputils:notify")) {
      this.before = this.before.then(() => this.toast(jobs)).catch(error => console.warn(`jupyter_batch: ${error}`));
    }
    if (this.notifications.desktop && (document.hidden || !document.hasFocus())) {
      const [title, ...body] = ending(jobs).split("\n");
      const shown = new Notification(title, { body: body.join("\n"), tag: `jupyter_batch:${jobs[0].id}` });
      shown.onclick = () => { window.focus(); this.app.commands.execute(this.show); shown.close(); };
    }
  }

  inFront({ path }) {
    const { currentWidget } = this.app.shell;
    return Boolean(path) && document.hasFocus() && currentWidget?.context?.path === path;
  }

  async toast(jobs) {
    const { commands } = this.app, { id } = this;
    if (this.shown.length && await commands.execute("apputils:update-notification",
      { id, ...this.words([...jobs, ...this.shown]) })) {
      this.shown.unshift(...jobs);
      return;
    }
    if (id) commands.execute("apputils:dismiss-notification", { id });
    const { message, type, ...options } = this.words(jobs);
    this.shown = [...jobs];
    this.id = await commands.execute("apputils:notify", { message, type, options });
  }

  words(jobs) {
    const { path } = jobs[0];
    const kind = ["bad", "warn", "good"].find(colour => jobs.some(job => job.colour === colour));
    const actions = [{ label: "Show", commandId: this.show, args: {} }];
    if (path) actions.unshift({ label: "Open notebook", commandId: "docmanager:open", args: { path } });
    return { message: ending(jobs), type: KINDS[kind] || "info", autoClose: SHOWN, actions };
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
      const more = running.length > LISTED ? [`and ${running.length - LISTED} more`] : [];
      node.title = [...running.slice(0, LISTED).map(job => `${job.title}: ${job.state}, ${job.share}`), ...more].join("\n");
      node.setAttribute("aria-label", `LLM batches: ${label.textContent}`);
    }
    changed.emit(undefined);
  });
  bar.registerStatusItem("jupyter_batch:running",
    { item, align: "left", rank: 900, isActive: () => jobs.running.length > 0, activeStateChanged: changed });
}
