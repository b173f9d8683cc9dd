/* Which jobs the panel lists, in which order, and what they cost by day, notebook and model. No element of the page. */

export const ORDERS = { newest: "Newest", cost: "Most expensive", title: "By name", state: "By state" };
const LINES = 12; // of a table of totals

/** The jobs that fit: `text` in name, model, notebook or id; `only`: all, lost or blocked. */
export function chosen(jobs, { text, only, order }) {
  const wanted = text.toLowerCase();
  const fits = job => [job.title, job.model, job.notebook, job.id].some(one => one.toLowerCase().includes(wanted));
  const kept = jobs.filter(job => fits(job) && (only === "all" || (only === "lost" ? job.lost > 0 : job.blocked)));
  const by = {
    cost: (one, other) => other.usd - one.usd,
    title: (one, other) => one.title.localeCompare(other.title),
    state: (one, other) => one.state.localeCompare(other.state),
  }[order];
  return by ? kept.sort(by) : kept;
}

/** spent: [day, notebook, model, US dollars], of all jobs, listed or not.
 * {whole: "$1.23 in all, $0.20 today", parts: [["By day", [["2026-11-29", "$0.20"], ...]], ...]}. */
export function totals(spent) {
  if (!spent.length) return { whole: "", parts: [] };
  const now = day(Date.now() / 1000);
  const parts = ["By day", "By notebook", "By model"].map((title, at) => [title, table(spent, at)]);
  return { whole: `${money(sum(spent))} in all, ${money(sum(spent.filter(([date]) => date === now)))} today`, parts };
}

/** The newest days, the most expensive notebooks and models; the rest as one line. */
function table(spent, at) {
  const found = new Map();
  for (const line of spent) found.set(line[at], (found.get(line[at]) ?? 0) + line[3]);
  const sorted = [...found].sort(([one, usd], [other, more]) => (at === 0 ? other.localeCompare(one) : more - usd));
  const shown = sorted.slice(0, LINES).map(([name, usd]) => [name || "no notebook", money(usd)]);
  const rest = sorted.slice(LINES).reduce((usd, [, more]) => usd + more, 0);
  return rest ? [...shown, [`${sorted.length - LINES} more`, money(rest)]] : shown;
}

const sum = spent => spent.reduce((usd, line) => usd + line[3], 0);

function day(seconds) {
  const at = new Date(seconds * 1000);
  return [at.getFullYear(), at.getMonth() + 1, at.getDate()].map(part => String(part).padStart(2, "0")).join("-");
}

export const money = usd => (usd === 0 ? "$0" : usd >= 1 ? `$${usd.toFixed(2)}` : `$${usd.toPrecision(2)}`);
