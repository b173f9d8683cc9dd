"""Validation of an input file, and the position of each of its lines.

A file is read in blocks, and only the position of each line is stored, so that memory use is small.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import msgspec

from jupyter_batch.server.checks.nesting import is_too_deep, pruned
from jupyter_batch.server.errors import json_kind
from jupyter_batch.server.storage.objects import LineError

MOST_LINES = 50_000
MOST_INPUTS = 50_000
MOST_ERRORS = 1_000
"""The most errors that are reported for a file; further ones are mostly repetitions."""
BLOCK = 1 << 18
_FIELDS = (
    ("custom_id", str, "a string"),
    ("method", str, "a string"),
    ("url", str, "a string"),
    ("body", dict, "an object"),
)


_ASKED = {"/v1/chat/completions": "messages", "/v1/completions": "prompt"}
"""The member of a body that holds what is asked, where it is not `input`."""


class Request(msgspec.Struct):
    """One line, as far as it must be looked at to be answered."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _Head(msgspec.Struct):
    model: str
    stream: bool | None = None
    messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


decode_request = msgspec.json.Decoder(Request).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_any = msgspec.json.Decoder().decode


class Scan:
    """What is found out about an input file while it is read, line by line.

    offsets, lengths: where each request is. errors: why the batch fails. model: the first request's. tokens: about as
    many as the requests have. deep: the line numbers of requests that are nested too deep to be answered. done: one
    byte a request, 1 where `answered` has the hash of its custom_id.
    """

    def __init__(
        self, endpoint: str, serves: Callable[[str], bool], answered: set[int] | None = None
    ) -> None:
        self.endpoint = endpoint
        self.field = _ASKED.get(endpoint, "input")
        self.serves = serves
        self.offsets = array("Q")
        self.lengths = array("I")
        self.done = bytearray()
        self.deep: dict[int, int] = {}
        self.errors: list[LineError] = []
        self.model: str | None = None
        self.tokens = 0
        self.inputs = 0
        self._answered = answered or set()
        self._ids: set[int] = set()

    def add(self, raw: bytes, number: int, offset: int) -> None:
        """Take up one line that is not blank; `number` counts from 1."""
        raw = self.placed(raw, number, offset)
        try:
            request = decode_request(raw)
            head = _decode_head(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError):  # a wrong type is a DecodeError too
            self._explain(raw, number)
            return
        plain = (
            request.method == "POST"
            and request.url == self.endpoint
            and request.custom_id
            and head.model == self.model
            and not head.stream
            and getattr(head, self.field) is not msgspec.UNSET
            and hash(request.custom_id) not in self._ids
        )
        if not plain:
            self._explain(raw, number)
        else:
            self._count(request.custom_id, len(raw), head.input)

    def placed(self, raw: bytes, number: int, offset: int) -> bytes:
        """Note where a line is; the line, without what is nested too deep: that is this row's failure alone."""
        self.offsets.append(offset)
        self.lengths.append(len(raw))
        self.done.append(0)
        if not is_too_deep(raw):
            return raw
        self.deep[len(self.offsets) - 1] = number
        return pruned(raw)

    def end(self) -> None:
        """Check the file as a whole at its end; the set of ids is released."""
        self._ids = set()
        if not self.offsets:
            self._wrong(
                "empty_file",
                "The input file is empty. Please ensure that your batch contains at least one "
                "request.",
                "input_file_id",
            )
        if len(self.offsets) > MOST_LINES:
            self._wrong(
                "too_many_tasks",
                f"This batch contains more than the maximum of {MOST_LINES} requests. Please "
                "try again with a smaller batch.",
                "input_file_id",
            )
        if self.inputs > MOST_INPUTS:
            self._wrong(
                "too_many_tasks",
                f"This batch contains more than the maximum of {MOST_INPUTS} embedding "
                "inputs across all requests. Please try again with a smaller batch.",
                "input_file_id",
            )

    def _count(
        self, custom_id: str, size: int, asked: bytes | msgspec.Raw | msgspec.UnsetType
    ) -> None:
        key = hash(custom_id)
        self._ids.add(key)
        if key in self._answered:
            self.done[-1] = 1
        self.tokens += size // 4
        if asked is not msgspec.UNSET and self.endpoint == "/v1/embeddings":
            self.inputs += _inputs(asked)

    def _wrong(
        self, code: str, message: str, param: str | None = None, line: int | None = None
    ) -> None:
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(LineError(code=code, message=message, param=param, line=line))

    def _explain(self, raw: bytes, line: int) -> None:
        """Say all that is wrong with a line (which may be nothing: the first line is always looked at here)."""
        try:
            request = _decode_any(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._wrong(
                "invalid_json_line", "This line is not parseable as valid JSON.", None, line
            )
            return
        if not isinstance(request, dict):
            self._wrong("invalid_request", "Each line must be a JSON object.", None, line)
            return
        for name, kind, article in _FIELDS:
            value = request.get(name)
            if value is None or value == "":
                self._wrong(
                    "missing_required_parameter",
                    f"Missing required parameter: '{name}'.",
                    name,
                    line,
                )
            elif not isinstance(value, kind):
                self._wrong(
                    "invalid_type",
                    f"Invalid type for '{name}': expected {article}, but got "
                    f"{json_kind(value)} instead.",
                    name,
                    line,
                )
            else:
                self._field(name, value, line)
        custom_id, body = request.get("custom_id"), request.get("body")
        if isinstance(body, dict):
            self._body(body, line, here=request.get("url") in (self.endpoint, None, ""))
        if isinstance(custom_id, str):
            asked = body.get("input") if isinstance(body, dict) else None
            self._count(
                custom_id, len(raw), msgspec.UNSET if asked is None else msgspec.json.encode(asked)
            )

    def _field(self, name: str, value: Any, line: int) -> None:
        if name == "custom_id" and hash(value) in self._ids:
            self._wrong(
                "duplicate_custom_id",
                "The custom_id for this request is a duplicate of another request. The "
                "custom_id parameter must be unique for each request in a batch.",
                name,
                line,
            )
        elif name == "method" and value != "POST":
            self._wrong(
                "invalid_method",
                f"Invalid value: '{value}'. Supported values are: 'POST'.",
                name,
                line,
            )
        elif name == "url" and value != self.endpoint:
            self._wrong(
                "invalid_url",
                "The URL provided for this request does not match the batch endpoint.",
                name,
                line,
            )

    def _body(self, body: dict[str, Any], line: int, *, here: bool) -> None:
        """here: the line is for this batch's endpoint, so that its fields can be asked for."""
        model = body.get("model")
        if model is None or model == "":
            self._wrong("invalid_request", "Model parameter is required.", "body.model", line)
        elif not isinstance(model, str):
            self._wrong(
                "invalid_type",
                f"Invalid type for 'model': expected a string, but got {json_kind(model)} instead.",
                "body.model",
                line,
            )
        else:
            self.model = self.model or model
            if model != self.model:
                self._wrong(
                    "mismatched_model",
                    f"The provided model '{model}' does not match the first model "
                    f"'{self.model}' of the file. All requests of a batch must be for the "
                    "same model.",
                    "body.model",
                    line,
                )
            elif not self.serves(model):
                self._wrong(
                    "model_not_found",
                    f"The provided model '{model}' is not supported by the Batch API.",
                    "body.model",
                    line,
                )
        if here and self.field not in body:
            self._wrong(
                "invalid_request",
                f"{self.field.capitalize()} parameter is required.",
                f"body.{self.field}",
                line,
            )
        if body.get("stream"):
            self._wrong(
                "streaming_unsupported",
                "Chat Completions: Streaming is not supported in the Batch API.",
                "body.stream",
                line,
            )


SEVERAL = ""
"""`model` of a batch whose requests name several models, or none."""


class _Params(msgspec.Struct):
    model: Any = None


_decode_params = msgspec.json.Decoder(_Params).decode


class MessageScan(Scan):
    """The same for a Message Batch, whose file server/messages/create.py wrote.

    A request's parameters are checked only when it is answered, as at Anthropic.

    model: the model that all requests name, else `SEVERAL`.
    """

    def add(self, raw: bytes, number: int, offset: int) -> None:
        """Take up one line; `number` counts from 1."""
        request = decode_request(self.placed(raw, number, offset))
        model = _decode_params(request.body).model
        if number == 1 and isinstance(model, str):
            self.model = model
        elif model != self.model:
            self.model = SEVERAL
        self._count(request.custom_id, len(raw), msgspec.UNSET)

    def end(self) -> None:
        """Release the set of ids; nothing is checked for the file as a whole."""
        self._ids = set()


def _inputs(raw: bytes | msgspec.Raw) -> int:
    """How many inputs an embedding request has."""
    if not bytes(raw).startswith(b"["):
        return 1
    values = _decode_any(raw)
    return 1 if values and isinstance(values[0], int) else len(values)


def lines(handle: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(line, its number from 1, its offset) of each line that is not blank; `handle` is read in blocks."""
    number, offset = 0, 0
    begun: list[bytes] = []
    while True:
        block = handle.read(BLOCK)
        if block and b"\n" not in block:
            begun.append(block)  # a line longer than a block: joined once, at its end
            continue
        parts = b"".join((*begun, block)).split(b"\n")
        begun = [parts.pop()] if block else []
        for part in parts:
            number += 1
            if part and not part.isspace():
                yield part, number, offset
            offset += len(part) + 1
        if not block:
            return
