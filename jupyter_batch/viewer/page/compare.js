// The models of a group side by side: rows with different answers first. Texts are put in as text, never as HTML.
import { copy, cost, fetched, make, number, send, shareOf } from "./page.js";

const LIMIT = 100;
const LOOK = 5000; // ms between looks at an open group
const BUSY = 1000; // ms in which a kernel that runs no cell fills a frame
const $ = id => document.getElementById(id);
let models = [];
let job = null;
let at = { only: false, offset: 0 };

async function begin() {
  try {
    job = await fetched("state");
    const own = job.group.find(one => one.id === job.id)?.model;
    const title = own ? job.title.replaceAll(`_${own}`, "") : job.title; // its columns end with the model's name
    $("title").textContent = `${title}: models`;
    document.title = `${title} – models`;
    $("state").textContent = job.state;
    $("state").dataset.colour = job.colour;
    models = await fetched("models");
    drawModels();
    await load();
    if (!job.final) setTimeout(begin, LOOK);
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
}

/** A line for each model, the most agreement first; the winner's code is copied. */
function drawModels() {
  const order = [...models].sort((one, other) => (other.agreement ?? -1) - (one.agreement ?? -1));
  $("sums").replaceChildren(make("table", {},
    make("thead", {}, make("tr", {}, ["Model", "Answered", "Failed", "Agreement", "Cost", "Into a column"].map(
      title => make("th", { scope: "col" }, title)))),
    make("tbody", {}, order.map(one => make("tr", {},
      make("th", { scope: "row" }, one.model),
      make("td", { class: "figure" }, number.format(one.answered)),
      make("td", { class: "figure" }, number.format(one.failed)),
      make("td", { class: "figure" }, one.agreement === null ? "" : shareOf(one.agreement, 1)),
      make("td", { class: "figure" }, cost(one.cost) || "unknown"),
      make("td", {}, choose(one)))))));
}

/** With the kernel's frame a click fills its column; else the code that does is copied. */
function choose({ model }) {
  if (job.choosing) return make("button", { type: "button", class: "copy", "data-model": model, "aria-label": `Choose ${model}` }, "Choose");
  const button = make("button", { type: "button", class: "copy", "aria-label": `Copy the code that chooses ${model}` },
    "Choose: copy the code");
  button.copied = `import jupyter_batch; jupyter_batch.open("${job.group_id}").choose("${model}", df)`;
  button.title = button.copied;
  return button;
}

async function fill(model) {
  const busy = setTimeout(() => { $("done").textContent = "Waits for the end of the cell that runs."; }, BUSY);
  $("done").textContent = "…";
  try {
    $("done").textContent = (await send("choose", { model })).message;
  } catch (error) {
    $("done").textContent = error.message;
  } finally {
    clearTimeout(busy);
  }
}

async function load() {
  const page = await fetched(`compared?offset=${at.offset}&limit=${LIMIT}${at.only ? "&only=1" : ""}`);
  drawChips(page);
  const head = document.querySelector("#scroll thead tr");
  head.replaceChildren(...["Row", "Prompt", ...models.map(one => one.model)].map(
    title => make("th", { scope: "col" }, title)));
  document.querySelector("#scroll tbody").replaceChildren(...page.rows.map(row => make(
    "tr", { class: row.differs ? "differs" : null },
    make("th", { scope: "row", class: "name" },
      make("a", { href: `./#row=${row.position}`, "aria-label": `Row ${row.label} whole` }, row.label), row.differs && make("span", { class: "hidden" }, " (answers differ)")),
    make("td", { class: "prompt" }, make("div", { class: "clamp", dir: "auto" }, row.prompt ?? "–")),
    row.sides.map(side => make("td", { class: "answer" }, make("div", { class: "clamp", dir: "auto" },
      side.answer ?? make("span", { class: "bad" }, side.error ?? "–")))))));
  $("empty").hidden = page.rows.length > 0;
  $("empty").textContent = at.only ? "The models agree on every row." : "No row.";
  const last = Math.min(page.total, at.offset + LIMIT);
  $("shown").textContent = page.total ? `${number.format(at.offset + 1)}–${number.format(last)} of ${number.format(page.total)}` : "0 rows";
  document.querySelector('[data-page="back"]').disabled = at.offset === 0;
  document.querySelector('[data-page="next"]').disabled = last >= page.total;
}

function drawChips({ total, differing }) {
  const held = document.activeElement?.dataset.only;
  const all = at.only ? "All" : `All ${number.format(total)}`;
  $("chips").replaceChildren(
    ...[["", all], ["1", `Disagreeing ${number.format(differing)}`]].map(([only, title]) => make(
      "button", { type: "button", class: "chip", "data-only": only, "aria-pressed": String(at.only === Boolean(only)) }, title)));
  if (held !== undefined) $("chips").querySelector(`[data-only="${held}"]`)?.focus();
}

document.addEventListener("click", event => {
  const hit = event.target.closest("button");
  if (!hit) return;
  if (hit.copied !== undefined) copy(hit);
  else if (hit.dataset.model) fill(hit.dataset.model);
  else if (hit.dataset.only !== undefined) { at = { only: Boolean(hit.dataset.only), offset: 0 }; load(); }
  else if (hit.dataset.page) {
    at.offset = Math.max(0, at.offset + (hit.dataset.page === "next" ? LIMIT : -LIMIT));
    load().then(() => { $("scroll").scrollTop = 0; });
  }
});

begin();
