"""Merging of the snapshots of a group's jobs into one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec

from jupyter_batch.core.cost import Spend, added_spends
from jupyter_batch.core.history import added
from jupyter_batch.core.request import all_cuts
from jupyter_batch.core.status import (
    Answer,
    Block,
    Blocked,
    Counts,
    ShardView,
    Snapshot,
    State,
    job_state,
    reopen,
)


def group_snapshot(group: str, seen: Sequence[Snapshot]) -> Snapshot:
    """Return the snapshots of a group's jobs as one."""

    def each(name: str) -> list[Any]:
        return [getattr(one, name) for one in seen]

    def every(name: str) -> tuple[Any, ...]:
        return tuple(chain.from_iterable(each(name)))

    bills, expected, most = each("bill"), each("expected"), each("most")
    fields: dict[str, Any] = {
        "id": group,
        "counts": sum(each("counts"), Counts()),
        "shards": _numbered(every("shards")),
        "model": ", ".join(dict.fromkeys(each("model"))),
        "called": ", ".join(dict.fromkeys(one.called or one.model for one in seen)),
        "provider": ", ".join(dict.fromkeys(each("provider"))),
        "out": ", ".join(dict.fromkeys(map(_base, seen))),
        "created_at": min(each("created_at")),
        "now": max(each("now")),
        "finished_at": _finished_at(seen),
        "collected": all(each("collected")),
        "state": _state(seen),
        "samples": max(each("samples")),
        "expires_at": _first(each("expires_at")),
        "bill": None if None in bills else sum(bills[1:], bills[0]),
        "input_tokens": _sum(each("input_tokens")),
        "output_tokens": _sum(each("output_tokens")),
        "blocks": _blocks(seen),
        "blocked": next(filter(None, each("blocked")), None),
        "message": next(filter(None, each("message")), ""),
        "merged": "; ".join(filter(None, each("merged"))),
        "unbound": _unbound(group, seen),
        "again": every("again"),
        "reasons": _reasons(every("reasons")),
        "cuts": all_cuts(each("cuts")),
        "deadline": _first(each("deadline")),
        "equal": sum(each("equal")),
        "expected": None if None in expected else sum(expected),
        "most": None if None in most else sum(most),
        "limited": all(each("limited")),
        "prices": _prices(every("prices")),
        "answers": _answers(seen),
        "examples": every("examples"),
        "offers": tuple(dict.fromkeys(every("offers"))),
        "history": added(each("history")),
        "usual": max(filter(None, each("usual")), key=lambda wait: wait.high, default=None),
        "attach": reopen(group),
    }
    return msgspec.structs.replace(seen[0], **fields)


def _reasons(every: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Return the most common reasons of all jobs, each once, with their rows."""
    counted: Counter[str] = Counter()
    for reason, rows in every:
        counted[reason] += rows
    return tuple(counted.most_common(5))


def _base(one: Snapshot) -> str:
    """Return the column without the model's name at its end, which the jobs' columns share."""
    columns = [name.removesuffix(f"_{one.model}") for name in one.out.split(", ")]
    return ", ".join(columns)


def _prices(every: Sequence[Spend]) -> tuple[Spend, ...]:
    """Return the price of each action on all jobs that offer it."""
    actions = dict.fromkeys(one.action for one in every)
    return tuple(added_spends([one for one in every if one.action == action]) for action in actions)


def _numbered(shards: Sequence[ShardView]) -> tuple[ShardView, ...]:
    return tuple(
        msgspec.structs.replace(shard, number=number) for number, shard in enumerate(shards)
    )


def _finished_at(seen: Sequence[Snapshot]) -> float | None:
    if not all(one.is_complete for one in seen):
        return None
    return max(one.finished_at or one.created_at for one in seen)


def _blocks(seen: Sequence[Snapshot]) -> tuple[Blocked, ...]:
    """Return the blocks of all jobs, with their models."""
    return tuple(
        msgspec.structs.replace(block, of=block.of or one.model)
        for one in seen
        for block in one.blocks
    )


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
    answers = [
        msgspec.structs.replace(answer, of=one.model)
        for one in seen
        for answer in one.answers[:each]
    ]
    return tuple(sorted(answers, key=lambda answer: answer.row))


def _sum(tokens: Iterable[int | None]) -> int | None:
    known = [count for count in tokens if count is not None]
    return sum(known) if known else None
