"""View -> HTML: the parts of the live panel, and the static card that stays in a notebook.

The only module that escapes. No script, no image, nothing fetched; the text is readable without the
style sheet, too (an untrusted notebook, GitHub).
"""

from __future__ import annotations

import html
from itertools import pairwise
from typing import TYPE_CHECKING

from jupyter_batch.monitor import style, text
from jupyter_batch.monitor.view import Part, Segment, Sight, View

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SEPARATOR, ARROW, SUCH_AS = (
    f'<span class="jb-sep">{word} </span>' for word in (",", "→", "such as")
)
"""Read where the style sheet is gone; with it, dots of colour, gaps and columns tell things apart."""
FEW_PARTS = 2
"""So many batches are named by their ids; more are a list that unfolds."""
KEPT_PARTS = 20
"""So many batches are listed in a card, those first that lost rows: it is saved with the notebook and stays small."""
STYLE = f"<style>\n{style.CARD}</style>"
STYLE_LIVE = f"<style>\n{style.CARD}{style.LIVE}</style>"
STYLE_PAIRED = f"<style>\n{style.CARD}{style.PAIRED}</style>"


def esc(value: str) -> str:
    """Text for an element or a quoted attribute; View has taken out what is not visible."""
    return html.escape(value, quote=True)


def top(seen: View) -> str:
    """State, title, model: what changes only with the state, so that a screen reader hears it once."""
    return (
        f'<div class="jb jb-head">'
        f'<span class="jb-pill" data-c="{esc(seen.colour)}" role="status">{esc(seen.state)}</span> '
        f'<span class="jb-title" dir="auto">{esc(seen.title)}</span> '
        f'<span class="jb-dim">{esc(seen.model)}</span></div>'
    )


def body(seen: View) -> str:
    """The bar, the counts, the times, the course so far: what changes with each look at the provider."""
    words = f"{_counts(seen)}{_times(seen)}"
    if seen.curve:
        words = f'<div class="jb-now"><div>{words}</div>{_curve(seen)}</div>'
    return f'<div class="jb">{_bar(seen)}{words}</div>'


def facts(seen: View) -> str:
    """The cost and the ids."""
    parts = [
        f"<span>{esc(phrase)}</span>"
        for phrase in (seen.cost, seen.estimate, seen.tokens)
        if phrase
    ]
    if seen.batches:
        shown = ", ".join(_code(batch) for batch in seen.batches[:FEW_PARTS])
        more = len(seen.batches) - FEW_PARTS
        tail = f" and {more} more" if more > 0 else ""
        parts.append(
            f"<span>{'batch' if len(seen.batches) == 1 else 'batches'} {shown}{tail}</span>"
        )
    parts.append(f"<span>job {_code(seen.id)}</span>")
    return f'<div class="jb jb-foot">{SEPARATOR.join(parts)}</div>'


def peek(seen: View) -> str:
    """Return the first answers with their rows, and the reasons of failures; "" without both."""
    inner = _answers(seen.answers) + _reasons(seen)
    return f'<div class="jb">{inner}</div>' if inner else ""


def parts(seen: View) -> str:
    """All batches: their states, counts, what they wait for, and their ids, which a click selects."""
    return _listed(seen.parts, seen.more_parts)


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
    names = f"jb jb-card jb-static {'jb-paired ' if paired else ''}{style.AS_TEXT}"
    inner = f"{top(seen)}{body(seen)}{facts(seen)}{peek(seen)}{_folded(seen)}{messages(seen.lines)}{back}"
    plain = [
        f"{text.line(seen)}, as of {seen.as_of}",
        seen.curve_words,
        *text.details(seen),
        seen.attach,
    ]
    return {
        "text/plain": "\n".join(line for line in plain if line),
        "text/html": f'{STYLE_PAIRED if paired else STYLE}<div class="{names}">{inner}</div>',
    }


def _code(value: str) -> str:
    return f'<code class="jb-id">{esc(value)}</code>'


def _bar(seen: View) -> str:
    parts = "".join(
        f'<span data-c="{_kind(part)}" style="flex:{part.count} 0 0"></span>'
        for part in seen.segments
    )
    aria = (
        f'role="progressbar" aria-label="{esc(seen.title)}" aria-valuemin="0" aria-valuemax="{seen.total}" '
        f'aria-valuenow="{seen.done}" aria-valuetext="{esc(seen.progress)}"'
    )
    share = f'<span class="jb-share">{esc(seen.share)}</span>'
    return f'<div class="jb-row"><div class="jb-bar" {aria}>{parts}</div> {share}</div>'


