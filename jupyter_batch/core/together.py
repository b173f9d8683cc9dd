"""Merging of the snapshots of a group's jobs into one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from jupyter_batch.core.finish import added as cuts_of_all
from jupyter_batch.core.history import added
from jupyter_batch.core.status import Answer, Block, Counts, Snapshot, State, job_state, reopen


def together(group: str, seen: Sequence[Snapshot]) -> Snapshot:
    """Return the snapshots of a group's jobs as one."""
    first = seen[0]
    numbered = [
        msgspec.structs.replace(shard, number=number)
        for number, shard in enumerate(shard for one in seen for shard in one.shards)
    ]
    bills = [one.bill for one in seen if one.bill is not None]
    complete = all(one.is_complete for one in seen)
    fields: dict[str, Any] = {
        "id": group,
        "counts": sum((one.counts for one in seen), Counts()),
        "shards": tuple(numbered),
        "model": ", ".join(one.model for one in seen),
        "provider": ", ".join(dict.fromkeys(one.provider for one in seen)),
        "out": ", ".join(one.out for one in seen),
        "created_at": min(one.created_at for one in seen),
        "now": max(one.now for one in seen),
        "finished_at": max(one.finished_at or one.created_at for one in seen) if complete else None,
        "collected": all(one.collected for one in seen),
        "state": _state(seen),
        "samples": max(one.samples for one in seen),
        "expires_at": _first([one.expires_at for one in seen]),
        "bill": sum(bills[1:], bills[0]) if len(bills) == len(seen) else None,
        "input_tokens": _sum(one.input_tokens for one in seen),
        "output_tokens": _sum(one.output_tokens for one in seen),
        "blocks": tuple(
            msgspec.structs.replace(block, of=block.of or one.model)
            for one in seen
            for block in one.blocks
        ),
        "blocked": next((one.blocked for one in seen if one.blocked is not None), None),
        "message": next((one.message for one in seen if one.message), ""),
        "merged": "; ".join(one.merged for one in seen if one.merged),
        "unbound": _unbound(group, seen),
        "again": tuple(again for one in seen for again in one.again),
        "reasons": tuple(
            sorted((pair for one in seen for pair in one.reasons), key=lambda pair: -pair[1])[:5]
        ),
        "cuts": cuts_of_all(one.cuts for one in seen),
        "deadline": _first([one.deadline for one in seen]),
        "equal": sum(one.equal for one in seen),
        "most": sum(one.most or 0.0 for one in seen)
        if all(one.most is not None for one in seen)
        else None,
        "answers": _answers(seen),
        "examples": tuple(pair for one in seen for pair in one.examples),
        "offers": tuple(dict.fromkeys(offer for one in seen for offer in one.offers)),
        "history": added(one.history for one in seen),
        "attach": reopen(group),
    }
    return msgspec.structs.replace(first, **fields)


def _first(moments: Iterable[float | None]) -> float | None:
    return min(filter(None, moments), default=None)


def _unbound(group: str, seen: Sequence[Snapshot]) -> tuple[str, ...]:
    """Return the group, or the jobs of it, whose answers are in no frame of this process."""
    if all(one.unbound for one in seen):
        return (group,)
    return tuple(name for one in seen for name in one.unbound)


def _blocked(seen: Sequence[Snapshot]) -> Block | None:
    """Return why none of the open jobs can continue without the user."""
    causes = [one.blocked for one in seen if not one.is_complete]
    return causes[0] if causes and None not in causes else None


def _state(seen: Sequence[Snapshot]) -> State:
    if _blocked(seen) is not None:
        return State.WAITING
    shards = [(shard.step, shard.ending) for one in seen for shard in one.shards]
    return job_state(shards, cancelling=any(one.state is State.CANCELLING for one in seen))


def _answers(seen: Sequence[Snapshot], most: int = 6) -> tuple[Answer, ...]:
    """Return the first answers of all jobs, ordered by row."""
    each = max(1, most // len(seen))
    told = [
        msgspec.structs.replace(answer, of=one.model)
        for one in seen
        for answer in one.answers[:each]
    ]
    return tuple(sorted(told, key=lambda answer: answer.row))


def _sum(tokens: Iterable[int | None]) -> int | None:
    told = [count for count in tokens if count is not None]
    return sum(told) if told else None
