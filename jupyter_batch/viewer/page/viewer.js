// The row view. Every text from outside is put in as text, never as HTML (the page's policy forbids that, too).
import { Columns, Retry } from "./chosen.js";
import { copy, cost, fetched, make, number, report, send, shareOf } from "./page.js";

const LIMIT = 100;
const WAIT = 400; // ms between looks while files are read
const LOOK = 5000; // ms between looks at an open job
const DELAY = 250; // ms after the last key before a search starts
const WIDE = 1000; // px from which on a row is beside the table (viewer.css)
const DEEP = 2; // levels of a tree that are open at first
const PICTURE = /^data:image\/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/;
const CHIPS = ["all", "answered", "failed", "cut off", "reused", "disagreeing", "running", "skipped"];
const ALWAYS = new Set(["all", "failed", "cut off", "reused"]);

const $ = id => document.getElementById(id);
const head = document.querySelector("thead tr");
const body = document.querySelector("tbody");
let job = null; // the answer of /state
let page = null; // the answer of /page
let asked = 0; // the number of the last request for a page: answers of earlier ones are dropped
let again = 0; // the timer of the next look
let labels = []; // known labels and answers, to choose from
let at = read();
const beside = new Columns($("columns"), () => { drawHead(); drawRows(); });
const retry = new Retry($("retry"), query, answer => { report($("done"), answer, job.id); look(); });

/** What the address says: filter, search, order, offset, open row. */
function read() {
  const said = new URLSearchParams(location.hash.slice(1));
  const row = said.get("row");
  return {
    chip: CHIPS.includes(said.get("chip")) ? said.get("chip") : "all",
    text: said.get("text") ?? "",
    sort: said.get("sort") ?? "row",
    descending: said.get("descending") === "1",
    offset: Math.max(0, Number.parseInt(said.get("offset") ?? "0", 10) || 0),
    row: row !== null && /^\d+$/.test(row) ? Number(row) : null,
    first: said.get("first") === "1" && innerWidth > WIDE, // the first row is to be opened
  };
}

function write() {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(at)) {
    if (value !== null && value !== "" && value !== false && value !== 0 || (name === "row" && value === 0)) {
      if (!(name === "chip" && value === "all") && !(name === "sort" && value === "row")) {
        said.set(name, value === true ? "1" : String(value));
      }
    }
  }
  history.replaceState(null, "", said.size ? `#${said}` : location.pathname);
}

function query() {
  const said = new URLSearchParams({ chip: at.chip, text: at.text, sort: at.sort });
  if (at.descending) said.set("descending", "1");
  return said;
}

function complain(error) {
  const lost = error instanceof TypeError;
  $("problem").textContent = error && lost
    ? "The server of this page does not answer; run jupyter batch view again."
    : error ? error.message : "";
  $("problem").hidden = !error;
}

// -- the head ---------------------------------------------------------------------------------------------------------

async function look() {
  try {
    const seen = await fetched("state");
    const changed = job !== null && String(job.stamp) !== String(seen.stamp);
    const first = job === null;
    job = seen;
    $("title").textContent = job.title;
    document.title = `${job.title} – rows`;
    $("state").textContent = job.state;
    $("state").dataset.colour = job.colour;
    beside.offer(job.source, job.asked);
    $("facts").textContent = job.facts.filter(Boolean).join(" · ");
    if (first) begin();
    if (first || changed) drawActions();
    if (changed) load();
    if (!job.final) setTimeout(look, LOOK);
  } catch (error) {
    complain(error);
    if (job === null || !job.final) setTimeout(look, LOOK);
  }
}

function begin() {
  const list = $("export").querySelector("ul");
  list.replaceChildren(...job.formats.map(form => make("li", {}, make("a", { "data-form": form }, form))));
  $("compare").hidden = !job.compared;
  if (job.group.length > 1) {
    $("models").hidden = false;
    const options = job.group.map(one => make("option", { value: one.id }, one.model));
    $("model").replaceChildren(...options);
    $("model").value = job.id;
  }
  $("search").value = at.text;
  load();
  if (at.row !== null) open(at.row, false);
}

// -- the table --------------------------------------------------------------------------------------------------------

