"""Fast calls of OpenAI-compatible servers on kept connections of aiohttp, with litellm's requests.

litellm's call costs 3 to 5 ms of CPU, most of it identical for each row of a job. It is therefore
called once per kind of request, with a client that only records the request: address, headers and
body. Further requests of the kind differ only in their messages (or inputs), of which litellm was
seen to change only the roles. Requests that litellm changes in other ways, sends elsewhere (a
model with another endpoint only), or was not seen to send use its own call. No retries or pacing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from jupyter_batch.core.refusals.sentence import is_error, is_no_route, read_refusal
from jupyter_batch.http.network import proxy_for, trusted, without_strays
from jupyter_batch.http.place_fields import sendable
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.realtime.litellm_call import SECONDS, CallFailedError, LitellmCall
from jupyter_batch.realtime.shared_timeout import SharedTimeout
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.openai import CHAT

if TYPE_CHECKING:
    import aiohttp

    from jupyter_batch.realtime.prepared_post import PreparedPost, Reply

_KINDS = 256
"""The most kinds of requests learnt; a job with more (a parameter per row) uses litellm's call."""
_BAD_REQUEST, _NOT_FOUND = 400, 404
_LEARN_SECONDS = 2.0
"""How long a row waits for another to learn its kind, which may be a real call of minutes."""
_OF_THE_CONNECTION = frozenset(
    {"host", "content-length", "connection", "accept-encoding", "transfer-encoding"}
)
"""Headers set for each connection or body."""


class _Form(msgspec.Struct, frozen=True):
    """How requests of one kind are sent.

    body: the full body of the first request. turns: its messages, where litellm changes their
    roles.
    """

    url: str
    headers: dict[str, str]
    body: dict[str, Any]
    turns: list[dict[str, Any]] | None = None


class _Learnt(msgspec.Struct, frozen=True):
    """form: None where litellm's own call is needed. answer: the answer, where that was called."""

    form: _Form | None
    answer: dict[str, Any] | None = None


class RefusedError(Exception):
    """A response without an answer: its HTTP status, raw body and headers."""

    def __init__(self, status: int, body: Any, headers: dict[str, str]) -> None:
        super().__init__(
            body if isinstance(body, str) else orjson.dumps(body, default=str).decode()
        )
        self.status_code = status
        self.body = body
        self.headers = headers


def call_to(
    model: str,
    *,
    api_base: str | None = None,
    api_key: str | None = None,
    seconds: float = SECONDS,
    **more: Any,
) -> LitellmCall:
    """Return the fastest call for a litellm model. See LitellmCall."""
    record = RECORDS.get(model.partition("/")[0])
    plain = record is not None and record.plain_params
    straight = plain and api_base and api_key and not more
    kind = StraightCall if straight else LitellmCall
    return kind(model, api_base=api_base, api_key=api_key, seconds=seconds, **more)


