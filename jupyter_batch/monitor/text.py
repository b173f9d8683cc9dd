"""The terminal's screens: a line, and a progress bar.

`Progress` serves scripts, `jupyter batch watch`, nbclient and papermill: a bar where the stream is a
terminal, else a line for each event. It reads no clock and starts no thread.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Self, TextIO

from jupyter_batch.core.status import Snapshot
from jupyter_batch.monitor.view import View, view
from jupyter_batch.monitor.words import clean

TITLE, SHORT_TITLE = 24, 12
"""Characters of a job's name before its bar; the second below WIDE columns."""
WIDE = 100
"""Columns from which a job takes one line of a table; below, two."""


def line(shown: View | Snapshot) -> str:
    """A job in one line: `sentiment: running, 412 of 1,000 rows (41%), 2 failed, 4 min since 12:03 [jb3f…]`."""
    seen = view(shown) if isinstance(shown, Snapshot) else shown
    parts = [seen.state, seen.share, *seen.asides, *seen.times, seen.cost, seen.estimate]
    return f"{seen.title}: {', '.join(filter(None, parts))} [{seen.id}]"


def details(seen: View) -> list[str]:
    """What follows the line where there is room: messages, and why rows failed."""
    more = [f"and {seen.more_reasons} more reasons in job.errors"] if seen.more_reasons else []
    examples = [*seen.examples, *[None] * (len(seen.reasons) - len(seen.examples))]
    why = [
        f"{count:,} x {reason}" + (f" ({example.words})" if example else "")
        for (reason, count), example in zip(seen.reasons, examples, strict=True)
    ]
    return [*seen.lines, *why, *more]


def actions(seen: View) -> list[str]:
    """The actions that cost money, with their prices: `retry: 36 rows, about $0.02 (at most $0.05)`."""
    return [f"{action}: {price}" for action, price in seen.prices]


COLUMNS = 80
"""The width where a terminal does not report one."""
BAR = 20
"""The least columns of a bar."""


class Progress:
    """One job on a stream: a tqdm bar on a terminal, else a line for each change of state or message.

    update() takes any thread. `bars` may be changed between two updates: lines at a prompt, a bar while someone waits.
    writes: how often something was written.
    """

    def __init__(self, stream: TextIO, *, tty: bool | None = None) -> None:
        self._stream = stream
        self.bars = stream.isatty() if tty is None else tty
        self._lock = threading.RLock()
        self._bar: Any = None
        self.writes = 0
        self.forget()

    def forget(self) -> None:
        """Print everything with the next update, including earlier lines."""
        self._state, self._details = "", list[str]()
        self._last: View | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, shown: View | Snapshot) -> None:
        """Draw what changed since the last time; nothing where nothing did."""
        seen = view(shown) if isinstance(shown, Snapshot) else shown
        with self._lock:
            start = self.bars and self._bar is None and not seen.is_final
            if seen == self._last and not start:
                return
            self._last = seen
            if start or self._bar is not None:
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
        fresh = self._fresh(seen)
        if self._state != seen.state:
            fresh = [line(seen), *(f"  {text}" for text in fresh)]
        else:
            fresh = [f"{seen.title}: {text}" for text in fresh]
        self._state = seen.state
        if fresh:
            self.writes += 1
            self._stream.write("\n".join([*fresh, ""]))  # at once: other threads write too
            self._stream.flush()

    def _fresh(self, seen: View) -> list[str]:
        """The details that were not among those of the last time."""
        before, self._details = self._details, details(seen)
        return [text for text in self._details if text not in before]

    def _draw(self, seen: View) -> None:
        if self._bar is None:
            self._bar = _bar(self._stream, seen)
        bar = self._bar
        self._state = seen.state
        bar.total, bar.n = seen.total, seen.done
        columns = _size(self._stream) or COLUMNS
        title = clean(seen.title, TITLE if columns >= WIDE else SHORT_TITLE)
        bar.set_description_str(f"{title}: {seen.state}", refresh=False)
        room = columns - len(f"{bar.desc} 100%|| {seen.total}/{seen.total}") - BAR
        bar.set_postfix_str(_fitting(seen, room), refresh=False)
        for text in self._fresh(seen):  # each redraws the bar below it
            bar.write(f"{seen.title}: {text}", file=self._stream)
        bar.refresh()
        self.writes += 1
        if seen.is_final:
            self.close()


def _bar(stream: TextIO, seen: View) -> Any:
    """A tqdm bar with our text in place of its clock, without a thread, drawn only on request."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]  # generic only in the stubs
        monitor_interval = 0

    known = _size(stream)
    size = {"dynamic_ncols": True} if known else {"ncols": COLUMNS, "nrows": 24}
    return Bar(
        total=seen.total,
        initial=seen.done,
        file=stream,
        leave=True,
        delay=1e-9,
        **size,
        bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}",
    )


def _fitting(seen: View, room: int) -> str:
    """The phrases that leave the bar its columns, the most important first."""
    quiet = {"reused", "skipped"}
    loud = [aside for aside in seen.asides if aside.split(" ")[1] not in quiet]
    first = [*loud, seen.eta.partition(" (")[0].removeprefix("about ")]
    chosen: list[str] = []
    for phrase in dict.fromkeys((*first, *seen.times, *seen.asides, seen.cost, seen.estimate)):
        if phrase and len(phrase) + 2 <= room:
            room -= len(phrase) + 2
            chosen.append(phrase)
    return ", ".join(chosen)


def _size(stream: TextIO) -> int:
    """A terminal's columns; 0 where unknown: one of CI or of a container may report 0 x 0, and tqdm draws nothing."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 0
    return size.columns if min(size) > 0 else 0
