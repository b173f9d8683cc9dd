"""`jupyter batch watch`: poll and download without a kernel, with notices and webhooks."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

from jupyter_batch.cli.actions import print_job
from jupyter_batch.cli.screen import open_screen
from jupyter_batch.core.errors import OptionError

if TYPE_CHECKING:
    import argparse

    from jupyter_batch.cli.screen import Screen
    from jupyter_batch.jobs import Job
    from jupyter_batch.notices.listener import Listener
    from jupyter_batch.notices.targets import Target


TICK = 0.1
"""Seconds between two looks."""
RESCAN = 10.0
"""Seconds after which jobs that were submitted since are looked for."""


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
        if asked.id and chosen[0].is_complete:
            print_job(chosen[0])
            return 0
        screen = open_screen(sys.stdout)
        try:
            return _watch(screen, chosen, until, to, more=asked.id is None)
        finally:
            screen.close()


def _watch(
    screen: Screen, jobs: list[Job], until: float | None, to: Target | None, *, more: bool
) -> int:
    """Show these jobs until none can continue, with later ones where `more`; return the exit code."""
    from jupyter_batch.monitor.view import view

    watched: dict[str, Job] = {}
    blocked, noticed = set[str](), set[str]()
    looked = time.monotonic()
    while True:
        watched |= {job.id: job.follow() for job in jobs}
        screen.update([view(job.snapshot()) for job in watched.values()])
        _notify_ends(watched, noticed, to)
        moving, jobs = _moving(watched, blocked, to), []
        now = time.monotonic()
        if more and (not moving or now - looked > RESCAN):
            looked = now
            jobs = [job for job in _still_open() if job.id not in watched]
        if not moving and not jobs:
            # Once more: a job may have ended after it was shown.
            screen.update([view(job.snapshot()) for job in watched.values()])
            return 1 if blocked else 0
        if until is not None and now >= until:
            return 1
        time.sleep(TICK)


def _notify_ends(watched: dict[str, Job], noticed: set[str], to: Target | None) -> None:
    """Send a notice for each job that is complete now, once, before this process may end."""
    for name, job in watched.items():
        if to is not None and name not in noticed and job.is_complete:
            noticed.add(name)
            _notify(to, job)


def _moving(watched: dict[str, Job], blocked: set[str], to: Target | None) -> list[Job]:
    """The open jobs that can continue. A blocked one is reported once, and added to `blocked`."""
    moving = []
    for name, job in watched.items():
        if name in blocked or job.is_complete:
            continue
        error = job.wait_error()
        if error is None:
            moving.append(job)
            continue
        blocked.add(name)
        print(f"jupyter batch: {error}", file=sys.stderr)
        _notify(to, job)
    return moving


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
    print(f"Listening for webhooks on port {made.port}; polling continues.")
    return made
