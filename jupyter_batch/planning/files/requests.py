"""A ready file of requests in OpenAI's batch format as a job: checked line by line, then planned.

The custom ids of its lines are the job's index. Bodies are sent as they are, but for the model's name;
where the provider has another format, they are translated as any request.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import orjson

from jupyter_batch.config.settings import Options
from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.core.request import custom_id
from jupyter_batch.file_checks.request_checks import restore
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.ledger.folder import written
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.ask import Ask, record_of, route_of, taken_over
from jupyter_batch.planning.draft import JobDraft, StaleError, job_draft, limit_costs
from jupyter_batch.planning.plan import check_folder
from jupyter_batch.planning.target import target_of
from jupyter_batch.prompts.embeddings import Embed
from jupyter_batch.providers.endpoints import Spoken
from jupyter_batch.providers.prices import price_of
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.providers.table import BATCH, split_model
from jupyter_batch.row_files.own_ids import Repeats, index_of
from jupyter_batch.row_files.request_files import write_requests
from jupyter_batch.row_files.request_hashes import hash_array, kind_in
from jupyter_batch.row_files.row_columns import RowFiles
from jupyter_batch.row_files.row_sources import space_of
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.dialects import OPENAI, encoder
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS, RESPONSES, Hole

_ASKED = {
    CHAT: "messages",
    RESPONSES: "input",
    EMBEDDINGS: "input",
    "/v1/completions": "prompt",
    "/v1/moderations": "input",
    "/v1/images/generations": "prompt",
    "/v1/images/edits": "prompt",
    "/v1/ocr": "document",
}
"""The endpoints that a file may have, and the field with the question."""
_BY_TOKEN = (CHAT, RESPONSES, EMBEDDINGS, "/v1/completions")
"""The endpoints that are billed by tokens alone."""


class Line(msgspec.Struct):
    """A request line."""

    custom_id: str
    body: dict[str, Any]
    url: str = CHAT
    method: str = "POST"


_decode = msgspec.json.Decoder(Line).decode


class RequestFile:
    """A file of requests, checked as it is read. first: its first line, for the endpoint and the model.

    Raises InputError for a file that can't be read or is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        first = next(self._lines(), None)
        if first is None:
            raise InputError(f"{path} has no requests: there is nothing to send")
        self.first = first[1]

    def lines(self, *, any_model: bool) -> Iterator[tuple[int, Line]]:
        """(number in the file, line) of each request. any_model: they may name different models.

        Raises InputError, with the line's number, for a custom id that was there before, another endpoint than the
        first line's, and another model.
        """
        seen: dict[str, int] = {}
        model = self.first.body.get("model")
        for number, line in self._lines():
            before = seen.setdefault(line.custom_id, number)
            if before != number:
                raise self.wrong(
                    number, f"the custom_id {line.custom_id!r} is that of line {before}, too"
                )
            if line.url != self.first.url:
                raise self.wrong(
                    number,
                    f"a batch has one endpoint; expected {self.first.url!r} as before, got {line.url!r}: "
                    "put these requests into a file of their own",
                )
            if not any_model and line.body.get("model") != model:
                raise self.wrong(
                    number,
                    f"a batch has one model; expected {model!r} as before, got {line.body.get('model')!r}: "
                    "put these requests into a file of their own, or give model= for all",
                )
            yield number, line

    def wrong(self, number: int, what: str) -> InputError:
        """The error about a line."""
        return InputError(f"{self.path}, line {number}: {what}; nothing was sent")

    def _lines(self) -> Iterator[tuple[int, Line]]:
        try:
            with self.path.open("rb") as file:
                for number, text in enumerate(file, 1):
                    if not text.isspace():
                        yield number, self._checked(text.removeprefix(b"\xef\xbb\xbf"), number)
        except OSError as e:
            raise InputError(f"{self.path} can't be read: {e.strerror or e}") from e

    def _checked(self, text: bytes, number: int) -> Line:
        try:
            line = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise self.wrong(number, f"no request of OpenAI's batch format ({e})") from None
        url = line.url if line.url.startswith("/v1/") else f"/v1{line.url}"
        if url not in _ASKED or line.method.upper() != "POST":
            raise self.wrong(
                number,
                f"expected POST to one of {', '.join(_ASKED)}; got {line.method} to {line.url!r}",
            )
        if not line.custom_id.strip():
            raise self.wrong(number, "expected a custom_id; it is empty")
        if line.body.get("stream"):
            raise self.wrong(number, "a batch has no streams: leave out `stream`")
        if not line.body.get(_ASKED[url]):
            raise self.wrong(number, f"expected `{_ASKED[url]}` in the body; got none")
        return msgspec.structs.replace(line, url=url)


def ask_of(
    file: RequestFile, opts: Options, *, notebook: str | None, versions: dict[str, str]
) -> Ask:
    """The job of a file's requests. Raises an InputError."""
    url = file.first.url
    further = url not in (CHAT, RESPONSES, EMBEDDINGS)
    target = target_of(
        opts, _further(opts, url) if further else Embed(None, {}) if url == EMBEDDINGS else None
    )
    if further and target.mode != BATCH:
        raise OptionError(f"requests to {url} are sent in a batch only; leave out mode=")
    if url == RESPONSES:
        target = target._replace(endpoint=RESPONSES)
    elif target.endpoint == RESPONSES:
        raise OptionError(f"{opts.model} is asked at {RESPONSES}; the file's url is {url}")
    price = price_of(opts.model, mode=target.mode, api_base=target.api_base, prices=opts.prices)
    return Ask(
        prompt=None,
        params={},
        keep=opts.keep or {},
        name=opts.name or file.path.name,
        metadata=opts.metadata or {},
        notebook=notebook,
        framed=False,
        price=price if opts.prices or url in _BY_TOKEN else None,
        versions={**versions, "door": "file"},
        **taken_over(opts),
        **target._asdict(),
    )


