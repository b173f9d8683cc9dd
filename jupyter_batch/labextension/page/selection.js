/* Which jobs the panel lists, in which order, and what they cost by day, notebook and model. No element of the page. */

export const ORDERS = { newest: "Newest first", cost: "Most expensive first", title: "By name", state: "By state" };
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

/** {whole: "$1.23 in all, $0.20 today", parts: [["By day", [["2026-11-29", "$0.20"], ...]], ...]}. */
export function totals(jobs) {
  const paid = jobs.filter(job => job.usd > 0);
  const all = sum(paid), now = day(Date.now() / 1000);
  if (!paid.length) return { whole: "", parts: [] };
  const keys = { "By day": job => day(job.started), "By notebook": job => job.notebook || "no notebook", "By model": job => job.model };
  const parts = Object.entries(keys).map(([title, key]) => [title, table(paid, key)]);
  return { whole: `${money(all)} in all, ${money(sum(paid.filter(job => day(job.started) === now)))} today`, parts };
}

function table(jobs, key) {
  const found = new Map();
  for (const job of jobs) found.set(key(job), (found.get(key(job)) ?? 0) + job.usd);
  return [...found].sort(([, one], [, other]) => other - one).slice(0, LINES).map(([name, usd]) => [name, money(usd)]);
}

const sum = jobs => jobs.reduce((usd, job) => usd + job.usd, 0);

function day(seconds) {
  const at = new Date(seconds * 1000);
  return [at.getFullYear(), at.getMonth() + 1, at.getDate()].map(part => String(part).padStart(2, "0")).join("-");
}

const money = usd => (usd === 0 ? "$0" : usd >= 1 ? `$${usd.toFixed(2)}` : `$${usd.toPrecision(2)}`);
