"""This process's session on a ledger: the ledger, its one worker, and the keys of single calls.

The worker's thread starts with the first job to run.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.core.secrets import remember
from jupyter_batch.core.status import Step
from jupyter_batch.http.address import address
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.ask import Ask
from jupyter_batch.providers.keys import is_own_host, key_names
from jupyter_batch.providers.protocol import Provider
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.runner.connect import check_key, connect
from jupyter_batch.runner.passes import Watcher
from jupyter_batch.runner.worker import Worker


class Session:
    """One ledger as used by this process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ledger = Ledger(home)
        self._keys: dict[str, _Lent] = {}  # in memory alone; never in a repr
        self._named: set[tuple[str, str]] = set()
        self._given: set[tuple[str, str]] = set()
        self._handed_over: set[str] = set()
        self._functions: dict[str, Mapping[str, Callable[..., Any]]] = {}
        self.worker = Worker(self.ledger, self._connect)
        self._moved: set[str] = set()
        self._started = False

    def __repr__(self) -> str:
        return f"Session({str(self.home)!r})"

    def move(self, job: str, watcher: Watcher | None = None, api_key: str | None = None) -> None:
        """Have the worker run this job from now on, and call `watcher` at each change."""
        self.know(job, api_key)
        self._moved.add(job)
        self._start()
        self.worker.take(job, watcher)

    def know(self, job: str, api_key: str | None) -> None:
        """Remember the key that was given for a job's call, if any.

        A refused key is forgotten once the user has set another in the environment, which then
        applies to this job too.
        """
        if api_key is not None:
            remember(api_key)
            record = self.ledger.job(job)
            self._keys[job] = _Lent(api_key, place_of(record), _set_for(record))
            self.worker.forgive(job)
            return
        lent = self._keys.get(job)
        if lent is None or job not in self.worker.refused:
            return
        record = self.ledger.job(job)
        if self._is_given(record) and _set_for(record) - lent.environment:
            del self._keys[job]
            self._handed_over.add(job)

    def key_of(self, job: str) -> str | None:
        """The key that was given for a job's call, as long as this process lives."""
        lent = self._keys.get(job)
        return None if lent is None else lent.key

    def name(self, api_base: str | None, provider: str = "", *, with_key: bool = False) -> None:
        """Remember an address that a call of this kernel gave: the environment's key may go there.

        provider: whose key; "" for every provider's. with_key: a key was given for it; then the
        environment's is not used there, even if that key is refused, unless it is set after that
        (see `know`).
        """
        if api_base is not None:
            (self._given if with_key else self._named).add((provider, address(api_base)))

    def _named_for(self, provider: str) -> set[str]:
        return {at for whose, at in self._named if whose in ("", provider)}

    def _is_given(self, job: JobRecord) -> bool:
        """Whether a job's address is its provider's own, or was given by a call of this kernel."""
        record = RECORDS.get(job.provider)
        if job.api_base is None or (record is not None and is_own_host(record, job.api_base)):
            return True
        here = {(whose, address(job.api_base)) for whose in ("", job.provider)}
        return bool(here & (self._named | self._given))

    def check_key(self, job: JobRecord, api_key: str | None) -> None:
        """Raise KeyMissingError, naming the host, without a key that may go to a job's address."""
        check_key(job, api_key=api_key, named=self._named_for(job.provider))

    def lend_key(self, job: str, other: str, given: str | None = None) -> str | None:
        """The key of a job's call for another job at its address. given: a key for both."""
        lent = self._keys.get(job)
        here = place_of(self.ledger.job(job)) if given is not None or lent is None else lent.place
        if here != place_of(self.ledger.job(other)):
            return None
        return given or (None if lent is None else lent.key)

    def lend(self, job: str, functions: Mapping[str, Callable[..., Any]]) -> None:
        """Remember the functions given as a job's tools, as long as this process lives."""
        if functions:
            self._functions[job] = functions

    def functions_of(self, job: str) -> Mapping[str, Callable[..., Any]]:
        """The functions given for a job, by name."""
        return self._functions.get(job, {})

    def move_all(self) -> None:
        """Have the worker run every unfinished job that this process has a key for."""
        self.worker.everything = True
        self._start()
        self.worker.poke()

    def close(self) -> None:
        """End the worker and release its leases; the batches keep running at their providers."""
        self.worker.stop()
        self.ledger.close()

    def _at_exit(self) -> None:
        """At a script's exit, report batches not yet sent: they wait for the next run."""
        self.worker.stop()
        unsent: list[str] = []
        with contextlib.suppress(LedgerError):
            if self.ledger.exists():
                unsent = [
                    job
                    for job in sorted(self._moved)
                    if any(
                        shard.step in (Step.PLANNED, Step.SUBMITTING, Step.WAITING)
                        for shard in self.ledger.shards(job)
                    )
                ]
        self.ledger.close()
        if unsent:
            sys.stderr.write(
                f"jupyter_batch: not all of {', '.join(unsent)} was sent before the end of this process; "
                "run it again, or `jupyter batch watch`, to go on\n"
            )

    def after_fork(self) -> None:
        """Reset a child process: the thread, the connection and the leases are the parent's."""
        self.ledger.after_fork()
        watchers = self.worker.watchers
        self.worker = Worker(self.ledger, self._connect, everything=self.worker.everything)
        for job in watchers:
            for watcher in watchers.of(job):
                self.worker.take(job, watcher)

    def _start(self) -> None:
        if not self._started:
            self._started = True
            atexit.register(self._at_exit)
        self.worker.start()

    async def _connect(self, job: JobRecord) -> Provider:
        # A continuing job uses the key of the job it continues, if at the same address.
        lent = self._keys.get(job.id) or self._keys.get(job.parent or "")
        key = lent.key if lent is not None and lent.place == place_of(job) else None
        handed_over = bool(self._handed_over & {job.id, job.parent}) and self._is_given(job)
        named = None if handed_over else self._named_for(job.provider)
        return await connect(job, home=self.home, api_key=key, named=named)


class _Lent(NamedTuple):
    """A key that a call gave, its address, and the environment's keys at that time.

    Not in any repr.
    """

    key: str
    place: str
    environment: frozenset[str]

    def __repr__(self) -> str:
        return f"_Lent(place={self.place!r})"


def _set_for(job: JobRecord) -> frozenset[str]:
    """The keys that the environment has for a job's provider."""
    return frozenset(filter(None, (os.environ.get(name) for name in key_names(job.provider))))


def place_of(job: JobRecord | Ask) -> str:
    """The destination of a job's requests that decides which key applies."""
    region = sorted(job.cloud.items())
    # In realtime without an address the model's name decides which provider litellm calls.
    owner = job.model.partition("/")[0]
    return f"{job.provider} {owner} {address(job.api_base) if job.api_base else ''} {region}"


_lock = threading.Lock()
_sessions: dict[
    Path, Session
] = {}  # one for each ledger: a process has only a single worker for each of them


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent's may have held it
    _lock = threading.Lock()
    for one in _sessions.values():
        one.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)


def session(home: Path) -> Session:
    """This process's session on a ledger."""
    with _lock:
        found = _sessions.get(home)
        if found is None:
            found = _sessions[home] = Session(home)
        return found
