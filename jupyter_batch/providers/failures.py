"""Conversion of the exceptions of litellm and the SDKs below it to ProviderError.

litellm's batch calls don't map exceptions: openai's, httpx's, pydantic's and its own get through.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    NoBatchApiError,
    NotFoundError,
    ProviderDownError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitError,
    WarningRaisedError,
)
from jupyter_batch.core.refusals.input_file import of_file
from jupyter_batch.core.refusals.quota import is_capacity, is_queue, is_quota, is_spent
from jupyter_batch.core.refusals.sentence import (
    Refusal,
    decoded,
    is_error,
    is_no_route,
    phrase,
    read_refusal,
    short,
)
from jupyter_batch.core.refusals.stated_limit import stated_limit
from jupyter_batch.core.secrets import remember
from jupyter_batch.http.network import TO_PROXY, certificate_words, proxy_words, through
from jupyter_batch.http.retry_after import seconds_to_wait

_OK = 200
_NOT_FOUND = 404
_SERVER = 500
_SPENT = 402
"""Payment required."""
_PROXY = 407
"""Proxy Authentication Required: the call has not left the network of this machine."""
_NEVER_SPENT = frozenset({404, 405, 501})
_STATES = ("status", "state", "processing_status")
"""State fields of a batch or a file."""
_QUOTA_STATUSES = frozenset({400, 403, 409, 422})
"""Statuses besides 429 with which providers report a transient limit; the text distinguishes it."""


_PREFIX = re.compile(
    r"^(?:(?:litellm\.)?\w+(?:Error|Timeout): )*(?:\w+Exception - ?)?(?:Error code: \d+(?: - )?)?"
)
_EMPTY = frozenset({"", "None", "null", '""', "{}", "[]"})

_OF_A_PAGE = ", a web page: perhaps of a proxy or a firewall on the way, and not about the key"
_NO_SUCH_KEY = "no connected db"
"""A litellm proxy's message, with 400, if it has no database: for any key but its own (1.106)."""


_NO_CONNECTION = frozenset(
    {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "SentOnError"}
)
_BROKEN = frozenset(
    {"ReadError", "ReadTimeout", "WriteError", "WriteTimeout", "CloseError", "RemoteProtocolError"}
)
"""Class names in httpx and httpcore of failures to connect, and of lost connections."""


class UnreadableError(ProviderDownError):
    """A response that could not be parsed."""


class WebPageError(ProviderDownError):
    """A web page with status 2xx: a login, a portal, or a site without an API at this address."""


def normalise(error: BaseException, place: str, secret: str = "") -> ProviderError:
    """Return the equivalent ProviderError.

    place: the address that was called. secret: the key, which some servers repeat in their refusal;
    it is masked, as in each error text (core/secrets.py).
    """
    remember(secret)
    if (ours := _ours(error)) is not None:
        return ours
    failure = _failure_of(error, place)
    if failure.status is None:
        failure.not_sent = _never_connected(error)
    return failure


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, outermost first; each once, and none that is left out (`from None`)."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        yield link
        seen.add(id(link))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _ours(error: BaseException) -> ProviderError | None:
    """An error of this package, also where a library wrapped one raised in our hook."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if isinstance(link, ProviderError):
            return link
        seen.add(id(link))
        link = link.__cause__
    return None


def _failure_of(error: BaseException, place: str) -> ProviderError:
    if (warning := raised_warning(error)) is not None:
        return WarningRaisedError(
            f"a library's warning ended the call to {place} ({type(warning).__name__}: "
            f"{short(str(warning))}); don't make warnings errors (python -W error, PYTHONWARNINGS, "
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
            return no_connection(place, short(innermost(error)))
        if isinstance(error, asyncio.CancelledError):  # a library's own cancellation
            return ConnectionFailedError(f"the call to {place} was cut off")
        return UnreadableError(
            f"{place} gave an answer that can't be read: {type(error).__name__}: {short(innermost(error))}"
        )
    return refused(status, _body(error), place, headers=_headers(error), reason=_reason(error))


def no_connection(place: str, cause: str) -> ConnectionFailedError:
    """The error for a failed connection; it names the proxy, and advises on its refusals and on certificates."""
    return ConnectionFailedError(
        f"no connection to {place}{through(place)}: {cause}{certificate_words(cause)}{proxy_words(place, cause)}"
    )


def raised_warning(error: BaseException) -> Warning | None:
    """The warning that caused an error, if any: libraries wrap it in their own exceptions."""
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        if isinstance(inner, Warning):
            return inner
        seen.add(id(inner))
        inner = inner.__cause__ or (None if inner.__suppress_context__ else inner.__context__)
    return None


def refused(
    status: int,
    body: object,
    place: str,
    *,
    headers: Mapping[str, str] | None = None,
    reason: str = "",
) -> ProviderError:
    """The error for a response other than 2xx, in the server's words (core/refusals/sentence.py).

    body: raw or decoded. reason: the HTTP reason phrase, for a body without a message.
    """
    refusal = read_refusal(body)
    if not refusal.message:
        refusal = refusal._replace(message=reason or phrase(status) or "no reason was given")
    return by_refusal(status, refusal, f"{place}{through(place, status)}", headers or {})


def object_in(body: bytes, place: str, *, holds: str = "id") -> dict[str, Any]:
    """The object in a 2xx response. Raises ProviderError, in the server's words, for an error.

    holds: a field that an object of that kind has. One with a state may contain an error, too.
    """
    value = decoded(body)
    whole = isinstance(value, dict) and value.get(holds) and value.get("object") != "error"
    if whole and (not is_error(value) or any(value.get(name) for name in _STATES)):
        return cast("dict[str, Any]", value)
    raise _no_answer(body, value, place, holds)


def list_in(body: bytes, place: str, name: str, *, bare: bool = False) -> dict[str, Any]:
    """Return the list page in a 2xx response; see object_in. name: the field of its items.

    Anything but a list is an error, since an empty list would mean that there are no batches. bare:
    an empty object is an empty list, as gRPC gateways write it.
    """
    value = decoded(body)
    if isinstance(value, dict) and not is_error(value):
        items = value.get(name)
        if isinstance(items, list) or (items is None and name in value):
            return value
        if items is None and (value.get("object") == "list" or (bare and not value)):
            return value
    raise _no_answer(body, value, place, name)


def _no_answer(body: bytes, value: object, place: str, wanted: str) -> ProviderError:
    """The error for a 2xx response with an unexpected body."""
    refusal = read_refusal(body if value is None else value)
    if refusal.page:
        return WebPageError(
            f"{place} answered with a web page, perhaps the login of a network on the way: "
            f"{refusal.message} (HTTP {_OK})"
        )
    spent = is_spent(f"{refusal.kind} {refusal.message}")
    status = _SPENT if spent else refusal.status
    if status is None and is_error(value) and is_no_route(_NOT_FOUND, refusal):
        status = _NOT_FOUND  # LM Studio responds to any unknown path with a 200
    if status is not None:
        return by_refusal(status, refusal, place, {}, shown=_OK)
    text = refusal.message or "an empty answer"
    without = "" if is_error(value) else f" answered without {wanted!r}"
    return ProviderDownError(f"{place}{without}: {text} (HTTP {_OK})")


def by_status(
    status: int, message: str, *, headers: Mapping[str, str] | None = None, code: str = ""
) -> ProviderError:
    """The error for an HTTP status; code: the provider's error code, if any."""
    return by_refusal(status, Refusal(message, code), "", headers or {})


