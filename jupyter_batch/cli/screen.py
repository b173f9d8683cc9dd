"""The terminal's screens of several jobs: a live table, a list in colours, and lines where there is no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from jupyter_batch.monitor.text import BAR, WIDE, Progress, details
from jupyter_batch.monitor.view import View

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

COLOURS = {"good": "green", "bad": "red", "warn": "yellow", "busy": "cyan", "idle": "bright_black"}
SEGMENTS = {
    "succeeded": "green",
    "reused": "blue",
    "failed": "red",
    "expired": "yellow",
    "cancelled": "bright_black",
    "skipped": "bright_black",
}


class Screen(Protocol):
    """A screen of all watched jobs."""

    def update(self, seen: Sequence[View]) -> None:
        """Draw what changed."""

    def close(self) -> None:
        """Leave the last state as it stands."""


def open_screen(stream: TextIO) -> Screen:
    """A live table on a terminal, else lines."""
    return LiveTable() if stream.isatty() else Lines(stream)


class Lines:
    """A line for each change of state of each job."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._jobs: dict[str, Progress] = {}

    def update(self, seen: Sequence[View]) -> None:
        """Print the changes."""
        for one in seen:
            if one.id not in self._jobs:
                self._jobs[one.id] = Progress(self._stream, tty=False)
            self._jobs[one.id].update(one)

    def close(self) -> None:
        """Nothing is open."""


class LiveTable:
    """One table of all jobs, redrawn in place; below it their messages."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console()
        self._live: Live = Live(console=self._console, auto_refresh=False)
        self._seen: tuple[View, ...] = ()
        self._live.start()

    def update(self, seen: Sequence[View]) -> None:
        """Redraw the table where a job looks different."""
        if tuple(seen) != self._seen:
            self._seen = tuple(seen)
            self._live.update(listing(seen, self._console), refresh=True)

    def close(self) -> None:
        """Leave the table as it stands."""
        self._live.stop()


def print_list(seen: Sequence[View], console: Console | None = None) -> None:
    """Print all jobs once."""
    from rich.console import Console

    console = console or Console()
    console.print(listing(seen, console))


def listing(seen: Sequence[View], console: Console) -> RenderableType:
    """The table, and the messages of open jobs."""
    from rich.console import Group
    from rich.text import Text

    messages = [
        Text(f"{one.title} [{one.id}]: {line}", style=COLOURS[one.colour])
        for one in seen
        for line in (details(one) if not one.is_final else ())
    ]
    return Group(table(seen, console), *messages)


def table(seen: Sequence[View], console: Console) -> Table:
    """The jobs, one line each on a wide terminal, two on a narrow one."""
    from rich.table import Table

    wide = console.width >= WIDE
    made = Table(box=None, pad_edge=False, show_header=wide, header_style="bold", expand=True)
    if wide:
        for name, room in (("job", 3), ("state", None), ("", None), ("rows", None)):
            made.add_column(name, no_wrap=True, ratio=room, overflow="ellipsis")
        for name, room in (("time", 3), ("cost", 2), ("model", 3), ("id", None)):
            made.add_column(name, no_wrap=True, ratio=room, overflow="ellipsis")
    else:
        made.add_column(no_wrap=True, ratio=2, overflow="ellipsis")
        made.add_column(no_wrap=True, min_width=BAR)
        made.add_column(no_wrap=True, ratio=3, overflow="ellipsis")
    for one in seen:
        _add(made, one, console, wide=wide)
    return made


def _add(made: Table, one: View, console: Console, *, wide: bool) -> None:
    from rich.text import Text

    state = Text(one.state, style=COLOURS[one.colour])
    rows = Text(f"{one.percent}% of {one.total:,}")
    if one.asides:
        rows.append(f", {', '.join(one.asides)}", style=COLOURS[one.colour])
    time = Text(one.times[1] if len(one.times) > 1 and not one.is_final else one.times[0])
    cost = Text(one.cost.removeprefix("cost ") or one.estimate)
    drawn = bar(one, BAR, ascii_only=console.options.ascii_only)
    if wide:
        made.add_row(
            Text(one.title), state, drawn, rows, time, cost, Text(one.model), Text(one.id, "dim")
        )
        return
    made.add_row(Text(one.title, "bold"), drawn, Text.assemble(state, " ", rows))
    made.add_row(
        Text(one.id, "dim"),
        Text(time.plain, "dim", overflow="ellipsis"),
        Text(f"{one.model}{f', {cost.plain}' if cost.plain else ''}", "dim"),
    )


def bar(one: View, columns: int, *, ascii_only: bool = False) -> Text:
    """A bar of the rows by status; open ones are its empty part."""
    from rich.text import Text

    full, empty = ("#", "-") if ascii_only else ("━", "─")
    made, drawn, rows = Text(), 0, 0
    for part in one.segments:
        if part.kind not in SEGMENTS:
            continue
        rows += part.count
        end = int(columns * rows / max(1, one.total))
        if not end and rows:
            end = 1
        made.append(full * (end - drawn), SEGMENTS[part.kind])
        drawn = max(drawn, end)
    made.append(empty * (columns - drawn), "bright_black")
    return made
