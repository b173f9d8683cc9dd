"""What litellm and the SDKs below it raise -> our one tree of errors. It knows no provider by name.

litellm's batch calls are not mapped to its own exceptions: openai's, httpx's, pydantic's and litellm's come through.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    NotFoundError,
    ProviderDownError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitError,
    WarningRaisedError,
)
from jupyter_batch.core.quota import is_queue, is_quota
from jupyter_batch.core.secrets import masked, remember
from jupyter_batch.network import certificate_words, through

_TEXT = 400
"""How much of a provider's message is told, in characters."""

_QUOTA_STATUSES = frozenset({400, 403, 409, 422})
"""What providers answer besides 429 where a limit that passes was met; its words tell it from other refusals."""


_NO_SUCH_KEY = "no connected db"
"""What a litellm proxy that has no database says, with 400, of any key but its own (seen with 1.106)."""


_NO_CONNECTION = frozenset(
    {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "SentOnError"}
)
_BROKEN = frozenset(
    {"ReadError", "ReadTimeout", "WriteError", "WriteTimeout", "CloseError", "RemoteProtocolError"}
)
"""httpx's and httpcore's words for a call that never had a connection, and for one that lost it."""


class UnreadableError(ProviderDownError):
    """An answer that makes no sense to whoever read it first."""


def normalise(error: BaseException, place: str, secret: str = "") -> ProviderError:
    """The error of ours that says the same.

    place: the address that was called. secret: the key, which some servers repeat in their refusal; it is masked, as
    each text of an error is (core/secrets.py).
    """
    remember(secret)
    if isinstance(error, ProviderError):
        return error
    told = _told(error, place)
    told.not_sent = told.status is None and _never_connected(error)
    return told


def _told(error: BaseException, place: str) -> ProviderError:
    if (warning := raised_warning(error)) is not None:
        return WarningRaisedError(
            f"a library's warning ended the call to {place} ({type(warning).__name__}: "
            f"{_short(str(warning))}); don't make warnings errors (python -W error, PYTHONWARNINGS, "
            "warnings.simplefilter) while jobs run"
        )
    names = {kind.__name__ for kind in type(error).__mro__}
    status = _status(error)
    if names & {"APITimeoutError", "TimeoutException", "Timeout", "TimeoutError"}:
        return ProviderTimeoutError(f"no answer from {place}{through(place)} in time")
    if status is None:
        if names & {
            "APIConnectionError",
            "ConnectError",
            "TransportError",
            "ClientError",
            "OSError",
            "EOFError",
        }:
            return no_connection(place, _cause(error))
        if isinstance(error, asyncio.CancelledError):  # a library that cancels itself
            return ConnectionFailedError(f"the call to {place} was cut off")
        return UnreadableError(
            f"{place} gave an answer that can't be read: {type(error).__name__}: {_cause(error)}"
        )
    return by_status(
        status,
        f"{place}{through(place, status)}: {_message(error)}",
        headers=_headers(error),
        code=_code(error),
    )


def no_connection(place: str, cause: str) -> ConnectionFailedError:
    """The error of a call that did not come through; it names the proxy, and what to do about a certificate."""
    return ConnectionFailedError(
        f"no connection to {place}{through(place)}: {cause}{certificate_words(cause)}"
    )


def raised_warning(error: BaseException) -> Warning | None:
    """The warning that led to an error, if one did: libraries wrap it in errors of their own."""
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        if isinstance(inner, Warning):
            return inner
        seen.add(id(inner))
        inner = inner.__cause__ or (None if inner.__suppress_context__ else inner.__context__)
    return None


def by_status(
    status: int, message: str, *, headers: Mapping[str, str] | None = None, code: str = ""
) -> ProviderError:
    """The error for an HTTP status; code: the provider's own word for it, where there is one."""
    said = f"{code} {message}"
    retry_after = _retry_after(headers or {})
    kind: type[ProviderError]
    if status == 429 or (status in _QUOTA_STATUSES and is_quota(said)):  # noqa: PLR2004 - HTTP's own
        limited = RateLimitError(
            f"{message} (HTTP {status})", status=status, retry_after=retry_after
        )
        limited.queue = is_queue(said)
        return limited
    if status in (401, 403) or (status == 400 and _NO_SUCH_KEY in message.lower()):  # noqa: PLR2004
        kind = AuthenticationError
    elif status == 404:  # noqa: PLR2004 - an HTTP status is its own name
        kind = NotFoundError
    elif status in (408, 425) or status >= 500:  # noqa: PLR2004
        kind = ProviderDownError
    else:
        kind = BadRequestError
    return kind(f"{message} (HTTP {status})", status=status, retry_after=retry_after)


def _never_connected(error: BaseException) -> bool:
    """Whether a call failed before there was a connection; what an SDK raises holds httpx's reason as its cause."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        names = {kind.__name__ for kind in type(link).__mro__}
        if names & _BROKEN:
            return False
        if names & _NO_CONNECTION:
            return True
        link = link.__cause__ or link.__context__
    return False


def _status(error: BaseException) -> int | None:
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int) and not isinstance(status, bool):
            return status
    return None


def _headers(error: BaseException) -> Mapping[str, str]:
    for holder in (
        getattr(error, "litellm_response_headers", None),
        getattr(getattr(error, "response", None), "headers", None),
        getattr(error, "headers", None),
    ):
        if holder:
            return {str(k).lower(): str(v) for k, v in dict(holder).items()}
    return {}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, as told: a number of them, or the date until which to wait (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        until, since = (
            _date(text),
            _date(headers.get("date", "")),
        )  # by one clock, the server's, where it tells it
        seconds = (
            math.nan
            if until is None
            else max(until - (time.time() if since is None else since), 0.0)
        )
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _date(text: str) -> float | None:
    """Seconds since the epoch, of an HTTP date."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _code(error: BaseException) -> str:
    """The `code` or `type` in an error's body."""
    body: Any = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    return (
        " ".join(str(inner[key]) for key in ("code", "type") if inner.get(key))
        if isinstance(inner, dict)
        else ""
    )


def _message(error: BaseException) -> str:
    body: Any = getattr(error, "body", None)
    if isinstance(body, str | bytes):
        try:
            body = msgspec.json.decode(body)
        except msgspec.DecodeError:
            return _short(body if isinstance(body, str) else body.decode("utf-8", "replace"))
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict) and inner.get("message"):
            return _short(str(inner["message"]))
        if isinstance(inner, str):
            return _short(inner)
    return _short(str(error))


def _cause(error: BaseException) -> str:
    """The innermost reason: SDKs wrap "Connection refused" in "Connection error."."""
    seen: set[int] = set()
    while (inner := error.__cause__ or error.__context__) is not None and id(inner) not in seen:
        seen.add(id(inner))
        error = inner
    return _short(str(error) or type(error).__name__)


def _short(text: str) -> str:
    text = masked(" ".join(text.split()))  # before it is cut: a part of a key is hard to find
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}..."