/** [key to sort by, title, class] of each column. */
function columns() {
  const answers = job.fields.length ? job.fields : ["answer"];
  return [
    ["row", "Row", "name"],
    ...beside.shown.map(name => ["", name, "source"]),
    ["", "Prompt", "prompt"],
    ...answers.slice(0, 6).map(name => ["", name === "answer" ? job.answer : name, "answer"]),
    ["", "Status", "status"],
    ["", "Finish", "finish"],
    ["tokens", "Tokens", "figure"],
    ["size", "Size", "figure size"],
    ["cost", "Cost", "figure"],
  ];
}

async function load() {
  clearTimeout(again);
  retry.clear();
  const mine = ++asked;
  write();
  drawHead();
  try {
    const said = query();
    said.set("offset", at.offset);
    said.set("limit", LIMIT);
    const got = await fetched(`page?${said}`);
    if (mine !== asked) return;
    page = got;
    complain(page.problem ? new Error(page.problem) : null);
    if (at.offset >= page.found && page.found > 0 && page.complete) {
      at.offset = LIMIT * Math.floor((page.found - 1) / LIMIT);
      load();
      return;
    }
    drawChips();
    drawRows();
    if (mine === 1) drawAgreement();
    if (at.first && page.rows.length) {
      at.first = false;
      open(page.rows[0].position, false);
    }
    drawPager();
    if (page.ready && page.complete && (at.chip !== "all" || at.text)) retry.look();
    if (!page.problem && (!page.ready || !page.complete)) again = setTimeout(load, WAIT);
  } catch (error) {
    if (mine === asked) complain(error);
  }
}

function drawHead() {
  const drawn = `${at.sort}${at.descending}${beside.shown}`;
  if (head.dataset.of === drawn) return;
  head.dataset.of = drawn;
  const held = document.activeElement?.dataset.sort;
  head.replaceChildren(...columns().map(([key, title, kind]) => {
    const order = at.sort === key && key ? (at.descending ? "descending" : "ascending") : null;
    const arrow = order === null ? "" : order === "ascending" ? " ↑" : " ↓";
    const mark = arrow && make("span", { "aria-hidden": "true" }, arrow);
    const name = key ? make("button", { type: "button", "data-sort": key }, title, mark) : title;
    return make("th", { scope: "col", class: kind, "aria-sort": order }, name);
  }));
  if (held) head.querySelector(`[data-sort="${CSS.escape(held)}"]`)?.focus();
}

function drawChips() {
  const held = document.activeElement?.dataset.chip;
  const shown = CHIPS.filter(name => ALWAYS.has(name) || page.counts[name] || page.counts[name] === null || at.chip === name);
  $("chips").replaceChildren(...shown.map(name => make(
    "button", { type: "button", class: "chip", "data-chip": name, "aria-pressed": String(at.chip === name) },
    name[0].toUpperCase() + name.slice(1), " ", make("b", {}, counted(page.counts[name])),
  )));
  if (held) $("chips").querySelector(`[data-chip="${CSS.escape(held)}"]`)?.focus();
}

const counted = rows => rows === null || rows === undefined ? "" : number.format(rows);

function drawRows() {
  const held = body.contains(document.activeElement) ? document.activeElement.dataset.row : null;
  body.replaceChildren(...page.rows.map(drawRow));
  if (held !== null) (button(held) ?? body.querySelector("button"))?.focus();
  const nothing = !page.rows.length;
  $("empty").hidden = !nothing;
  $("empty").textContent = page.complete ? "No row matches." : "Reading the results…";
}

function drawRow(row) {
  const answers = job.fields.length
    ? job.fields.slice(0, 6).map(name => row.fields?.[name] ?? "")
    : [row.answer ?? ""];
  const missing = row.answer === null && row.error;
  const cells = answers.map((text, n) => make(
    "td", { class: "answer" }, make("div", { class: "clamp", dir: "auto" },
      missing ? n ? "" : make("span", { class: "bad" }, row.error) : marked(text)),
    labelOf(row, n) && make("span", { class: "label", title: "Corrected label", dir: "auto" }, labelOf(row, n)),
  ));
  const name = row.label + (job.samples > 1 ? ` / ${row.sample + 1}` : "");
  const opener = make("button", { type: "button", "data-row": String(row.position) }, name);
  const said = row.status === "" ? make("span", { class: "dim" }, "…")
    : make("span", { class: "dot", "data-status": row.status }, row.status);
  return make(
    "tr", { "data-row": String(row.position), class: row.position === at.row ? "open" : null },
    make("th", { scope: "row", class: "name" }, opener),
    ...beside.shown.map(name => make("td", { class: "source" },
      make("div", { class: "clamp", dir: "auto" }, page.cells[row.position]?.[name] ?? ""))),
    make("td", { class: "prompt" }, make("div", { class: "clamp", dir: "auto" },
      row.prompt === null ? make("span", { class: "dim" }, "–") : marked(row.prompt))),
    ...cells,
    make("td", { class: "status" }, said),
    make("td", { class: "finish" }, row.finish === null || row.finish === "stop" ? row.finish ?? ""
      : make("span", { class: "warn" }, row.finish)),
    make("td", { class: "figure" }, tokens(row)),
    make("td", { class: "figure size" }, row.size === null ? "" : bytes(row.size)),
    make("td", { class: "figure" }, cost(row.cost)),
  );
}

