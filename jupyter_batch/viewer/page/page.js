// What the pages of rows and of models have in common: elements, requests, numbers, copying.

export const number = new Intl.NumberFormat("en-US");

/** An element with properties, attributes and children; texts become text nodes. */
export function make(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name in node && typeof value !== "string") node[name] = value;
    else if (value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false && child !== ""));
  return node;
}

/** GET of JSON. Throws an Error with the server's sentence. */
export const fetched = path => answered(fetch(path, { cache: "no-store" }));

/** POST of JSON; behind a Jupyter server with its token against forged requests. */
export function send(path, body) {
  const xsrf = document.cookie.split("; ").find(one => one.startsWith("_xsrf="));
  const headers = { "Content-Type": "application/json", ...(xsrf ? { "X-XSRFToken": xsrf.slice(6) } : {}) };
  return answered(fetch(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function answered(request) {
  const answer = await request;
  const said = answer.headers.get("Content-Type")?.startsWith("application/json")
    ? await answer.json()
    : { problem: await answer.text() };
  if (!answer.ok) throw new Error(said.problem || `the server answered ${answer.status}`);
  return said;
}

/** Two digits that count, however small; four places of more than a cent. */
export function cost(dollars) {
  if (dollars === null) return "";
  const places = dollars > 0 && dollars < 0.01 ? Math.min(12, 1 - Math.floor(Math.log10(dollars))) : 4;
  return dollars === 0 ? "$0" : `$${dollars.toFixed(places)}`;
}

export const shareOf = (part, whole) => `${Math.round((100 * part) / Math.max(1, whole))} %`;

/** A sentence about an action, with a link to the job that came of it. */
export function report(node, { message, job }, here) {
  const link = job && job !== here ? make("a", { href: `../${encodeURIComponent(job)}/` }, "Its rows") : null;
  node.replaceChildren(...[message, link && " ", link].filter(Boolean));
}

/** Copy a control's text, and show on the control that it was copied. */
export async function copy(control) {
  let done = true;
  try {
    await navigator.clipboard.writeText(control.copied);
  } catch {
    const field = make("textarea", { class: "hidden", "aria-hidden": "true" });
    field.value = control.copied;
    document.body.append(field);
    field.select();
    done = document.execCommand("copy");
    field.remove();
    control.focus();
  }
  const was = control.textContent;
  control.textContent = done ? "Copied" : "Not copied";
  setTimeout(() => { control.textContent = was; }, 1500);
}