def _curve(seen: View) -> str:
    """Where drawings are taken out (an untrusted notebook), what it shows is read as words, as it is by a reader."""
    last = len(seen.curve) - 1
    line = "".join(
        f"H{number}V{100 - rows}"
        for number, (was, rows) in enumerate(pairwise(seen.curve), 1)
        if rows != was
    )
    path = f"M-2 {100 - seen.curve[0]}{line}H{last + 2}V120H-2Z"  # closed outside of what is seen
    return (
        f'<div class="jb-curve" data-c="{esc(seen.colour)}"><svg role="img" viewBox="0 -5 {last} 105" '
        f'preserveAspectRatio="none"><title>{esc(seen.curve_words)}</title><path d="{path}"/></svg></div>'
    )


def _kind(part: Segment) -> str:
    """What is open has its colour when it runs, and none before."""
    return part.word if part.kind == "running" else part.kind


def _counts(seen: View) -> str:
    keys = [
        f'<span class="jb-key" data-c="{_kind(part)}">{part.count:,} {esc(part.word)}</span>'
        for part in seen.segments
    ]
    if seen.cut_off:
        keys.append(f'<span class="jb-key" data-c="warn">{esc(seen.cut_off)}</span>')
    return f'<div class="jb-keys">{SEPARATOR.join(keys)}</div>'


def _times(seen: View) -> str:
    phrases = [*seen.times, *([] if seen.is_final else [f"as of {seen.as_of.rpartition(', ')[2]}"])]
    return f'<div class="jb-foot">{SEPARATOR.join(f"<span>{esc(phrase)}</span>" for phrase in phrases)}</div>'


def _answers(answers: tuple[Sight, ...]) -> str:
    if not answers:
        return ""
    rows = "".join(
        f'<div role="listitem"><span>row {one.row:,}</span> <span class="jb-what" dir="auto">{esc(one.asked)}</span> '
        f'<span>{ARROW}{esc(f"{one.of}: " if one.of else "")}<span dir="auto">{esc(one.answer)}</span></span></div>'
        for one in answers
    )
    return f'<div class="jb-peek" role="list" aria-label="First answers">{rows}</div>'


def _part(part: Part) -> str:
    pill = f'<span class="jb-pill" data-c="{esc(part.colour)}">{esc(part.state)}</span>'
    rows = part.progress + (f", {part.failed:,} failed" if part.failed else "")
    note = f'<div class="jb-dim">{esc(part.note)}</div>' if part.note else ""
    return (
        f"<span>{part.number + 1}</span> {pill} <span>{esc(rows)}</span> "
        f"<span>{_code(part.batch) if part.batch else ''}{note}</span>"
    )


def _folded(seen: View) -> str:
    """The batches of a job that is over: nothing has to run to unfold them."""
    if not seen.is_final or len(seen.parts) <= FEW_PARTS:
        return ""
    lost_first = sorted(seen.parts, key=lambda part: part.colour == "good" and not part.failed)[
        :KEPT_PARTS
    ]
    listed = sorted(lost_first, key=lambda part: part.number)
    more = len(seen.parts) + seen.more_parts - len(listed)
    which = f"{len(listed)} of {len(listed) + more:,}" if more else f"All {len(listed)}"
    return f'<details class="jb-fold"><summary>{which} batches</summary>{_listed(listed, more)}</details>'


def _listed(some: Sequence[Part], more: int) -> str:
    rows = "".join(f'<div role="listitem">{_part(part)}</div>' for part in some)
    tail = (
        f'<div class="jb jb-dim">and {more:,} more: {_code("job.snapshot().shards")}</div>'
        if more
        else ""
    )
    return f'<div class="jb jb-parts" role="list" aria-label="Batches">{rows}</div>{tail}'


def _reasons(seen: View) -> str:
    if not seen.reasons:
        return ""
    more = (
        f'<li class="jb-dim">and {seen.more_reasons} more reasons in job.errors</li>'
        if seen.more_reasons
        else ""
    )
    told = [*seen.examples, *[None] * (len(seen.reasons) - len(seen.examples))]
    items = "".join(
        f'<li><b>{count:,}</b> <span dir="auto">{esc(why)}</span>'
        + (
            f' {SUCH_AS}<span class="jb-dim" dir="auto">{esc(example.words)}</span>'
            if example
            else ""
        )
        + "</li>"
        for (why, count), example in zip(seen.reasons, told, strict=True)
    )
    return f'<ul class="jb-why" aria-label="Why rows failed">{items}{more}</ul>'
