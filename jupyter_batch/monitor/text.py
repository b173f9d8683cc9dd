"""The terminal's screens: one line, a table of jobs, and a progress bar. It must not know HTML or a notebook.

`Progress` serves scripts, `jupyter batch watch`, nbclient and papermill: a bar where the stream is a terminal, else one
line whenever something happens. It never looks at a clock and starts no thread.
"""

from __future__ import annotations

import threading
import unicodedata
from typing import TYPE_CHECKING, Any, Self, TextIO

from jupyter_batch.core.status import Snapshot
from jupyter_batch.monitor.view import View, view

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADINGS = ("id", "name", "state", "rows", "failed", "model", "time")


def line(shown: View | Snapshot) -> str:
    """A job in one line: `sentiment: running, 412 of 1,000 rows (41%), 2 failed, 4 min since 12:03 [jb3f…]`."""
    seen = view(shown) if isinstance(shown, Snapshot) else shown
    asides = [f"{part.count:,} {part.word}" for part in seen.segments if part.kind not in {"succeeded", "running"}]
    parts = [seen.state, seen.share, *asides, *seen.times]
    return f"{seen.title}: {', '.join(parts)} [{seen.id}]"


def details(seen: View) -> list[str]:
    """What follows the line where there is room: messages, and why rows failed."""
    more = [f"and {seen.more_reasons} more reasons in job.errors"] if seen.more_reasons else []
    return [*seen.lines, *(f"{count:,} x {why}" for why, count in seen.reasons), *more]


def cells(seen: View) -> tuple[str, ...]:
    """One job's row in a table, under HEADINGS."""
    lost = sum(part.count for part in seen.segments if part.kind in {"failed", "expired", "cancelled"})
    return (seen.id, seen.title, seen.state, f"{seen.done:,} of {seen.total:,}", f"{lost:,}" if lost else "",
            seen.model, ", ".join(seen.times))


def table(snapshots: Iterable[Snapshot]) -> str:
    """The jobs in aligned columns, one a line, below a heading; a sentence where there are none."""
    rows = [cells(view(shot)) for shot in snapshots]
    if not rows:
        return "No jobs."
    everything = [HEADINGS, *rows]
    widths = [max(map(_width, column)) for column in zip(*everything, strict=True)]
    return "\n".join(
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in everything
    )


def _width(text: str) -> int:
    """Columns of a terminal: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


class Progress:
    """One job on a stream: a tqdm bar on a terminal, else a line for each change of state or message.

    update() takes any thread. Colours and cursor moves are tqdm's alone, and only on a terminal.
    """

    def __init__(self, stream: TextIO, *, tty: bool | None = None) -> None:
        self._stream = stream
        self._tty = stream.isatty() if tty is None else tty
        self._lock = threading.RLock()
        self._bar: Any = None
        self._said: tuple[object, ...] = ()
        self._last: View | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, shown: View | Snapshot) -> None:
        """Draw what changed since the last time; nothing where nothing did."""
        seen = view(shown) if isinstance(shown, Snapshot) else shown
        with self._lock:
            if seen == self._last:
                return
            self._last = seen
            if self._tty and not (seen.is_final and self._bar is None):
                self._draw(seen)
            else:
                self._say(seen)

    def close(self) -> None:
        """Leave the bar as it stands, and the cursor on a line of its own."""
        with self._lock:
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def _say(self, seen: View) -> None:
        fresh = [text for text in details(seen) if text not in self._said[1:]]
        same = self._said[:1] == (seen.state,)
        self._said = (seen.state, *details(seen))
        if same and not fresh:
            return
        print(line(seen), *(f"  {text}" for text in fresh), sep="\n", file=self._stream, flush=True)

    def _draw(self, seen: View) -> None:
        if self._bar is None:
            self._bar = _bar(self._stream, seen)
        bar = self._bar
        for text in details(seen):
            if text not in self._said[1:]:
                bar.write(f"{seen.title}: {text}", file=self._stream)
        self._said = (seen.state, *details(seen))
        bar.total, bar.n = seen.total, seen.done
        asides = [f"{part.count:,} {part.word}" for part in seen.segments if part.kind not in {"succeeded", "running"}]
        bar.set_description_str(f"{seen.title}: {seen.state}", refresh=False)
        bar.set_postfix_str(", ".join([*asides, *seen.times]), refresh=False)
        bar.refresh()
        if seen.is_final:
            self.close()


def _bar(stream: TextIO, seen: View) -> Any:
    """A tqdm bar that shows our words, not its own clock, and starts no thread."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]  # generic only in the stubs
        monitor_interval = 0

    return Bar(total=seen.total, initial=seen.done, file=stream, dynamic_ncols=True, unit=" rows", leave=True,
               bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}")
