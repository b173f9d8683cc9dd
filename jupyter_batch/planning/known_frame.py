"""Known frames: the same cell run again finds its job without rendering a row or writing a file.

A digest of all that the requests and the rows' keys are made from is kept with each job. It is
cryptographic (SHA-256), so that no two frames have the same by chance or by intent.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from jupyter_batch.config.option import Col
from jupyter_batch.core.errors import JupyterBatchError
from jupyter_batch.core.version import VERSION
from jupyter_batch.file_checks.request_checks import is_damaged
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.merging.rendered import Rendered, keys_of
from jupyter_batch.planning.ask import Ask
from jupyter_batch.planning.request_lines import RequestLines
from jupyter_batch.prompts.prompt import Written

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
