"""The rows of a selection as a file: CSV, JSONL or Parquet, block by block."""

from __future__ import annotations

import csv
import io
import tempfile
import time
from collections.abc import Iterator
from importlib import util
from typing import Any, BinaryIO

import orjson

from jupyter_batch.results.rows import Query, Rows, views
from jupyter_batch.results.rows.contents import Contents
from jupyter_batch.results.rows.lines import Array

BLOCK = 500
"""Rows that are in memory at a time."""
CHUNK = 1 << 18
FORMATS = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
_KINDS = {"_cost": "float64", "_input_tokens": "int64", "_output_tokens": "int64"}


def formats() -> list[str]:
    """The formats that can be written here; Parquet needs pyarrow."""
    return [name for name in FORMATS if name != "parquet" or util.find_spec("pyarrow")]


def selected(
    rows: Rows, query: Query, patience: float = 300.0
) -> tuple[Contents, range | Array] | None:
    """The whole selection; None where the files could not be read in time."""
    contents = rows.contents()
    until = time.monotonic() + patience
    contents.start()
    contents.ready.wait(patience)
    while contents.found is not None and time.monotonic() < until:
        chosen, searched = rows.select(contents, query, 1.0)
        if searched >= 1:
            return contents, chosen
    return None


def chunks(contents: Contents, positions: range | Array, form: str) -> Iterator[bytes]:
    """The file, in pieces."""
    names = _columns(contents)
    blocks = (
        _records(contents, [int(at) for at in positions[start : start + BLOCK]], names)
        for start in range(0, len(positions), BLOCK)
    )
    if form == "csv":
        yield _csv([names])
        yield from (_csv(map(_cells, block)) for block in blocks)
    elif form == "jsonl":
        for block in blocks:
            yield b"".join(orjson.dumps(record) + b"\n" for record in block)
    else:
        with tempfile.TemporaryFile() as file:
            _parquet(file, names, blocks)
            file.seek(0)
            yield from iter(lambda: file.read(CHUNK), b"")


def _columns(contents: Contents) -> list[str]:
    job = contents.job
    sample = ["sample"] if job.samples > 1 else []
    answer = list(job.fills) if job.schema is not None else [job.out or "answer"]
    figures = ["_status", "_error", "_finish", *_KINDS]
    return ["row", *sample, "prompt", *answer, *figures]


def _records(contents: Contents, positions: list[int], names: list[str]) -> list[dict[str, Any]]:
    job = contents.job
    fields = {} if job.schema is None else dict(zip(job.fills, job.schema.fields, strict=True))
    made = []
    for row in views(contents, positions, whole=True):
        record: dict[str, Any] = dict.fromkeys(names)
        record |= {"row": row.label, "prompt": row.prompt}
        if "sample" in record:
            record["sample"] = row.sample
        if fields and row.fields is not None:
            record |= {name: row.fields.get(field.name) for name, field in fields.items()}
        elif not fields:
            record[job.out or "answer"] = row.answer
        record |= {
            "_status": str(row.status),
            "_error": row.error,
            "_finish": row.finish,
            "_cost": row.cost,
            "_input_tokens": row.input_tokens,
            "_output_tokens": row.output_tokens,
        }
        made.append(record)
    return made


def _cells(record: dict[str, Any]) -> list[Any]:
    return ["" if value is None else value for value in record.values()]


def _csv(lines: Any) -> bytes:
    made = io.StringIO(newline="")
    csv.writer(made, lineterminator="\n").writerows(lines)
    return made.getvalue().encode("utf-8", "replace")


def _parquet(file: BinaryIO, names: list[str], blocks: Iterator[list[dict[str, Any]]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {**_KINDS, "sample": "int64"}
    schema = pa.schema([(name, kinds.get(name, "string")) for name in names])
    with pq.ParquetWriter(file, schema) as writer:
        for block in blocks:
            writer.write_table(pa.Table.from_pylist(block, schema=schema))
