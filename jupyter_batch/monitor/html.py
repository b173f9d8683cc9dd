"""View -> nodes: the parts of the live panel and of the static card, and the card's HTML.

A node is text, or a list `[tag, attributes, *nodes]`. The card is written from nodes here, with all
text escaped; the panel sends them as JSON, and its script in the page makes elements of them. No
script, no image, nothing fetched; the text is readable without the style sheet, too (an untrusted
notebook, GitHub).
"""

from __future__ import annotations

import html
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from jupyter_batch.monitor import style, text
from jupyter_batch.monitor.view import Part, Segment, Sight, View

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Node = str | list[Any]

FEW_PARTS = 2
"""So many batches are named by their ids; more are a list that unfolds."""
KEPT_PARTS = 20
"""So many batches are listed in a card, those first that lost rows: it is saved with the notebook and stays small."""
STYLE = f"<style>\n{style.CARD}</style>"
STYLE_PAIRED = f"<style>\n{style.CARD}{style.PAIRED}</style>"


def esc(value: str) -> str:
    """Text for an element or a quoted attribute; View has taken out what is not visible."""
    return html.escape(value, quote=True)


def el(tag: str, names: str, *inner: Node, **attributes: str) -> list[Any]:
    """An element. names: its classes. An attribute's `_` stands for `-`; `flex` is a part of the bar's width."""
    named = {name.replace("_", "-"): value for name, value in attributes.items()}
    return [tag, {"class": names, **named} if names else named, *inner]


def markup(nodes: Iterable[Node]) -> str:
    """HTML of the nodes."""
    return "".join(esc(node) if isinstance(node, str) else _element(*node) for node in nodes)


def _element(tag: str, attributes: dict[str, str], *inner: Node) -> str:
    pairs = "".join(
        f' style="flex:{esc(value)} 0 0"' if name == "flex" else f' {name}="{esc(value)}"'
        for name, value in attributes.items()
    )
    return f"<{tag}{pairs}>{markup(inner)}</{tag}>"


def top(seen: View) -> list[Node]:
    """State, title, model: what changes only with the state, so that a screen reader hears it once."""
    state = el("span", "jb-pill", seen.state, data_c=seen.colour, role="status")
    title = el("span", "jb-title", seen.title, dir="auto")
    return [el("div", "jb jb-head", state, " ", title, " ", el("span", "jb-dim", seen.model))]


def body(seen: View) -> list[Node]:
    """The bar, the counts, the times, the course so far: what changes with each look at the provider."""
    words = [_counts(seen), _times(seen)]
    if seen.curve:
        words = [el("div", "jb-now", el("div", "", *words), _curve(seen))]
    return [el("div", "jb", _bar(seen), *words)]


def facts(seen: View, *, live: bool = False) -> list[Node]:
    """The cost and the ids. live: each id is a button that copies it, which needs the panel's script."""
    parts = [el("span", "", phrase) for phrase in (seen.cost, seen.estimate, seen.tokens) if phrase]
    many = len(seen.batches) > 1
    if seen.batches and live:
        word, what = (
            (f"{len(seen.batches):,} batches", "batch ids") if many else ("batch", "batch id")
        )
        parts.append(el("span", "", word, _copier(what, " ".join(seen.batches))))
    elif seen.batches:
        shown = _joined([_code(batch) for batch in seen.batches[:FEW_PARTS]], ", ")
        more = len(seen.batches) - FEW_PARTS
        word = "batches " if many else "batch "
        parts.append(el("span", "", word, *shown, f" and {more} more" if more > 0 else ""))
    ident = _copier("job id", seen.id) if live else _code(seen.id)
    parts.append(el("span", "", "job" if live else "job ", ident))
    return [el("div", "jb jb-foot", *_joined(parts, _separator(",")))]


def peek(seen: View) -> list[Node]:
    """Return the first answers with their rows, and the reasons of failures; [] without both."""
    inner = [*_answers(seen.answers), *_reasons(seen)]
    return [el("div", "jb", *inner)] if inner else []


