"""Waiting for events of worker and recorder: no sleep, and no guess at how long something takes."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager

from jupyter_batch.runner.process import session
from jupyter_batch.runner.worker import Worker

PATIENCE = 30.0
"""Seconds after which a test fails; nothing that works takes as long."""

_changed = threading.Condition()
_count = {"events": 0, "passes": 0}


def notify(kind="events"):
    """Have each waiting test look again: a request was received, or a pass of a worker is over."""
    with _changed:
        _count["events"] += 1
        if kind != "events":
            _count[kind] += 1
        _changed.notify_all()


def until(reached, seconds=PATIENCE):
    """Wait until `reached()` is true. It is evaluated after each event, outside the lock."""
    end = time.monotonic() + seconds
    while True:
        with _changed:
            seen = _count["events"]
        if reached():
            return
        with _changed:
            _changed.wait_for(lambda seen=seen: _count["events"] != seen, end - time.monotonic())
        assert time.monotonic() < end, "what the test waits for did not come about"


@contextmanager
def counted():
    """Notify after each pass of any worker of this process."""
    once = Worker.once

    async def noted(worker):
        try:
            return await once(worker)
        finally:
            notify("passes")

    Worker.once = noted
    try:
        yield
    finally:
        Worker.once = once


def passes(home, number=3):
    """Have the worker look at everything so many times, and wait for the calls that it began."""
    worker = session(home).worker
    for _ in range(number):
        before = _count["passes"]
        worker.poke()
        until(lambda before=before: _count["passes"] > before)
    loop = worker._loop
    if loop is not None:
        asyncio.run_coroutine_threadsafe(worker.settled(), loop).result(PATIENCE)