def _further(opts: Options, url: str) -> Spoken:
    """The endpoint of requests that are neither chat nor embeddings. Raises OptionError."""
    provider, name = split_model(opts.model)
    record = RECORDS.get(provider)
    if record is None or url not in record.further:
        title = provider if record is None else record.title
        known = ", ".join((CHAT, *(record.further if record is not None else ())))
        raise OptionError(
            f"no requests to {url} are known in batches of {title}, which take {known}"
        )
    return Spoken(url, name)


def plan_file(
    ledger: Ledger, file: RequestFile, ask: Ask, *, any_model: bool, reuse: bool, now: float
) -> JobRecord:
    """Return the job of these requests: a new one, or the one that the same file made before.

    Raises InputError for an invalid line, and where the estimate is above max_cost; nothing is stored then.
    """
    with job_draft(ledger) as draft:
        _draft(draft, file, ask, any_model=any_model, reuse=reuse, now=now)
        limit_costs([draft])
        with contextlib.suppress(StaleError):  # another kernel planned some of it: plan again
            return draft.store()
    return plan_file(ledger, file, ask, any_model=any_model, reuse=reuse, now=now)


def _draft(
    draft: JobDraft, file: RequestFile, ask: Ask, *, any_model: bool, reuse: bool, now: float
) -> None:
    limits = msgspec.structs.replace(ask.limits, minimum=1) if reuse else ask.limits
    with contextlib.ExitStack() as stack:
        asked = stack.enter_context(written(draft.folder.asked)) if ask.dialect != OPENAI else None
        hashing = kind_in(draft.ledger, space_of(ask.place, ask.provider, ask.endpoint))
        lines = _OurLines(file, ask, draft.id, asked, hashing)
        each = lines.each(any_model=any_model)
        draft.shards = write_requests(draft.folder, draft.id, each, limits)
    draft.record = record = record_of(
        ask,
        draft.id,
        now,
        fingerprint=lines.digest.hexdigest(),
        space=lines.space,
        hashing=hashing,
        columns=[],
        rows=len(lines.ids),
        mapped=True,
        own_ids=asked is None and ask.mode == BATCH,
        headers=lines.headers,
        tool_names=lines.tool_names,
    )
    draft.hashes = hash_array(lines.hashes)
    if reuse:
        draft.known = draft.ledger.last_number()
        check_folder(draft.ledger, record)
        draft.existing = draft.ledger.answering(record.fingerprint, lambda _: True)
        if draft.existing is not None:
            drawn = [draft.folder.requests(shard.number) for shard in draft.shards]
            was = draft.ledger.shards(draft.existing.id)
            restore(draft.ledger, draft.existing, was, draft.folder, drawn, draft.id)
            return
        draft.deduplicate(draft.hashes, ask.limits)
    else:
        draft.record = msgspec.structs.replace(record, alone=True)
    draft.write_rows(RowFiles([], index=index_of(lines.ids), hashes=draft.hashes))


class _OurLines:
    """The requests of a file as lines of a job, and what they show once they are read.

    asked: where they are also written in OpenAI's format, if the provider has another one.
    """

    def __init__(
        self, file: RequestFile, ask: Ask, job: str, asked: BinaryIO | None, hashing: str
    ) -> None:
        self._file, self._ask, self._job, self._asked = file, ask, job, asked
        self.space = space_of(ask.place, ask.provider, ask.endpoint)
        self.digest = blake2b(self.space.encode(), digest_size=16)
        self.ids: list[str] = []
        self.hashes = bytearray()
        self.headers: dict[str, str] = {}
        self.tool_names: dict[str, str] = {}
        self._repeats = Repeats(hashing)
        self._encoders: dict[bytes, Any] = {}

    def each(self, *, any_model: bool) -> Iterator[tuple[int, bytes]]:
        """(position, line) of each request."""
        for at, (number, line) in enumerate(self._file.lines(any_model=any_model)):
            body = {**line.body, "model": self._ask.body_model}
            ours = {
                "custom_id": custom_id(self._job, at),
                "method": "POST",
                "url": self._ask.endpoint,
                "body": body,
            }
            plain = orjson.dumps(ours) + b"\n"
            mark = self._repeats.hash_of(plain)
            self.hashes += mark
            self.ids.append(line.custom_id)
            self.digest.update(mark + line.custom_id.encode() + b"\0")
            if self._asked is not None:
                self._asked.write(plain)
                plain = self._made(body, at, number)
            yield at, plain

    def _made(self, body: dict[str, Any], at: int, number: int) -> bytes:
        """A request in the provider's format. Raises InputError where it has no such request."""
        field = _ASKED[self._file.first.url]
        rest = {key: value for key, value in body.items() if key != field}
        key = orjson.dumps(rest)
        try:
            if key not in self._encoders:
                self._encoders[key] = encoder(
                    self._ask.dialect,
                    self._ask.endpoint,
                    {**rest, field: Hole(field)},
                    load_litellm,
                    route=route_of(self._ask),
                )
            made = self._encoders[key]
            (line,) = made.encode([custom_id(self._job, at)], {field: [body[field]]})
        except OptionError as e:
            raise self._file.wrong(number, str(e)) from e
        if isinstance(line, RowError):
            raise self._file.wrong(number, line.reason)
        self.headers |= made.headers
        self.tool_names |= made.tool_names
        return bytes(line)
