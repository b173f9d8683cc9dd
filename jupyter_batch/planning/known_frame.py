"""Known frames: the same cell run again finds its job without rendering a row or writing a file.

A digest of all that the requests and the rows' keys are made from is kept with each job. It is
cryptographic (SHA-256), so that no two frames have the same by chance or by intent.
Each job keeps the digests of blocks of its rows, too: where a later frame of the same call has an
equal block, wherever it is now, its rows have the requests that they had, and are not rendered.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from zlib import crc32

import msgspec
import numpy as np

from jupyter_batch.config.option import Col
from jupyter_batch.core.errors import JupyterBatchError
from jupyter_batch.core.version import VERSION
from jupyter_batch.file_checks.request_checks import is_damaged
from jupyter_batch.frames.digest import Digests
from jupyter_batch.frames.row_keys import Keys, KnownRows
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.merging.rendered import Rendered, keys_of
from jupyter_batch.planning.ask import Ask
from jupyter_batch.planning.request_lines import RequestLines
from jupyter_batch.prompts.prompt import Written
from jupyter_batch.results.columns import ANSWERED
from jupyter_batch.results.copy_answers import answer_files, columns_in
from jupyter_batch.row_files.linked_parts import contents
from jupyter_batch.row_files.row_columns import places_of

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

_NOT_ASKED = frozenset(
    {
        "prompt",
        "taken",
        "keep",
        "name",
        "metadata",
        "notebook",
        "pace",
        "poll_interval",
        "price",
        "max_cost",
        "deadline",
        "rush_to",
        "tier",
    }
)
"""The fields of `Ask` that are not part of a request; the prompt is digested by its texts."""


def frame_digest(ask: Ask, rows: str) -> str:
    """The digest of all that a frame's requests are made from; "" where that is not known.

    That is known of templates in braces over cells whose texts are equal in every process: not of
    row functions, of Jinja, or of cells that are objects. rows: the digest of the frame's rows.
    """
    if not rows or not ask.framed:
        return ""
    if type(ask.prompt) is not Written or ask.prompt.kind != "braces":
        return ""
    asked = {name: getattr(ask, name) for name in ask.__struct_fields__ if name not in _NOT_ASKED}
    # msgspec encodes a column's name (`Col`) like an object {"name": ...}
    asked["params"] = [(key, type(value) is Col, value) for key, value in ask.params.items()]
    asked["versions"] = {key: value for key, value in ask.versions.items() if key != "door"}
    try:
        whole = msgspec.json.encode([VERSION, ask.prompt.texts, asked, rows])
    except (TypeError, ValueError, OverflowError, NotImplementedError):
        return ""  # a parameter that is no JSON
    return sha256(whole).hexdigest()  # keys in their order, which is sent


def known_job(
    ledger: Ledger, digest: str, lines: RequestLines
) -> tuple[JobRecord, Rendered] | None:
    """(the newest job with this digest whose files are whole, the frame's rows in it)."""
    for job in ledger.framed_as(digest):
        if job.adopted or not job.aligned:
            continue
        folder = ledger.folders.of(job.id)
        try:
            keys = keys_of(job, folder)
        except (JupyterBatchError, OSError, ValueError):
            continue
        whole = not any(
            shard.crc is not None and not shard.joins and is_damaged(folder, shard)
            for shard in ledger.shards(job.id)
        )
        if whole and len(keys) == job.frame_rows:
            return job, Rendered(job.columns, keys, digest=job.rows_digest, again=lines.keys_now)
    return None


# --- a frame that grew, or changed in part --------------------------------------------------------------------------


_MOST_JOBS = 8
"""Earlier jobs of the same call that are compared, the newest ones."""


class _Kept(msgspec.Struct, array_like=True):
    """The digests on disk. keys: the CRC-32 of the keys of the same rows. ends: as in `Digests`."""

    rows: int
    keys: int
    digests: list[bytes]
    ends: list[int]


class Blocks(NamedTuple):
    """The digests of a frame's rows, and `asked`, that of the call and the kind of its hashes."""

    asked: str
    digests: Digests

    @classmethod
    def of(cls, ask: Ask, lines: RequestLines, digests: Digests | None) -> Blocks | None:
        """The digests of a frame whose rows can be known; None for another one."""
        asked = frame_digest(ask, lines.hashing) if digests is not None and lines.is_plain else ""
        return cls(asked, digests) if digests is not None and asked else None

    def write(self, folder: JobFolder, keys: Keys) -> None:
        """Keep the digests with a job. keys: those of its rows, as the folder has them."""
        check = 0
        for part in keys.parts():
            check = crc32(part, check)
        kept = _Kept(len(keys), check, self.digests.blocks, self.digests.ends)
        folder.write(folder.blocks, msgspec.msgpack.encode(kept))


def known_rows(ledger: Ledger, blocks: Blocks) -> KnownRows | None:
    """The rows of a frame that one of the last jobs of the same call answered; None without any."""
    jobs = (job for job in ledger.called_as(blocks.asked) if not job.adopted)
    best: KnownRows | None = None
    for job in islice(jobs, _MOST_JOBS):
        try:
            found = _known_in(ledger, job, blocks.digests)
        except (JupyterBatchError, OSError, ValueError, msgspec.MsgspecError):  # damaged, or none
            continue
        if found is not None and (best is None or found.flags.sum() > best.flags.sum()):
            best = found
        if best is not None and best.flags.mean() > _ENOUGH:
            break
    return best


_ENOUGH = 0.9
"""Of the rows of a frame; then no other job is compared."""


def _known_in(ledger: Ledger, job: JobRecord, digests: Digests) -> KnownRows | None:
    folder = ledger.folders.of(job.id)
    kept = msgspec.msgpack.decode(folder.blocks.read_bytes(), type=_Kept)
    at = _in_equal_blocks(kept, digests)
    if not (at >= 0).any():
        return None
    data = contents(folder.keys)
    if crc32(data) != kept.keys:
        return None
    keys = Keys.from_bytes(data)
    if keys.asks is None or len(keys) != kept.rows:
        return None
    known = KnownRows(at, _answered(ledger, job, folder), keys, job.id)
    return known if known.flags.any() else None


def _in_equal_blocks(kept: _Kept, digests: Digests) -> Array:
    """The position in the job of each row of the frame whose block it has, too; -1 for the others."""
    starts = dict(zip(kept.digests, [0, *kept.ends], strict=False))
    at: Array = np.full(digests.ends[-1] if digests.ends else 0, -1, dtype=np.int64)
    start = 0
    for digest, stop in zip(digests.blocks, digests.ends, strict=True):
        there = starts.get(digest)
        if there is not None:
            at[start:stop] = np.arange(there, there + stop - start)
        start = stop
    return at


def _answered(ledger: Ledger, job: JobRecord, folder: JobFolder) -> Array:
    """Whether the job has an answer of each of its rows."""
    shards = ledger.shards(job.id)
    rows: Array = np.zeros(job.rows, dtype=bool)
    for file in answer_files(job, shards, folder):
        for columns in columns_in(file, job):
            found = columns.rows[columns.status == ANSWERED]
            rows[found[(found >= 0) & (found < job.rows)]] = True
    copies, originals = places_of(job, shards, folder).followers()
    rows[copies] |= rows[originals]
    return rows
