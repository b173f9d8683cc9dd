"""A line about slow work that no job's panel shows: planning, imports, merges. It goes at the end.

In a front end the line is an output of the cell; in a terminal it is written to standard error.
Elsewhere (scripts with their output in a file, nbclient) nothing is shown.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, Protocol, TextIO

from jupyter_batch.notebook import kernel

AFTER = 0.3
"""Seconds until work is slow."""
_EVERY = 0.5
_STYLE = "font-variant-numeric:tabular-nums;opacity:.8"


class Screen(Protocol):
    """The place of one line."""

    def show(self, text: str) -> None:
        """Show the line, in place of the last."""

    def close(self) -> None:
        """Remove the line."""


class Line:
    """A line about the work of the main thread. From any thread."""

    def __init__(self, screen: Screen, after: float) -> None:
        self.doing: list[str] = []
        self._screen, self._after = screen, after
        self._began = time.monotonic()
        self._done, self._total = 0, 0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._shown = False

    def report(self, done: int, total: int) -> None:
        """Note the part that is done; it is shown with the next drawing."""
        self._done, self._total = done, total

    def text(self) -> str:
        """The line: `Planning 1,000,000 rows: 41%, 12 s`."""
        seconds = int(time.monotonic() - self._began)
        share = f"{self._done / self._total:.0%}" if self._total and len(self.doing) == 1 else ""
        more = ", ".join(filter(None, (share, f"{seconds} s" if seconds else "")))
        return f"{self.doing[-1]}{': ' if more else ''}{more}"

    def draw(self) -> None:
        """Show the line now."""
        with self._lock:
            if not self._over.is_set() and self.doing:
                self._shown = True
                self._screen.show(self.text())

    def start(self) -> None:
        """Draw it from a thread until it is closed."""
        # From ipykernel 7.0 on the cell of an output is a context variable.
        work = contextvars.copy_context().run
        threading.Thread(target=work, args=(self._run,), daemon=True, name="progress").start()

    def _run(self) -> None:
        pause = self._after or _EVERY
        while not self._over.wait(pause):
            self.draw()
            pause = _EVERY

    def close(self) -> None:
        """Remove the line."""
        with self._lock:
            self._over.set()
            if self._shown:
                self._screen.close()


_line: Line | None = None


@contextlib.contextmanager
def progress(doing: str, *, after: float = AFTER) -> Iterator[None]:
    """Show a line while this block of the main thread works, once it has taken `after` seconds.

    Within another such block the line changes for this one. doing: plain text without HTML.
    """
    global _line  # noqa: PLW0603 - the main thread has one line
    outer = _line
    screen = (_screen() if outer is None else outer) if kernel.is_main_thread() else None
    if screen is None:
        yield
        return
    line = screen if isinstance(screen, Line) else Line(screen, after)
    line.doing.append(doing)
    try:
        if outer is None:
            _line = line
            line.start()
        if not after:
            line.draw()
        yield
    finally:
        line.doing.pop()
        if outer is None:
            _line = None
            line.close()


def report(done: int, total: int) -> None:
    """Note the part of the present work that is done."""
    if (line := _line) is not None and kernel.is_main_thread():
        line.report(done, total)


# -- screens ---------------------------------------------------------------------------------------------------------


def _screen() -> Screen | None:
    """The place for a line now; None where nobody would see it, or no cell runs."""
    ip = kernel.shell()
    if getattr(ip, "kernel", None) is None:
        return _Terminal(sys.stderr) if sys.stderr is not None and sys.stderr.isatty() else None
    gap = kernel.between(ip)
    publisher: Any = getattr(ip, "display_pub", None)
    if gap is None or not gap.is_in_cell or not kernel.has_frontend(ip):
        return None
    return _Output(publisher) if hasattr(publisher, "pub_socket") else None


class _Output:
    """An output of the running cell, which is empty at the end."""

    def __init__(self, publisher: Any) -> None:
        self._publisher, self._id, self._there = publisher, uuid.uuid4().hex, False

    def show(self, text: str) -> None:
        bundle = {
            "text/plain": text,
            "text/html": f'<div style="{_STYLE}" role="status">{text}</div>',
        }
        self._publish(bundle if text else {"text/plain": "", "text/html": ""})

    def _publish(self, bundle: dict[str, str]) -> None:
        with contextlib.suppress(Exception):  # a front end that is gone must not end the work
            self._publisher.publish(bundle, transient={"display_id": self._id}, update=self._there)
        self._there = True

    def close(self) -> None:
        self.show("")


class _Terminal:
    """The last line of a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(f"\r\x1b[2K{text}")
            self._stream.flush()

    def close(self) -> None:
        self.show("")
