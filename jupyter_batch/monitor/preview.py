"""A preview as text and as static HTML, from pairs of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from jupyter_batch.core.cost import Range, money
from jupyter_batch.core.history import Wait
from jupyter_batch.monitor import style
from jupyter_batch.monitor.html import esc
from jupyter_batch.monitor.words import clean, usually

STYLE = f"<style>\n{style.CARD}{style.FACTS}</style>"
CHARS = 600
"""Of each message so much is shown."""

BODY_CHARS = 1000
"""Characters shown of a request's body."""

Prompt = Sequence[tuple[str, str]]


def text(facts: Sequence[tuple[str, str]], prompts: Sequence[Prompt]) -> str:
    """Lines for a terminal: the facts, then the first prompts."""
    width = max(len(name) for name, _ in facts)
    lines = [f"{name.ljust(width)}  {clean(text, CHARS)}" for name, text in facts]
    for number, prompt in enumerate(prompts, start=1):
        lines.append(f"prompt {number}")
        lines += [f"  {clean(role, 40)}: {clean(text, CHARS)}" for role, text in prompt]
    return "\n".join(lines)


def html(facts: Sequence[tuple[str, str]], prompts: Sequence[Prompt]) -> str:
    """A card: the facts in a table, the first prompts below it."""
    rows = "".join(
        f'<tr><th scope="row">{esc(name)}</th><td>{esc(clean(text, CHARS))}</td></tr>'
        for name, text in facts
    )
    cards = "".join(
        "<li>"
        + "".join(
            f'<div><b class="jb-dim">{esc(clean(role, 40))}</b> {esc(clean(text, CHARS))}</div>'
            for role, text in prompt
        )
        + "</li>"
        for prompt in prompts
    )
    first = (
        f'<div class="jb jb-dim">The first prompts:</div><ol class="jb">{cards}</ol>'
        if cards
        else ""
    )
    table = f'<table class="jb-facts">{rows}</table>'
    return f'{STYLE}<div class="jb jb-card jb-static {style.AS_TEXT}">{table}{first}</div>'


def usual(wait: Wait | None) -> list[str]:
    """`usually 4 to 20 min`, if it is known."""
    return [] if wait is None else [usually(wait.low, wait.high)]


def wait(known: Wait | None) -> list[tuple[str, str]]:
    """The line about the usual wait, if it is known: `ready: usually 4 to 20 min (12 earlier batches)`."""
    if known is None:
        return []
    return [("ready", f"{usually(known.low, known.high)} ({known.batches} earlier batches)")]


def body(sent: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The line with the first request's body, if there is one."""
    shown = orjson.dumps(sent).decode()
    short = shown if len(shown) <= BODY_CHARS else f"{shown[:BODY_CHARS]}..."
    return [("body", short)] if sent else []


def dollars(cost: Range) -> str:
    """Format as `$0.01 to $0.12`."""
    if cost.low is None:
        return "unknown"
    if cost.high is None:
        return f"at least {money(cost.low)}"
    return money(cost.low) if cost.low == cost.high else f"{money(cost.low)} to {money(cost.high)}"


def saved(saves: Range, *, unlimited: bool) -> str:
    """The cost that reuse saves; the upper end means nothing where no answer's length is limited."""
    if saves.low is not None and saves.low != saves.high and unlimited:
        return f"at least {money(saves.low)}"
    return dollars(saves)


def max_cost(limit: float | None, fits: bool | None) -> list[tuple[str, str]]:
    """The line about the limit, if there is one."""
    refused = "it would be refused"
    within = {True: "it would be sent", False: refused, None: f"{refused}: no estimate"}
    return [] if limit is None else [("max_cost", f"{money(limit)}: {within[fits]}")]
