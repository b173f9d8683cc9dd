"""Request lines of rows that are sent again: as they are, or with changed chat parameters.

They are made from a job's own lines on disk, in row order, in any dialect; the frame is not needed.
The provider's form of a parameter is the difference of two one-word requests, with and without it.
Parameters in lines of jobs that were planned before parameters were mapped are mapped here:
unmapped they would be rejected again, as OpenAI's gpt-5 does not accept `max_tokens`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import orjson

from jupyter_batch.config.option import Col
from jupyter_batch.config.options import CHAT_PARAMS, EVERY
from jupyter_batch.config.settings import checked, unknown
from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.request import custom_id
from jupyter_batch.file_checks.request_checks import lines_of
from jupyter_batch.frames.hashing import HASH_BYTES
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.ask import route_of
from jupyter_batch.planning.draft import JobDraft
from jupyter_batch.prompts.row_params import params_of
from jupyter_batch.providers.table import BATCH
from jupyter_batch.row_files.line_index import Held, look_elsewhere, requests_of
from jupyter_batch.row_files.row_columns import changed_of, sent_hashes
from jupyter_batch.row_files.row_sources import request_hash
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.dialects import BODIES, OPENAI, encoder, request_in
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS, RESPONSES, Hole
from jupyter_batch.wire.openai_requests import Route

if TYPE_CHECKING:
    from jupyter_batch.row_files.request_hashes import Array

_CHAT = "/chat/completions"  # a batch may name the endpoint without its version


def is_unmapped(job: JobRecord) -> bool:
    """Whether a job's batches have unmapped parameters, which the model may not accept."""
    return (
        job.dialect == OPENAI
        and not job.mapped
        and job.mode == BATCH
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
            file.writelines(line for _, line in lines_again(job, sources, draft.id, missed))
    if foreign or not sources:
        sources = sources_of(shards, folder)
    lines = lines_again(job, sources, draft.id, missed)
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


def sources_of(shards: list[ShardRecord], folder: JobFolder) -> list[tuple[int, Path]]:
    """The files with the requests of a job's rows, each with the first row that it may have."""
    others = [(0, path) for path in folder.unsent_files()]
    if any(path != folder.left for _, path in others):  # all requests are in these
        return others
    return [*((shard.first, folder.requests(shard.number)) for shard in shards), *others]


def lines_again(
    job: JobRecord, sources: list[tuple[int, Path]], new: str, missed: Array
) -> Iterator[tuple[int, bytes]]:
    """The request lines of the missed rows, with the new job's ids, in row order.

    sources: files with the first row that each may have. Requests that were waited for are in files
    of their own.
    """
    flags = missed.tolist()
    for position, rest in in_row_order(job.id, sources):
        if flags[position]:
            yield position, named(new, position, rest)


def named(job: str, position: int, rest: bytes) -> bytes:
    """A request line with the id of a row. rest: the line after its id."""
    return b'{"custom_id":"%b"%b' % (custom_id(job, position).encode(), rest)


def in_row_order(job: str, sources: list[tuple[int, Path]]) -> Iterator[tuple[int, bytes]]:
    """(row, rest of the line after its id) of all files, each of which is in order by itself.

    A file is opened when its rows are due, as there may be many.
    """
    closed = sorted(sources, reverse=True)
    heads: list[tuple[int, int, bytes, Iterator[tuple[int, bytes]]]] = []
    while closed or heads:
        if closed and not (heads and heads[0][0] < closed[-1][0]):
            lines = lines_of(closed.pop()[1], job)
        else:
            position, _, rest, lines = heappop(heads)
            yield position, rest
        if (head := next(lines, None)) is not None:
            heappush(heads, (head[0], id(lines), head[1], lines))


_LIMITS = ("max_tokens", "max_completion_tokens")
"""Two names of one parameter: a request has only one of them."""
_NOT_NOW = frozenset({"n", "response_format"})
"""Parameters that define the answer and the number of answers."""


def changes_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked chat parameters of a retry. Raises OptionError."""
    names = [option.name for option in CHAT_PARAMS if option.name not in _NOT_NOW]
    made: dict[str, Any] = {}
    for name, value in sorted(given.items()):
        if name not in names:
            raise OptionError(f"retry: {unknown(name, names)}")
        if isinstance(value, Col):
            raise OptionError(
                f"retry: `{name}` takes a value, not a column: the frame is not read again"
            )
        if value is not None:
            made[name] = checked(EVERY[name], value)
    return made


class Changed:
    """The request lines of a job in one dialect, with changed parameters.

    Raises OptionError where the dialect has no form of them. given: as the user gave them, not
    mapped for the model. headers: HTTP headers that the batch needs for them.
    """

    def __init__(
        self, job: JobRecord, dialect: str, params: Mapping[str, Any], *, given: bool = False
    ) -> None:
        if job.endpoint == EMBEDDINGS:
            raise OptionError(f"retry: job {job.id} made embeddings, which take no chat parameters")
        endpoint = job.endpoint if dialect == job.dialect else CHAT
        # The first request has limits too, with another value, to exclude a default limit.
        limits = {
            name: value - 1 or 2 for name, value in params.items() if name in _LIMITS and value > 0
        }
        route = None if given else route_of(job)
        was, _ = _request(job, dialect, endpoint, limits, route)
        new, self.headers = _request(job, dialect, endpoint, params, route)
        self._more = _difference(was, new)
        self._drop = [
            other
            for name, other in (_LIMITS, _LIMITS[::-1])
            if name in self._more and other not in self._more
        ]

    def line(self, line: bytes, custom_id: str) -> bytes:
        """Return a request line with these parameters and this id."""
        data = orjson.loads(line)
        where = next(key for key in BODIES if key in data)
        body = data[where]
        for name in self._drop:
            body.pop(name, None)
        body = _united(body, self._more)
        first = {key: body.pop(key) for key in ("model", "messages", "input") if key in body}
        # Sorted where a cell's own parameters are, so that the same cell has the same request hash.
        body = {**first, **(dict(sorted(body.items())) if where == "body" else body)}
        return orjson.dumps({**data, "custom_id": custom_id, where: body}) + b"\n"


class ChangedLines:
    """A job's requests with changed parameters, in row order, with ids of the job `new`.

    sent: 1 for each row with a request: not for one whose request is missing on disk, nor for one
    that was cut off and whose request would not change. gone: 1 for each wanted row whose request
    is missing on disk. changed: the hashes of requests with changed parameters. Raises OptionError
    where the dialect has no form of the parameters.
    """

    def __init__(
        self, ledger: Ledger, job: JobRecord, new: str, wanted: Array, params: Mapping[str, Any]
    ) -> None:
        self._job, self._new, self._wanted, self._params = job, new, wanted, params
        self._native = Changed(job, job.dialect, params)
        self.headers = {**job.headers, **self._native.headers}
        self.tool_names = job.tool_names
        self.sent = np.zeros(job.rows, dtype=bool)
        self.gone = np.zeros(job.rows, dtype=bool)
        self._folder = ledger.folders.of(job.id)
        self._remapped = Remapped(job) if is_unmapped(job) else None
        apart = job.dialect != OPENAI or self._folder.asked.exists() or self._remapped is not None
        self._plain = Changed(job, OPENAI, params, given=True) if apart else None
        sent, changed = sent_hashes(job, self._folder), changed_of(job, self._folder)
        self._hashes = np.zeros((job.rows, 2), dtype=np.uint64) if sent is None else sent
        self.changed = np.zeros_like(self._hashes) if changed is None else changed.copy()
        self._held = [self._lines(ledger, job.dialect)]
        if apart:
            self._held.append(self._lines(ledger, OPENAI, given=True))
        self._asked: BinaryIO | None = None

    def _lines(self, ledger: Ledger, dialect: str, *, given: bool = False) -> Held:
        held = requests_of(ledger, self._job, self._wanted, dialect, given=given)
        look_elsewhere(held, ledger, self._job, self._hashes, self._wanted, dialect, given=given)
        return held

    @contextlib.contextmanager
    def writing(self, draft: JobFolder) -> Iterator[None]:
        """Write the lines in the user's form into the draft, where they differ, as they are read."""
        with contextlib.ExitStack() as stack:
            for held in self._held:
                stack.callback(held.close)
            if self._plain is not None:
                self._asked = stack.enter_context(written(draft.asked))
            yield

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for row in np.flatnonzero(self._wanted).tolist():
            if any(row not in held for held in self._held):
                self.gone[row] = True
                continue
            ours = custom_id(self._new, row)
            line = self._native.line(self._held[0].line(row), ours)
            if self._remapped is not None:
                line = self._remapped.line(line)
            plain = line if self._plain is None else self._plain.line(self._held[1].line(row), ours)
            mark = np.frombuffer(self._hash(row, plain), "<u8")
            if (mark == self._hashes[row]).all():
                continue
            if self._asked is not None:
                self._asked.write(plain)
            self.changed[row] = mark
            self.sent[row] = True
            yield row, line

    def _hash(self, row: int, plain: bytes) -> bytes:
        """The request hash; derived from the previous one without a line in OpenAI's dialect."""
        if self._job.endpoint != RESPONSES:
            return line_hash(plain, self._job.hashing, row % self._job.samples)
        identity = self._hashes[row].tobytes() + orjson.dumps(self._params)
        return blake2b(identity, digest_size=HASH_BYTES).digest()


def line_hash(line: bytes, kind: str, sample: int) -> bytes:
    """Return the request hash of a line in OpenAI's dialect, as for a cell with this request."""
    _, _, body = line.partition(b'"body":')
    return request_hash(body, kind, sample)


def _request(
    job: JobRecord,
    dialect: str,
    endpoint: str,
    params: Mapping[str, Any],
    route: Route | None,
) -> tuple[dict[str, Any], dict[str, str]]:
    sent = params_of(params)
    messages = [{"role": "user", "content": "x"}]
    made = encoder(
        dialect,
        endpoint,
        {"model": job.body_model, "messages": messages, **sent.body},
        load_litellm,
        route=route,
        extra=sent.extra,
    )
    (line,) = made.encode(["j-0"], {})
    if isinstance(line, RowError):
        raise OptionError(f"retry: {line.reason}")
    return request_in(line), made.headers


def _difference(was: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `new` that are not, or not the same, in `was`; objects field by field."""
    found: dict[str, Any] = {}
    for key, value in new.items():
        before = was.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := _difference(before, value):
                found[key] = inner
        elif key not in was or value != before:
            found[key] = value
    return found


def _united(body: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(body)
    for key, value in more.items():
        before = made.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            made[key] = _united(before, value)
        else:
            made[key] = value
    return made