class StraightCall(LitellmCall):
    """A model of litellm's provider `openai` with an explicit address and key."""

    def __init__(
        self,
        model: str,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        seconds: float = SECONDS,
        **more: Any,
    ) -> None:
        super().__init__(model, api_base=api_base, api_key=api_key, seconds=seconds, **more)
        self._base = (api_base or "").rstrip("/") + "/"
        self._learnt: dict[tuple[Any, ...], asyncio.Task[_Learnt]] = {}
        self._forms: dict[tuple[Any, ...], tuple[_Form, PreparedPost]] = {}
        self._timeout = SharedTimeout(seconds)
        self._connector: aiohttp.TCPConnector | None = None
        self._proxy: str | None = None

    async def ready(self) -> None:
        """See LitellmCall.ready. Also makes the connector, on the calling loop."""
        await super().ready()
        if self._connector is None:
            import aiohttp

            # As many connections as the pacer allows: it is the only limit on concurrent calls.
            is_secure = self._base.lower().startswith("https:")
            self._connector = aiohttp.TCPConnector(limit=0, ssl=trusted() if is_secure else True)
            self._proxy = proxy_for(self._base)

    def _post_of(self, form: _Form) -> PreparedPost:
        from jupyter_batch.realtime.prepared_post import PreparedPost

        assert self._connector is not None  # noqa: S101 - `ready` made it
        return PreparedPost(self._connector, form.url, form.headers, self._proxy)

    async def __call__(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request once. See Call."""
        if self._connector is None:
            await self.ready()
        varying = "messages" if endpoint == CHAT else "input"
        kind = self._kind(endpoint, body, varying)
        known = self._forms.get(kind) if kind is not None else None
        if kind is not None and known is None:
            learnt = await self._learnt_of(kind, endpoint, body, varying)
            if learnt is not None and learnt.answer is not None:
                return learnt.answer
            if learnt is not None and learnt.form is not None:
                known = learnt.form, self._post_of(learnt.form)
                self._forms[kind] = known
        if known is None:
            return await super().__call__(endpoint, body)
        try:
            return await self._send(*known, varying, body[varying])
        except Exception as e:  # aiohttp's exceptions and our own
            raise self._failure(e) from None

    async def _learnt_of(
        self, kind: tuple[Any, ...], endpoint: str, body: dict[str, Any], varying: str
    ) -> _Learnt | None:
        """The form of a kind of requests, learnt by its first row; None where that failed or takes too long."""
        task = self._learnt.get(kind)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(
                self._learn(endpoint, body, varying), name="jupyter_batch learns a request"
            )
            self._learnt[kind] = task
            return await task
        if not task.done():
            await asyncio.wait([task], timeout=_LEARN_SECONDS)
        if not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return _Learnt(task.result().form)

    def _kind(self, endpoint: str, body: dict[str, Any], varying: str) -> tuple[Any, ...] | None:
        """All that litellm's translation may depend on; None where it may be the contents."""
        litellm = self._litellm
        if (
            getattr(litellm, "cache", None) is not None
            or getattr(litellm, "aclient_session", None) is not None
        ):
            return None  # the user requests litellm's own network
        shape = _shape(body.get(varying))
        if shape is None:
            return None
        rest = sendable(body)
        rest.pop(varying, None)
        kind = (endpoint, orjson.dumps(rest, option=orjson.OPT_SORT_KEYS), shape)
        return kind if kind in self._learnt or len(self._learnt) < _KINDS else None

    async def _learn(self, endpoint: str, body: dict[str, Any], varying: str) -> _Learnt:
        """Have litellm make the request, and record it instead of sending it."""
        import openai

        taken: list[Any] = []
        async with openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self._base,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=False,
                verify=trusted(),
                event_hooks={"request": [without_strays, _recorder(taken)]},
            ),
            organization=getattr(self._litellm, "organization", None),
        ) as client:
            try:
                # A copy: litellm changes messages in place, and changes are found by comparison.
                answer = await self._ask(endpoint, orjson.loads(orjson.dumps(body)), client=client)
            except CallFailedError:
                if not taken:
                    raise
            else:
                return _Learnt(None, answer)
        return _Learnt(_form_of(taken[0], self._base, varying, body[varying]))

    async def _send(
        self, form: _Form, post: PreparedPost, varying: str, value: Any
    ) -> dict[str, Any]:
        if form.turns is not None:
            value = [
                {**turn, "content": filled["content"]}
                for turn, filled in zip(form.turns, value, strict=True)
            ]
        data = orjson.dumps({**form.body, varying: value})
        with self._timeout:
            reply = await post(data)
        body, status = _read(reply.body), reply.status
        if status == 200 and isinstance(body, dict) and (body.get("choices") or body.get("data")):  # noqa: PLR2004 - HTTP's OK
            return body
        _raise_refusal(reply, body)
        if isinstance(body, dict) and tolerant.usage_of(body.get("usage")) is not None:
            return body  # an empty answer, but billed: it is not retried
        raise ValueError(f"it holds no answer: {reply.body[:200]!r}")

    async def aclose(self) -> None:
        """Close all connections, litellm's too."""
        connector, self._connector = self._connector, None
        self._forms.clear()
        self._timeout.close()
        for task in self._learnt.values():
            task.cancel()
        if connector is not None:
            await connector.close()
        await super().aclose()


