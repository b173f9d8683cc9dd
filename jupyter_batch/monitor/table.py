"""Snapshots -> a table of jobs: as text, as HTML, and as a frame.

Text and HTML have the same cells, cleaned as on every screen; the frame has the ledger's values.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from jupyter_batch.core.status import Snapshot
from jupyter_batch.monitor import style
from jupyter_batch.monitor.html import esc
from jupyter_batch.monitor.text import WIDE
from jupyter_batch.monitor.view import view
from jupyter_batch.monitor.words import clean, span

if TYPE_CHECKING:
    import pandas as pd

HEADINGS = ("id", "name", "state", "rows", "failed", "cost", "age", "model", "notebook")
STYLE = f"<style>\n{style.CARD}{style.TABLE}</style>"
WIDTH = 120
"""Columns of a terminal that a line of the table is cut to, where cutting long names is enough for that."""
LEAST = 12
"""So many of a long name's columns are shown in any case."""

CELL = 300
"""Characters of an answer in a table."""
_BOLD = ' style="font-weight:600"'

_LONG = ("name", "model", "notebook")
"""The columns that may be cut: at their end, but a path, whose end tells more, at its beginning."""


def text(snapshots: Iterable[Snapshot], room: int = WIDTH) -> str:
    """The jobs in aligned columns, one a line, below a heading; a sentence where there are none.

    room: the terminal's columns.
    """
    snapshots = list(snapshots)
    rows, blocked = [cells(snapshot) for snapshot in snapshots], _blocked(snapshots)
    if not rows:
        return "No jobs."
    if room < WIDE:
        return "\n".join([*chain.from_iterable(_two_lines(row, room) for row in rows), *blocked])
    everything = [HEADINGS, *rows]
    widths = _fitting([max(map(width, column)) for column in zip(*everything, strict=True)], room)
    lines = ["  ".join(map(_padded, HEADINGS, row, widths)).rstrip() for row in everything]
    return "\n".join([*lines, *blocked])


def _two_lines(row: tuple[str, ...], room: int) -> list[str]:
    """One job below WIDE columns: its name and state; its id, cost, age and model."""
    cell = dict(zip(HEADINGS, row, strict=True))
    lost = f"{cell['failed']} failed" if cell["failed"] else ""
    first = ", ".join(filter(None, (cell["state"], cell["rows"], lost)))
    name = _padded("name", cell["name"], max(LEAST, room - width(first) - 2))
    second = ", ".join(filter(None, map(cell.__getitem__, ("id", "cost", "age", "model"))))
    return [
        f"{name}  {first}",
        f"  {_cut(second, room - 2) if width(second) > room - 2 else second}",
    ]


def html(snapshots: Iterable[Snapshot], link: Callable[[str], str] = lambda _: "") -> str:
    """All jobs in an HTML table; a sentence where there are none. link: the address of a job's rows, or ""."""
    snapshots = list(snapshots)
    rows = "".join(f"<tr>{_tds(snapshot, link(snapshot.id))}</tr>" for snapshot in snapshots)
    blocked = "".join(f'<p class="jb">{esc(line)}</p>' for line in _blocked(snapshots))
    if not rows:
        return f'{STYLE}<p class="jb">No jobs.</p>'
    head = "".join(f'<th scope="col">{esc(name)}</th>' for name in HEADINGS)
    table = f'<table class="jb-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    # A region that scrolls has to be reached by Tab, and so to have a name.
    region = 'role="region" aria-label="LLM batches" tabindex="0"'
    return f'{STYLE}<div class="jb jb-list {style.AS_TEXT}" {region}>{table}</div>{blocked}'


def rows_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], marked: Sequence[bool], below: str
) -> str:
    """Rows of texts in an HTML table, with a sentence below. marked: rows in bold."""
    head = "".join(f'<th scope="col">{esc(clean(name, 100))}</th>' for name in headings)
    body = "".join(
        f"<tr{_BOLD if is_marked else ''}>"
        + "".join(f'<td class="jb-long" dir="auto">{esc(clean(cell, CELL))}</td>' for cell in row)
        + "</tr>"
        for row, is_marked in zip(rows, marked, strict=True)
    )
    table = f'<table class="jb-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    region = 'role="region" aria-label="Rows of each model" tabindex="0"'
    return f'{STYLE}<div class="jb jb-list {style.AS_TEXT}" {region}>{table}</div><p class="jb">{esc(below)}</p>'


def _blocked(snapshots: list[Snapshot]) -> list[str]:
    """Below the table: of each job that is blocked the cause and the remedy."""
    seen = [view(snapshot) for snapshot in snapshots if snapshot.blocks]
    return [f"{one.id}: {line}" for one in seen for line in one.blocked]


