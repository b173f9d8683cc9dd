/* The list of jobs as the server reports it: polled, compared, with the jobs that ended since. No element of the page.
 *
 * Asked every few seconds while a job is open or a cell that may send one was just run, slowly else, and not at all
 * while the page is hidden (but for once a minute where a desktop notification waits for a job's end). An unchanged list
 * costs a 304.
 */

const WATCHED = 3_000, OPEN = 10_000, QUIET = 30_000, HIDDEN = 60_000, ABSENT = 300_000;
const SOON = 1_500, LIVELY = 20_000; // after a cell: the first look, and how long the looks stay close
export const NO_SERVER = "The server has no part of jupyter_batch: install it in the server's environment too, " +
  "and start the server again.";

export class Jobs {
  /** request(path, init) -> Response; watched(): the list is on the screen; awaited(): an ended job is to be notified,
   * though the page is hidden; memory: a Storage; place: a name for this server in it. */
  constructor({ request, watched, awaited, memory, place }) {
    Object.assign(this, { request, watched, awaited, memory });
    this.place = `jupyter_batch:open:${place}`;
    this.jobs = [];
    this.spent = [];
    this.older = 0;
    this.problem = this.home = "";
    this.lively = 0; // until when (performance.now())
    this.asked = false; // whether a list came at all
    this.listeners = { change: [], end: [] };
    this.open = this.recall();
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.refresh(); else this.plan(); });
  }

  on(what, listener) { this.listeners[what].push(listener); }

  emit(what, ...about) { for (const listener of this.listeners[what]) listener(...about); }

  get running() { return this.jobs.filter(job => !job.final); }

  /** Ask now, and from now on. */
  async refresh() {
    clearTimeout(this.timer);
    if (this.asking) return this.asking;
    this.asking = this.ask().finally(() => { this.asking = null; this.plan(); });
    return this.asking;
  }

  async ask() {
    let problem = "";
    this.absent = false;
    try {
      const answer = await this.request("jobs", this.etag ? { headers: { "If-None-Match": this.etag } } : {});
      if (answer.status === 200) {
        const listing = await answer.json();
        this.etag = answer.headers.get("ETag");
        this.take(listing);
        return;
      }
      if (answer.status === 304) { if (this.problem && this.listing) this.take(this.listing); return; }
      this.absent = answer.status === 404;
      problem = this.absent ? NO_SERVER : `The server refuses the list of jobs (${answer.status}).`;
    } catch {
      problem = "The server does not answer.";
    }
    if (problem !== this.problem) { this.problem = problem; this.emit("change"); }
  }

  take(listing) {
    this.listing = listing;
    Object.assign(this, { jobs: listing.jobs, older: listing.older, spent: listing.spent ?? [], problem: listing.problem, home: listing.home, asked: true });
    if (!listing.problem || listing.jobs.length) {  // one damaged job does not hide the others
      const ended = listing.jobs.filter(job => job.final && this.open.has(job.id));
      if (ended.length) this.emit("end", ended);
      this.open = new Set(this.running.map(job => job.id));
      this.keep();
    }
    this.emit("change");
  }

  /** When to ask again. */
  plan() {
    clearTimeout(this.timer);
    const pause = this.pause();
    if (pause) this.timer = setTimeout(() => this.refresh(), pause);
    this.due = performance.now() + pause;
  }

  /** A cell was run that may have sent a job: look soon, and again; it may take a moment to write it down. */
  nudge() {
    const now = performance.now();
    this.lively = now + LIVELY;
    if (document.hidden || this.absent || this.asking || !(this.due > now + SOON)) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), SOON);
    this.due = now + SOON;
  }

  pause() {
    const open = this.open.size > 0;
    if (document.hidden) return open && this.awaited() ? HIDDEN : 0;
    if (this.absent) return ABSENT;
    return open || performance.now() < this.lively ? (this.watched() ? WATCHED : OPEN) : QUIET;
  }

  // Which jobs were open is remembered over a reload; an end is shown later if the page was closed.
  recall() {
    try { return new Set(JSON.parse(this.memory.getItem(this.place) || "[]")); } catch { return new Set(); }
  }

  keep() {
    try { this.memory.setItem(this.place, JSON.stringify([...this.open])); } catch { /* storage is off: so be it */ }
  }
}

/** What it cost, in words; nothing where nobody knows: the monitor says why. */
export const cost = job => (job.cost.startsWith("cost unknown") ? "" : job.cost);

/** The notification of jobs that ended, in at most 140 characters: of the first, with its counts, and how many more. */
export function ending([job, ...more]) {
  const title = job.title.length > 40 ? `${job.title.slice(0, 39)}…` : job.title;
  const rest = [job.counts, job.times[0], cost(job)].filter(Boolean).join(", ");
  const bad = more.filter(({ colour }) => colour === "bad").length;
  const tail = more.length ? `\nand ${more.length.toLocaleString("en")} more${bad ? `, ${bad} failed` : ""}` : "";
  return `${title}: ${job.state}\n${rest}`.slice(0, 140 - tail.length) + tail;
}

/** What is running, in a few words: "sentiment 41%", "3 batches 12%". */
export function inShort(running) {
  if (running.length === 1) {
    const [{ title, percent }] = running;
    return `${title.length > 24 ? `${title.slice(0, 23)}…` : title} ${percent}%`;
  }
  const total = running.reduce((sum, job) => sum + job.total, 0);
  const done = running.reduce((sum, job) => sum + job.done, 0);
  return `${running.length} batches ${Math.floor((100 * done) / Math.max(1, total))}%`;
}
