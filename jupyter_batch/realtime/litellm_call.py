"""One request to a litellm model in real time: OpenAI's JSON in and out. No retries or pacing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    ProviderDownError,
    ProviderError,
    WarningRaisedError,
)
from jupyter_batch.core.refusals.sentence import decoded, is_error, phrase, read_refusal
from jupyter_batch.core.secrets import masked, remember
from jupyter_batch.http.bodies import TooLargeError, responses_seen
from jupyter_batch.http.litellm import OursAreRaised, load_litellm
from jupyter_batch.http.need_address import check_place
from jupyter_batch.http.network import guard_all, with_key
from jupyter_batch.http.place_fields import sendable
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.providers.failures import (
    chain,
    innermost,
    no_connection,
    normalise,
    sentence_in,
    without_prefix,
)
from jupyter_batch.providers.record import RECORDS, load
from jupyter_batch.realtime.nested_extra import NestedExtra
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS

SECONDS = 600.0
"""Timeout of one answer: reasoning models take minutes."""
FLEX_SECONDS = 900.0
"""The same for the flex tier, as OpenAI's guide advises
(developers.openai.com/api/docs/guides/flex-processing)."""
GRACE = 5.0
"""Extra seconds before our own timeout: the callee's own is preferred."""

VERBS = {CHAT: "acompletion", EMBEDDINGS: "aembedding"}
"""litellm's calls by endpoint. Not /v1/responses: that call needs packages that litellm does not
install (responses_call.py has our own)."""


