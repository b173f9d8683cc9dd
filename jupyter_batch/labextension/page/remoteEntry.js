/* The JupyterLab part: a module-federation container written by hand, so that no bundler and no node are needed.
 *
 * JupyterLab loads this file, gives it the packages it shares (init) and asks for the extension (get). It shows the
 * prompt of a %%llm_batch cell as Markdown, with what the frame fills in ({columns}) marked; the panel of jobs is in
 * plugin.js. (No folder here is named `static`: what lies in one, a browser keeps for a year, under the same name too.)
 */
(() => {
  "use strict";

  const NAME = "jupyter_batch";
  const MAGIC = /^\s*%%llm_batch\b/;
  const JINJA = /--template[ =]["']?jinja/;
  // `{feedback}`, `{price:.2f}`, `{Customer Feedback}`; but neither `{"label": 1}` nor `{{feedback}}`, which are text.
  const COLUMN = /(?<!\{)\{[\p{L}\p{N}_][^{}"\n]*\}(?!\})/gu;
  const TAG = /\{\{[^\n]*?\}\}|\{%[^\n]*?%\}/g;
  const STYLE = `
    .jb-column, .jb-column * { color: var(--jp-mirror-editor-keyword-color, #008000) !important; font-weight: 600; }
    .jb-column { background: color-mix(in srgb, var(--jp-brand-color1, #1976d2) 11%, transparent); border-radius: 3px; }
    .jb-magic, .jb-magic * { color: var(--jp-mirror-editor-meta-color, #aa22ff) !important; font-weight: normal; }`;

  const HERE = document.currentScript.src;

  let scope;

  const shared = async name => {
    const versions = scope[name];
    if (!versions) throw new Error(`${NAME}: JupyterLab does not share ${name}`);
    const newest = Object.keys(versions).sort((a, b) => a.localeCompare(b, undefined, { numeric: true })).pop();
    return (await versions[newest].get())();
  };

  async function extension() {
    const [state, view, { IEditorExtensionRegistry, IEditorLanguageRegistry }] = await Promise.all(
      ["@codemirror/state", "@codemirror/view", "@jupyterlab/codemirror"].map(shared));
    const { Compartment, Prec, RangeSetBuilder } = state;
    const { Decoration, ViewPlugin } = view;
    const column = Decoration.mark({ class: "jb-column" });
    const magic = Decoration.mark({ class: "jb-magic" });

    // A prompt is short: all of it is looked through at each change.
    const marks = doc => {
      const builder = new RangeSetBuilder();
      const first = doc.firstLineBreak;
      builder.add(0, first, magic);
      for (const match of doc.text.matchAll(JINJA.test(doc.text.slice(0, first)) ? TAG : COLUMN)) {
        if (match.index > first) builder.add(match.index, match.index + match[0].length, column);
      }
      return builder.finish();
    };

    const prompt = languages => {
      // The language comes through a compartment of ours: a cell's own mime type would be set back to Python later.
      const language = new Compartment();
      const plugin = ViewPlugin.fromClass(class {
        constructor(editor) { this.on = false; this.look(editor); }
        update(change) { if (change.docChanged) this.look(change.view); }
        destroy() { this.gone = true; }

        look(editor) {
          const text = editor.state.sliceDoc();
          const on = MAGIC.test(text);
          const end = text.indexOf("\n");
          this.marks = on ? marks({ text, firstLineBreak: end < 0 ? text.length : end }) : Decoration.none;
          if (on !== this.on) { this.on = on; this.speak(editor, on); }
        }

        async speak(editor, on) {
          const markdown = on ? await languages.getLanguage("text/x-ipythongfm") : await null;
          if (this.gone || this.on !== on) return; // changed again since
          editor.dispatch({ effects: language.reconfigure(markdown ? Prec.highest(markdown.support) : []) });
        }
      }, { decorations: self => self.marks });
      return [language.of([]), plugin];
    };

    const highlight = {
      id: `${NAME}:prompt`,
      description: "Shows the prompt of a %%llm_batch cell as Markdown, with its {columns} marked.",
      autoStart: true,
      requires: [IEditorExtensionRegistry, IEditorLanguageRegistry],
      activate: (app, editors, languages) => {
        const style = document.createElement("style");
        style.textContent = STYLE;
        document.head.append(style);
        editors.addExtension({
          name: `${NAME}:prompt`,
          factory: () => ({ instance: () => prompt(languages), reconfigure: () => null }),
        });
      },
    };
    return { __esModule: true, default: [highlight, ...await jobs()] };
  }

  // The prompts are shown as prompts also where the panel can't be: in a front end that shares other packages.
  async function jobs() {
    try {
      const { plugins } = await import(new URL("plugin.js", HERE));
      const found = await plugins(shared);
      document.head.append(Object.assign(document.createElement("link"),
        { rel: "stylesheet", href: new URL("panel.css", HERE) }));
      return found;
    } catch (error) {
      console.warn(`${NAME}: no panel of jobs here (${error.message})`);
      return [];
    }
  }

  const modules = { "./extension": extension };
  (window._JUPYTERLAB = window._JUPYTERLAB || {})[NAME] = {
    init: shared_scope => { scope = shared_scope; },
    get: async name => {
      if (!modules[name]) throw new Error(`${NAME}: no module ${name}`);
      const module = await modules[name]();
      return () => module;
    },
  };
})();