/** The corrected label of a row for the column of this number. */
const labelOf = (row, n) => page.labels[job.columns[n]]?.[row.position] ?? null;

function drawPager() {
  const last = Math.min(page.found, at.offset + LIMIT);
  const range = page.found ? `${number.format(at.offset + 1)}–${number.format(last)} of ` : "";
  const searching = page.searched < 1 && at.text
    ? ` so far, searched ${Math.floor(page.searched * 100)} %` : page.complete ? "" : ", reading the results…";
  $("shown").textContent = `${range}${number.format(page.found)} ${page.found === 1 ? "row" : "rows"}${searching}`;
  const end = LIMIT * Math.floor(Math.max(0, page.found - 1) / LIMIT);
  const to = { first: 0, back: Math.max(0, at.offset - LIMIT), next: at.offset + LIMIT, last: end };
  for (const turn of document.querySelectorAll("[data-page]")) {
    turn.dataset.to = to[turn.dataset.page];
    turn.disabled = to[turn.dataset.page] === at.offset || to[turn.dataset.page] > end;
  }
  for (const link of $("export").querySelectorAll("a")) {
    const said = query();
    said.set("format", link.dataset.form);
    link.href = `export?${said}`;
    link.download = "";
    link.textContent = `${number.format(page.found)} ${page.found === 1 ? "row" : "rows"} as ${
      { csv: "CSV", jsonl: "JSONL", parquet: "Parquet" }[link.dataset.form]}`;
  }
}

/** A text with the searched words marked. */
function marked(text) {
  if (!at.text) return text;
  const made = [], low = text.toLowerCase(), wanted = at.text.toLowerCase();
  let from = 0;
  if (low.length !== text.length) return text; // some letters change their length
  for (let found = low.indexOf(wanted); found >= 0; found = low.indexOf(wanted, from)) {
    made.push(text.slice(from, found), make("mark", {}, text.slice(found, found + wanted.length)));
    from = found + wanted.length;
  }
  return [...made, text.slice(from)];
}

function tokens(row) {
  if (row.input_tokens === null && row.output_tokens === null) return "";
  return `${number.format(row.input_tokens ?? 0)} → ${number.format(row.output_tokens ?? 0)}`;
}

function bytes(size) {
  return size < 1000 ? `${size} B` : size < 1e6 ? `${(size / 1000).toFixed(1)} kB` : `${(size / 1e6).toFixed(1)} MB`;
}

// -- one row ----------------------------------------------------------------------------------------------------------

const button = row => body.querySelector(`button[data-row="${CSS.escape(String(row))}"]`);

async function open(row, focus = true) {
  at.row = row;
  write();
  for (const line of body.rows) line.classList.toggle("open", line.dataset.row === String(row));
  const panel = $("detail");
  panel.hidden = false;
  document.body.classList.add("split");
  if (!panel.firstChild) panel.append(make("p", { class: "dim" }, "Reading the row…"));
  try {
    const whole = await fetched(`row?position=${row}`);
    if (at.row !== row) return;
    panel.replaceChildren(...drawWhole(whole));
    panel.scrollTop = 0;
    if (focus) panel.querySelector("h2").focus();
  } catch (error) {
    if (at.row === row) panel.replaceChildren(closer(), make("p", { role: "alert", class: "bad" }, error.message));
  }
}

function close() {
  const row = at.row;
  at.row = null;
  write();
  $("detail").hidden = true;
  $("detail").replaceChildren();
  document.body.classList.remove("split");
  for (const line of body.rows) line.classList.remove("open");
  (button(row) ?? $("scroll")).focus();
}

