"""A process of `jupyter batch watch`, for jobs that no kernel follows.

litellm is never loaded into the server. The process ends with the server, or by itself: when all
results are fetched, or after an hour, so that none outlives a killed server for long.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from logging import Logger

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.lab.listing import followed
from jupyter_batch.ledger.store import Ledger

LOOK_SECONDS = 5.0
GRACE_SECONDS = 5.0
"""How old a job is, before that nobody follows it means something: its kernel needs a moment."""
PAUSE_SECONDS = 60.0
"""Between two processes, where the first could do nothing (it has no key, say)."""
LIFE_SECONDS = 3600
ALL = ""

Spawn = Callable[[list[str], dict[str, str]], "subprocess.Popen[bytes]"]


def spawn(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start it apart from the server's terminal; what goes wrong is in the server's log."""
    return subprocess.Popen(  # noqa: S603
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


class Watch:
    """The processes that fetch for one ledger: at most one for all jobs, and one for a job that was cancelled here.

    clock: seconds since the epoch.
    """

    def __init__(
        self,
        ledger: Ledger,
        log: Logger,
        *,
        start: Spawn = spawn,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._log = log
        self._spawn = start
        self._clock = clock
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._began: dict[str, float] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        atexit.register(self.close)

    def start(self) -> None:
        """Look every few seconds from now on, in a thread."""
        threading.Thread(target=self._forever, name="jupyter-batch-watch", daemon=True).start()

    def look(self) -> None:
        """Start a process where a job is open that nobody follows. Never raises."""
        try:
            now = self._clock()
            left = [
                job
                for job in self._ledger.jobs(unfinished=True)
                if not followed(job, now) and now - job.created_at > GRACE_SECONDS
            ]
            # What is blocked waits for the user: a process of its own looks again once an hour.
            free = any(job.blocked(self._ledger.shards(job.id)) is None for job in left)
            if free or (left and now - self._began.get(ALL, 0.0) >= LIFE_SECONDS):
                self.fetch(ALL)
        except (LedgerError, OSError) as e:
            self._log.warning("jupyter_batch: %s", e)

    def fetch(self, job: str) -> None:
        """Have this job moved to its end, or all that are open; nothing where a process is at it, or just was."""
        with self._lock:
            self._running = {
                name: child for name, child in self._running.items() if child.poll() is None
            }
            now = self._clock()
            if self._over.is_set() or {job, ALL} & set(self._running):
                return
            if now - self._began.get(job, 0.0) < PAUSE_SECONDS:
                return
            self._began[job] = now
            command = [
                sys.executable,
                "-P",
                "-m",
                "jupyter_batch",
                "watch",
                *([job] if job else []),
                "--timeout",
                str(LIFE_SECONDS),
            ]
            self._running[job] = self._spawn(
                command, {**os.environ, "JUPYTER_BATCH_HOME": str(self._ledger.home)}
            )
            self._log.info(
                "jupyter_batch: %s is fetched by process %s",
                job or "what is open",
                self._running[job].pid,
            )

    def close(self) -> None:
        """End them; the jobs go on at their providers."""
        self._over.set()
        with self._lock:
            for child in self._running.values():
                with contextlib.suppress(OSError):
                    child.terminate()
            for child in self._running.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(5)

    def _forever(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.look()
