"""The provider table as text and as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from jupyter_batch.providers.record import RECORDS, Record

_HEAD = (
    "provider",
    "batches",
    "requests",
    "size",
    "window",
    "kept",
    "discount",
    "cancel",
    "list",
    "find",
)


class Providers(list[Record]):
    """The records, shown as a table: `providers()` in a notebook, `jupyter batch providers` in a terminal."""

    def __init__(self, records: Iterable[Record] | None = None) -> None:
        every = (record for record in RECORDS.values() if record.shown)
        super().__init__(every if records is None else records)

    def __repr__(self) -> str:
        return table(self)

    def _repr_html_(self) -> str:
        rows = [(*_cells(record), _notes(record), record.source) for record in self]
        return html_table((*_HEAD, "notes", "source"), rows)


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of texts as lines, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def html_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Rows of texts as an HTML table."""
    words = "".join(f"<th>{escape(word)}</th>" for word in head)
    cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><thead><tr>{words}</tr></thead><tbody>{body}</tbody></table>"


def table(records: Sequence[Record]) -> str:
    """The records as lines of text: a row for each, then the notes."""
    lines = aligned([_HEAD, *map(_cells, records)])
    notes = [f"{record.name}: {note}" for record in records if (note := _notes(record))]
    return "\n".join([*lines, "", *notes, "", '"?": the provider\'s documentation does not say'])


def _cells(record: Record) -> tuple[str, ...]:
    return (
        record.name,
        "yes" if record.batch else "no",
        _number(record.requests),
        _size(record.bytes),
        " ".join(record.windows) or "?",
        record.keeps or "?",
        record.discount or "?",
        *(_yes(fact) for fact in (record.cancel, record.listed, record.tagged)),
    )


def _notes(record: Record) -> str:
    notes = [record.note] if record.note else []
    if record.minimum is not None and record.minimum > 1:
        notes.append(f"at least {record.minimum:,} requests")
    if record.caveats:
        notes.append(record.caveats)
    if record.proven:
        notes.append(f"tested: {record.proven}")
    if record.carried:
        notes.append(f"called with {record.carried}")
    if record.instead:
        notes.append(f"use {record.instead}")
    return "; ".join(notes)


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _size(value: int | None) -> str:
    if value is None:
        return "?"
    return f"{value / 1e9:g} GB" if value >= 1e9 else f"{value / 1e6:g} MB"  # noqa: PLR2004 - a GB


def _yes(fact: bool | None) -> str:
    return "?" if fact is None else "yes" if fact else "no"
