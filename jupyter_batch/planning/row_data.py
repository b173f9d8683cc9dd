"""Data of a job's rows, as its lines are made: request hashes, and rows without a request."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np

from jupyter_batch.core.request import Status
from jupyter_batch.core.schema import without_names
from jupyter_batch.frames.adapter import row_count, row_labels
from jupyter_batch.frames.hashing import HASH_BYTES, hash_of, hashes
from jupyter_batch.frames.labels import index_to_bytes
from jupyter_batch.planning.ask import Ask, scope_of
from jupyter_batch.row_files.request_files import sent_hash
from jupyter_batch.row_files.request_hashes import sum_of
from jupyter_batch.row_files.row_columns import Unsent

if TYPE_CHECKING:
    import pandas as pd

    Array: TypeAlias = np.ndarray[Any, Any]

_NO_HASH = bytes(HASH_BYTES)


class RowHashes:
    """16 bytes for each request, by position; zeros for a row without one.

    asked: request hashes. sent: those of the requests as sent, where these may differ. kind: as in
    frames/hashing.py.
    """

    def __init__(self, kind: str, requests: int, samples: int, *, apart: bool) -> None:
        self.kind, self._samples = kind, samples
        self.asked = bytearray(HASH_BYTES * requests)
        self.sent = bytearray(HASH_BYTES * requests if apart else 0)

    def add_block(self, first: int, data: bytes, starts: list[int], ends: list[int]) -> None:
        """Hash parts of `data`, the bodies of the requests from position `first` on, of one sample each."""
        marks = hashes(self.kind, data, starts, ends)
        self.asked[first * HASH_BYTES : first * HASH_BYTES + len(marks)] = marks

    def add(
        self, first: int, bodies: Sequence[bytes | None], lines: Sequence[bytes | None] = ()
    ) -> None:
        """Hash bodies from position `first` on; None for a row without a request.

        lines: the lines as sent, where they may be others than those with these bodies.
        """
        samples = self._samples
        each = [hash_of(self.kind, number) for number in range(samples)]
        marks = [
            _NO_HASH if body is None else each[position % samples](body)
            for position, body in enumerate(bodies, first)
        ]
        span = slice(first * HASH_BYTES, (first + len(marks)) * HASH_BYTES)
        self.asked[span] = b"".join(marks)
        if not self.sent:
            return
        for at, line in enumerate(lines):
            if line is not None:
                marks[at] = sent_hash(line, self.kind, (first + at) % samples) or marks[at]
        self.sent[span] = b"".join(marks)

    @property
    def array(self) -> Array:
        """The request hashes as uint64 of shape (requests, 2), in the same memory."""
        return np.frombuffer(self.asked, "<u8").reshape(-1, 2)

    @property
    def as_sent(self) -> bytes | None:
        """The hashes of the requests as sent; None where they are the request hashes."""
        return bytes(self.sent) if self.sent and self.sent != self.asked else None


class LeftOut:
    """The positions of requests that can't be made, by reason, in order.

    skipped: for lack of a value. broken: for another reason.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self.skipped: dict[str, list[int]] = {}
        self.broken: dict[str, list[int]] = {}

    def skip(self, reason: str, positions: Iterable[int]) -> None:
        """Add positions that lack a value."""
        self.skipped.setdefault(reason, []).extend(positions)

    def break_off(self, reason: str, position: int) -> None:
        """Add a position whose request can't be made."""
        self.broken.setdefault(reason, []).append(position)

    def of_rows(self, rows: Array) -> LeftOut:
        """Those of a part of a frame as those of the frame. rows: the rows of the part."""
        made = LeftOut(self._samples)
        made.skipped = {why: rows[at].tolist() for why, at in self.skipped.items()}
        made.broken = {why: rows[at].tolist() for why, at in self.broken.items()}
        return made

    def counts(self) -> dict[str, int]:
        """Their numbers, as fields of a job's record."""
        skipped, broken = (sum(map(len, one.values())) for one in (self.skipped, self.broken))
        return {"skipped": skipped, "unsendable": broken}

    def by_reason(self) -> Iterator[tuple[str, list[int]]]:
        """(reason, the rows of the frame left out for it)."""
        for reason, positions in (*self.skipped.items(), *self.broken.items()):
            yield reason, list(dict.fromkeys(at // self._samples for at in positions))

    def mark(self, asks: bytearray) -> None:
        """Set the hash of each row left out to that of the reason. asks: 16 bytes for each row."""
        for reason, rows in self.by_reason():
            mark = blake2b(reason.encode(), digest_size=HASH_BYTES, person=b"unsent").digest()
            for at in rows:
                asks[at * HASH_BYTES : (at + 1) * HASH_BYTES] = mark

    def since(self, row: int) -> dict[int, str]:
        """The reason of each position of this row and later ones."""
        return {
            at: reason
            for reason, positions in (*self.skipped.items(), *self.broken.items())
            for at in positions[bisect_left(positions, row * self._samples) :]
        }

    def unsent(self) -> list[Unsent]:
        """The positions by reason, for the ledger."""
        return [
            *(Unsent(Status.SKIPPED, reason, at) for reason, at in self.skipped.items()),
            *(Unsent(Status.FAILED, reason, at) for reason, at in self.broken.items()),
        ]


def job_fingerprint(ask: Ask, frame: pd.DataFrame, hashes: bytearray, prints: bytearray) -> str:
    """The hash of all of a job's requests. hashes: of each. prints: the rows' fingerprints."""
    rows = row_count(frame)
    digest = blake2b(f"{scope_of(ask)}{rows}:{sum_of(hashes):032x}".encode(), digest_size=16)
    if not ask.framed:  # a list's answers are aligned by position, so that the order matters
        digest.update(prints + index_to_bytes(row_labels(frame)))
    if not any(hashes):  # no request whose hash would tell this job from another one
        digest.update(msgspec.json.encode([ask.model, ask.mode, ask.samples, str(ask.out)]))
    if ask.schema is not None and ask.schema != without_names(ask.schema):  # into other columns
        digest.update(msgspec.json.encode([field.name for field in ask.schema.fields]))
    return digest.hexdigest()
