"""The start of a fetching process: for open jobs without a follower, one at a time, and never for ever."""

from __future__ import annotations

import logging
import time

import pytest

from jupyter_batch.lab.watch import GRACE_SECONDS, PAUSE_SECONDS, Watch

from .conftest import planned


class Child:
    """A process that does nothing, until it is over."""

    pid = 1

    def __init__(self, command, env):
        self.command, self.env, self.code = command, env, None

    def poll(self):
        return self.code

    def terminate(self):
        self.code = -15

    def wait(self, _seconds):
        return self.code


@pytest.fixture
def watching(ledger):
    """(watch, its children, the time as a list of one)."""
    children, now = [], [time.time()]

    def start(command, env):
        children.append(Child(command, env))
        return children[-1]

    return (
        Watch(ledger, logging.getLogger("test"), start=start, clock=lambda: now[0]),
        children,
        now,
    )


def test_one_process_for_what_nobody_follows(ledger, lease, watching):
    """None for a ledger that is absent, for a job that a kernel follows, that is over, or that was just begun."""
    watch, children, now = watching
    watch.look()
    planned(ledger, "jbover", over=True)
    planned(ledger, "jbhere")
    lease(ledger, "jbhere")
    planned(ledger, "jbnew", created_at=now[0])
    watch.look()
    assert children == []
    now[0] += GRACE_SECONDS + 1
    watch.look()
    watch.look()
    [child] = children
    assert child.command[1:5] == ["-P", "-m", "jupyter_batch", "watch"]
    assert child.command[-2] == "--timeout", "one whose server was killed ends by itself"
    assert child.env["JUPYTER_BATCH_HOME"] == str(ledger.home)


def test_another_one_after_a_pause(ledger, watching):
    """A process that could do nothing (no key) is not started again and again."""
    watch, children, now = watching
    planned(ledger, "jbaaa")
    watch.look()
    children[0].code = 2
    watch.look()
    assert len(children) == 1
    now[0] += PAUSE_SECONDS
    watch.look()
    assert len(children) == 2


def test_a_cancelled_job_has_its_own_unless_all_are_fetched(ledger, watching):
    """`fetch(job)` names the job; where a process moves all, there is none."""
    watch, children, _ = watching
    planned(ledger, "jbaaa")
    watch.fetch("jbaaa")
    watch.fetch("jbaaa")
    assert [child.command[5] for child in children] == ["jbaaa"]
    watch.look()
    watch.fetch("jbaab")
    assert len(children) == 2


def test_they_end_with_the_server(ledger, watching):
    """After close() none runs, and none is started."""
    watch, children, _ = watching
    planned(ledger, "jbaaa")
    watch.look()
    watch.close()
    assert children[0].code == -15
    watch.fetch("jbaab")
    assert len(children) == 1