def parts(seen: View) -> list[Node]:
    """All batches of the panel: their states, counts, what they wait for, and their ids, which a click copies."""
    return _listed(seen.parts, seen.more_parts, live=True)


def messages(lines: Iterable[str]) -> list[Node]:
    """Messages, a line each."""
    return [el("div", "", line) for line in lines]


def attach(seen: View) -> list[Node]:
    """The code that opens the job in another process; [] without it."""
    return ["Come back to it with ", _code(seen.attach)] if seen.attach else []


def card(seen: View, *, panel: str = "") -> dict[str, str]:
    """The bundle that stays in the notebook: what every later reader gets, without kernel, script or network.

    panel: the id of the live panel that is displayed right below it; of the two, the page then shows one.
    """
    again = attach(seen)
    back = el("div", "jb-back", f"As of {seen.as_of}.", *([" ", *again] if again else []))
    lines = messages(seen.lines)
    inner = [
        *top(seen),
        *body(seen),
        *facts(seen),
        *peek(seen),
        *_folded(seen),
        *([el("div", "jb jb-say", *lines, role="status")] if lines else []),
        back,
    ]
    paired = {"data_panel": panel} if panel else {}
    names = f"jb jb-card jb-static {'jb-paired ' if panel else ''}{style.AS_TEXT}"
    plain = [
        f"{text.line(seen)}, as of {seen.as_of}",
        seen.curve_words,
        *text.details(seen),
        seen.attach,
    ]
    return {
        "text/plain": "\n".join(line for line in plain if line),
        "text/html": (STYLE_PAIRED if panel else STYLE)
        + markup([el("div", names, *inner, **paired)]),
    }


def _code(value: str) -> list[Any]:
    return el("code", "jb-id", value)


def _copier(what: str, value: str) -> list[Any]:
    """A button with an icon, which copies a value (panel.js)."""
    sheets = el("path", "", d="M5.5 5.5h8v8h-8zM3.5 10.5h-1v-8h8v1")
    done = el("path", "jb-done", d="M3 8.5l3.5 3.5L13 4.5")
    icon = el("svg", "", sheets, done, viewBox="0 0 16 16", aria_hidden="true")
    return el(
        "button", "jb-copy", icon, data_copy=value, aria_label=f"Copy the {what}", title=value
    )


def _separator(word: str) -> list[Any]:
    """Read where the style sheet is gone; with it, dots of colour, gaps and columns tell things apart."""
    return el("span", "jb-sep", f"{word} ")


def _joined(nodes: Sequence[Node], separator: Node) -> list[Node]:
    return [part for node in nodes for part in (separator, node)][1:]


def _bar(seen: View) -> list[Any]:
    parts = [el("span", "", data_c=_kind(part), flex=str(part.count)) for part in seen.segments]
    bar = el(
        "div",
        "jb-bar",
        *parts,
        role="progressbar",
        aria_label=seen.title,
        aria_valuemin="0",
        aria_valuemax=str(seen.total),
        aria_valuenow=str(seen.done),
        aria_valuetext=seen.progress,
    )
    return el("div", "jb-row", bar, " ", el("span", "jb-share", seen.share))


def _curve(seen: View) -> list[Any]:
    """Where drawings are taken out (an untrusted notebook), what it shows is read as words, as it is by a reader."""
    last = len(seen.curve) - 1
    line = "".join(
        f"H{number}V{100 - rows}"
        for number, (was, rows) in enumerate(pairwise(seen.curve), 1)
        if rows != was
    )
    path = f"M-2 {100 - seen.curve[0]}{line}H{last + 2}V120H-2Z"  # closed outside of what is seen
    drawing = el(
        "svg",
        "",
        el("title", "", seen.curve_words),
        el("path", "", d=path),
        role="img",
        viewBox=f"0 -5 {last} 105",
        preserveAspectRatio="none",
    )
    return el("div", "jb-curve", drawing, data_c=seen.colour)


