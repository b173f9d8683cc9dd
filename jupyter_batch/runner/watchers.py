"""Watchers of jobs: functions that get a snapshot at each change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import msgspec

from jupyter_batch.core.status import Snapshot
from jupyter_batch.process.log import logger

Watcher = Callable[[Snapshot], None]

_log = logger()


class Watchers:
    """The watchers of a process, by job. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: dict[str, list[Watcher]] = {}
        self._shown: dict[str, Snapshot] = {}

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(list(self._watchers))

    def of(self, job: str) -> list[Watcher]:
        """The watchers of a job."""
        with self._lock:
            return list(self._watchers.get(job, ()))

    def add(self, job: str, watcher: Watcher) -> None:
        """Add a watcher; the same one is added once."""
        with self._lock:
            watchers = self._watchers.setdefault(job, [])
            if watcher not in watchers:
                watchers.append(watcher)

    def drop(self, job: str) -> None:
        """Drop the watchers of a job."""
        with self._lock:
            self._watchers.pop(job, None)

    def refresh(self, job: str) -> None:
        """Show the job's state again, changed or not."""
        self._shown.pop(job, None)

    def has_shown(self, job: str) -> bool:
        """Whether the watchers of a job have seen it, since the last `refresh`."""
        return job in self._shown

    def show(self, job: str, snapshot: Snapshot) -> None:
        """Call the watchers with a snapshot that differs from the last one in more than its time."""
        shown = self._shown.get(job)
        if shown is not None and msgspec.structs.replace(shown, now=snapshot.now) == snapshot:
            return
        self._shown[job] = snapshot
        for watcher in self.of(job):
            try:
                watcher(snapshot)
            except Exception:  # a screen must not stop a job
                _log.exception("jupyter_batch: a watcher of %s failed", job)
