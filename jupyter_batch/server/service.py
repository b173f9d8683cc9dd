"""The parts of a running server that every route uses, and the reading of requests."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import msgspec
import orjson
from aiohttp import web

from jupyter_batch.server.answers import Answers
from jupyter_batch.server.checks.nesting import is_too_deep, too_deep
from jupyter_batch.server.errors import (
    ApiError,
    bad_json,
    missing,
    out_of_range,
    wrong_type,
    wrong_value,
)
from jupyter_batch.server.faults import FaultBox
from jupyter_batch.server.runner import Runner
from jupyter_batch.server.storage.store import Store

MOST_JSON = 64 << 20
"""Bytes of a JSON body (a chat request may hold images)."""
BODY_TIMEOUT = 60.0
"""Seconds without a byte after which a body is given up."""
T = TypeVar("T")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
LEAST_LIFE, LONGEST_LIFE = 3_600, 2_592_000


class Stats:
    """What was asked of the server since it started, and what of it took effect."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.took_effect: Counter[str] = Counter()
        self.answered: Counter[int] = Counter()
        self.upload_bytes = 0
        self.download_bytes = 0

    def as_json(self) -> dict[str, Any]:
        """Counters by route, such as `POST /v1/batches`, and the bytes that went in and out."""
        routes = {
            route: {"received": count, "took_effect": self.took_effect[route]}
            for route, count in sorted(self.received.items())
        }
        return {
            "routes": routes,
            "uploads": self.took_effect["POST /v1/files"],
            "batches_created": self.took_effect["POST /v1/batches"],
            "downloads": self.took_effect["GET /v1/files/{file_id}/content"],
            "upload_bytes": self.upload_bytes,
            "download_bytes": self.download_bytes,
            "answered": {str(status): count for status, count in sorted(self.answered.items())},
        }


class Service:
    """The parts of one server. token: None lets everybody in (loopback only)."""

    def __init__(
        self,
        store: Store,
        runner: Runner,
        answers: Answers,
        faults: FaultBox,
        *,
        token: str | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.runner = runner
        self.answers = answers
        self.faults = faults
        self.stats = Stats()
        self.clock = clock
        self.touched = time.monotonic()
        self._token = token

    def admits(self, key: str) -> bool:
        """Whether a key is this server's, compared in constant time."""
        return self._token is None or hmac.compare_digest(
            key.encode(errors="replace"), self._token.encode()
        )

    @property
    def is_open_to_all(self) -> bool:
        """Whether no key is needed."""
        return self._token is None


SERVICE: web.AppKey[Service] = web.AppKey("service", Service)


def service(request: web.Request) -> Service:
    """The server that a request came to."""
    return request.app[SERVICE]


def reply(value: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )


async def streamed(request: web.Request, events: Iterable[bytes]) -> web.StreamResponse:
    """Server-sent events."""
    response = web.StreamResponse(
        headers={"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    )
    await response.prepare(request)
    for event in events:
        await response.write(event)
    await response.write_eof()
    return response


def page(data: list[Any], ids: list[str], *, more: bool, **fields: str) -> web.Response:
    """A page of a list. ids: of its items."""
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    body = {**fields, "data": data, "first_id": first, "last_id": last, "has_more": more}
    return reply(body)


async def arriving(reading: Coroutine[Any, Any, T]) -> T:
    """What is read of a request's body next; ApiError where nothing comes for too long."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await reading
    except TimeoutError as error:
        raise ApiError(
            408, f"Nothing more of the request's body came for {BODY_TIMEOUT:g} seconds."
        ) from error


async def read_body(request: web.Request, most: int) -> bytearray:
    """The request's body; ApiError where it has more bytes than `most`."""
    data = bytearray()
    while chunk := await arriving(request.content.read(1 << 16)):
        data += chunk
        if len(data) > most:
            raise ApiError(413, f"The request's body is larger than {most} bytes.")
    return data


async def json_body(request: web.Request) -> dict[str, Any]:
    """The request's JSON object; ApiError for anything else."""
    data = await read_body(request, MOST_JSON)
    if is_too_deep(data):
        raise too_deep()
    try:
        value = orjson.loads(data)
    except ValueError as error:
        raise bad_json() from error
    if not isinstance(value, dict):
        raise bad_json()
    return value


def whole(text: str) -> int | str:
    """The whole number that a query or a form writes in decimal digits; any other text as it is."""
    return int(text) if _WHOLE.fullmatch(text) else text


def limit_of(request: web.Request, *, default: int, most: int) -> int:
    """The query's `limit`, between 1 and `most`."""
    text = request.query.get("limit")
    if text is None or not text:
        return default
    value = whole(text)
    if isinstance(value, str):
        raise wrong_type("limit", "an integer", text)
    wrong = out_of_range("limit", value, low=1, high=most)
    if wrong:
        raise wrong
    return value


def life_of(value: Any, param: str) -> int:
    """Seconds out of an `expires_after` object: anchor `created_at`, 1 hour to 30 days."""
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    for name in ("anchor", "seconds"):
        if value.get(name) is None:
            raise missing(f"{param}.{name}")
    if value["anchor"] != "created_at":
        raise wrong_value(f"{param}.anchor", value["anchor"], ("created_at",))
    seconds = value["seconds"]
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise wrong_type(f"{param}.seconds", "an integer", seconds)
    wrong = out_of_range(f"{param}.seconds", seconds, low=LEAST_LIFE, high=LONGEST_LIFE)
    if wrong:
        raise wrong
    return int(seconds)
