"""Metadata of exported request files as JSON, a block of rows in memory."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import orjson

from jupyter_batch.config.option import Col
from jupyter_batch.core.request import custom_id
from jupyter_batch.core.version import VERSION
from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.cells import content_text
from jupyter_batch.frames.text_blocks import TextBlock, label_texts, spans, text_blocks
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.merging.rendered import columns_of
from jupyter_batch.planning.ask import Ask
from jupyter_batch.planning.draft import JobDraft
from jupyter_batch.row_files.row_columns import read_unsent
from jupyter_batch.row_files.text_lines import TextLines

if TYPE_CHECKING:
    import pandas as pd

_PACKAGES = ("litellm", "openai", "pandas", "pydantic", "msgspec", "orjson", "httpx", "dspy")


def metadata(ask: Ask, draft: JobDraft, frame: pd.DataFrame) -> Iterator[bytes]:
    """metadata.json by blocks of rows: time, files, endpoint, versions, model, parameters, rows."""
    record = draft.record
    versions = {**record.versions, "jupyter_batch": VERSION}
    versions.pop("door", None)  # how the call was made is not a version
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    head = {
        "id": record.id,
        "created_at": datetime.fromtimestamp(record.created_at, UTC).isoformat(),
        "requests": [
            {
                "file": draft.folder.requests(shard.number).name,
                "requests": shard.requests,
                "bytes": shard.bytes,
            }
            for shard in draft.shards
        ],
        "endpoint": record.endpoint,
        "provider": record.provider,
        "api_base": record.api_base,
        "mode": record.mode,
        "completion_window": record.completion_window,
        "model": record.model,
        "parameters": ask.params,
        "versions": versions,
        "notebook": record.notebook,
        "out": list(record.fills),
        "metadata": record.metadata,
    }
    yield _json(head)[:-1] + b',"rows":['
    reasons = {
        at: group.reason for group in read_unsent(draft.folder, record) for at in group.positions
    }
    start = 1  # of the first row's lines: no comma
    for lines in _rows(record, frame, reasons):
        yield lines[start:]
        start = 0
    yield b"\n]}\n"


def _rows(record: JobRecord, frame: pd.DataFrame, reasons: dict[int, str]) -> Iterator[bytes]:
    """The rows' lines, each after a comma and a newline."""
    columns = columns_of(frame, record.columns)
    for rows, block in text_blocks(frame, columns, ""):
        lines = None
        if block is not None and record.samples == 1 and reasons.keys().isdisjoint(rows):
            lines = _of_texts(record, frame, block)
        yield from _of_cells(record, frame, columns, rows, reasons) if lines is None else (lines,)


def _of_texts(record: JobRecord, frame: pd.DataFrame, block: TextBlock) -> bytes | None:
    """The lines of a block of texts and integers; None for one with other cells or labels."""
    labels = label_texts(frame, block.rows)
    if labels is None or None in block.is_text:
        return None
    pieces: list[bytes | int | None] = [b',\n{"custom_id":"' + record.id.encode() + b"-", None]
    held = [*zip(record.columns, block.is_text, strict=True), ("index", labels[1])]
    order = [len(block.columns), *range(len(block.columns))]
    before = b'","index":'
    for number in order:
        name, is_text = held[number]
        if number < len(block.columns):
            before += orjson.dumps(name) + b":"
        quote = b'"' if is_text else b""
        pieces += [before + quote, number, quote]
        before = b"," if number < len(block.columns) else b',"inputs":{'
    made = TextLines([*pieces, b"}}"], spans).encode(block.rows.start, [*block.columns, labels[0]])
    return None if made is None else made[0]


def _of_cells(
    record: JobRecord,
    frame: pd.DataFrame,
    columns: list[Any],
    rows: range,
    reasons: dict[int, str],
) -> Iterator[bytes]:
    for block in frames.blocks(frame, columns, span=rows):
        index = frames.row_labels(frame)[block.start : block.start + block.rows].tolist()
        lines = []
        for offset, label in enumerate(index):
            first = (block.start + offset) * record.samples
            row: dict[str, Any] = {
                "custom_id": None if first in reasons else _ids(record, first),
                "index": label,
                "inputs": {
                    str(column): values[offset]
                    for column, values in zip(columns, block.values, strict=True)
                },
            }
            if first in reasons:
                row["reason"] = reasons[first]
            lines.append(b",\n" + _json(row))
        yield b"".join(lines)


def _ids(record: JobRecord, first: int) -> str | list[str]:
    """The id of a row's request, or those of its requests."""
    ids = [custom_id(record.id, first + sample) for sample in range(record.samples)]
    return ids[0] if len(ids) == 1 else ids


_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=_said, option=_OPTIONS)
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits, in a cell
        return json.dumps(value, default=_said).encode()


def _said(value: Any) -> Any:
    return (
        {"column": str(value.name)} if isinstance(value, Col) else content_text(value) or str(value)
    )
