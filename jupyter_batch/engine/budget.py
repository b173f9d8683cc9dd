"""max_cost: a job whose estimate is above is not planned, and one whose real cost runs ahead sends no further batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from jupyter_batch.core.cost import money
from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.status import State, Step
from jupyter_batch.engine.estimate import Estimate, at_most, counter, estimated, is_free, usual_answer
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.via_litellm import load_litellm

if TYPE_CHECKING:
    from jupyter_batch.engine.tick import Mover

_SENT = (Step.SUBMITTING, Step.RUNNING, Step.CANCELLING, Step.ENDED)
_LOOK_SECONDS = 60.0
_ROUNDING = 1e-9
_HELD = "held back"


def within(ledger: Ledger, record: JobRecord, shards: list[ShardRecord], folder: JobFolder, *,
           hint: str = "") -> JobRecord:
    """The job as it may be kept. Raises OptionError where its estimate is above max_cost, or can't be made.

    hint: what the sentence ends with.
    """
    shards = [shard for shard in shards if not shard.joins]  # another job pays for those
    if record.max_cost is None or is_free(record) or not shards:
        return record
    if record.price is None or record.price.paid(record.mode) is None:
        raise OptionError(
            f"max_cost={record.max_cost:g}: what {record.model} costs is not known, so nothing was sent; give its "
            f'price, in US dollars per million tokens: prices={{"{record.model}": {{"input": ..., "output": ...}}}}, '
            "or once for all calls with %config LLMBatch.prices")
    usual = usual_answer(earlier(ledger), record)
    made = estimated(record, shards, folder, at_most, usual=usual)
    if made.expected is None or made.expected > record.max_cost:  # a rough bound: counted with litellm it is lower
        made = estimated(record, shards, folder, counter(record.body_model, load_litellm), usual=usual)
    if made.expected is None or made.expected > record.max_cost + _ROUNDING:
        raise OptionError(_above(record.max_cost, made) + hint)
    return msgspec.structs.replace(record, most=made.cost.high)


def left_of(job: JobRecord, shards: list[ShardRecord]) -> float | None:
    """US dollars that a job has left of its max_cost; what is not known of its costs counts with the most it can be."""
    if job.max_cost is None:
        return None
    total = sum(shard.bytes for shard in shards) or 1
    return max(0.0, job.max_cost - sum(_spent(shard, _share(job, shard, total)) for shard in shards))


def earlier(ledger: Ledger) -> Iterator[tuple[JobRecord, list[ShardRecord]]]:
    """The ledger's jobs with their shards, newest first."""
    return ((job, ledger.shards(job.id)) for job in ledger.jobs())


def _above(limit: float, made: Estimate) -> str:
    most = made.expected
    said = "what it may cost is not known" if most is None else f"it may cost up to {money(most)}"
    if made.likely is not None and most == made.likely:
        said = f"it is likely to cost {money(made.likely)}, by what earlier answers took"
    longest = made.output.high / made.requests if made.output.high and made.requests else 0
    hint = (f", with answers of up to {longest:,.0f} tokens: max_tokens= says how long they may be" if longest else "")
    return (f"max_cost={limit:g}: {made.requests:,} requests with {made.tokens} tokens of input; {said}{hint}. Nothing "
            "was sent")


def hold(mover: Mover, shard: ShardRecord) -> ShardRecord | None:
    """Before a shard is sent: None where the budget allows it; else it waits for others' real costs, or has ended.

    While nothing is collected an open shard counts with the most that it can cost, later with what the collected ones
    did cost beside their own share of that.
    """
    job = mover.job
    if job.max_cost is None or not job.most:
        return None
    shards = mover.ledger.shards(job.id)
    total = sum(s.bytes for s in shards) or 1
    collected = [s for s in shards if s.step is Step.COLLECTED]
    spent = sum(_spent(s, _share(job, s, total)) for s in collected)
    planned = sum(_share(job, s, total) for s in collected if s.batch_id)
    pace = spent / planned if planned else 1.0
    under_way = [s for s in shards if s.step in _SENT and s.number != shard.number]
    need = spent + pace * sum(_share(job, s, total) for s in (*under_way, shard))
    if need <= job.max_cost + _ROUNDING or not (under_way or planned):
        return None
    now = mover.clock()
    if under_way:
        note = (f"{_HELD} until others have ended: with it, the cost may come to {money(need)} "
                f"(max_cost={job.max_cost:g})")
        return mover.put(shard, note=note, due_at=now + _LOOK_SECONDS)
    note = (f"max_cost: {money(spent)} is spent, and with this batch it would come to about {money(need)}, above "
            f"max_cost={job.max_cost:g}; job.retry(max_cost=...) sends it")
    return mover.put(shard, Step.ENDED, ending=State.CANCELLED, due_at=0.0, note=note, ended_at=now)


def release(mover: Mover) -> None:
    """A shard was collected, what it cost is known: those that are held back look again."""
    if mover.job.max_cost is None:
        return
    for shard in mover.ledger.shards(mover.job.id):
        if shard.step in (Step.PLANNED, Step.WAITING) and shard.note.startswith(_HELD) and shard.due_at:
            mover.put(shard, due_at=0.0)


def _share(job: JobRecord, shard: ShardRecord, total: int) -> float:
    """The most that a shard can cost, of the whole job's."""
    return 0.0 if shard.joins else (job.most or 0.0) * shard.bytes / total


def _spent(shard: ShardRecord, share: float) -> float:
    """What is known of its cost, and for rows of which it is not, their share of the most it can be."""
    if shard.bill is None:
        return share
    return shard.bill.known + share * shard.bill.unknown / max(1, shard.requests)
