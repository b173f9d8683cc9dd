/* A page that draws outputs with the html-manager of ipywidgets, as VS Code and Colab do: outputs in their order, a
 * widget drawn in place of its output, HTML as it is; no JupyterLab, no subshells. `run(code)` runs a cell.
 */

const modules = {};
const settled = {};

window.define = (name, needs, factory) => {
  if (typeof name !== "string") [name, needs, factory] = [window.defining, name, needs];
  modules[name] = { needs, factory };
};
window.define.amd = {};

function load(name) {
  if (name === "module") return { id: "module", uri: "" };
  settled[name] ??= modules[name].factory(...modules[name].needs.map(load));
  return settled[name];
}
window.require = (needs, done) => done(...needs.map(load));
window.require.config = () => {};
window.requirejs = window.require;

class Comm {
  constructor(page, id, target) {
    Object.assign(this, { page, comm_id: id, target_name: target });
  }
  open(data, callbacks, metadata) { return this.page.send("comm_open", { comm_id: this.comm_id, target_name: this.target_name, data }, metadata); }
  send(data, callbacks, metadata) { return this.page.send("comm_msg", { comm_id: this.comm_id, data }, metadata); }
  close(data) { return this.page.send("comm_close", { comm_id: this.comm_id, data }); }
  on_msg(callback) { this.message = callback; }
  on_close(callback) { this.closed = callback; }
}

class Page {
  async start({ socket }) {
    const page = this;
    const { HTMLManager } = load("@jupyter-widgets/html-manager");
    class Manager extends HTMLManager {
      async loadClass(name, module, version) {
        return module === "anywidget" ? load("anywidget")[name] : super.loadClass(name, module, version);
      }
      async _create_comm(target, id) { return page.comm(id, target); }
    }
    Object.assign(this, { session: crypto.randomUUID(), comms: {}, displays: {}, errors: [], waiting: Promise.resolve() });
    this.manager = new Manager();
    this.socket = new WebSocket(socket);
    await new Promise(opened => { this.socket.onopen = opened; });
    this.socket.onmessage = event => {
      const message = JSON.parse(event.data);
      this.waiting = this.waiting.then(() => this.receive(message)).catch(error => this.errors.push(String(error)));
    };
  }

  comm(id, target) {
    this.comms[id] ??= new Comm(this, id, target);
    return this.comms[id];
  }

  send(kind, content, metadata = {}) {
    const header = { msg_id: crypto.randomUUID(), msg_type: kind, session: this.session, username: "", version: "5.3", date: new Date().toISOString() };
    this.socket.send(JSON.stringify({ header, parent_header: {}, metadata, content, channel: "shell", buffers: [] }));
    return header.msg_id;
  }

  run(code) {
    const cell = document.createElement("section");
    document.body.append(cell);
    this.cells = { ...this.cells, [this.send("execute_request", { code, silent: false, store_history: true, allow_stdin: true, stop_on_error: true })]: cell };
  }

  async receive({ header, parent_header: parent, content, metadata, channel }) {
    if (channel !== "iopub") return;
    const kind = header.msg_type, cell = this.cells?.[parent.msg_id];
    if (kind === "comm_open") await this.manager.handle_comm_open(this.comm(content.comm_id, content.target_name), { content, metadata });
    if (kind === "comm_msg") await this.comms[content.comm_id]?.message?.({ content, metadata, header, parent_header: parent, buffers: [] });
    if (kind === "error") this.errors.push(content.evalue);
    if (kind === "stream") cell?.append(Object.assign(document.createElement("pre"), { textContent: content.text }));
    if (kind === "display_data" || kind === "execute_result") await this.show(cell, content);
    if (kind === "update_display_data") {
      for (const place of this.displays[content.transient.display_id] ?? []) place.innerHTML = content.data["text/html"];
    }
  }

  async show(cell, { data, transient }) {
    const place = cell.appendChild(document.createElement("div"));
    const widget = data["application/vnd.jupyter.widget-view+json"];
    if (widget) {
      const model = await this.manager.get_model(widget.model_id);
      await this.manager.display_view(this.manager.create_view(model), place);
    } else if ("text/html" in data) {
      place.innerHTML = data["text/html"];
      (this.displays[transient?.display_id] ??= []).push(place);
    } else {
      place.textContent = data["text/plain"];
    }
  }
}

window.page = new Page();
