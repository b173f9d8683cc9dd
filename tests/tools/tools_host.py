"""A person's cell with tools, and where its process may die in the rounds: a host of forking.py, for test_tools_kill.

With `kill` the child sends itself SIGKILL at that point. A tool notes each run in a file of its own, on the disk before
it returns.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd

from jupyter_batch.ledger.folders import Folders
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.openai.batches import ViaOpenAI
from jupyter_batch.tool_calls import rounds
from jupyter_batch.tool_calls.call_log import CallLog
from jupyter_batch.tool_calls.execute import Runner
from tests.forking import die, serve

ROWS = 6
TEXTS = [f'step({{"n": {n}}}) then step({{"n": {100 + n}}})' for n in range(ROWS)]


def at(owner, name, number, *, done):
    """Die at the n-th call of a function: before it, or when it has done its work."""
    real = getattr(owner, name)
    seen = iter(range(1, 1000))

    def wrapped(*args, **named):
        mine = next(seen)
        if mine == number and not done:
            die()
        made = real(*args, **named)
        if mine == number:
            die()
        return made

    setattr(owner, name, wrapped)


def at_submit(number, *, done):
    """Die before or after the n-th batch is created."""
    real = ViaOpenAI.submit
    seen = iter(range(1, 1000))

    async def submit(*args, **named):
        mine = next(seen)
        if mine == number and not done:
            die()
        made = await real(*args, **named)
        if mine == number:
            die()
        return made

    ViaOpenAI.submit = submit


def in_tool(number, where):
    """Have the tool die in its n-th run, before it did what it does or after."""
    global DIES  # noqa: PLW0603  this process is a child of its own
    DIES = (number, where)


DIES = (0, "")
POINTS = {
    "the calls are read, none is run": lambda: at(Runner, "check", 1, done=True),
    "a call is about to be noted as begun": lambda: at(CallLog, "put", 5, done=False),
    "a call is noted as begun": lambda: at(CallLog, "put", 5, done=True),
    "in a tool, before its effect": lambda: in_tool(3, "before"),
    "in a tool, after its effect": lambda: in_tool(3, "after"),
    "a call's outcome is noted": lambda: at(CallLog, "put", 6, done=True),
    "all calls are answered": lambda: at(rounds, "plan_round", 1, done=False),
    "the follow-up is drafted": lambda: at(Ledger, "plan", 2, done=False),
    "within the plan of the follow-up": lambda: at(Folders, "keep", 2, done=True),
    "the follow-up is planned": lambda: at(Ledger, "plan", 2, done=True),
    "before the follow-up is sent": lambda: at_submit(2, done=False),
    "the follow-up is sent, its handle nowhere": lambda: at_submit(2, done=True),
    "the follow-up is finished": lambda: at(Ledger, "finish", 2, done=True),
    "in a tool of the second round, after its effect": lambda: in_tool(ROWS + 2, "after"),
    "the second follow-up is drafted": lambda: at(Ledger, "plan", 3, done=False),
    "the second follow-up is planned": lambda: at(Ledger, "plan", 3, done=True),
    "the second follow-up is sent, its handle nowhere": lambda: at_submit(3, done=True),
    "the second follow-up is finished": lambda: at(Ledger, "finish", 3, done=True),
}
UNKNOWN = {
    "a call is noted as begun",
    "in a tool, before its effect",
    "in a tool, after its effect",
    "in a tool of the second round, after its effect",
}
"""Where a call is begun, and nothing is known of its outcome."""


def cell(order):
    """The user's call, the first time and again."""
    runs = iter(range(1, 1000))

    def step(n: int) -> str:
        """Have an effect that must not be had twice."""
        mine = next(runs)
        if (mine, "before") == DIES:
            die()
        with open(order["ran"], "a") as file:  # noqa: PTH123  one write, appended
            file.write(f"{n}\n")
            file.flush()
            os.fsync(file.fileno())
        if (mine, "after") == DIES:
            die()
        return f"told {n}"

    if order.get("kill"):
        POINTS[order["kill"]]()
    df = pd.DataFrame({"text": TEXTS})
    job = df.llm.batch(
        "{text}",
        out="out",
        model="openai/echo",
        api_base=order["base_url"],
        api_key=order["token"],
        tools=[step],
        shard_size=4,
    )
    last = job.run_tools(concurrency=1)
    document = {"out": df["out"].tolist(), "successful": last.is_successful}
    Path(order["answers"]).write_text(json.dumps(document))


if __name__ == "__main__":
    serve(cell)
