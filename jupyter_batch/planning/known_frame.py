"""Known frames: the same cell run again finds its job without rendering a row or writing a file.

A digest of all that the requests and the rows' keys are made from is kept with each job. It is
cryptographic (SHA-256), so that no two frames have the same by chance or by intent.
Each job keeps the digests of blocks of its rows, too: where a later frame of the same call has an
equal block at the same place, its rows have the requests that they had, and are not rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from zlib import crc32

import msgspec
import numpy as np

from jupyter_batch.config.option import Col
from jupyter_batch.core.errors import JupyterBatchError
from jupyter_batch.core.version import VERSION
from jupyter_batch.file_checks.request_checks import is_damaged
from jupyter_batch.frames.adapter import row_count
from jupyter_batch.frames.digest import BLOCK_ROWS, Digests, block_digest
from jupyter_batch.frames.row_keys import Keys, KnownRows
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.merging.rendered import Rendered, keys_of
from jupyter_batch.planning.ask import Ask
from jupyter_batch.planning.request_lines import RequestLines
from jupyter_batch.prompts.prompt import Written
from jupyter_batch.results.outcomes import GOOD, of_job

if TYPE_CHECKING:
    import pandas as pd

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
    for job in ledger.jobs() if digest else ():
        if job.frame_digest != digest or job.adopted or not job.aligned:
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
    """The digests on disk. keys: the CRC-32 of the keys of the same rows."""

    rows: int
    keys: int
    digests: list[bytes]


class Blocks(NamedTuple):
    """The digests of a frame's blocks, and `asked`, that of the call and the kind of its hashes."""

    asked: str
    digests: list[bytes]

    @classmethod
    def of(cls, ask: Ask, lines: RequestLines, digests: Digests | None) -> Blocks | None:
        """The digests of a frame whose rows can be known; None for another one."""
        asked = frame_digest(ask, lines.hashing) if digests is not None and lines.is_plain else ""
        return cls(asked, digests.blocks) if digests is not None and asked else None

    def write(self, folder: JobFolder, rows: int, keys: bytes) -> None:
        """Keep the digests with a job. keys: those of its rows, as the folder has them."""
        kept = _Kept(rows, crc32(keys), self.digests)
        folder.write(folder.blocks, msgspec.msgpack.encode(kept))


def known_rows(
    ledger: Ledger, blocks: Blocks, frame: pd.DataFrame, columns: Sequence[Any]
) -> KnownRows | None:
    """The rows of a frame that one of the last jobs of the same call answered; None without any.

    columns: those that its requests read.
    """
    jobs = [job for job in ledger.jobs() if job.asked_digest == blocks.asked and not job.adopted]
    best: KnownRows | None = None
    for job in jobs[:_MOST_JOBS]:
        try:
            found = _known_in(ledger, job, frame, columns, blocks.digests)
        except (JupyterBatchError, OSError, ValueError, msgspec.MsgspecError):  # damaged, or none
            continue
        if found is not None and (best is None or found.flags.sum() > best.flags.sum()):
            best = found
        if best is not None and best.flags.mean() > _ENOUGH:
            break
    return best


_ENOUGH = 0.9
"""Of the rows of a frame; then no other job is compared."""


def _known_in(
    ledger: Ledger,
    job: JobRecord,
    frame: pd.DataFrame,
    columns: Sequence[Any],
    digests: list[bytes],
) -> KnownRows | None:
    folder = ledger.folders.of(job.id)
    kept = msgspec.msgpack.decode(folder.blocks.read_bytes(), type=_Kept)
    known = _in_equal_blocks(kept, frame, columns, digests)
    rows = np.flatnonzero(known)
    if not len(rows):
        return None
    data = folder.keys.read_bytes()
    if crc32(data) != kept.keys:
        return None
    keys = Keys.from_bytes(data)
    if keys.asks is None or len(keys) != kept.rows:
        return None
    status = of_job(job, ledger.shards(job.id), folder, values=False).status
    known[rows] = np.isin(np.frombuffer(status, dtype=np.uint8)[rows], GOOD)
    return KnownRows(known, keys) if known.any() else None


def _in_equal_blocks(
    kept: _Kept, frame: pd.DataFrame, columns: Sequence[Any], digests: list[bytes]
) -> Array:
    """The rows of the frame whose block is equal in the job with these digests."""
    rows = row_count(frame)
    known: Array = np.zeros(rows, dtype=bool)
    for number, digest in enumerate(kept.digests):
        start = number * BLOCK_ROWS
        stop = min(start + BLOCK_ROWS, kept.rows)
        if stop > rows:
            break
        if stop - start < BLOCK_ROWS and stop < rows:  # rows were added to it
            same = block_digest(frame, columns, start, stop) == digest
        else:
            same = digests[number] == digest
        known[start:stop] = same
    return known
