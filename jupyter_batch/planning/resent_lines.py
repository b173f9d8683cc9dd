"""Request lines of rows that are sent again unchanged, taken from a job's files, in row order.

Parameters in lines of jobs that were planned before parameters were mapped are mapped here:
unmapped they would be rejected again, as OpenAI's gpt-5 does not accept `max_tokens`.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.request import custom_id
from jupyter_batch.file_checks.request_checks import lines_of
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.planning.draft import JobDraft
from jupyter_batch.planning.route import route_of
from jupyter_batch.providers.table import REALTIME
from jupyter_batch.wire.dialects import OPENAI, encoder
from jupyter_batch.wire.openai import Hole

if TYPE_CHECKING:
    from jupyter_batch.row_files.hash_arrays import Array

_CHAT = "/chat/completions"  # a batch may name the endpoint without its version


def is_unmapped(job: JobRecord) -> bool:
    """Whether a job's batches have unmapped parameters, which the model may not accept."""
    return (
        job.dialect == OPENAI
        and not job.mapped
        and job.mode != REALTIME
        and job.endpoint.endswith(_CHAT)
        and route_of(job) is not None
    )


class Remapped:
    """Lines with mapped parameters.

    A line that can't be mapped is unchanged: the provider decides.
    """

    def __init__(self, job: JobRecord) -> None:
        self._route, self._endpoint = route_of(job), job.endpoint
        self._encoders: dict[bytes, Any] = {}

    def line(self, line: bytes) -> bytes:
        """Return a request line as litellm would send it."""
        data = orjson.loads(line)
        body = data["body"]
        messages = body.pop("messages", None)
        made = None if messages is None else self._encoder(body)
        if made is None:
            return line
        (new,) = made.encode([data["custom_id"]], {"messages": [messages]})
        return new if isinstance(new, bytes) else line

    def _encoder(self, rest: dict[str, Any]) -> Any:
        key = orjson.dumps(rest)
        if key not in self._encoders:
            body = {**rest, "messages": Hole("messages")}
            try:
                made = encoder(OPENAI, self._endpoint, body, load_litellm, route=self._route)
            except OptionError:
                made = None
            self._encoders[key] = made
        return self._encoders[key]


def unchanged(
    job: JobRecord,
    shards: list[ShardRecord],
    folder: JobFolder,
    draft: JobDraft,
    missed: Array,
    *,
    at_once: bool,
) -> Iterator[tuple[int, bytes]]:
    """The unchanged requests of the missed rows; written in OpenAI's dialect too, for realtime."""
    sources = [(0, folder.asked)] if folder.asked.exists() else []
    foreign = (
        bool(sources) and not at_once
    )  # the requests are in a dialect that realtime does not support
    if foreign:
        with written(draft.folder.asked) as file:
            file.writelines(line for _, line in _asked_again(job, sources, draft.id, missed))
    if foreign or not sources:
        sources = _sources(shards, folder)
    lines = _asked_again(job, sources, draft.id, missed)
    return lines if at_once or not is_unmapped(job) else _mapped(job, draft.folder, lines)


def _mapped(
    job: JobRecord, draft: JobFolder, lines: Iterator[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    """The lines with mapped parameters; the unmapped ones are written to the draft."""
    remapped = Remapped(job)
    with written(draft.asked) as asked:
        for position, line in lines:
            asked.write(line)
            yield position, remapped.line(line)


def _sources(shards: list[ShardRecord], folder: JobFolder) -> list[tuple[int, Path]]:
    """The files with the requests of a job's rows, each with the first row that it may have."""
    if every := sorted(folder.path.glob("all-*.jsonl")):
        return [(0, path) for path in every]
    return [(shard.first, folder.requests(shard.number)) for shard in shards]


def _asked_again(
    job: JobRecord, sources: list[tuple[int, Path]], new: str, missed: Array
) -> Iterator[tuple[int, bytes]]:
    """The request lines of the missed rows, with the new job's ids, in row order.

    sources: files with the first row that each may have. Requests that were waited for are in files
    of their own.
    """
    flags = missed.tolist()
    for position, rest in _in_order(job, sources):
        if flags[position]:
            yield position, b'{"custom_id":"%b"%b' % (custom_id(new, position).encode(), rest)


def _in_order(job: JobRecord, sources: list[tuple[int, Path]]) -> Iterator[tuple[int, bytes]]:
    """(row, rest of the line after its id) of all files, each of which is in order by itself.

    A file is opened when its rows are due, as there may be many.
    """
    closed = sorted(sources, reverse=True)
    heads: list[tuple[int, int, bytes, Iterator[tuple[int, bytes]]]] = []
    while closed or heads:
        if closed and not (heads and heads[0][0] < closed[-1][0]):
            lines = lines_of(closed.pop()[1], job.id)
        else:
            position, _, rest, lines = heappop(heads)
            yield position, rest
        if (head := next(lines, None)) is not None:
            heappush(heads, (head[0], id(lines), head[1], lines))
