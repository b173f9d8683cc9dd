/* JupyterLab's plugin: it joins the list of jobs, the panel, the notifications, and the status bar. */
import { Jobs } from "./jobs.js";
import { panelClass } from "./panel.js";
import { statusItem, Notifier, NotificationSettings } from "./notifications.js";

const ID = "jupyter_batch:panel";
const SHOW = "jupyter_batch:show", REFRESH = "jupyter_batch:refresh";
const SVG = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3 jp-icon-selectable"
  fill="#616161"><path d="M3 4h18v3H3zM3 10.500h7v3H3zM3 17h5v3H3z"/><path d="M21 9.500l-1.600-1.600-6.400 6.400-1.600-1.600
  -1.600 1.600 3.200 3.200z" transform="translate(0 3)"/></g></svg>`;
const BELL = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><path class="jp-icon3"
  fill="#616161" d="M12 22a2 2 0 0 0 2-2h-4a2 2 0 0 0 2 2zm6-6v-5c0-3.070-1.630-5.640-4.500-6.320V4a1.500 1.500 0 0
  0-3 0v.680C7.640 5.360 6 7.920 6 11v5l-2 2v1h16v-1z"/></svg>`;
const SENDS = /llm|batch|job/i; // what a cell says that sends a job, or gets one on
const PARTS = {
  "@jupyterlab/application": ["ILayoutRestorer"],
  "@jupyterlab/apputils": ["Clipboard", "Dialog", "ICommandPalette", "showDialog"],
  "@jupyterlab/coreutils": ["URLExt"],
  "@jupyterlab/services": ["ServerConnection"],
  "@jupyterlab/settingregistry": ["ISettingRegistry"],
  "@jupyterlab/statusbar": ["IStatusBar"],
  "@jupyterlab/ui-components": ["copyIcon", "LabIcon", "notebookIcon", "refreshIcon", "SidePanel", "spreadsheetIcon",
    "stopIcon", "ToolbarButton"],
  "@lumino/signaling": ["Signal"],
  "@lumino/widgets": ["Widget"],
};

/** shared(name): a package that JupyterLab shares. */
export async function plugins(shared) {
  const lab = {};
  await Promise.all(Object.entries(PARTS).map(async ([name, parts]) => {
    const found = await shared(name);
    for (const part of parts) {
      if (!found[part]) throw new Error(`${name} has no ${part}`);
      lab[part] = found[part];
    }
  }));
  // A front end without notebooks has a panel all the same.
  const { NotebookActions } = await shared("@jupyterlab/notebook").catch(() => ({}));
  lab.runs = [NotebookActions?.executionScheduled, NotebookActions?.executed].filter(Boolean);
  lab.icon = new lab.LabIcon({ name: "jupyter_batch:batches", svgstr: SVG });
  lab.bellIcon = new lab.LabIcon({ name: "jupyter_batch:bell", svgstr: BELL });
  lab.rowIcons = { notebook: lab.notebookIcon, rows: lab.spreadsheetIcon, copy: lab.copyIcon, cancel: lab.stopIcon };
  return [{
    id: ID,
    description: "All LLM batches, with every kernel shut too.",
    autoStart: true,
    optional: [lab.ILayoutRestorer, lab.ICommandPalette, lab.IStatusBar, lab.ISettingRegistry],
    activate: (...given) => activate(lab, ...given),
  }];
}

function activate(lab, app, restorer, palette, bar, registry) {
  const settings = lab.ServerConnection.makeSettings();
  const request = (path, init = {}) =>
    lab.ServerConnection.makeRequest(lab.URLExt.join(settings.baseUrl, "jupyter-batch", path), init, settings);
  const notifications = new NotificationSettings();
  let panel = null;
  const jobs = new Jobs({ request, memory: window.localStorage, place: settings.baseUrl,
    watched: () => Boolean(panel?.isVisible), awaited: () => notifications.desktop });
  panel = new (panelClass(lab))({ app, jobs, notifications, request, base: settings.baseUrl });
  app.commands.addCommand(SHOW,
    { label: "Show LLM Batches", icon: lab.icon, execute: () => app.shell.activateById(panel.id) });
  app.commands.addCommand(REFRESH, { label: "Refresh the List of LLM Batches", execute: () => jobs.refresh() });
  for (const command of palette ? [SHOW, REFRESH] : []) palette.addItem({ command, category: "LLM Batches" });
  app.shell.add(panel, "left", { rank: 900, type: "LLM Batches" });
  restorer?.add(panel, panel.id);
  if (bar) statusItem(lab, jobs, bar, () => app.commands.execute(SHOW));
  if (registry) notifications.follow(registry, ID).catch(error => console.warn(`jupyter_batch: ${error.message}`));
  const notifier = new Notifier(app, notifications, SHOW);
  jobs.on("end", ended => notifier.notify(ended));
  for (const ran of lab.runs) {
    ran.connect((_, { cell }) => { if (SENDS.test(cell.model.sharedModel.getSource())) jobs.nudge(); });
  }
  app.restored.then(() => jobs.refresh());
}