const closer = () => make("button", { type: "button", class: "icon", "data-do": "close", "aria-label": "Close the row" }, "✕");

function drawWhole(row) {
  const turns = Array.isArray(row.prompt) ? row.prompt : row.prompt === null ? [] : [{ role: "input", content: row.prompt }];
  const calls = Array.isArray(row.answer) && row.answer.every(one => one && typeof one === "object" && "name" in one);
  return [
    make("div", { class: "top" },
      make("h2", { tabindex: "-1" }, `Row ${row.label}`),
      make("span", { class: "dot", "data-status": row.status }, row.status),
      make("span", { class: "turn" },
        make("button", { type: "button", class: "icon", "data-do": "up", "aria-label": "Previous row" }, "↑"),
        make("button", { type: "button", class: "icon", "data-do": "down", "aria-label": "Next row" }, "↓"),
        closer())),
    row.error && make("p", { class: "error" }, row.error),
    part("Prompt", turns.map(drawTurn), turns.length ? JSON.stringify(row.prompt, null, 2) : null),
    row.answer !== null && part(calls ? "Tool calls" : "Answer", drawValue(row.answer), text(row.answer)),
    Object.keys(row.cells).length && part("Source", facts(Object.entries(row.cells)), null),
    part("Label", job.columns.map(name => drawLabel(row, name)), null),
    row.reasoning && part("Reasoning", drawValue(row.reasoning), text(row.reasoning)),
    row.transcript && part("Transcript", drawValue(row.transcript), text(row.transcript)),
    row.citations && part("Citations", drawValue(row.citations), text(row.citations)),
    part("Figures", drawFigures(row), null),
    folded("Request", row.request),
    folded("Response, as received", row.raw),
    row.logprobs && folded("Log probabilities", row.logprobs),
  ].filter(Boolean);
}

function part(title, content, copied) {
  const copy = copied !== null && make("button", { type: "button", class: "copy", "aria-label": `Copy: ${title}` }, "Copy");
  if (copy) copy.copied = copied;
  return make("section", { class: "part" }, make("div", { class: "named" }, make("h3", {}, title), copy || null), content);
}

/** A field for the right answer; Enter stores it, an empty one takes it back. */
function drawLabel(row, name) {
  const known = page?.labels[name]?.[row.position] ?? "";
  const id = `label-${job.columns.indexOf(name)}`;
  const field = make("input", { id, list: `${id}-known`, maxlength: "1000", autocomplete: "off", value: known, dir: "auto" });
  const said = make("span", { role: "status", class: "dim" });
  const form = make("form", { class: "labelled" }, make("label", { for: id }, `${name}_human`), field,
    make("datalist", { id: `${id}-known` }, labels.map(one => make("option", { value: one }))),
    make("button", { type: "submit" }, "Save"), said);
  form.addEventListener("submit", async event => {
    event.preventDefault();
    try {
      const { label } = await send("label", { row: row.position, column: name, label: field.value || null });
      said.textContent = label === null ? "Taken back" : "Saved";
      await Promise.all([drawAgreement(), load()]);
    } catch (error) {
      said.textContent = error.message;
    }
  });
  return form;
}

function folded(title, value) {
  if (value === null) return null;
  const copy = make("button", { type: "button", class: "copy", "aria-label": `Copy: ${title}` }, "Copy");
  copy.copied = text(value);
  return make("details", { class: "part" }, make("summary", {}, title), make("div", { class: "under" }, copy, drawTree(value, 0)));
}

const text = value => typeof value === "string" ? value : JSON.stringify(value, null, 2);

function drawTurn(turn) {
  const content = turn?.content;
  const parts = Array.isArray(content) ? content : content === null || content === undefined ? [] : [content];
  const calls = turn?.tool_calls ? [make("div", { class: "text" }, drawTree(turn.tool_calls, 0))] : [];
  return make("div", { class: "message", "data-role": String(turn?.role ?? "") },
    make("div", { class: "role" }, String(turn?.role ?? "message")), parts.map(drawPart), calls);
}