def _kind(part: Segment) -> str:
    """What is open has its colour when it runs, and none before."""
    return part.word if part.kind == "running" else part.kind


def _counts(seen: View) -> list[Any]:
    keys = [
        el("span", "jb-key", f"{part.count:,} {part.word}", data_c=_kind(part))
        for part in seen.segments
    ]
    if seen.cut_off:
        keys.append(el("span", "jb-key", seen.cut_off, data_c="warn"))
    return el("div", "jb-keys", *_joined(keys, _separator(",")))


def _times(seen: View) -> list[Any]:
    phrases = [*seen.times, *([] if seen.is_final else [f"as of {seen.as_of.rpartition(', ')[2]}"])]
    spans = [el("span", "", phrase) for phrase in phrases]
    return el("div", "jb-foot", *_joined(spans, _separator(",")))


def _answers(answers: tuple[Sight, ...]) -> list[Node]:
    if not answers:
        return []
    rows = [
        el(
            "div",
            "",
            el("span", "", f"row {one.row:,}"),
            " ",
            el("span", "jb-what", one.asked, dir="auto"),
            " ",
            el(
                "span",
                "",
                _separator("→"),
                f"{one.of}: " if one.of else "",
                el("span", "", one.answer, dir="auto"),
            ),
            role="listitem",
        )
        for one in answers
    ]
    return [el("div", "jb-peek", *rows, role="list", aria_label="First answers")]


def _part(part: Part, *, live: bool) -> list[Node]:
    rows = part.progress + (f", {part.failed:,} failed" if part.failed else "")
    ident = _copier("batch id", part.batch) if live else _code(part.batch)
    batch = [ident] if part.batch else []
    note = [el("div", "jb-dim", part.note)] if part.note else []
    return [
        el("span", "", str(part.number + 1)),
        " ",
        el("span", "jb-pill", part.state, data_c=part.colour),
        " ",
        el("span", "", rows),
        " ",
        el("span", "", *batch, *note),
    ]


def _folded(seen: View) -> list[Node]:
    """The batches of a job that is over: nothing has to run to unfold them."""
    if not seen.is_final or len(seen.parts) <= FEW_PARTS:
        return []
    lost_first = sorted(seen.parts, key=lambda part: part.colour == "good" and not part.failed)[
        :KEPT_PARTS
    ]
    listed = sorted(lost_first, key=lambda part: part.number)
    more = len(seen.parts) + seen.more_parts - len(listed)
    which = f"{len(listed)} of {len(listed) + more:,}" if more else f"All {len(listed)}"
    summary = el("summary", "", f"{which} batches")
    return [el("details", "jb-fold", summary, *_listed(listed, more))]


def _listed(some: Sequence[Part], more: int, *, live: bool = False) -> list[Node]:
    rows = [el("div", "", *_part(part, live=live), role="listitem") for part in some]
    listed = el("div", "jb jb-parts", *rows, role="list", aria_label="Batches")
    if not more:
        return [listed]
    return [listed, el("div", "jb jb-dim", f"and {more:,} more: ", _code("job.snapshot().shards"))]


def _reasons(seen: View) -> list[Node]:
    if not seen.reasons:
        return []
    examples = [*seen.examples, *[None] * (len(seen.reasons) - len(seen.examples))]
    items = [
        _reason(count, why, example)
        for (why, count), example in zip(seen.reasons, examples, strict=True)
    ]
    if seen.more_reasons:
        items.append(el("li", "jb-dim", f"and {seen.more_reasons} more reasons in job.errors"))
    return [el("ul", "jb-why", *items, aria_label="Why rows failed")]


def _reason(count: int, why: str, example: Sight | None) -> list[Any]:
    inner: list[Node] = [el("b", "", f"{count:,}"), " ", el("span", "", why, dir="auto")]
    if example is not None:
        inner += [
            " ",
            _separator("such as"),
            el("span", "jb-dim", example.words, dir="auto"),
        ]
    return el("li", "", *inner)