def _raise_refusal(reply: Reply, body: Any) -> None:
    """Raise RefusedError for a response that is an error, by its status or its body."""
    headers = {name.lower(): text for name, text in reply.headers.items()}
    status = reply.status
    if status != 200:  # noqa: PLR2004 - HTTP's OK
        if not read_refusal(body).message:
            body = f"{reply.reason} {headers.get('location', '')}".strip()
        raise RefusedError(status, body, headers)
    if is_error(body):  # some gateways send errors with a 200
        refusal = read_refusal(body)
        refused = _NOT_FOUND if is_no_route(_NOT_FOUND, refusal) else refusal.status
        raise RefusedError(refused or _BAD_REQUEST, body, headers)


def _recorder(taken: list[Any]) -> Callable[[Any], Awaitable[None]]:
    """A request hook that records the request and stops it before anything is connected.

    A hook and not a transport: httpx and httpx2 have the same hooks, whichever the SDK speaks.
    """

    async def record(request: Any) -> None:
        await request.aread()
        taken.append(request)
        raise ConnectionError("recorded, not sent")

    return record


def _form_of(request: Any, base: str, varying: str, value: Any) -> _Form | None:
    """The form of a recorded request; None where its messages changed, or its address differs."""
    body = _read(request.content)
    url = str(request.url)
    if request.method != "POST" or not url.startswith(base) or not isinstance(body, dict):
        return None
    sent = body.get(varying)
    as_it_was = sent == value
    if body.get("stream") or not (as_it_was or _in_other_roles(sent, value)):
        return None
    headers = {
        name: text for name, text in request.headers.items() if name not in _OF_THE_CONNECTION
    }
    return _Form(url, headers, body, None if as_it_was else sent)


def _in_other_roles(sent: Any, given: Any) -> bool:
    """Whether only the roles of messages changed: some models have no system message."""
    return (
        isinstance(sent, list)
        and isinstance(given, list)
        and len(sent) == len(given)
        and all(
            isinstance(one, dict)
            and isinstance(other, dict)
            and set(one) == set(other) == {"role", "content"}
            and one["content"] == other["content"]
            for one, other in zip(sent, given, strict=True)
        )
    )


def _shape(value: Any) -> tuple[Any, ...] | None:
    """Roles and part types of messages, or an input's type; None for other than text and images."""
    if isinstance(value, str):
        return ("text",) if value else None
    if not isinstance(value, list) or not value:
        return None
    if isinstance(value[0], str):
        return ("texts",) if all(isinstance(item, str) and item for item in value) else None
    shapes = tuple(map(_message, value))
    return None if None in shapes else shapes


def _message(message: Any) -> Any:
    if not isinstance(message, dict) or len(message) != 2:  # noqa: PLR2004 - role and content
        return None
    content = message.get("content")
    if "role" not in message:
        return None
    if isinstance(content, str):
        return message["role"] if content else None
    if not isinstance(content, list) or not content:
        return None
    parts = tuple(_part(part) for part in content)
    return None if None in parts else (message["role"], parts)


def _part(part: Any) -> str | None:
    if (
        isinstance(part, dict)
        and part.get("type") == "text"
        and set(part) == {"type", "text"}
        and part["text"]
    ):
        return "text"
    if (
        isinstance(part, dict)
        and part.get("type") == "image_url"
        and set(part) == {"type", "image_url"}
    ):
        image = part["image_url"]
        return (
            f"image {sorted(image)}"
            if isinstance(image, dict) and image.keys() <= {"url", "detail"}
            else None
        )
    return None


def _read(content: bytes) -> Any:
    """Parse JSON; return invalid JSON as text."""
    try:
        return tolerant.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")