class CallFailedError(Exception):
    """A request without an answer.

    error: a ProviderError. error_object: the provider's own error, as an OpenAI error object. unreachable:
    there was no connection, which is not the request's fault.
    """

    def __init__(
        self,
        error: ProviderError,
        error_object: Mapping[str, Any] | None = None,
        *,
        unreachable: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.unreachable = unreachable
        self.error_object: dict[str, Any] = {
            "message": str(error),
            "type": None,
            "param": None,
            "code": None,
            **(error_object or {}),
        }


class Call(Protocol):
    """Calls a model: from endpoint and body to the answer's body. Raises CallFailedError."""

    async def ready(self) -> None:
        """Do slow initialization; called before the first request of a run."""
        ...

    async def __call__(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request once, without retries."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class LitellmCall:
    """A litellm model, called safely in a notebook. The key is in memory only, not in the repr.

    model: a litellm id; overrides the request body's. seconds: the timeout of an answer.
    more: further arguments for litellm, such as api_version. Raises OptionError.
    """

    endpoints: tuple[str, ...] = tuple(VERBS)

    def __init__(
        self,
        model: str,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        seconds: float = SECONDS,
        **more: Any,
    ) -> None:
        check_place(model, api_base)
        record = RECORDS.get(model.partition("/")[0])
        if api_base and record is not None and record.realtime_base:
            api_base = load(record.realtime_base)(api_base)
        self.model = model
        self._seconds = seconds
        self._extra = NestedExtra(model)
        self._key = api_key or ""
        remember(api_key)
        self._place = api_base or model
        where = {"api_base": api_base, "api_key": api_key, **more}
        self._fixed = {
            "max_retries": 0,
            "num_retries": 0,
            "timeout": seconds,
            "model": model,
            **{name: value for name, value in where.items() if value is not None},
        }
        self._litellm: Any = None
        self._internal: Any = None

    def __repr__(self) -> str:
        return f"LitellmCall({self.model!r} at {self._place!r})"

    async def ready(self) -> None:
        """Import litellm, off the event loop."""
        if self._litellm is not None:
            return
        litellm = await asyncio.to_thread(load_litellm)
        logger = logging.getLogger("LiteLLM")
        if not any(isinstance(one, OursAreRaised) for one in logger.filters):
            logger.addFilter(OursAreRaised())
        try:
            from litellm._internal_context import is_internal_call
        except ImportError:  # private: without it litellm's logging only costs time
            is_internal_call = None
        guard_all(litellm)
        self._litellm, self._internal = litellm, is_internal_call

    async def __call__(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request once. See Call."""
        return await self._ask(endpoint, body)

    async def _ask(self, endpoint: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Send a request with litellm's own call; more: further arguments for it."""
        await self.ready()
        if self._internal is not None:
            self._internal.set(True)  # in this task only: nothing of litellm runs after the call
        sent = sendable(body)
        asked = sent | self._fixed | more
        if asked.get("tools"):  # else litellm looks for a package that it does not install
            asked["_skip_mcp_handler"] = True
        responses: list[Any] = []
        try:
            # `quiet` again, inside the run's own: a cell may have put filters before ours since.
            with (
                quiet(),
                with_key(self._key if "api_base" in self._fixed else None),
                self._extra.placed(self._litellm, sent),
                responses_seen() as responses,
            ):
                async with asyncio.timeout(self._seconds + GRACE):
                    answer = await getattr(self._litellm, VERBS[endpoint])(**asked)
                plain = _plain(answer)
            is_empty = not (plain.get("choices") or plain.get("data"))
            if is_empty and responses and _billed(responses) is None:
                raise ValueError("it holds no answer")
            return plain
        except Exception as e:  # any of litellm's exceptions
            if _own_error(e) is None and (paid := _billed(responses)) is not None:
                return paid
            raise self._failure(e) from None  # the cause holds headers, and in them the key

    def _failure(self, error: Exception) -> CallFailedError:
        if own := _own_error(error):
            return CallFailedError(own)
        names = _kinds(error)
        closed = any(isinstance(one, RuntimeError) and "closed" in str(one) for one in chain(error))
        if closed:  # other code in this process closed litellm's shared clients: they are recreated
            _forget_clients(self._litellm)
        unreachable = closed or bool(names & _NO_CONNECTION)
        if unreachable or names & _CUT:  # litellm reports both as a 500 of the server
            ours: ProviderError = no_connection(self._place, masked(innermost(error)))
            return CallFailedError(ours, {"message": str(ours)}, unreachable=unreachable)
        ours = normalise(error, self._place, self._key)
        if isinstance(ours, WarningRaisedError):
            return CallFailedError(ours, {"message": masked(str(ours))})
        answered = ours.status is not None and ours.status >= 400  # noqa: PLR2004 - HTTP's errors begin there
        if not ours.transient and not answered:
            ours = ProviderDownError(str(ours), status=ours.status)  # an unreadable answer
        body = {
            name: masked(value) if isinstance(value, str) else value
            for name, value in _words(error, ours.status).items()
        }
        return CallFailedError(ours, body)

    async def aclose(self) -> None:
        """Close litellm's clients of this loop; the user's calls on another loop keep theirs."""
        if self._litellm is None:
            return
        for client in _forget_clients(self._litellm):
            with contextlib.suppress(Exception):  # at exit a failure can't be handled
                closing = getattr(client, "aclose", None) or client.close
                await closing()


def _own_error(error: BaseException) -> ProviderError | None:
    """The error that our own code raised below litellm, or None."""
    for one in chain(error):
        if isinstance(one, AuthenticationError):  # from one of our hooks
            return one
    for one in chain(error):
        if isinstance(one, TooLargeError | RecursionError):  # answered and billed: not retried
            return BadRequestError(_without_bound(one))
    return None


def _billed(responses: list[Any]) -> dict[str, Any] | None:
    """The body of a success that states its tokens, which litellm could not read.

    It would be billed again if it were asked again; its row fails with what is in it.
    """
    if not responses or responses[-1].status_code != 200:  # noqa: PLR2004 - HTTP's OK
        return None
    try:
        body = orjson.loads(responses[-1].content)
    except (RuntimeError, orjson.JSONDecodeError):  # not read to its end, or no JSON
        return None
    if not isinstance(body, dict) or is_error(body):
        return None
    return body if tolerant.usage_of(body.get("usage")) is not None else None


def _forget_clients(litellm: Any) -> list[Any]:
    """Remove the running loop's clients from litellm's cache, whose keys end with a loop token.

    The token was the loop's id up to litellm 1.109, and is a counter since: the cache itself gives
    it.
    """
    cache = getattr(litellm, "in_memory_llm_clients_cache", None)
    held: dict[str, Any] = getattr(cache, "cache_dict", {})
    keyed = getattr(cache, "update_cache_key_with_event_loop", None)
    mark = str(keyed("")) if keyed is not None else f"-{id(asyncio.get_running_loop())}"
    if not mark:  # it would match every key, the user's clients' too
        return []
    return [held.pop(key) for key in list(held) if str(key).endswith(mark)]


def _plain(answer: Any) -> dict[str, Any]:
    """The answer's own fields; a refusal is moved to OpenAI's field."""
    body: dict[str, Any] = answer.model_dump(exclude_none=True, warnings=False)
    for choice in body.get("choices") or ():
        message = choice.get("message") or {}
        fields = message.get("provider_specific_fields")
        if isinstance(fields, dict) and fields.get("refusal"):
            message.setdefault("refusal", fields["refusal"])
    return body


_NO_CONNECTION = frozenset(
    {"ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionTimeoutError", "gaierror"}
)
_CUT = frozenset(
    {
        "ReadError",
        "WriteError",
        "RemoteProtocolError",
        "ServerDisconnectedError",
        "ClientPayloadError",
        "ClientOSError",
    }
)


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for one in chain(error) for kind in type(one).__mro__}


def _without_bound(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "the server's answer is nested too deeply to be read"
    return str(error)


def _words(error: Exception, status: int | None) -> dict[str, Any]:
    """The provider's error object, from the exception's body or text."""
    text = without_prefix(str(getattr(error, "message", None) or error))
    held: Any = getattr(error, "body", None) or decoded(text) or sentence_in(text)
    message = read_refusal(held).message or phrase(status or 0) or "no reason was given"
    inner = held.get("error", held) if isinstance(held, dict) else None
    fields = inner if isinstance(inner, dict) else {}
    return {"message": message, **{name: fields.get(name) for name in ("type", "param", "code")}}
