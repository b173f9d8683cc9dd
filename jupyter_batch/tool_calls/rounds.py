"""One round of the tool loop: run a finished job's calls; plan or find its follow-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from jupyter_batch.core.cost import Spend
from jupyter_batch.core.errors import InputError
from jupyter_batch.ledger.folder import disk_errors
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor.words import price
from jupyter_batch.notebook.waiting import wait_blocking
from jupyter_batch.planning.action_prices import ActionPrices
from jupyter_batch.planning.retry import limits_of
from jupyter_batch.process.locks import FileLock
from jupyter_batch.telemetry.spans import of_job, span, traced
from jupyter_batch.tool_calls.call_log import CallLog
from jupyter_batch.tool_calls.execute import Runner
from jupyter_batch.tool_calls.follow_up import Waiting, plan_round

_STOPPED = "Stopped: the calls that were under way are kept, and no other was begun. job.run_tools() goes on."


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run of tool calls; see Job.run_tools."""

    functions: Mapping[str, Callable[..., Any]]
    max_rounds: int
    concurrency: int
    rerun: bool
    max_cost: float | None
    at_once: str


class Gone(msgspec.Struct, frozen=True):
    """The result of a round. follow_up: the next job; None at the end. message: for the user, such as its price.

    stopped: the user interrupted it, and nothing else is to be started.
    """

    follow_up: str | None = None
    message: str = ""
    stopped: bool = False


def step(ledger: Ledger, job: JobRecord, way: Way, *, now: Callable[[], float]) -> Gone:
    """Run the calls of a finished job's answers, and plan the follow-up; or find an existing one.

    Raises InputError where a function is missing, where another process runs the calls, and as
    `plan_round` does.
    """
    there = ledger.child(job.id, rounds=1)
    if there is not None:
        return Gone(there.id)
    with Waiting(ledger, job) as waiting:
        if not waiting:
            return Gone()
        if job.round >= way.max_rounds:
            left = len(waiting.slots.rows)
            rows = "1 row still calls" if left == 1 else f"{left:,} rows still call"
            return Gone(
                message=f"{rows} tools after {job.round} rounds; job.run_tools(max_rounds=...) goes on"
            )
        folder = waiting.folder
        with disk_errors(folder.path), FileLock(folder.path / "calls.lock") as lock:
            if not lock.take():
                raise InputError(
                    f"the tool calls of job {job.id} are being run by another process, or another cell: "
                    "wait for its end"
                )
            there = ledger.child(job.id, rounds=1)  # the lock's previous holder may have planned it
            if there is not None:
                return Gone(there.id)
            about = {"jupyter_batch.tool_round": job.round + 1}
            with of_job(traced(job)), span("jupyter_batch.tool_round", about):
                whole = _run(waiting, way)
            if not whole:
                return Gone(message=_STOPPED, stopped=True)
            planned = plan_round(
                waiting,
                limits_of(job, at_once=way.at_once),
                now=now(),
                max_cost=way.max_cost,
                at_once="" if way.at_once == job.mode else way.at_once,
            )
            return Gone(planned.id, f"The follow-up {planned.id}: {_price(ledger, planned)}")


def _price(ledger: Ledger, planned: JobRecord) -> str:
    """`36 rows, about $0.02 (at most $0.05)`: of a follow-up that is not sent yet."""
    shards = ledger.shards(planned.id)
    prices = ActionPrices().look(ledger, planned, shards)
    rows = sum(shard.requests for shard in shards)
    return price(
        Spend(
            action="run_tools",
            rows=rows,
            about=prices.expected,
            most=prices.most,
            limited=prices.limited,
        )
    )


def _run(waiting: Waiting, way: Way) -> bool:
    """Run the open calls. Whether every call has an outcome now."""
    with CallLog(waiting.folder.calls) as log:
        waiting.take_over(log)
        if not waiting.slots.open_rows():
            return True
        runner = Runner(
            way.functions,
            waiting.slots,
            concurrency=way.concurrency,
            rerun=way.rerun,
            own_tools=waiting.job.own_tools,
        )
        runner.check(waiting.called())
        runner.start(waiting.open_calls(), log)
        whole = False
        try:
            whole = wait_blocking(runner.done, stopped=_STOPPED)
        finally:
            runner.finish(stop=not whole)
    waiting.slots.read(waiting.folder.calls)
    return not waiting.slots.open_rows()
