"""JobRecord and ShardRecord: the ledger's data about a job, as frozen values."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_batch.core.cost import FLEX, Bill, Price, Tariff
from jupyter_batch.core.refusals.stated_limit import StatedLimit
from jupyter_batch.core.request import Cuts, Usage
from jupyter_batch.core.schema import Schema, all_columns, columns
from jupyter_batch.core.status import Block, Blocked, Counts, ShardView, State, Step, Unanswered

QUOTA_TRIES = 6
"""The number of quota refusals, without other batches of ours, after which a batch has failed."""


class ShardRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request file and its batch. Times are seconds since the epoch; 0 means never.

    bad_lines: lines of its request file, from 1, for which the provider refused it; at_fault: the
    same by their rows' positions; each with the reason.
    crc: the CRC-32 of its request file, where it was stored. first, last: the row positions of its
    first and last request. attempts: failures in a row, 0 after a success.
    billed: rows that were answered and billed, whether their answer is usable or not. missing: rows
    that the provider counted, but that its result files lacked when last fetched.
    reported: the tokens of the batch as a whole, by the provider; usage: the sum of its lines.
    shed: requests that wait for their service tier to have capacity, when it was polled last.
    kept: the files with its results on this disk: (name, bytes, checksum). refetch: a file is fetched
    although one is here, since that one lacks rows or is damaged; lost: the name of the file that
    was missing or damaged.
    fetched_at: when its results were last counted.
    refused: batches that the provider accepted and then refused for its quota; they are never
    adopted. alone: how often in a row that happened with no other batch of the job using quota.
    reasons: why rows of it failed, the most frequent first; examples: the position of the first row
    of each.
    note: the message for the user about it. why: the reason of its end, from the provider or from
    this package.
    create_sent: while it is submitting: its create may have left this machine. create_answered: the
    last create was answered with a server error, so that it is no longer running.
    limit: the limit named by the provider when it refused it. tokens: of input, where they were
    counted for that. replaced_by: the numbers of the shards that it was cut into; part_of: the
    planned shard whose rows these have.
    uploaded_at, uploads: when its request file was last uploaded, and how often.
    ended_at: when its end was observed; over_at: when it ended according to the provider, where
    that was long before.
    keeps_until: when the provider deletes its copy of the results, if known.
    held: it was refused for a temporary limit: "queue" (until batches end) or "rate" (for some
    time), until it is let in.
    absent: the job was adopted, and no batch of this shard was found at the provider (so far).
    joins: the job with the same requests for these rows that it waits for; "" for none. waited:
    there was one, and it left rows without an answer. joined: rows that took their answer from it.
    followers: rows of the job that duplicate one of these.
    blocked_by: the cause of its block; blocked_until: when it gives up, 0 for never; key: the
    environment variable of the refused key; unseen: that key does not show the batch, and may not
    be the one that sent it. note is the cause then. send_again: the user wants it sent again,
    whether or not an earlier create succeeded.
    unsure: it was given up while a batch of it may exist whose end was not observed, so that its
    rows may be paid for. unanswered: a call in progress that has had no answer for long.
    bill: the cost of its requests, once it is collected. cuts: its truncated answers, by finish
    reason. moves: how often its record was written to its job's folder, to detect an older copy of
    the database.
    """

    job: str
    number: int
    requests: int
    bytes: int
    crc: int | None = None
    first: int
    last: int
    step: Step = Step.PLANNED
    ending: State | None = None
    file_id: str | None = None
    batch_id: str | None = None
    provider_status: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    completed: int = 0
    failed: int = 0
    counts: Counts | None = None
    usage: Usage | None = None
    reported: Usage | None = None
    reasons: tuple[tuple[str, int], ...] = ()
    examples: tuple[tuple[str, int], ...] = ()
    note: str = ""
    why: str = ""
    bad_lines: tuple[tuple[int, str], ...] = ()
    at_fault: tuple[tuple[int, str], ...] = ()
    refused: tuple[str, ...] = ()
    alone: int = 0
    billed: int = 0
    missing: int = 0
    shed: int = 0
    kept: tuple[tuple[str, int, int], ...] = ()
    refetch: bool = False
    fetched_at: float = 0.0
    lost: str = ""
    attempts: int = 0
    due_at: float = 0.0
    sent_at: float = 0.0
    create_sent: bool = True
    create_answered: bool = False
    uploaded_at: float = 0.0
    uploads: int = 0
    limit: StatedLimit | None = None
    tokens: int = 0
    part_of: int | None = None
    replaced_by: tuple[int, ...] = ()
    ended_at: float = 0.0
    over_at: float = 0.0
    expires_at: float | None = None
    keeps_until: float | None = None
    held: str = ""
    absent: bool = False
    joins: str = ""
    waited: bool = False
    joined: int = 0
    followers: int = 0
    blocked_by: Block | None = None
    blocked_until: float = 0.0
    key: str = ""
    unseen: bool = False
    send_again: bool = False
    unsure: bool = False
    unanswered: Unanswered | None = None
    bill: Bill | None = None
    cuts: Cuts = ()
    moves: int = 0

    @property
    def withholds(self) -> bool:
        """Whether the provider may have answers missing on this disk: only `retry` resends."""
        return bool(self.missing or self.lost or self.unsure)

    @property
    def awaits_file(self) -> bool:
        """Whether its batch was cancelled with answers counted, but names no file with them."""
        return (
            self.ending is State.CANCELLED
            and bool(self.completed and self.batch_id)
            and not self.output_file_id
        )

    def row_counts(self) -> Counts:
        """Its row counts: our own once collected, until then the provider's, within bounds."""
        if self.counts is not None:
            return self.counts
        succeeded = min(self.completed, self.requests)
        failed = min(self.failed, self.requests - succeeded)
        running = self.requests - succeeded - failed + self.followers
        return Counts(succeeded=succeeded, failed=failed, running=running, reused=self.joined)

    def view(self, *, realtime: bool) -> ShardView:
        """The shard's fields for display."""
        return ShardView(
            number=self.number,
            step=self.step,
            ending=self.ending,
            batch_id=self.batch_id,
            realtime=realtime,
            provider_status=self.provider_status,
            counts=self.row_counts(),
            note=self.note,
            shed=self.shed if self.step is Step.RUNNING else 0,
            expires_at=self.expires_at,
            blocked=self.blocked_by,
            held=self.held if self.step is Step.WAITING else "",
            alone=self.alone >= QUOTA_TRIES,
            until=self.blocked_until,
            sought=self.step is Step.SUBMITTING and self.create_sent and bool(self.note),
            unanswered=self.unanswered,
        )


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the user's: its fixed parameters, and its few mutable fields.

    fingerprint: of the requests, whatever their order. columns: the frame's columns that the prompt
    uses, as texts. model_column: the one that names each row's model, where this job has the rows of
    one model; "" where all rows have one. called: the model's name as the user gave it, or "".
    out: the column to fill; with a schema, the prefix of its columns' names.
    rows: of the frame, those without a request too, each `samples` times (`n=`; a request's
    position is the row's times `samples` plus the number of its sample): `skipped` for a missing
    value, `unsendable` for a render error, `inherited` for a row that an earlier job was billed for
    without a usable answer, `reused` for an answer of an earlier job; `cuts`: how many of these
    were truncated, by finish reason. parent: the job whose missed rows this one retries. space: the
    dedup scope: within it, equal requests are duplicates. alone: it takes no other job's answers
    (`reuse=False`).
    shard_size: the most requests in a batch, if the user set it. keyless: it was submitted without
    a key, to a server on this machine. tier: the user's own service_tier. pace: in realtime, how
    many calls at once and a minute.
    headers, tool_names: wire data that is not in the request files. deadline: when open rows are
    cancelled and sent in the mode `rush_to` (rush_at: since when); 0 for never. overdue: why the deadline had
    no effect.
    adopted: found at the provider, where another ledger sent it; nothing of it is sent from here.
    own_ids: the custom ids of its batches are those of its index (row_files/own_ids.py).
    aligned: the rows' keys are here; without them they are identified by position alone. mapped:
    its batches hold parameters under the names that the model accepts (wire/openai_requests.py);
    not so in older jobs. frame_digest: of all that its requests were made from, or ""
    (planning/known_frame.py), asked_digest: of the same without the rows. rows_digest: of its
    frame's rows, or "" (frames/digest.py). hashing: the kind of its request hashes and row
    fingerprints (frames/hashing.py).
    price: of its model, at planning. before, used: the cost and the tokens of
    the batch job that this one finishes in realtime: the user sees both as one. max_cost: US
    dollars that it may cost. keep: further content of answers with a column of its own
    (core/schema.py). lax: the schema is a Pydantic class's (schema/models.py). most: the highest cost of
    its requests in US dollars, as estimated at planning.
    changes: the chat parameters of a retry that differ from its parent's. tools: the names of those
    that its model may call; own_tools: each row has some of them, which its request names.
    round: how many rounds of tool calls were answered before it: above 0, `parent` is the job whose
    calls it answers, or, if that has the same round, the job whose missed rows it retries.
    trace: the traceparent of its plan, where telemetry is on.
    blocked_by: why no process can run it now, such as a missing key; unconnected:
    its provider can't be connected to, for a cause that passes; message is the cause then.
    """

    id: str
    fingerprint: str
    created_at: float
    model: str
    provider: str
    dialect: str
    endpoint: str
    body_model: str
    out: str
    columns: list[str]
    model_column: str = ""
    called: str = ""
    rows: int
    skipped: int = 0
    unsendable: int = 0
    name: str | None = None
    api_base: str | None = None
    keyless: bool = False
    completion_window: str = "24h"
    output_expires_after: float | None = None
    poll_interval: float | None = None
    shard_size: int | None = None
    metadata: dict[str, str] = {}
    notebook: str | None = None
    framed: bool = True
    mode: str = "batch"
    tier: str = ""
    pace: dict[str, float] = {}
    api_version: str | None = None
    cloud: dict[str, str] = {}
    headers: dict[str, str] = {}
    tool_names: dict[str, str] = {}
    parent: str | None = None
    reused: int = 0
    inherited: int = 0
    cuts: Cuts = ()
    adopted: bool = False
    own_ids: bool = False
    aligned: bool = True
    mapped: bool = False
    space: str = ""
    alone: bool = False
    frame_digest: str = ""
    rows_digest: str = ""
    asked_digest: str = ""
    hashing: str = "blake2b"
    schema: Schema | None = None
    lax: bool = False
    keep: dict[str, str] = {}
    samples: int = 1
    changes: dict[str, Any] = {}
    tools: tuple[str, ...] = ()
    own_tools: bool = False
    round: int = 0
    price: Price | None = None
    before: Bill | None = None
    used: Usage | None = None
    max_cost: float | None = None
    most: float | None = None
    versions: dict[str, str] = {}
    trace: str = ""
    deadline: float = 0.0
    overdue: str = ""
    cancel_at: float = 0.0
    rush_at: float = 0.0
    rush_to: str = "realtime"
    finished_at: float = 0.0
    message: str = ""
    unconnected: bool = False
    blocked_by: Block | None = None
    holder: str | None = None
    lease_until: float = 0.0

    @property
    def asked_tier(self) -> str:
        """The service tier of its requests in realtime; "" without one."""
        return FLEX if self.mode == FLEX else self.tier

    @property
    def tariff(self) -> Tariff | None:
        """The prices of its requests; None where unknown."""
        return None if self.price is None else self.price.paid(self.mode, self.asked_tier)

    @property
    def frame_rows(self) -> int:
        """Rows of the frame: `rows` counts requests, `samples` for each row."""
        return self.rows // self.samples

    @property
    def fills(self) -> tuple[str, ...]:
        """The columns that its answers fill."""
        return tuple(columns(self.out, self.schema))

    @property
    def all_fills(self) -> tuple[str, ...]:
        """The columns that its answers fill, and those of the further content of answers."""
        return tuple(all_columns(self.out, self.schema, self.keep))

    def going_on(self, new: str, now: float, **changes: object) -> JobRecord:
        """The job `new`, which continues this one's rows, without any of this one's results."""
        fresh: dict[str, object] = {
            "id": new,
            "parent": self.id,
            "created_at": now,
            "adopted": False,
            "reused": 0,
            "inherited": 0,
            "cuts": (),
            "changes": {},
            "most": None,
            "before": None,
            "used": None,
            "deadline": 0.0,
            "cancel_at": 0.0,
            "rush_at": 0.0,
            "rush_to": "realtime",
            "finished_at": 0.0,
            "message": "",
            "unconnected": False,
            "blocked_by": None,
            "holder": None,
            "lease_until": 0.0,
        }
        return msgspec.structs.replace(self, **{**fresh, **changes})

    def bill(self, shards: list[ShardRecord]) -> Bill | None:
        """The bill of the collected shards; None where there are none yet."""
        bills = [one for one in (self.before, bill_of(shards)) if one is not None]
        return sum(bills[1:], bills[0]) if bills else None

    def usage(self, shards: list[ShardRecord]) -> Usage | None:
        """Tokens of the answers that are here; None where the provider reported none."""
        usages = [self.used, *(shard.usage for shard in shards)]
        reported = [usage for usage in usages if usage is not None]
        return sum(reported, Usage()) if reported else None

    def blocks(self, shards: list[ShardRecord]) -> tuple[Blocked, ...]:
        """The current blocks, each cause once."""
        if self.finished_at:
            return ()
        found: dict[Block, Blocked] = {}
        if self.blocked_by is not None:
            found[self.blocked_by] = Blocked(by=self.blocked_by, why=self.message)
        for shard in shards:
            if shard.blocked_by is not None and shard.step is not Step.COLLECTED:
                found.setdefault(
                    shard.blocked_by,
                    Blocked(
                        by=shard.blocked_by,
                        why=shard.note,
                        key=shard.key,
                        until=shard.blocked_until,
                        unseen=shard.unseen,
                    ),
                )
        return tuple(found.values())

    def blocked(self, shards: list[ShardRecord]) -> Block | None:
        """The block of all open work that needs the user; None while any shard can proceed."""
        causes = [shard.blocked_by for shard in shards if shard.step is not Step.COLLECTED]
        if not causes or self.finished_at:
            return None
        if self.blocked_by is not None:
            return self.blocked_by
        # A shard held for its budget proceeds when the others have ended: it alone blocks nothing.
        others = [cause for cause in causes if cause is not Block.BUDGET]
        return others[0] if others and None not in others else None


def bill_of(shards: list[ShardRecord]) -> Bill | None:
    """The bill of the collected shards; None where there are none yet."""
    collected = [shard for shard in shards if shard.step is Step.COLLECTED]
    if shards and not collected:
        return None
    # A shard that was collected before bills were stored has unknown costs.
    return sum((s.bill or Bill(unknown=s.requests, standard=None) for s in collected), Bill())