function drawPart(given) {
  if (typeof given === "string") return make("div", { class: "text", dir: "auto" }, given);
  if (typeof given?.text === "string") return make("div", { class: "text", dir: "auto" }, given.text);
  const url = given?.image_url?.url ?? given?.image_url;
  if (typeof url === "string") {
    return PICTURE.test(url) ? make("img", { src: url, alt: "Picture of the prompt" })
      : make("div", { class: "text" }, make("span", { class: "dim" }, "Picture: "), url);
  }
  return make("div", { class: "text" }, drawTree(given, 0));
}

function drawValue(value) {
  if (typeof value !== "string") return make("div", { class: "text" }, drawTree(value, 0));
  const said = value.trim();
  if (said.startsWith("{") || said.startsWith("[")) {
    try {
      return make("div", { class: "text" }, drawTree(JSON.parse(said), 0));
    } catch { /* it only looks like JSON */ }
  }
  return make("div", { class: "text", dir: "auto" }, marked(value));
}

/** JSON as a tree; a branch is drawn when it is opened. */
function drawTree(value, level) {
  if (value === null || typeof value !== "object") {
    const kind = value === null ? "null" : typeof value;
    return make("span", { class: `value ${kind}`, dir: kind === "string" ? "auto" : null }, kind === "string" ? value : String(value));
  }
  const pairs = Array.isArray(value) ? value.map((one, n) => [String(n), one]) : Object.entries(value);
  if (!pairs.length) return make("span", { class: "value null" }, Array.isArray(value) ? "[]" : "{}");
  return make("ul", { class: "tree" }, pairs.slice(0, 1000).map(([name, one]) => {
    const key = make("span", { class: "key" }, name);
    if (one === null || typeof one !== "object" || !Object.keys(one).length) return make("li", {}, key, drawTree(one, level + 1));
    const size = Array.isArray(one) ? `[${one.length}]` : `{${Object.keys(one).length}}`;
    const branch = make("details", {}, make("summary", {}, key, make("span", { class: "dim" }, size)));
    const grow = () => branch.open && branch.children.length === 1 && branch.append(drawTree(one, level + 1));
    branch.addEventListener("toggle", grow);
    branch.open = level < DEEP;
    return make("li", {}, branch);
  }), pairs.length > 1000 ? make("li", { class: "dim" }, `… ${number.format(pairs.length - 1000)} more`) : null);
}

function drawFigures(row) {
  const used = row.tokens && !Array.isArray(row.tokens) ? row.tokens : {};
  const parts = Object.entries(used).filter(([name, count]) => count && !/^(in|out)put_tokens$/.test(name));
  const kinds = parts.map(([name, count]) => `${number.format(count)} ${name.replace(/_tokens$/, "").replaceAll("_", " ")}`);
  const figures = [
    ["Finish", row.finish], ["Tokens", tokens(row) && `${tokens(row)}${kinds.length ? ` (${kinds.join(", ")})` : ""}`],
    ["Cost", cost(row.cost)], ["Model", row.model], ["Batch", row.batch], ["Custom id", row.custom_id],
    ["Position", number.format(row.position)],
  ];
  return facts(figures);
}

const IDS = new Set(["Batch", "Custom id"]); // long, and only ever copied: an icon has them

function facts(pairs) {
  return make("dl", {}, pairs.filter(([, value]) => value).map(([name, value]) => {
    const said = Array.isArray(value) ? value.join(", ") : String(value);
    const icon = IDS.has(name) && make("button", { type: "button", class: "icon copy", title: said, "aria-label": `Copy: ${name}` });
    if (icon) icon.copied = said;
    return [make("dt", {}, name), make("dd", { dir: "auto" }, icon || said)];
  }));
}

// -- labels and actions -----------------------------------------------------------------------------------------------

/** Labels against answers: how many agree, the confusion table, and what to do with them. */
async function drawAgreement() {
  const found = await fetched("labels");
  const columns = Object.entries(found);
  labels = [...new Set(columns.flatMap(([, one]) => one.table.flatMap(([answer, label]) => [label, answer])))].slice(0, 50);
  const fold = $("labels");
  fold.hidden = !columns.length;
  if (!columns.length) return;
  const [[, { labelled, agreed }]] = columns;
  fold.querySelector("summary").textContent = `${number.format(labelled)} labelled, ${shareOf(agreed, labelled)} agree`;
  fold.querySelector("div").replaceChildren(
    ...columns.flatMap(([name, { table }]) => [make("table", {},
      make("caption", {}, name),
      make("thead", {}, make("tr", {}, ["Answer", "Label", "Rows"].map(title => make("th", { scope: "col" }, title)))),
      make("tbody", {}, table.map(([answer, label, rows]) => make(
        "tr", { class: answer.toLowerCase() === label.toLowerCase() ? null : "differs" },
        make("td", { dir: "auto" }, answer), make("td", { dir: "auto" }, label),
        make("td", { class: "figure" }, number.format(rows))))))]),
    make("div", { class: "codes" },
      code("Into the frame", `jupyter_batch.open("${job.id}").merge_labels(df)`),
      code("Use as examples", `examples = jupyter_batch.open("${job.id}").examples(df)`)));
}

