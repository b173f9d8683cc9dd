"""One request, answered at once by a litellm model: JSON in, OpenAI's JSON out. It knows no file, no pace, no retry."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    ProviderDownError,
    ProviderError,
    WarningRaisedError,
)
from jupyter_batch.core.refusals.sentence import decoded, phrase, read_refusal
from jupyter_batch.core.secrets import masked, remember
from jupyter_batch.http.bodies import TooLargeError
from jupyter_batch.http.network import guard_all, with_key
from jupyter_batch.http.place_fields import without_place
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.providers.anthropic.address import root_of
from jupyter_batch.providers.failures import no_connection, normalise, sentence_in, without_prefix
from jupyter_batch.providers.need_address import check_place
from jupyter_batch.providers.nested_extra import NestedExtra
from jupyter_batch.providers.openai.batches import OursAreRaised, load_litellm
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS

SECONDS = 600.0
"""How long one answer may take: models that think take minutes."""
GRACE = 5.0
"""So many seconds more until we end it ourselves: who is asked may keep the time better."""

VERBS = {CHAT: "acompletion", EMBEDDINGS: "aembedding"}
"""What can be asked by litellm's own calls. Not /v1/responses: that call wants packages which litellm does not bring
(responses_call.py has one of our own)."""

_ADDRESSES: Mapping[str, Callable[[str], str]] = {"anthropic": root_of}
"""By provider: the form of an address that litellm expects, where it takes fewer forms than our own batch calls."""

_NOT_THEIRS = frozenset({"stream", "stream_options", "timeout", "mock_response"})
"""What a request's body may not decide, besides where it goes: in which form the answer comes."""


def theirs(body: Mapping[str, Any]) -> dict[str, Any]:
    """What of a request's body is sent."""
    return {name: value for name, value in without_place(body).items() if name not in _NOT_THEIRS}


