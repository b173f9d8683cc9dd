"""The terminal's screens of several jobs: a live table, a list in colours, and lines where there is no terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from jupyter_batch.monitor.text import BAR, SHORT_TITLE, WIDE, Progress, details
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
            shown = listing(seen, self._console, self._console.height - 1)
            self._live.update(shown, refresh=True)

    def close(self) -> None:
        """Leave every job as it stands, whatever the terminal's height."""
        self._live.update(listing(self._seen, self._console))
        self._live.stop()


def print_list(seen: Sequence[View], console: Console | None = None) -> None:
    """Print all jobs once."""
    from rich.console import Console

    console = console or Console()
    console.print(listing(seen, console))


def listing(seen: Sequence[View], console: Console, lines: int | None = None) -> RenderableType:
    """The jobs, and the messages of open ones; in at most so many lines, which open jobs get first."""
    from rich.console import Group
    from rich.text import Text

    wide = console.width >= WIDE
    messages = [
        Text(f"{one.title} [{one.id}]: {line}", style=COLOURS[one.colour])
        for one in seen
        for line in (details(one) if not one.is_final else ())
    ]
    each = 1 if wide else 2
    if lines is not None:
        room = lines - wide
        height = sum(-(-text.cell_len // console.width) for text in messages)
        each = each if len(seen) * each + height <= room else 1
        if len(seen) + height > room:
            messages = []
        if len(seen) > room:
            first = sorted(seen, key=lambda one: one.is_final)
            seen = first[: room - 1]
            messages = [Text(_and_more(first[room - 1 :]), "dim")]
    jobs = [table(seen, console)] if wide else _narrow(seen, console, each)
    return Group(*jobs, *messages)


def _and_more(left: Sequence[View]) -> str:
    """`and 12 more: 3 running, 9 completed`."""
    counted = Counter(one.state for one in left)
    states = ", ".join(f"{count:,} {state}" for state, count in counted.items())
    return f"and {len(left):,} more: {states}"


def table(seen: Sequence[View], console: Console) -> Table:
    """The jobs on a wide terminal, one line each."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for name, room in (("job", 3), ("state", None), ("", None), ("rows", None)):
        made.add_column(name, no_wrap=True, ratio=room, overflow="ellipsis")
    for name, room in (("time", 2), ("cost", 3), ("model", 2), ("id", None)):
        made.add_column(name, no_wrap=True, ratio=room, overflow="ellipsis")
    for one in seen:
        made.add_row(
            Text(one.title),
            Text(one.state, COLOURS[one.colour]),
            bar(one, BAR, ascii_only=console.options.ascii_only),
            _rows(one),
            Text(_time(one)),
            Text(_cost(one)),
            Text(one.model),
            Text(one.id, "dim"),
        )
    return made


def _narrow(seen: Sequence[View], console: Console, each: int) -> list[Text]:
    """The jobs below WIDE columns, in one or two lines each."""
    from rich.text import Text

    made = []
    ends = [Text.assemble((one.state, COLOURS[one.colour]), " ", _rows(one)) for one in seen]
    room = console.width - BAR - 4
    end_room = min(max((end.cell_len for end in ends), default=0), room - SHORT_TITLE)
    for one, end in zip(seen, ends, strict=True):
        title = Text(one.title, "bold")
        title.truncate(room - end_room, overflow="ellipsis", pad=True)
        end.truncate(end_room, overflow="ellipsis")
        drawn = bar(one, BAR, ascii_only=console.options.ascii_only)
        made.append(Text.assemble(title, "  ", drawn, "  ", end))
        if each > 1:
            facts = ", ".join(filter(None, (one.id, _time(one), _cost(one), one.model)))
            made.append(Text(f"  {facts}", "dim"))
            made[-1].truncate(console.width, overflow="ellipsis")
    return made


def _rows(one: View) -> Text:
    from rich.text import Text

    rows = Text(f"{one.percent}% of {one.total:,}")
    if one.asides:
        rows.append(f", {', '.join(one.asides)}", style=COLOURS[one.colour])
    return rows


def _time(one: View) -> str:
    left = one.eta.partition(" (")[0].removeprefix("about ")
    return left or one.times[0]


def _cost(one: View) -> str:
    """So far, expected and at most; what was saved once it has ended."""
    so_far = one.cost.replace("cost $", "$", 1)
    if one.is_final:
        return so_far
    return ", ".join(filter(None, (so_far.partition(",")[0], one.estimate)))


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
