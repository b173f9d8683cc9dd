"""The sentences for what is blocked, and for what waits for a limit that passes, rendered from fields. Pure."""

from __future__ import annotations

from datetime import tzinfo

from jupyter_batch.core.status import Block, Blocked, ShardView, Snapshot
from jupyter_batch.monitor.words import clock

QUOTA = "waiting for quota"
WAYS = {"batch": "in a batch", "flex": "on the flex tier", "realtime": "in real time"}
"""How requests are asked, by mode."""
_NO_BATCH_API = (
    "the server has no batch API at this address{why}. If api_base lacks its /v1, or names a path such as "
    '/v1/chat/completions, correct it; else mode="realtime" asks request by request, and `jupyter batch serve '
    "--upstream MODEL --api-base URL` gives that server a batch API. Correct the call and run the cell again, or "
    "job.resume()"
)
_UNKNOWN_CREATE = (
    "it is not known whether the provider created the batch{why}. Look for it in the provider's own list; "
    "job.resume() searches again, job.resume(send_again=True) sends it again, which may be paid twice, and "
    "job.cancel() gives it up"
)
_UNSEEN = (
    "the provider does not find the batch under this key{why}. It may belong to another key's organization or "
    "project: give the key that it was sent with, job.resume(api_key=...) or {key}. It is looked for again from time "
    "to time; job.cancel() gives it up, and job.finish() asks its rows in real time, which pays for them again"
)
_SENTENCES = {
    Block.KEY: "the key was refused{why}. Set {key} and run the cell again, or job.resume() (either takes "
    "api_key=); nothing was lost",
    Block.QUOTA: "the account's quota is used up{why}. Add credit or have the limit raised, then job.resume(); "
    "it is tried again from time to time",
    Block.NO_BATCH_API: _NO_BATCH_API,
    Block.BUDGET: "held back until other batches have ended: {why}",
    Block.UNKNOWN_CREATE: _UNKNOWN_CREATE,
}


def sentence(block: Blocked, gives_up: str = "") -> str:
    """Cause, remedy, and when it gives up (a moment in words, if there is any)."""
    if block.unseen:
        key = f"set {block.key}" if block.key else "the environment's"
        text = _UNSEEN.format(why=f" ({block.why})" if block.why else "", key=key)
    elif (
        block.by is Block.KEY and not block.key
    ):  # of a process that has none: the cause names the remedy
        text = f"{block.why}; then run the cell again, or job.resume(api_key=...). Nothing was lost"
    else:
        text = _SENTENCES[block.by].format(
            why=f" ({block.why})" if block.why else "", key=block.key
        )
    name = f"{block.of}: " if block.of else ""
    return f"{name}blocked: {text}{_until(gives_up)}"


def waits(why: str, *, alone: bool = False, gives_up: str = "", batches: int = 1) -> str:
    """A wait for a limit that passes. alone: no other batch of this ledger is under way."""
    many = f" ({batches:,} batches)" if batches > 1 else ""
    text = f"{QUOTA}{many}{f': {why}' if why else ''}"
    if alone:
        text += ". No batch of this ledger is in its way: if it never fits, cancel it and give a smaller shard_size"
    return f"{text}{_until(gives_up)}"


def _until(moment: str) -> str:
    return f". It gives up {moment}" if moment else ""


def blocks(shot: Snapshot, tz: tzinfo | None) -> list[str]:
    """A sentence for each cause of a block."""
    return [sentence(block, _moment(block.until, shot, tz)) for block in shot.blocks]


def limits(shot: Snapshot, tz: tzinfo | None) -> list[str]:
    """A sentence about the shards that wait for a limit, and one about those that may never fit."""
    lines = []
    for alone in (False, True):
        held = [shard for shard in shot.shards if shard.held and shard.alone is alone]
        if held:
            first = held[0]
            many = len(held) if len({shard.note for shard in held}) > 1 else 1
            gives_up = _moment(first.until, shot, tz)
            lines.append(waits(first.note, alone=alone, gives_up=gives_up, batches=many))
    if shed := sum(shard.shed for shard in shot.shards):
        lines.append(_waits_for_tier(shed))
    return lines


def _waits_for_tier(requests: int) -> str:
    rows = "1 request waits" if requests == 1 else f"{requests:,} requests wait"
    return (
        f"{rows} for the flex tier, which has no room now: nothing is billed for that, and it is asked again until it "
        "has; job.finish() asks the rest in real time, at the full price"
    )


def note_of(shard: ShardView) -> str:
    """A shard's message."""
    if shard.shed:
        return f"waiting for the flex tier ({shard.shed:,})"
    if shard.blocked is not None:
        return f"blocked ({shard.blocked}): {shard.note}"
    return waits(shard.note) if shard.held else shard.note


def _moment(when: float, shot: Snapshot, tz: tzinfo | None) -> str:
    return clock(when, shot.now, tz) if when else ""