class CallFailedError(Exception):
    """A request without an answer.

    error: in our tree. told: the provider's own words, as an OpenAI error object. unreachable: there was no connection,
    which no request can be blamed for.
    """

    def __init__(
        self,
        error: ProviderError,
        told: Mapping[str, Any] | None = None,
        *,
        unreachable: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.unreachable = unreachable
        self.told: dict[str, Any] = {
            "message": str(error),
            "type": None,
            "param": None,
            "code": None,
            **(told or {}),
        }


class Call(Protocol):
    """What answers a request: an endpoint and a body in, the answer's body out. Raises CallFailedError."""

    async def ready(self) -> None:
        """Do once what takes long; called before the first request of a run."""
        ...

    async def __call__(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask once, without any retry."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


class LitellmCall:
    """A litellm model, asked so that it is safe in a notebook. The key stays in memory and out of the repr.

    model: as litellm names it, whatever the request's own body says. seconds: how long an answer may take.
    more: further arguments of litellm's, such as api_version. Raises OptionError.
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
        form = _ADDRESSES.get(model.partition("/")[0])
        if api_base and form is not None:
            api_base = form(api_base)
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
        """Import litellm, off the loop."""
        if self._litellm is not None:
            return
        litellm = await asyncio.to_thread(load_litellm)
        logger = logging.getLogger("LiteLLM")
        if not any(isinstance(one, OursAreRaised) for one in logger.filters):
            logger.addFilter(OursAreRaised())
        try:
            from litellm._internal_context import is_internal_call
        except ImportError:  # private: without it litellm's logging costs time, and no answer
            is_internal_call = None
        guard_all(litellm)
        self._litellm, self._internal = litellm, is_internal_call

    async def __call__(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask once. See Call."""
        return await self._ask(endpoint, body)

    async def _ask(self, endpoint: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Ask by litellm's own call; more: further arguments for it."""
        await self.ready()
        if self._internal is not None:
            self._internal.set(
                True
            )  # in this task alone: nothing of litellm's runs on after the call
        sent = theirs(body)
        asked = sent | self._fixed | more
        if asked.get("tools"):  # else litellm looks for a package that it does not bring
            asked["_skip_mcp_handler"] = True
        try:
            # `quiet` again, though the run is in it: a cell may have put filters before ours since it began.
            with (
                quiet(),
                with_key(self._key if "api_base" in self._fixed else None),
                self._extra.placed(self._litellm, sent),
            ):
                async with asyncio.timeout(self._seconds + GRACE):
                    answer = await getattr(self._litellm, VERBS[endpoint])(**asked)
                return _plain(answer)
        except Exception as e:  # each of litellm's many trees
            raise self._failure(e) from None  # the cause holds headers, and in them the key

    def _failure(self, error: Exception) -> CallFailedError:
        names = _kinds(error)
        ours_below = next(
            (one for one in _chain(error) if isinstance(one, AuthenticationError)), None
        )
        if ours_below is not None:  # a hook of ours
            return CallFailedError(ours_below)
        without_bound = next(
            (one for one in _chain(error) if isinstance(one, TooLargeError | RecursionError)), None
        )
        if without_bound is not None:  # it was answered, and billed: it is not asked again
            return CallFailedError(BadRequestError(_without_bound(without_bound)))
        closed = any(
            isinstance(one, RuntimeError) and "closed" in str(one) for one in _chain(error)
        )
        if closed:  # somebody else in this process closed litellm's clients, which are shared: ours are made anew
            _forget_clients(self._litellm)
        unreachable = closed or bool(names & _NO_CONNECTION)
        if unreachable or names & _CUT:  # litellm calls either a 500 of the server's
            ours: ProviderError = no_connection(self._place, masked(_last(error)))
            return CallFailedError(ours, {"message": str(ours)}, unreachable=unreachable)
        ours = normalise(error, self._place, self._key)
        answered = ours.status is not None and ours.status >= 400  # noqa: PLR2004 - HTTP's errors begin there
        if not ours.transient and not answered and not isinstance(ours, WarningRaisedError):
            ours = ProviderDownError(str(ours), status=ours.status)  # an answer that can't be read
        told = (
            {"message": str(ours)}
            if isinstance(ours, WarningRaisedError)
            else _words(error, ours.status)
        )
        told = {
            name: masked(value) if isinstance(value, str) else value for name, value in told.items()
        }
        return CallFailedError(ours, told)

    async def aclose(self) -> None:
        """Close what litellm keeps open for this loop; the person's own calls on another keep what is theirs."""
        if self._litellm is None:
            return
        for client in _forget_clients(self._litellm):
            with contextlib.suppress(Exception):  # at the end nothing can be done about it
                closing = getattr(client, "aclose", None) or client.close
                await closing()


def _forget_clients(litellm: Any) -> list[Any]:
    """Take the clients of the running loop out of litellm's cache, whose keys end with a token of the loop.

    The token was the loop's id up to litellm 1.109, and is a counter since: the cache itself is asked for it.
    """
    cache = getattr(litellm, "in_memory_llm_clients_cache", None)
    held: dict[str, Any] = getattr(cache, "cache_dict", {})
    keyed = getattr(cache, "update_cache_key_with_event_loop", None)
    mark = str(keyed("")) if keyed is not None else f"-{id(asyncio.get_running_loop())}"
    if not mark:  # it would be the end of every key, the user's clients' too
        return []
    return [held.pop(key) for key in list(held) if str(key).endswith(mark)]


def _plain(answer: Any) -> dict[str, Any]:
    """The answer's own fields; a refusal is put where OpenAI has it."""
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


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (
        inner := chain[-1].__cause__ or chain[-1].__context__
    ) is not None and inner not in chain:
        chain.append(inner)
    return chain


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}


def _last(error: BaseException) -> str:
    inner = _chain(error)[-1]
    return str(inner) or type(inner).__name__


def _without_bound(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "the server's answer is nested too deeply to be read"
    return str(error)


def _words(error: Exception, status: int | None) -> dict[str, Any]:
    """The provider's error object, out of the exception's body or out of its text."""
    text = without_prefix(str(getattr(error, "message", None) or error))
    held: Any = getattr(error, "body", None) or decoded(text) or sentence_in(text)
    message = read_refusal(held).message or phrase(status or 0) or "no reason was given"
    inner = held.get("error", held) if isinstance(held, dict) else None
    fields = inner if isinstance(inner, dict) else {}
    return {"message": message, **{name: fields.get(name) for name in ("type", "param", "code")}}
