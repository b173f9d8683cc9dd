"""A user's cell on a clock of its own, which may be killed at any write or call: a host of forking.py.

An order is {"home", "root", "wire", "way", "now", "kill", "again", "report"}: the cell is run, time passes in steps,
and the state is written to `report`. With `kill` the process dies at that write or call.
"""

from __future__ import annotations

import itertools
import json
import time
import urllib.request
from pathlib import Path

import pandas as pd

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.core.errors import JobBlockedError
from jupyter_batch.core.status import Block
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.anthropic.batches import ViaAnthropic
from jupyter_batch.providers.openai.batches import ViaOpenAI
from jupyter_batch.runner import collect
from jupyter_batch.runner.worker import Worker
from tests.forking import die, serve

TEXTS = [f"row {n}" for n in range(6)] + ["sick 6", "sick 7"]
STEPS = 30
LAST_STEP = 120
PAUSE = 7.0


class Clock:
    """The time of this process and of the server; steps: how often it has moved."""

    def __init__(self, now, root):
        self.now, self.steps = now, 0
        self._root = root
        self.move(0.0)

    def __call__(self):
        return self.now

    def move(self, seconds):
        """Let time pass, here and there."""
        self.now += seconds
        order = urllib.request.Request(f"{self._root}/clock", data=json.dumps(self.now).encode())
        urllib.request.urlopen(order).close()
        self.steps += 1


def wind_up(clock):
    """Give the process that clock; each pass of the worker moves it."""
    time.time = clock
    Worker.__init__.__kwdefaults__["clock"] = clock
    once = Worker.once

    async def passed(self):
        await once(self)
        await self.settled()
        clock.move(PAUSE)
        if clock.steps > LAST_STEP:  # the laptop is closed
            die()
        return 0.01

    Worker.once = passed


def arm(kill):
    """Die at the kill-th of all writes to the ledger and calls to the provider, before or after it is done."""
    count = itertools.count(1)

    def step():
        if next(count) == kill:
            die()

    def wrap(owner, name):
        real = getattr(owner, name)

        def called(*args, **named):
            step()
            made = real(*args, **named)
            step()
            return made

        setattr(owner, name, called)

    def wrap_call(owner, name):
        real = getattr(owner, name)

        async def called(*args, **named):
            step()
            made = await real(*args, **named)
            step()
            return made

        setattr(owner, name, called)

    for name in ("plan", "move", "finish", "rush"):
        wrap(Ledger, name)
    wrap(collect, "_put_in_place")
    for owner, name in itertools.product(
        (ViaOpenAI, ViaAnthropic), ("submit", "find", "poll", "fetch", "cancel")
    ):
        wrap_call(owner, name)


def step(text: str) -> str:
    """A tool."""
    return f"told {text}"


def until(clock, done):
    """Wait until it is done, or enough time has passed on the clock."""
    last = clock.steps + STEPS
    while not done() and clock.steps < last:
        time.sleep(0.002)


def shards_of(home):
    """Every shard of the ledger."""
    return [one for several in Ledger(home).shards_of_all().values() for one in several]


def cell(order):
    """The user's cell of each day."""
    clock = Clock(order["now"], order["root"])
    wind_up(clock)
    if order["kill"]:
        arm(order["kill"])
    names = ["m", "n"] if order["way"] == "group" else ["m"]
    models = [f"{order['wire']}/{name}" for name in names]
    df = pd.DataFrame({"t": TEXTS})
    job = df.llm.batch(
        "{t}",
        out="out",
        model=models if order["way"] == "group" else models[0],
        api_base=f"{order['root']}/v1" if order["wire"] == "openai" else order["root"],
        api_key="k",
        shard_size=3,
        max_tokens=9,
        tools=[step] if order["way"] == "tools" else None,
    )
    if order["again"]:
        for line in jupyter_batch.jobs():
            if line.blocked:
                jobs.open_job(line.id, follow=False).resume(api_key="k", send_again=True)
    if order["way"] == "finish" and order["later"] and not job.is_complete:
        job.finish()
    until(clock, lambda: job.is_complete or job.blocked)
    if order["way"] == "retry" and job.is_complete and not job.is_successful:
        job = job.retry()
        until(clock, lambda: job.is_complete or job.blocked)
    blocked = job.blocked
    if order["way"] == "tools" and job.is_complete:
        try:
            job = job.run_tools()
        except JobBlockedError:
            blocked = Block.UNKNOWN_CREATE
    if job.is_complete:
        job.wait(30)  # the answers are merged here
    document = {
        "now": clock.now,
        "done": job.is_complete and not blocked,
        "blocked": blocked,
        "allowed": any(shard.send_again for shard in shards_of(Path(order["home"]))),
        "successful": job.is_successful,
        "cells": {
            name: df[name].astype(object).where(df[name].notna(), None).tolist()
            for name in df
            if name != "t"
        },
        "text": str(job),
    }
    Path(order["report"]).write_text(json.dumps(document))


if __name__ == "__main__":
    serve(cell, ours=False)
