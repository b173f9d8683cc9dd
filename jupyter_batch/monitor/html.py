"""View -> HTML: the parts of the live panel, the static card that stays in a notebook, and a table of jobs.

The only place that escapes. It must not know widgets or a kernel. No script, no image, nothing fetched; with the style
sheet stripped (an untrusted notebook, GitHub) the text alone reads well.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from jupyter_batch.core.status import Snapshot
from jupyter_batch.monitor import text
from jupyter_batch.monitor.view import View, view

if TYPE_CHECKING:
    from collections.abc import Iterable

IDS_SHOWN = 2
SEPARATOR = '<span class="jb-sep">, </span>'
"""Read where the style sheet is gone; with it, dots of colour tell the counts apart."""

# JupyterLab's variables first, so that the panel follows the theme; behind them colours that read on white and black.
# The last rules: a card hides while its live panel follows it; with the panel's kernel gone, its place («Loading
# widget...», later «Error displaying widget») hides. (A :has() inside a :has() is invalid and would kill its rule.)
STYLE = """<style>
.jb{--jb-good:var(--jp-success-color1,#388e3c);--jb-bad:var(--jp-error-color1,#d32f2f);
--jb-warn:var(--jp-warn-color1,#f57c00);--jb-busy:var(--jp-info-color1,#0288d1);--jb-idle:#8a8f98;
--jb-dim:color-mix(in srgb,currentColor 66%,transparent);--jb-edge:color-mix(in srgb,currentColor 14%,transparent);
--jb-wash:color-mix(in srgb,currentColor 3%,transparent);
font:var(--jp-ui-font-size1,13px)/1.55 var(--jp-ui-font-family,system-ui,sans-serif);
color:var(--jp-ui-font-color1,inherit);font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.jb *{box-sizing:border-box}
.jb-card,.jb-live{box-sizing:border-box;max-width:860px;margin:4px 0;padding:10px 14px 11px;
border:1px solid color-mix(in srgb,var(--jp-ui-font-color1,currentColor) 14%,transparent);border-radius:8px;
background:color-mix(in srgb,var(--jp-ui-font-color1,currentColor) 3%,transparent)}
.jb-head{display:flex;flex-wrap:wrap;align-items:center;gap:2px 10px}
.jb-title{font-weight:600;font-size:1.08em}
.jb-dim{color:var(--jb-dim)}
.jb-pill{display:inline-flex;align-items:center;gap:6px;padding:0 9px 0 8px;border-radius:99px;font-size:.92em;
font-weight:600;background:color-mix(in srgb,var(--jb-c) 16%,transparent);
color:color-mix(in srgb,var(--jb-c) 70%,var(--jp-ui-font-color0,currentColor))}
.jb-pill::before,.jb-key::before{content:"";flex:none;width:7px;height:7px;border-radius:50%;background:var(--jb-c)}
.jb-row{display:flex;flex-wrap:wrap;align-items:center;gap:2px 14px;margin-top:7px}
.jb-bar{display:flex;flex:1 1 200px;height:8px;border-radius:4px;overflow:hidden;gap:1px;background:var(--jb-edge)}
.jb-bar>span{min-width:3px;background:var(--jb-c);transition:flex-grow .4s ease-out}
.jb-bar>.jb-rest{min-width:0;background:none}
.jb-share{flex:none}
.jb-keys,.jb-foot{display:flex;flex-wrap:wrap;gap:0 16px;margin-top:5px}
.jb-key{display:inline-flex;align-items:center;gap:6px}
.jb-foot{margin-top:2px;color:var(--jb-dim)}
.jb.jb .jb-id.jb-id{font:.94em var(--jp-code-font-family,ui-monospace,monospace);color:inherit;
background:none;padding:0}
.jb-sep{display:none}
.jb-say{margin:6px 0 0}.jb-say:empty{display:none}
.jb.jb .jb-why.jb-why{margin:6px 0 0;padding:0;list-style:none}
.jb.jb .jb-why li{display:flex;gap:8px;margin:0}.jb-why b{flex:none;font-weight:600}
.jb-back{margin:8px 0 0;padding-top:7px;border-top:1px solid var(--jb-edge);color:var(--jb-dim)}
.jb-back .jb-id{color:var(--jp-ui-font-color1,inherit);user-select:all}
.jb-table{border-collapse:collapse}
.jb.jb .jb-table th,.jb.jb .jb-table td{padding:3px 14px 3px 0;text-align:left;border-bottom:1px solid var(--jb-edge)}
.jb-table th{font-weight:600;color:var(--jb-dim)}
.jb [data-c=good],.jb [data-c=succeeded]{--jb-c:var(--jb-good)}
.jb [data-c=bad],.jb [data-c=failed]{--jb-c:var(--jb-bad)}
.jb [data-c=warn],.jb [data-c=expired]{--jb-c:var(--jb-warn)}
.jb [data-c=busy]{--jb-c:var(--jb-busy)}
.jb [data-c=reused]{--jb-c:color-mix(in srgb,var(--jb-good) 55%,var(--jb-busy))}
.jb [data-c=idle],.jb [data-c=cancelled],.jb [data-c=skipped]{--jb-c:var(--jb-idle)}
.jb [data-c=running]{--jb-c:color-mix(in srgb,currentColor 22%,transparent)}
.jb-live .jb-pill[data-c=busy]::before{animation:jb-breathe 2.4s ease-in-out infinite}
@keyframes jb-breathe{50%{opacity:.3}}
@media (prefers-reduced-motion:reduce){.jb *,.jb *::before{animation:none!important;transition:none!important}}
.jb-live.jb-live{display:flex;flex-flow:row wrap;align-items:flex-start;gap:0 12px;overflow:visible}
.jb-live .widget-html,.jb-live .widget-html-content{margin:0;height:auto;min-height:0;line-height:inherit;
overflow:visible;width:auto}
.jb-live>.jb-top{flex:1 1 220px}.jb-live>.jb-rest-of-it{flex:1 1 100%}
.jp-OutputArea-output:has(> .jb-live){container-type:inline-size}
@container (max-width:440px){.jb-live>.jb-buttons.jb-buttons{order:1;margin:8px 0 0 auto}}
.jb-live>.jb-buttons{flex:none;width:auto;margin:-2px -4px 0 auto;overflow:visible;flex-wrap:wrap}
.jb-live .jupyter-button{height:26px;line-height:24px;padding:0 10px;margin:0 0 0 4px;border-radius:5px;
border:1px solid color-mix(in srgb,var(--jp-ui-font-color1,currentColor) 18%,transparent);background:transparent;
color:var(--jp-ui-font-color1,inherit);box-shadow:none}
.jb-live .jupyter-button:hover:enabled{box-shadow:none;
background:color-mix(in srgb,var(--jp-ui-font-color1,currentColor) 8%,transparent)}
.jb-live .jupyter-button:focus-visible{outline:2px solid var(--jp-brand-color1,#1976d2);outline-offset:1px}
.jb-live .jupyter-button.mod-danger{background:var(--jp-error-color1,#d32f2f);border-color:transparent;color:#fff}
.jb-live .jupyter-button.mod-danger:hover:enabled{background:var(--jp-error-color0,#b71c1c)}
.jp-OutputArea-child:has(.jb-paired):has(+ .jp-OutputArea-child .jb-live){display:none}
.jp-OutputArea-child:has(.jb-paired) + .jp-OutputArea-child:has(> .jupyter-widgets):not(:has(.jb-live)){display:none}
.jp-OutputArea-child:has(.jb-paired) + .jp-OutputArea-child:has(> .lm-Panel):not(:has(.jb-live)){display:none}
</style>"""


def esc(value: str) -> str:
    """Text for an element or a quoted attribute; View has taken out what is not visible."""
    return html.escape(value, quote=True)


def top(seen: View) -> str:
    """State, title, model: what changes only with the state, so that a screen reader hears it once."""
    return (f'<div class="jb jb-head">'
            f'<span class="jb-pill" data-c="{esc(seen.colour)}" role="status">{esc(seen.state)}</span> '
            f'<span class="jb-title">{esc(seen.title)}</span> <span class="jb-dim">{esc(seen.model)}</span></div>')


def body(seen: View) -> str:
    """The bar, the counts, the times, the ids, and why rows failed."""
    return f'<div class="jb">{_bar(seen)}{_counts(seen)}{_foot(seen)}{_reasons(seen)}</div>'


def messages(lines: Iterable[str]) -> str:
    """What there is to say, one line each, polite to a screen reader."""
    said = "".join(f"<div>{esc(line)}</div>" for line in lines)
    return f'<div class="jb jb-say" role="status">{said}</div>' if said else ""


def card(seen: View, *, paired: bool = False) -> dict[str, str]:
    """The bundle that stays in the notebook: what every later reader gets, without kernel, script or network.

    paired: a live panel is displayed right below it; of the two, the page then shows one.
    """
    again = f" Come back to it with {_code(seen.attach)}" if seen.attach else ""
    back = f'<div class="jb-back">As of {esc(seen.as_of)}.{again}</div>'
    names = "jb jb-card jb-static jb-paired" if paired else "jb jb-card jb-static"
    inner = f"{top(seen)}{body(seen)}{messages(seen.lines)}{back}"
    plain = [f"{text.line(seen)}, as of {seen.as_of}", *text.details(seen), seen.attach]
    return {
        "text/plain": "\n".join(line for line in plain if line),
        "text/html": f'{STYLE}<div class="{names}">{inner}</div>',
    }


def jobs_table(snapshots: Iterable[Snapshot]) -> str:
    """All jobs in an HTML table; a sentence where there are none."""
    views = [view(shot) for shot in snapshots]
    if not views:
        return f'{STYLE}<p class="jb">No jobs.</p>'
    head = "".join(f'<th scope="col">{esc(name)}</th>' for name in text.HEADINGS)
    rows = "".join(f"<tr>{_cells(seen)}</tr>" for seen in views)
    table = f'<table class="jb-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'{STYLE}<div class="jb">{table}</div>'


def _code(value: str) -> str:
    return f'<code class="jb-id">{esc(value)}</code>'


def _cells(seen: View) -> str:
    ident, name, state, *others = text.cells(seen)
    pill = f'<span class="jb-pill" data-c="{esc(seen.colour)}">{esc(state)}</span>'
    return "".join(f"<td>{cell}</td>" for cell in (_code(ident), esc(name), pill, *map(esc, others)))


def _bar(seen: View) -> str:
    parts = "".join(
        f'<span class="jb-rest" style="flex:{part.count} 0 0"></span>' if part.kind == "running" else
        f'<span data-c="{esc(part.kind)}" style="flex:{part.count} 0 0" title="{part.count:,} {esc(part.word)}"></span>'
        for part in seen.segments
    )
    aria = (f'role="progressbar" aria-label="{esc(seen.title)}" aria-valuemin="0" aria-valuemax="{seen.total}" '
            f'aria-valuenow="{seen.done}" aria-valuetext="{esc(seen.progress)}"')
    share = f'<span class="jb-share">{esc(seen.share)}</span>'
    return f'<div class="jb-row"><div class="jb-bar" {aria}>{parts}</div> {share}</div>'


def _counts(seen: View) -> str:
    keys = [f'<span class="jb-key" data-c="{esc(part.kind)}">{part.count:,} {esc(part.word)}</span>'
            for part in seen.segments]
    return f'<div class="jb-keys">{SEPARATOR.join(keys)}</div>'


def _foot(seen: View) -> str:
    parts = [*(f"<span>{esc(phrase)}</span>" for phrase in seen.times)]
    parts += [f"<span>{esc(phrase)}</span>" for phrase in (seen.tokens, seen.cost) if phrase]
    if seen.batches:
        shown = ", ".join(_code(batch) for batch in seen.batches[:IDS_SHOWN])
        more = len(seen.batches) - IDS_SHOWN
        tail = f' <span title="{esc(", ".join(seen.batches[IDS_SHOWN:]))}">and {more} more</span>' if more > 0 else ""
        parts.append(f"<span>{'batch' if len(seen.batches) == 1 else 'batches'} {shown}{tail}</span>")
    parts.append(f"<span>job {_code(seen.id)}</span>")
    return f'<div class="jb-foot">{" ".join(parts)}</div>'


def _reasons(seen: View) -> str:
    if not seen.reasons:
        return ""
    more = f'<li class="jb-dim">and {seen.more_reasons} more reasons in job.errors</li>' if seen.more_reasons else ""
    items = "".join(f"<li><b>{count:,}</b> <span>{esc(why)}</span></li>" for why, count in seen.reasons)
    return f'<ul class="jb-why">{items}{more}</ul>'
