"""Metadata of exported request files as JSON, a block of rows in memory, written as its lines are made."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import orjson

from jupyter_batch.config.option import Col
from jupyter_batch.core.request import custom_id
from jupyter_batch.core.version import VERSION
from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.cells import content_text
from jupyter_batch.frames.text_blocks import TextBlock, label_texts, spans, text_blocks
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.merging.rendered import columns_of
from jupyter_batch.planning.ask import Ask, record_of
from jupyter_batch.planning.draft import JobDraft
from jupyter_batch.row_files.row_columns import read_unsent
from jupyter_batch.row_files.text_lines import TextLines

if TYPE_CHECKING:
    import pandas as pd

_PACKAGES = ("litellm", "openai", "pandas", "pydantic", "msgspec", "orjson", "httpx", "dspy")


class Metadata:
    """metadata.json: time, endpoint, versions, model, parameters, rows, files."""

    def __init__(self, file: BinaryIO, ask: Ask, job: str, frame: pd.DataFrame, now: float) -> None:
        self._file, self._frame = file, frame
        self._record = record_of(ask, job, now, fingerprint="", space="", columns=[], rows=0)
        file.write(_json(_head(ask, self._record))[:-1] + b',"rows":[')
        self._before = 1  # of the first row's lines: no comma

    def add(
        self, columns: Sequence[Any], rows: range, block: TextBlock | None, reasons: dict[int, str]
    ) -> None:
        """Write rows whose lines were just made; see `Record`."""
        names = [str(label) for label in columns]
        record = msgspec.structs.replace(self._record, columns=names)
        self._write(_rows(record, self._frame, list(columns), rows, block, reasons))

    def finish(self, draft: JobDraft) -> None:
        """Write the rest of the file; and the rows, where none were."""
        if self._before:
            unsent = read_unsent(draft.folder, draft.record)
            reasons = {at: group.reason for group in unsent for at in group.positions}
            columns = columns_of(self._frame, draft.record.columns)
            for rows, block in text_blocks(self._frame, columns, ""):
                self._write(_rows(draft.record, self._frame, columns, rows, block, reasons))
        files = [
            {
                "file": draft.folder.requests(shard.number).name,
                "requests": shard.requests,
                "bytes": shard.bytes,
            }
            for shard in draft.shards
        ]
        self._file.write(b'\n],"requests":' + _json(files) + b"}\n")

    def _write(self, lines: Iterable[bytes]) -> None:
        for some in lines:
            self._file.write(some[self._before :])
            self._before = 0


def _head(ask: Ask, record: JobRecord) -> dict[str, Any]:
    versions = {**record.versions, "jupyter_batch": VERSION}
    versions.pop("door", None)  # how the call was made is not a version
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "id": record.id,
        "created_at": datetime.fromtimestamp(record.created_at, UTC).isoformat(),
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


def _rows(
    record: JobRecord,
    frame: pd.DataFrame,
    columns: list[Any],
    rows: range,
    block: TextBlock | None,
    reasons: dict[int, str],
) -> Iterator[bytes]:
    """The rows' lines, each after a comma and a newline."""
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
    made = TextLines([*pieces, b"}}"], spans).encode(
        block.rows.start, [*block.columns, labels[0]], block.escaped
    )
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
