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
        head = "".join(f"<th>{escape(word)}</th>" for word in (*_HEAD, "notes", "source"))
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{escape(text)}</td>"
                for text in (*_cells(record), _notes(record), record.source)
            )
            + "</tr>"
            for record in self
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def table(records: Sequence[Record]) -> str:
    """The records as lines of text: a row for each, then the notes."""
    rows = [_HEAD, *map(_cells, records)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
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