def cells(snapshot: Snapshot) -> tuple[str, ...]:
    """One job's row, under HEADINGS; age: since the submission, and of one that runs how long it may take yet."""
    seen = view(snapshot)
    lost = snapshot.counts.failed + snapshot.counts.expired + snapshot.counts.cancelled
    left = f", {seen.eta.partition(' left')[0].removeprefix('about ')} left" if seen.eta else ""
    return (
        seen.id,
        seen.title,
        seen.state,
        f"{seen.done:,} of {seen.total:,}" if seen.unit == "row" else seen.progress,
        ", ".join(filter(None, [f"{lost:,}" if lost else "", seen.cut_off])),
        seen.cost.removeprefix("cost ").partition(",")[0],
        f"{span(snapshot.now - snapshot.created_at)}{left}",
        seen.model,
        clean(snapshot.notebook or ""),
    )


def frame(snapshots: Iterable[Snapshot]) -> pd.DataFrame:
    """One row for each job, on its id, in their order: to sort, filter and sum.

    created, ended: Timestamps in UTC, NaT while it is open. age, elapsed: Timedeltas since the submission, to now and
    to the end. total ... skipped: rows, as in `job.counts`. cost, saved: US dollars, NA where that is not known (yet).
    """
    import pandas as pd

    snapshots = list(snapshots)
    index = pd.Index([snapshot.id for snapshot in snapshots], name="id", dtype="object")
    return pd.DataFrame(
        {
            name: _column(pd, kind, [value(snapshot) for snapshot in snapshots], index)
            for name, (kind, value) in _COLUMNS.items()
        },
        index=index,
    )


_COLUMNS: dict[str, tuple[str, Callable[[Snapshot], Any]]] = {
    "name": ("string", attrgetter("name")),
    "state": ("string", lambda snapshot: str(snapshot.state)),
    "blocked": ("string", attrgetter("blocked")),
    "notebook": ("string", attrgetter("notebook")),
    "created": ("time", attrgetter("created_at")),
    "age": ("span", lambda snapshot: snapshot.now - snapshot.created_at),
    **{
        name: ("int64", attrgetter(f"counts.{name}"))
        for name in (
            "total",
            "succeeded",
            "failed",
            "expired",
            "cancelled",
            "running",
            "reused",
            "skipped",
        )
    },
    "cut_off": ("int64", attrgetter("cut_off")),
    "cost": ("Float64", attrgetter("cost")),
    "saved": (
        "Float64",
        lambda snapshot: snapshot.bill.saved if snapshot.bill is not None else None,
    ),
    "model": ("string", attrgetter("model")),
    "provider": ("string", attrgetter("provider")),
    "out": ("string", attrgetter("out")),
    "ended": ("time", attrgetter("finished_at")),
    "elapsed": ("span", attrgetter("elapsed")),
    "input_tokens": ("Int64", attrgetter("input_tokens")),
    "output_tokens": ("Int64", attrgetter("output_tokens")),
}


def _column(pd: Any, kind: str, values: list[Any], index: Any) -> Any:
    """Times and spans to the millisecond."""
    if kind in {"time", "span"}:
        whole = pd.array(
            [None if value is None else round(value * 1000) for value in values], dtype="Int64"
        )
        made = (
            pd.to_datetime(whole, unit="ms", utc=True)
            if kind == "time"
            else pd.to_timedelta(whole, unit="ms")
        )
        return pd.Series(made, index=index)
    return pd.Series(values, index=index, dtype=kind)


def _tds(snapshot: Snapshot, link: str) -> str:
    written = {name: esc(cell) for name, cell in zip(HEADINGS, cells(snapshot), strict=True)}
    written["id"] = f'<code class="jb-id">{written["id"]}</code>'
    if link:
        there = f'<a href="{esc(link)}" target="_blank" rel="noopener noreferrer" title="Show the rows">'
        written["id"] = f"{there}{written['id']}</a>"
    written["state"] = (
        f'<span class="jb-pill" data-c="{esc(view(snapshot).colour)}">{written["state"]}</span>'
    )
    return "".join(
        f'<td class="jb-long" dir="auto">{cell}</td>' if name in _LONG else f"<td>{cell}</td>"
        for name, cell in written.items()
    )


def _fitting(widths: list[int], room: int) -> list[int]:
    """The widths, the longest names' made smaller until the line fits, or none is longer than LEAST."""
    fitting = list(widths)
    able = [HEADINGS.index(name) for name in _LONG]
    while (over := sum(fitting) + 2 * (len(fitting) - 1) - room) > 0:
        first, second = sorted(able, key=lambda at: -fitting[at])[:2]
        if fitting[first] <= LEAST:
            break
        step = max(1, fitting[first] - fitting[second])
        fitting[first] = max(LEAST, fitting[first] - min(over, step))
    return fitting


def _padded(heading: str, cell: str, room: int) -> str:
    shown = cell if width(cell) <= room else _cut(cell, room, at_end=heading != "notebook")
    return shown + " " * (room - width(shown))


def _cut(cell: str, room: int, *, at_end: bool = True) -> str:
    kept, left = "", room - 1
    for char in cell if at_end else reversed(cell):
        left -= width(char)
        if left < 0:
            break
        kept = kept + char if at_end else char + kept
    return f"{kept}…" if at_end else f"…{kept}"


def width(shown: str) -> int:
    """Columns of a terminal: East Asian wide characters take two, combining marks none."""
    if shown.isascii():
        return len(shown)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in shown
    )
