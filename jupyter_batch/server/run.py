"""A run of a batch: validate its input, answer its rows in slices, write its files.

It runs in the event loop's thread, a few milliseconds at a time. The order of the rows is a
permutation by the batch's id; rows are read from the input one at a time, so that memory holds only
some numbers for each.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, BinaryIO

import msgspec

from jupyter_batch.server.answers import Answer, Answers
from jupyter_batch.server.checks.nesting import pruned, too_deep
from jupyter_batch.server.checks.validation import MessageScan, Scan, decode_request, lines
from jupyter_batch.server.errors import SERVER_ERROR_MESSAGE, ApiError, bad_request, server_error
from jupyter_batch.server.faults import Faults
from jupyter_batch.server.storage.objects import Record
from jupyter_batch.server.storage.output import (
    Appender,
    answered_line,
    line_key,
    take_up,
    unanswered_line,
)
from jupyter_batch.server.storage.store import Store
from jupyter_batch.server.translate.message_objects import MESSAGES

SLICE = 0.003
"""Seconds of work before the loop gets its turn, shared by all batches that run."""
_EACH = 16
TIMED_OUT = ("request_timeout", "The underlying call to the model timed out.")


class Run:
    """A batch that is under way, in memory. `record` is its one live copy."""

    def __init__(self, record: Record, store: Store, answers: Answers, faults: Faults) -> None:
        self.record = record
        self.batch = record.batch
        self.store = store
        self.answers = answers
        self.faults = faults
        self.cancelling = asyncio.Event()
        self.tokens = 0
        self.scan = self._scan()
        self._input: BinaryIO | None = None
        self._output = Appender(store.path(record.output_id))
        self._error = Appender(store.path(record.error_id))

    # --- reading

    async def read_input(self, turn: Callable[[], float]) -> Scan:
        """Look at each line of the input, in slices of `turn()` seconds; take up what an earlier process wrote."""
        answered: set[int] = set()
        until = time.perf_counter() + turn()
        for custom_id in self._written():
            answered.add(custom_id)
            if time.perf_counter() > until:
                await asyncio.sleep(0)
                until = time.perf_counter() + turn()
        scan = self._scan(answered)
        with self.store.path(self.batch.input_file_id).open("rb") as handle:
            for count, (line, number, offset) in enumerate(lines(handle)):
                scan.add(line, number, offset)
                if count % _EACH == 0 and time.perf_counter() > until:
                    await asyncio.sleep(0)
                    if self.cancelling.is_set() and self.batch.in_progress_at is None:
                        break
                    until = time.perf_counter() + turn()
        scan.end()
        self.scan, self.tokens, self.batch.model = scan, scan.tokens, scan.model
        return scan

    def recount(self) -> None:
        """Count what is on disk, and nothing else: the end of a batch whose lines could not all be written."""
        self.close()
        for _ in self._written():
            pass
        counts = self.batch.request_counts
        self.record.left = max(0, counts.total - counts.completed - counts.failed)

    def _written(self) -> Iterator[int]:
        """Count the lines on disk from zero; the hashes of their custom_ids."""
        counts = self.batch.request_counts
        counts.completed = counts.failed = self.record.left = 0
        self.batch.usage = type(self.batch.usage)()
        paths = self.store.path(self.record.output_id), self.store.path(self.record.error_id)
        return take_up(*paths, self.record)

    def _scan(self, answered: set[int] | None = None) -> Scan:
        kind = MessageScan if self.batch.endpoint == MESSAGES else Scan
        serves = partial(self.answers.serves, endpoint=self.batch.endpoint)
        return kind(self.batch.endpoint, serves, answered)

    def open(self) -> None:
        """Open the file that the rows are read from."""
        self._input = self.store.path(self.batch.input_file_id).open("rb", buffering=0)

    def close(self) -> None:
        """Close the files; lines that are not on disk are given up."""
        if self._input is not None:
            self._input.close()
            self._input = None
        self._output.close()
        self._error.close()

    def rows(self) -> Iterator[int]:
        """The rows that have no line yet, in the order of the output, which is never the input's."""
        order = shuffled(
            len(self.scan.offsets), self.batch.id, self.faults.seed if self.faults.shuffle else None
        )
        return (row for row in order if not self.scan.done[row])

    def _request(self, row: int) -> Any:
        if self._input is None:
            raise ValueError("the input is not open")
        self._input.seek(self.scan.offsets[row])
        raw = self._input.read(self.scan.lengths[row])
        return decode_request(pruned(raw) if row in self.scan.deep else raw)

    # --- writing

    def answer_now(self, row: int) -> None:
        """Answer a row and write its line."""
        request = self._request(row)
        key = line_key(self.batch.id, request.custom_id)
        self._write(
            row,
            request.custom_id,
            key,
            self._unasked(row, request.custom_id) or self._answer(request, key),
        )

    async def answer_later(self, row: int) -> None:
        """Answer a row by a model that takes its time."""
        request = self._request(row)
        key = line_key(self.batch.id, request.custom_id)
        answer = self._unasked(row, request.custom_id)
        if answer is None:
            body, answer = self._checked(request)
        if answer is None:
            answer = await self.answers.later(self.batch.endpoint, body, id_=key)
        self._write(row, request.custom_id, key, answer)

    @property
    def held(self) -> int:
        """Bytes of lines that are not on disk yet."""
        return self._output.held + self._error.held

    def flush(self) -> None:
        """Bring what is held to the disk."""
        self._output.flush()
        self._error.flush()

    def leave(self, row: int, reason: tuple[str, str]) -> None:
        """Write the line of a row that is not answered any more."""
        request = self._request(row)
        self._error.add(
            unanswered_line(line_key(self.batch.id, request.custom_id), request.custom_id, *reason)
        )
        self.scan.done[row] = 1
        self.batch.request_counts.failed += 1
        self.record.left += 1

    def _answer(self, request: Any, key: str) -> Answer:
        body, refused = self._checked(request)
        return refused or self.answers.now(self.batch.endpoint, body, id_=key)

    def _checked(self, request: Any) -> tuple[Any, Answer | None]:
        """A request's body, and its refusal. One odd row must not lose the others."""
        body: Any = None
        wrong: ApiError | None
        try:
            body = msgspec.json.decode(request.body)
            wrong = self.answers.refusal(self.batch.endpoint, body)
            if wrong is None and body.get("stream"):
                wrong = bad_request("stream: Streaming is not supported in a batch")
        except msgspec.DecodeError as error:  # such as a number that is too large
            wrong = bad_request(f"This request can't be read: {error}")
        return body, None if wrong is None else Answer(wrong.status, wrong.body())

    def _unasked(self, row: int, custom_id: str) -> Answer | None:
        """The failure of a row that no model is asked for; None where one is."""
        if row in self.scan.deep:
            has_file = self.batch.endpoint != MESSAGES
            wrong = too_deep(self.scan.deep[row] if has_file else None)
            return Answer(wrong.status, wrong.body())
        if self.faults.falls(self.faults.row_errors, "row", custom_id):
            return Answer(500, server_error().body())
        return None

    def _write(self, row: int, custom_id: str, key: str, answer: Answer) -> None:
        counts, good = self.batch.request_counts, answer.status < 400  # noqa: PLR2004 - HTTP errors begin there
        self.scan.done[row] = 1
        if self.faults.falls(self.faults.drop, "drop", custom_id):
            counts.failed += 1
            return
        try:
            line = (
                unanswered_line(key, custom_id, *TIMED_OUT)
                if answer.status == HTTPStatus.REQUEST_TIMEOUT
                else answered_line(key, custom_id, answer.status, answer.body)
            )
        except (TypeError, ValueError):  # what JSON can't carry
            line, good = (
                answered_line(key, custom_id, 500, ApiError(500, SERVER_ERROR_MESSAGE).body()),
                False,
            )
        target = self._output if good else self._error
        target.add(line)
        if self.faults.falls(self.faults.double, "double", custom_id):
            target.add(line)
        counts.completed += good
        counts.failed += not good
        if good:
            self.batch.usage.add(answer.body.get("usage") or {})


def allowed(rows: int, since: float, lasting: float) -> int:
    """How many rows may be done `since` seconds after the start, if all of them shall take `lasting` seconds."""
    return (
        rows if lasting <= 0 or since >= lasting else min(rows, math.ceil(rows * since / lasting))
    )


def shuffled(count: int, *seed: object) -> Iterator[int]:
    """0 to count - 1, each once, in an order by the seed that is never the rising one; nothing is held in memory."""
    number = int.from_bytes(blake2b(repr(seed).encode(), digest_size=16).digest())
    step = 1
    if count > 2:  # noqa: PLR2004 - of two there is but one other order
        step = 2 + number % (count - 2)
        while math.gcd(step, count) != 1:
            step = step + 1 if step < count - 1 else 2
    start = 1 if step == 1 else number // count
    return ((start + step * place) % count for place in range(count))
