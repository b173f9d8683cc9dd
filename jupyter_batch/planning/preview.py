"""Previews of a call: requests, cost and limits, from a draft that is deleted. Nothing is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from jupyter_batch.core.cost import (
    FLEX,
    UNKNOWN,
    Price,
    Pricer,
    Range,
    Tariff,
    estimate,
    money,
    pricer,
)
from jupyter_batch.core.history import Wait
from jupyter_batch.core.request import Status
from jupyter_batch.frames.frame import row_count
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.snapshots import wait_like
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor import preview as screens
from jupyter_batch.monitor.words import WAYS
from jupyter_batch.notebook.progress import progress
from jupyter_batch.planning.draft import JobDraft, job_draft
from jupyter_batch.planning.estimate import (
    LONGEST,
    TYPICAL,
    Estimate,
    Tokens,
    counter,
    estimated,
    request_of,
    text_of,
    usual_answer,
)
from jupyter_batch.planning.plan import draft_rows
from jupyter_batch.planning.resolve import Order
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.providers.table import BATCH
from jupyter_batch.results.copy_answers import answer_files
from jupyter_batch.results.result_files import decoded
from jupyter_batch.row_files.row_columns import places_of

PROMPTS = 3
"""The number of rendered prompts stored in a preview."""


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """The preview of a `df.llm.batch` call. Costs are in US dollars, None where not known.

    rows: of the frame; each is one of `requests` (sent, and billed), `reused` (answered before),
    `joined` (in progress in another job), `same` (duplicate of another row), `skipped` (a missing
    value) or `unsendable`. shards: batches to send. tokens: of the input. output: tokens of all
    answers, at most. usual: tokens of an earlier answer of such a job. unlimited: some request has no
    max_tokens. cost: in the job's `mode`, from empty to longest answers; likely: with usual ones; batch,
    flex, realtime: in each mode.
    reuse_saves: the cost of the rows that need not be sent. prompts: the first rendered requests,
    messages or input. body: of the first request, as sent. limits: those that apply. caveats: of the
    provider's batches. waits: the usual ones for its largest batch, by mode. job: the existing job for the same call.
    """

    model: str
    mode: str
    rows: int
    requests: int
    reused: int
    joined: int
    same: int
    skipped: int
    unsendable: int
    shards: int
    tokens: Tokens
    output: Range
    usual: float | None
    unlimited: bool
    assumed: bool
    cost: Range
    likely: float | None
    batch: Range
    flex: Range
    realtime: Range
    reuse_saves: Range
    price: Price
    max_cost: float | None
    prompts: tuple[Any, ...]
    body: dict[str, Any]
    limits: tuple[str, ...]
    caveats: str
    waits: dict[str, Wait]
    job: str | None

    wait = property(lambda self: self.waits.get(self.mode), doc="The usual wait in its mode.")

    @property
    def expected(self) -> float | None:
        """The cost compared with `max_cost`: the likely cost where known, else the maximum."""
        return (
            self.cost.high
            if self.likely is None or self.cost.high is None
            else min(self.likely, self.cost.high)
        )

    @property
    def fits(self) -> bool | None:
        """Whether the estimate is within `max_cost`; None without a limit or an estimate."""
        return _fits(self.max_cost, [self.expected])

    def facts(self) -> list[tuple[str, str]]:
        """The (label, text) pairs to display."""
        others = (
            (self.reused, "reused"),
            (self.joined, "asked by another job already"),
            (self.same, "the same as another row"),
            (self.skipped, "skipped"),
            (self.unsendable, "not sendable"),
        )
        left = [f"{count:,} {word}" for count, word in others if count]
        sent = f"{self.requests:,} {'request' if self.requests == 1 else 'requests'}"
        batches = (
            f" in {self.shards:,} {'batch' if self.shards == 1 else 'batches'}"
            if self.mode == BATCH
            else ""
        )
        lines = [
            ("model", f"{self.model} ({WAYS[self.mode]})"),
            ("rows", ", ".join([f"{self.rows:,}: {sent} to be sent{batches}", *left])),
        ]
        if self.job is not None:
            lines.append(
                ("job", f"{self.job} asked for just this: its answers are taken, nothing is sent")
            )
        lines += [("tokens", self._tokens()), *self._costs()]
        if self.reuse_saves.high != 0:
            lines.append(("reuse saves", screens.saved(self.reuse_saves, unlimited=self.unlimited)))
        lines += screens.max_cost(self.max_cost, self.fits)
        return [
            *lines,
            *screens.wait(self.wait),
            ("price", self.price.source or "unknown"),
            ("limits", "; ".join(self.limits)),
            *([("caveats", self.caveats)] if self.caveats else []),
            *screens.body(self.body),
        ]

    def _tokens(self) -> str:
        how = "" if self.tokens.exact else " (a sample was counted)"
        longest = f"up to {self.output.high:,.0f} out" if self.output.high else "none out"
        if self.assumed:
            longest += f" ({LONGEST:,} an answer, as its limit is unknown: give max_tokens=)"
        usual = f", usually {self.usual:,.0f} an answer" if self.usual is not None else ""
        return f"{self.tokens} in{how}, {longest}{usual}"

    def about(self, tariff: Tariff | None) -> float | None:
        """The cost at a tariff with usual answers; without any, with answers of TYPICAL tokens."""
        each = TYPICAL if self.usual is None else self.usual
        answers = min(each * self.requests, self.output.high or 0.0)
        return estimate(
            tariff,
            self.requests,
            input_tokens=Range(self.tokens.count, self.tokens.count),
            longest_input=0,
            output_tokens=Range(answers, answers),
        ).high

    def _cost(self, tariff: Tariff | None, cost: Range) -> str:
        """The expected cost, its basis, and the upper bound."""
        about = self.about(tariff)
        if about is None:
            return "unknown"
        if about == cost.high:
            return money(about)
        most = "" if cost.high is None else f"; at most {money(cost.high)}"
        return f"about {money(about)}{most}"

    def _basis(self) -> str:
        """The length of the answers on which the expected cost is based, and how to know more."""
        if not self.requests or not self.output.high or self.cost.low is None:
            return ""
        if self.usual is not None:
            known = f"answers of {self.usual:,.0f} tokens, as in the last such job"
        else:
            short = self.output.high < TYPICAL * self.requests
            known = "the longest answers" if short else f"answers of {TYPICAL} tokens"
            known += " are assumed: df.llm.sample(...) measures them"
        return f"{known}; max_tokens= would lower the bound" if self.unlimited else known

    def _costs(self) -> list[tuple[str, str]]:
        if self.cost.low is None:
            how = f'prices={{"{self.model}": {{"input": ..., "output": ...}}}}'
            own = [("cost", f"unknown: {how}, in US dollars per million tokens, gives one")]
        else:
            own = [("cost", self._cost(self.price.paid(self.mode), self.cost))]
        if basis := self._basis():
            own.append(("based on", basis))
        return own + [
            (
                WAYS[mode],
                "; ".join([self._cost(tariff, cost), *screens.usual(self.waits.get(mode))]),
            )
            for mode, cost in zip(WAYS, (self.batch, self.flex, self.realtime), strict=True)
            if mode != self.mode and ((tariff := self.price.paid(mode)) or mode != FLEX)
        ]

    def __repr__(self) -> str:
        return screens.text(self.facts(), [shown(prompt) for prompt in self.prompts])

    def _repr_html_(self) -> str:
        return screens.html(self.facts(), [shown(prompt) for prompt in self.prompts])


class Previews(list[Preview]):
    """A preview for each model of a call, and their total cost. max_cost: of all together."""

    def __init__(self, looks: Iterable[Preview], max_cost: float | None = None) -> None:
        super().__init__(msgspec.structs.replace(one, max_cost=None) for one in looks)
        self.max_cost = max_cost

    @property
    def cost(self) -> Range:
        """The least and the most, in US dollars; None where one of them is not known."""
        low, high = ([getattr(one.cost, end) for one in self] for end in ("low", "high"))
        return Range(*(None if None in ends else math.fsum(ends) for ends in (low, high)))

    @property
    def fits(self) -> bool | None:
        """Whether the estimates are within `max_cost`; None without a limit or all estimates."""
        return _fits(self.max_cost, [one.expected for one in self])

    def facts(self) -> list[tuple[str, str]]:
        """The (label, text) pairs to display for all together."""
        abouts = [one.about(one.price.paid(one.mode)) for one in self]
        about = None if None in abouts else math.fsum(filter(None, abouts))
        most = "" if self.cost.high is None else f"; at most {money(self.cost.high)}"
        lines = [("together", "unknown" if about is None else f"about {money(about)}{most}")]
        return [*lines, *screens.max_cost(self.max_cost, self.fits)]

    def __repr__(self) -> str:
        return "\n\n".join([*map(repr, self), screens.text(self.facts(), [])])

    def _repr_html_(self) -> str:
        return "".join(one._repr_html_() for one in self) + screens.html(self.facts(), [])


def _fits(limit: float | None, most: Sequence[float | None]) -> bool | None:
    known = [one for one in most if one is not None]
    return None if limit is None or len(known) < len(most) else math.fsum(known) <= limit


def look(ledger: Ledger, order: Order, *, now: float) -> Preview:
    """Return the preview of an order. Deletes its draft; imports litellm to count tokens."""
    with progress(f"Planning {row_count(order.rows):,} rows"), job_draft(ledger) as made:
        draft_rows(made, order.ask, order.rows, now=now, reuse=order.reuse, digest=False)
        own = [] if made.existing is not None else [one for one in made.shards if not one.joins]
        usual = usual_answer(ledger, made.record)
        count = counter(made.record.body_model, load_litellm)
        sent = estimated(made.record, own, made.folder, count, usual=usual)
        other = sent
        if not sent.requests:
            other = estimated(made.record, made.shards, made.folder, count, usual=usual)
        return _preview(ledger, order, made, own, sent, other)


def _preview(
    ledger: Ledger,
    order: Order,
    made: JobDraft,
    own: list[ShardRecord],
    sent: Estimate,
    other: Estimate,
) -> Preview:
    record, price = made.record, made.record.price or Price()
    joined = (
        sum(shard.requests for shard in made.shards if shard.joins) if made.existing is None else 0
    )
    same = sum(shard.followers for shard in made.shards) if made.existing is None else 0
    reused = record.rows - sent.requests - joined - same - record.skipped - record.unsendable
    prompts, body = _first(made)
    largest = max((shard.requests for shard in own), default=0)
    facts = RECORDS.get(order.ask.provider) if record.mode == BATCH else None
    return Preview(
        model=record.model,
        mode=record.mode,
        rows=record.frame_rows,
        requests=sent.requests,
        reused=reused,
        joined=joined,
        same=same,
        skipped=record.skipped // record.samples,
        unsendable=record.unsendable // record.samples,
        shards=len(own),
        tokens=sent.tokens,
        output=sent.output,
        usual=sent.usual,
        unlimited=sent.unlimited,
        assumed=sent.assumed,
        cost=sent.cost,
        likely=sent.likely,
        batch=sent.batch,
        flex=sent.flex,
        realtime=sent.realtime,
        price=price,
        max_cost=order.ask.max_cost,
        reuse_saves=_spared(ledger, made, reused + joined + same, other),
        prompts=prompts,
        body=body,
        limits=_limits(order, own),
        caveats="" if facts is None else facts.caveats,
        waits={
            mode: wait
            for mode in WAYS
            if largest and (wait := wait_like(ledger, record, largest, mode)) is not None
        },
        job=made.existing.id if made.existing is not None else None,
    )


def _spared(ledger: Ledger, made: JobDraft, rows: int, other: Estimate) -> Range:
    """The cost saved for `rows`: by their answers at this call's price, else estimated by `other`.

    other: the cost of requests like those that have no answer yet.
    """
    record, there = made.record, made.existing
    cost_of = pricer(record.tariff)
    known, answered = (
        _answered(record, made.shards, made.folder, cost_of)
        if there is None
        else _answered(there, ledger.shards(there.id), ledger.folders.of(there.id), cost_of)
    )
    left = max(0, rows - answered) / max(1, other.requests)
    more = (other.cost.low, other.cost.high) if left else (0.0, 0.0)
    return Range(
        *(None if cost is None or math.isnan(known) else known + left * cost for cost in more)
    )


def _answered(
    job: JobRecord, shards: list[ShardRecord], folder: JobFolder, cost_of: Pricer
) -> tuple[float, int]:
    """(the cost of a job's answers, or UNKNOWN; the number of answers), duplicates included."""
    times = np.bincount(places_of(job, shards, folder).followers()[1], minlength=job.rows) + 1
    costs, answered = np.zeros(job.rows), np.zeros(job.rows, dtype=bool)
    for file in answer_files(job, shards, folder):
        for result in decoded(file.path, job, file.dialect):
            at = file.row_of(result.custom_id)
            if at is not None and at < job.rows and result.status is Status.SUCCEEDED:
                answered[at] = True
                costs[at] = UNKNOWN if result.usage is None else cost_of(result.usage)
    return float((costs * times).sum()), int(times[answered].sum())


def _first(made: JobDraft) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(the first rendered prompts, the first body), of rows to send if there are any."""
    first: dict[str, Any] = {}
    found: list[Any] = []
    for shard in made.shards:
        with made.folder.requests(shard.number).open("rb") as file:
            for line in file:
                body = request_of(orjson.loads(line))
                first = first or dict(body)
                found.append(body.get("messages") or body.get("input") or text_of(body))
                if len(found) == PROMPTS:
                    return tuple(found), first
    return tuple(found), first


def _limits(order: Order, own: list[ShardRecord]) -> tuple[str, ...]:
    limits, record = order.ask.limits, RECORDS.get(order.ask.provider)
    if order.ask.mode != BATCH:
        return tuple(
            f"{value:g} {name.replace('_', ' ')}" for name, value in order.ask.pace.items()
        ) or ("none",)
    notes = [f"a batch has at most {limits.requests:,} requests and {limits.bytes / 1e6:,.0f} MB"]
    if len(own) > 1:
        full = max(shard.requests for shard in own) >= limits.requests
        notes.append(f"it is split by {'the number of requests' if full else 'its size'}")
    if record is not None and record.note:
        notes.append(record.note)
    return tuple(notes)


def shown(prompt: Any) -> list[tuple[str, str]]:
    """(role, text) of a rendered prompt."""
    if isinstance(prompt, list) and all(isinstance(one, dict) and "role" in one for one in prompt):
        return [(str(one["role"]), text_of(one.get("content"))) for one in prompt]
    return [("input", text_of(prompt))]