def by_refusal(
    status: int,
    refusal: Refusal,
    place: str,
    headers: Mapping[str, str],
    *,
    shown: int | None = None,
    words: str = "",
) -> ProviderError:
    """The error for a refusal. shown: the response's status; words: the displayed message."""
    text = f"{refusal.kind} {refusal.message}"
    words = words or refusal.message
    if status == _PROXY:
        words += TO_PROXY
    elif refusal.page and status in (401, 403):
        words += _OF_A_PAGE
    message = f"{f'{place}: ' if place else ''}{words} (HTTP {shown or status})"
    retry_after = seconds_to_wait({name.lower(): value for name, value in headers.items()})
    kind = _kind(status, refusal, text)
    error = kind(message, status=status, retry_after=retry_after)
    error.not_sent = status == _PROXY
    error.capacity = is_capacity(status, text)
    if isinstance(error, RateLimitError):
        error.spent = not error.capacity and _is_spent(status, text)
        error.queue = not error.spent and is_queue(text)
        error.limit = stated_limit(text) if error.queue else None
    elif status < _SERVER and not isinstance(error, NoBatchApiError):
        error.input_file = of_file(text)
        error.limit = stated_limit(text)
    return error


def _kind(status: int, refusal: Refusal, text: str) -> type[ProviderError]:
    """The class of the error for a status; a quota error may have several."""
    full = status < _SERVER and is_capacity(status, text)
    if status == 429 or full or _is_spent(status, text):  # noqa: PLR2004 - HTTP's own
        return RateLimitError
    if status in _QUOTA_STATUSES and is_quota(text):
        return RateLimitError
    if status in (401, 403) or (status == 400 and _NO_SUCH_KEY in text.lower()):  # noqa: PLR2004
        return AuthenticationError
    if is_no_route(status, refusal):
        return NoBatchApiError
    if status == 404:  # noqa: PLR2004 - an HTTP status is its own name
        return NotFoundError
    return ProviderDownError if status in (_PROXY, 408, 425) or status >= 500 else BadRequestError  # noqa: PLR2004


def _is_spent(status: int, text: str) -> bool:
    return status == _SPENT or (status not in _NEVER_SPENT and is_spent(text))


def _never_connected(error: BaseException) -> bool:
    """Whether there was never a connection; an SDK's exception has httpx's as its cause."""
    for link in chain(error):
        names = {kind.__name__ for kind in type(link).__mro__}
        if names & _BROKEN:
            return False
        if names & _NO_CONNECTION:
            return True
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


def _body(error: BaseException) -> object:
    """The response body of an SDK's exception, raw, or the part that the SDK kept.

    OpenAI's keeps only the body's `error`; litellm's exceptions carry an invented response, and the
    body in their text.
    """
    with contextlib.suppress(Exception):  # not read, or not httpx's
        content = getattr(error, "response").content  # noqa: B009 - any kind of error
        if isinstance(content, bytes) and content.strip():
            return content
    body: object = getattr(error, "body", None)
    if body:
        return body
    text = without_prefix(str(error))
    inner = decoded(text[text.find("{") :]) if "{" in text else None
    return inner if read_refusal(inner).message and isinstance(inner, dict) else sentence_in(text)


def without_prefix(text: str) -> str:
    """The text of an SDK's exception without class names and status, which the SDK adds."""
    return _PREFIX.sub("", text)


def sentence_in(text: str) -> str:
    """The text, if it is a sentence: SDKs write an empty body as "None", "{}" or not at all."""
    empty = text.strip() in _EMPTY or decoded(text) is not None
    return "" if empty else text


def _reason(error: BaseException) -> str:
    """The SDK's own message, for a response with an empty body."""
    return short(sentence_in(without_prefix(str(error))))


def innermost(error: BaseException) -> str:
    """The innermost cause: SDKs wrap "Connection refused" in "Connection error."."""
    *_, inner = chain(error)
    return str(inner) or type(inner).__name__