function code(title, line) {
  const button = make("button", { type: "button", class: "copy", title: line }, `${title}: copy the code`);
  button.copied = `import jupyter_batch; ${line}`;
  return button;
}

const DEEDS = { retry: "Retry", finish: "Finish now", cancel: "Cancel" };

async function drawActions() {
  const offered = await fetched("actions").catch(() => []);
  $("actions").replaceChildren(...offered.filter(({ name }) => DEEDS[name]).map(({ name, price }) =>
    make("button", { type: "button", "data-act": name, "data-price": price },
      [DEEDS[name], price && ` ${price}`].filter(Boolean).join(":"))));
}

/** An action is asked once more, with its price, before it is done. */
function ask(button) {
  const { act, price } = button.dataset;
  const yes = make("button", { type: "button", class: "danger", "data-do-it": act },
    `Yes, ${DEEDS[act].toLowerCase()}${price ? `: ${price}` : ""}`);
  const no = make("button", { type: "button", "data-do-it": "" }, "No");
  $("actions").replaceChildren(yes, no);
  yes.focus();
}

async function carryOut(act) {
  if (act) {
    $("actions").replaceChildren(make("span", { role: "status" }, "…"));
    try {
      report($("done"), await send("action", { name: act }), job.id);
    } catch (error) {
      $("done").textContent = error.message;
    }
  }
  await Promise.all([drawActions(), act ? look() : null]);
}

// -- clicks and keys --------------------------------------------------------------------------------------------------

function choose(changes) {
  at = { ...at, offset: 0, ...changes };
  load();
}

async function step(way) {
  const places = page.rows.map(row => row.position);
  const next = places.indexOf(at.row) + way;
  if (next >= 0 && next < places.length) {
    await open(places[next], false);
    $("detail").querySelector(`[data-do="${way > 0 ? "down" : "up"}"]`)?.focus();
    button(at.row)?.scrollIntoView({ block: "nearest" });
  }
}

document.addEventListener("click", event => {
  const hit = event.target.closest("button, tr[data-row]");
  if (!hit) return;
  const { chip, sort, page: turn, row, do: act, act: asks, doIt } = hit.dataset;
  if (hit.copied !== undefined) copy(hit);
  else if (asks) ask(hit);
  else if (doIt !== undefined) carryOut(doIt);
  else if (chip) choose({ chip });
  else if (sort) choose({ sort, descending: at.sort === sort ? !at.descending : sort !== "row" });
  else if (turn) {
    at.offset = Number(hit.dataset.to);
    load().then(() => { $("scroll").scrollTop = 0; });
  } else if (act === "close") close();
  else if (act) step(act === "down" ? 1 : -1);
  else if (row !== undefined && !String(getSelection())) open(Number(row));
});

document.addEventListener("keydown", event => {
  const menu = document.querySelector(".menu[open]");
  if (event.key === "Escape" && menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  } else if (event.key === "Escape" && at.row !== null && event.target.type !== "search") close();
  else if (body.contains(event.target) && /^Arrow(Up|Down)$/.test(event.key)) {
    const line = event.target.closest("tr");
    const other = event.key === "ArrowDown" ? line.nextElementSibling : line.previousElementSibling;
    other?.querySelector("button").focus();
    event.preventDefault();
  }
});

let typing = 0;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => choose({ text: $("search").value.trim() }), DELAY);
});
$("model").addEventListener("change", () => { location.href = `../${encodeURIComponent($("model").value)}/`; });
document.addEventListener("click", event => {
  for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
addEventListener("hashchange", () => {
  at = read();
  $("search").value = at.text;
  load();
  if (at.row === null) $("detail").hidden || close();
  else open(at.row, false);
});

look();
