"""`jupyter batch watch`: poll and download without a kernel, with notices and webhooks."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from typing import TYPE_CHECKING

from jupyter_batch.cli.actions import print_job
from jupyter_batch.core.errors import JobBlockedError, OptionError

if TYPE_CHECKING:
    import argparse

    from jupyter_batch.jobs import Job
    from jupyter_batch.notices.listener import Listener
    from jupyter_batch.notices.targets import Target


def run_watch(asked: argparse.Namespace) -> int:
    """Watch jobs; 1 if any is still open at the end. Failed rows are results, too.

    A job that can't continue without the user is reported and left, since cron and systemd would wait forever.
    """
    from jupyter_batch import jobs

    jobs.name_address(asked.api_base)
    to = _target(asked.notify)
    until = None if asked.timeout is None else time.monotonic() + asked.timeout
    with _listener(asked.webhook) or contextlib.nullcontext():
        chosen = [jobs.open_job(asked.id)] if asked.id else _still_open()
        if not chosen:
            print("No job is open.")
        if asked.id is None:
            jobs.resume_open()
        return _watch(chosen, until, to, more=asked.id is None)


def _watch(chosen: list[Job], until: float | None, to: Target | None, *, more: bool) -> int:
    """Wait for these jobs, and where `more` for those that are submitted since; return the exit code."""
    blocked: set[str] = set()
    noticed: set[str] = set()
    while chosen:
        for job in chosen:
            if to is not None and not job.is_complete and job.id not in noticed:
                noticed.add(job.id)
                job.on_done(functools.partial(_notify, to))
        for job in chosen:
            over = _wait_for(job, until, to)
            if over is False:
                return 1
            if over is None:  # it was tried once and has printed why
                blocked.add(job.id)
        chosen = [job for job in _still_open() if job.id not in blocked] if more else []
    return 1 if blocked else 0


def _wait_for(job: Job, until: float | None, to: Target | None) -> bool | None:
    """Whether the job is complete; False: out of time, or Ctrl-C; None: it is blocked, and that is reported."""
    if job.is_complete:
        print_job(job)
    try:
        left = None if until is None else max(0.0, until - time.monotonic())
        return job.wait(left).is_complete
    except JobBlockedError as error:
        print(f"jupyter batch: {error}", file=sys.stderr)
        _notify(to, job)
        return None


def _still_open() -> list[Job]:
    from jupyter_batch import jobs

    return [job for job in jobs.list_jobs() if not job.is_complete]


def _target(where: str | None) -> Target | None:
    if where is None:
        return None
    from jupyter_batch.notices.targets import target

    return target(where)


def _notify(to: Target | None, job: Job) -> None:
    """Send a notice of the job's state, and wait until it was sent."""
    if to is not None:
        from jupyter_batch.notices.message import message_of
        from jupyter_batch.notices.targets import deliver

        deliver(to, message_of(job.snapshot()))


def _listener(place: str | None) -> Listener | None:
    """The server for webhooks, whose events make the next poll due at once. Raises OptionError."""
    if place is None:
        return None
    from jupyter_batch.config import settings
    from jupyter_batch.notices.listener import Listener, place_of
    from jupyter_batch.notices.webhooks import SECRET, key_of, wake
    from jupyter_batch.runner.process import session

    if not os.environ.get(SECRET):
        raise OptionError(f"--webhook checks signatures: set ${SECRET} to the webhook's secret")
    here = session(settings.home())

    def on_batch(batch: str) -> None:
        if wake(here.ledger, batch) is not None:
            here.worker.poke()

    made = Listener(place_of(place), key_of(os.environ[SECRET]), on_batch)
    print(f"Webhooks are taken at port {made.port}; polling goes on.")
    return made
