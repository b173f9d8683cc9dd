"""The user's call, and the points where its process may die on a row's way: a host of forking.py, run by test_kill.py.

An order is {"home", "base_url", "token", "kill", "answers"}; with `kill` the child sends itself SIGKILL at that point.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from jupyter_batch import col, jobs
from jupyter_batch.core.status import Step
from jupyter_batch.dedup import apply, match
from jupyter_batch.frames import digest
from jupyter_batch.frames import frame as frames
from jupyter_batch.ledger.folders import Folders
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.merging import target
from jupyter_batch.planning import request_lines
from jupyter_batch.providers.openai.batches import ViaOpenAI
from jupyter_batch.row_files import linked_parts, request_files, row_columns
from jupyter_batch.row_files.answer_files import References
from jupyter_batch.runner import collect
from jupyter_batch.runner import wait_for_job as joining
from jupyter_batch.templates import template
from jupyter_batch.wire.openai import Encoder
from tests.forking import after, after_async, before, die, serve

ROWS = 300


def at_upload():
    """Die when the file is at the provider, and its id on no disk of ours."""
    real = ViaOpenAI.submit

    async def submit(self, *args, on_upload, **named):
        async def dies(_):
            die()

        return await real(self, *args, on_upload=dies, **named)

    ViaOpenAI.submit = submit


def at_move(to, *, done):
    """Die before or after the ledger writes a shard's move to `to`."""
    real = Ledger.move

    def move(self, shard, step, *args, **named):
        if step is to and shard.step is not to:
            if done:
                real(self, shard, step, *args, **named)
            die()
        return real(self, shard, step, *args, **named)

    Ledger.move = move


POINTS = {
    "frame.blocks -> template.render": lambda: after(frames, "blocks"),
    "template.render -> wire.encode": lambda: after(template._Braces, "render"),
    "wire.encode -> shard.pack": lambda: after(Encoder, "encode"),
    "shard.pack -> folder.write": lambda: after(request_files, "pack"),
    "folder.write -> ledger.plan": lambda: before(Ledger, "plan"),
    "within ledger.plan": lambda: after(Folders, "keep"),
    "ledger.plan -> planned -> submitting": lambda: after(Ledger, "plan"),
    "before the move to submitting": lambda: at_move(Step.SUBMITTING, done=False),
    "submitting -> provider.submit": lambda: at_move(Step.SUBMITTING, done=True),
    "uploaded, and its id nowhere": at_upload,
    "provider.submit -> running": lambda: after_async(ViaOpenAI, "submit"),
    "the move to running -> provider.poll": lambda: at_move(Step.RUNNING, done=True),
    "provider.poll -> ended": lambda: after_async(ViaOpenAI, "poll"),
    "before the move to ended": lambda: at_move(Step.ENDED, done=False),
    "ended -> provider.fetch": lambda: at_move(Step.ENDED, done=True),
    "provider.fetch -> folder.write": lambda: after_async(ViaOpenAI, "fetch"),
    "folder.write -> collected": lambda: after_async(collect, "_fetch"),
    "before the move to collected": lambda: at_move(Step.COLLECTED, done=False),
    "collected -> wire.decode": lambda: at_move(Step.COLLECTED, done=True),
    "before the job is finished": lambda: before(Ledger, "finish"),
    "finished": lambda: after(Ledger, "finish"),
    "wire.decode -> frame.merge": lambda: before(target, "merge"),
    "frame.merge -> cell": lambda: after(frames, "fill_all"),
}


GROWN = {
    "what is there was carried over, in the draft": lambda: after(match, "carry"),
    "a file of the other job was linked": lambda: after(References, "add"),
    "the references were written": lambda: after(References, "write"),
    "the rest was packed anew": lambda: after(apply, "_packed"),
    "the other job's answers were taken": lambda: after(joining, "carry"),
    "they were dropped from what is asked": lambda: after(joining, "_drop"),
    "before the wait for the other job ends": lambda: at_move(Step.ENDED, done=False),
}
"""Of a job that takes answers from one that is done, or is under way."""


