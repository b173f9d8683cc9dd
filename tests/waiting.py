"""Waiting on a condition while a job's worker goes on by itself."""

from __future__ import annotations

import contextlib
import threading
import time

from jupyter_batch.core.errors import JobBlockedError

PATIENCE = 60.0
"""Seconds until a test gives up; none waits for them."""


def wait_for(test, job):
    """Let the worker go on until something is so."""
    end, still = time.monotonic() + PATIENCE, threading.Event()
    while not test():
        assert time.monotonic() < end, job.snapshot()
        with contextlib.suppress(JobBlockedError):
            job.wait(0.02)  # what waits for this thread gets its turn
        still.wait(0.005)  # also where the job is over