LINKED = {
    "data by row were linked, and not listed": lambda: after(linked_parts, "_linked"),
    "the first file of linked data was written": lambda: after(row_columns, "write_linked"),
}
"""Of a job of a frame that grew, whose data by row are those of the job before."""


def _small():
    """Have few rows known by their blocks, and short files linked."""
    request_lines.LEAST_ROWS, digest._MEAN_ROWS, digest._LEAST_ROWS = 50, 1, 40
    linked_parts.LEAST_BYTES, linked_parts._SHORT = 0, 16


def grown(order):
    """A cell over some rows that are not waited for, and then one over those and more; or one that grew."""
    call = {
        "model": "openai/echo",
        "api_base": order["base_url"],
        "api_key": order["token"],
        "shard_size": 100,
    }
    texts = [f"row number {n}" for n in range(ROWS)]
    if order.get("linked"):
        _small()
    done = 240 if order.get("linked") else 50
    pd.DataFrame({"text": texts[:done]}).llm.batch("{text}", out="out", **call).wait(60)
    if not order.get("linked"):
        pd.DataFrame({"text": texts[50:150]}).llm.batch("{text}", out="out", **call)
    if order.get("kill"):
        (GROWN | LINKED)[order["kill"]]()
    df = pd.DataFrame({"text": texts})
    job = df.llm.batch("{text}", out="out", **call)
    job.wait(60)
    document = {
        "out": df["out"].tolist(),
        "jobs": job.id,
        "complete": job.is_complete,
        "reused": job.counts.reused,
        "links": len([*(Path(order["home"]) / "jobs" / job.id).glob("linked-*")]),
    }
    Path(order["answers"]).write_text(json.dumps(document))


FORGOTTEN = {
    "its folder was renamed": lambda: after(Folders, "forget"),
    "before its folder is removed": lambda: before(Folders, "sweep"),
    "it was removed": lambda: after(Ledger, "forget"),
}
"""Of a job that is removed, and whose answers another one refers to."""


def forgets(order):
    """A cell, the same with more rows, and the removal of the first job; after a kill, if it is there yet."""
    call = {"model": "openai/echo", "api_base": order["base_url"], "api_key": order["token"]}
    texts = [f"row number {n}" for n in range(60)]
    if not (Path(order["home"]) / "jobs").is_dir():
        for rows in (50, 60):
            pd.DataFrame({"text": texts[:rows]}).llm.batch("{text}", out="out", **call).wait(60)
    if order.get("kill"):
        FORGOTTEN[order["kill"]]()
    by_rows = {job.counts.total: job for job in jobs.list_jobs()}
    if 50 in by_rows:
        jobs.forget(by_rows[50].id)
    report = {
        "out": by_rows[60].results()["out"].tolist(),
        "left": len(jobs.list_jobs()),
        "was_listed": 50 in by_rows,
    }
    Path(order["answers"]).write_text(json.dumps(report))


def cell(order):
    """The user's call, the first time and again."""
    if order.get("forgets"):
        forgets(order)
        return
    if order.get("grown"):
        grown(order)
        return
    if order.get("kill"):
        POINTS[order["kill"]]()
    df = pd.DataFrame({"text": [f"row number {n}" for n in range(ROWS)]})
    df["m"] = ["openai/echo", "hosted_vllm/echo", "hosted_vllm/echo"] * (ROWS // 3)
    df["way"] = [None, "/v1/embeddings", None, "chat", "chat", "chat"] * (ROWS // 6)
    job = df.llm.batch(
        "{text}",
        out="out",
        **(
            {"model": col("m"), "endpoint": col("way")}
            if order.get("by_row")
            else {"model": "openai/echo"}
        ),
        api_base=order["base_url"],
        api_key=order["token"],
        shard_size=100,
    )
    job.wait(60)
    out = [one if isinstance(one, str) else f"{one.ndim} axis" for one in df["out"]]
    document = {"out": out, "jobs": job.id, "complete": job.is_complete}
    Path(order["answers"]).write_text(json.dumps(document))


if __name__ == "__main__":
    serve(cell)
