"""Extraction of the error sentence from a response's body, in any format that servers send.

Formats seen: `{"error": {"message", "type", "code"}}` (OpenAI and most), `{"error": "text"}`,
`{"detail": text | list | object}` (FastAPI), `{"title", "detail"}` (RFC 7807), `{"errors": [...]}`,
`{"success": false, "msg": ...}`, `{"message": ...}`, `[{"error": ...}]` (Google), `{"__type",
"Message"}` (AWS), an error with only a code, XML, an HTML page, plain text.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.core.secrets import masked

TEXT_CHARS = 1000
"""The maximum length of a sentence; the advice is often at its end."""
READ_BYTES = 65_536
"""The part of a non-JSON body that is read."""
_SHOWN = 3
"""Errors of a list that are included."""
_DEEP = 8

_INNER = ("error", "errors", "Error", "Response", "fault", "base_resp", "detail", "details")
"""Fields that hold the error itself, if they are objects or lists."""
_SENTENCES = (
    "message",
    "Message",
    "msg",
    "error_description",
    "error_message",
    "errorMessage",
    "error_msg",
    "status_msg",
    "faultstring",
    "detail",
    "description",
    "reason",
)
_KINDS = ("code", "Code", "type", "__type", "status", "error_code", "errorCode", "err_code")
_NAMES = ("error", "title", "statusText")
"""Names of an error, used as its sentence only without another."""
_STATUSES = ("status", "statusCode", "status_code", "code", "error_code", "http_code")
_FAILED = ("success", "ok")

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, which could affect the terminal that an error is printed on."""
_HTML = re.compile(r"<(?:!doctype\s+html|html|head|body|title|h1|pre)\b", re.IGNORECASE)
_TITLES = [
    re.compile(rf"<{tag}\b[^>]*>(.*?)</{tag}>", re.IGNORECASE | re.DOTALL)
    for tag in ("title", "h1", "pre")
]
_TAG = re.compile(r"<[^<>]{0,1000}>")
_XML = {
    name: re.compile(rf"<{name}>(.*?)</{name}>", re.DOTALL)
    for name in ("Code", "Message", "Details")
}
_BARE = frozenset({"", "error", "errors"})
"""Titles without information."""

_WORDS = (
    (re.compile(r"unauth|invalid[_ ]api[_ ]key|authentication", re.IGNORECASE), 401),
    (re.compile(r"permission|forbidden|access[_ ]?denied", re.IGNORECASE), 403),
    (re.compile(r"not[_ ]?found", re.IGNORECASE), 404),
    (re.compile(r"rate[_ ]?limit|too[_ ]many|exhausted|quota|throttl", re.IGNORECASE), 429),
    (re.compile(r"invalid|bad[_ ]request|validation", re.IGNORECASE), 400),
    (re.compile(r"overload|unavailable|server[_ ]?error|time[d_ ]*out", re.IGNORECASE), 503),
)
"""The HTTP status for a kind of error, for a response with status 200."""


_NO_ROUTE = re.compile(
    r"^(?:error:? )?(?:http )?(?:404\W*)?(?:(?:page|resource|route|endpoint|url|path|api) )?not[ _]found\W*(?:404\W*)?$"
    r"|cannot (?:post|get|put)\b|unknown[_ ](?:request )?(?:url|route|path|endpoint)|no_route|default backend"
    r"|(?:invalid|unrecognized|unsupported|undefined|unexpected) (?:request )?(?:url|uri|route|path|endpoint)"
    r"|no (?:such )?(?:matching )?(?:route|path|endpoint|handler)|not implemented|method not allowed"
    r"|\b(?:route|path|endpoint|url|api)\b.{0,200}(?:not found|n[o']t exist|not supported|not available)",
    re.IGNORECASE,
)
_OF_A_FILE = re.compile(r"\bfile\b|\bfile-", re.IGNORECASE)
_ABSENT = frozenset({405, 501})
"""Statuses for a method that a server does not support."""


class Refusal(NamedTuple):
    """message: one line, masked and truncated; "" without one. kind: the server's error kind.

    status: the HTTP status that the body states or its kind implies. page: the body is a web page.
    """

    message: str
    kind: str = ""
    status: int | None = None
    page: bool = False


def read_refusal(body: Any) -> Refusal:
    """Return the error in a body, given as bytes, text or decoded JSON."""
    value = body
    if isinstance(body, bytes | bytearray | str) and (value := decoded(body)) is None:
        return _text(_as_text(body))
    message = _sentence(value)
    kinds = list(dict.fromkeys(_kinds(value)))
    named = [kind for kind in kinds if not kind.isdigit()]
    if not message and not _is_blank(value):
        message = " ".join(named) or _numbered(kinds) or _as_json(value)
    return Refusal(short(message), " ".join(kinds), _status(value, named))


def sentence_of(value: Any) -> str:
    """Return the masked and truncated sentence of a decoded value; "" without a known field."""
    return short(_sentence(value))


def decoded(body: bytes | bytearray | str) -> Any:
    """Return the JSON object or array in a body; None without one."""
    raw = body.encode("utf-8", "replace") if isinstance(body, str) else bytes(body)
    if raw.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        return msgspec.json.decode(raw.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def phrase(status: int) -> str:
    """Return HTTP's reason phrase for an error status; "" for another number."""
    known = status in HTTPStatus.__members__.values() and status >= 400  # noqa: PLR2004
    return HTTPStatus(status).phrase if known else ""


def is_no_route(status: int, refusal: Refusal) -> bool:
    """Whether the server has no such path, rather than no such object there."""
    if status in _ABSENT:
        return True
    if status != 404:  # noqa: PLR2004 - Not Found
        return False
    if refusal.page or not refusal.message:
        return True
    text = f"{refusal.kind} {refusal.message}"
    alone = bool(_NO_ROUTE.search(refusal.message))
    return (alone or "unknown_url" in text) and not _OF_A_FILE.search(refusal.message)


def is_error(value: Any) -> bool:
    """Whether an object received with status 200 is an error."""
    if isinstance(value, list):
        return bool(value) and all(is_error(item) for item in value)
    if not isinstance(value, Mapping):
        return False
    if value.get("object") == "error" or value.get("type") == "error":
        return True
    if any(value.get(name) is False for name in _FAILED):
        return True
    return bool(value.get("error") or value.get("Error"))


def short(text: str, most: int = TEXT_CHARS) -> str:
    """Return the text on one line, masked before truncation, since a key's part is hard to find."""
    text = masked(" ".join(_CONTROL.sub(" ", text).split()))
    return text if len(text) <= most else f"{text[:most]}..."


def _as_text(body: bytes | bytearray | str) -> str:
    if isinstance(body, str):
        return body[:READ_BYTES]
    return bytes(body[:READ_BYTES]).decode("utf-8", "replace")


def _text(text: str) -> Refusal:
    """Return the error in a body that is not JSON: a web page, XML, or plain text."""
    if _HTML.search(text[:2000]):
        return Refusal(short(_page(text)), page=True)
    found = {name: _plain(match[1]) for name, by in _XML.items() if (match := by.search(text))}
    if found:
        code = found.get("Code", "")
        return Refusal(short(": ".join(dict.fromkeys(filter(None, found.values())))), code)
    return Refusal(short(text))


def _page(text: str) -> str:
    """Return a web page's title or, if uninformative, its heading or text."""
    for by in _TITLES:
        match = by.search(text)
        title = _plain(match[1]) if match else ""
        if title.lower() not in _BARE:
            return title
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", text, flags=re.IGNORECASE | re.DOTALL)
    return _plain(body) or "a web page without a title"


def _plain(markup: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", markup)).split())


def _sentence(value: Any, deep: int = 0) -> str:
    """Return the sentence in a value of any type; "" without one."""
    if deep > _DEEP or value is None or isinstance(value, bool | int | float):
        return ""
    if isinstance(value, str):
        return _of_text(value, deep)
    if isinstance(value, list | tuple):
        return _listed(value, deep)
    return _of_object(value, deep) if isinstance(value, Mapping) else ""


def _of_text(value: str, deep: int) -> str:
    """Return the sentence in a text, possibly JSON, a web page or XML from a gateway."""
    inner = decoded(value)
    if inner is not None and (found := _sentence(inner, deep + 1)):
        return found
    text = value.strip()
    return _text(text[:READ_BYTES]).message if text.startswith("<") else text


def _listed(items: list[Any] | tuple[Any, ...], deep: int) -> str:
    found = [_sentence(item, deep + 1) or _kind_alone(item) for item in items]
    found = list(dict.fromkeys(filter(None, found)))
    more = f"; and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more


def _of_object(value: Mapping[str, Any], deep: int) -> str:
    for name in _INNER:
        inner = value.get(name)
        if isinstance(inner, Mapping | list | tuple) and (found := _inner(inner, deep)):
            return _titled(value, found)
    for name in _SENTENCES:
        if found := _sentence(value.get(name), deep + 1):
            return _placed(value, _titled(value, found))
    for name in _NAMES:
        held = value.get(name)
        if isinstance(held, str) and held.strip():
            return _sentence(held, deep + 1)
        if isinstance(held, int) and not isinstance(held, bool):
            return f"error {held}"
    return ""


def _inner(inner: Any, deep: int) -> str:
    found = _sentence(inner, deep + 1)
    if found or not isinstance(inner, Mapping):
        return found
    return _kind_alone(inner) or _fields(inner, deep)


def _fields(value: Mapping[str, Any], deep: int) -> str:
    """Return a sentence for each field (Rails and Django): `{"file": ["is too large"]}`."""
    sentences = [
        f"{name}: {found}" for name, held in value.items() if (found := _sentence(held, deep + 1))
    ]
    return "; ".join(sentences[:_SHOWN])


def _kind_alone(value: Any) -> str:
    """Return the kind of an error without a sentence; numbers only without any name."""
    kinds = list(dict.fromkeys(_kinds(value)))
    return " ".join([kind for kind in kinds if not kind.isdigit()]) or _numbered(kinds)


def _numbered(codes: list[str]) -> str:
    """Return the sentence for an error number: HTTP's reason phrase, if it is a status."""
    if len(codes) == 1 and (words := phrase(int(codes[0]))):
        return words
    return f"error code {' '.join(codes)}" if codes else ""


def _is_blank(value: Any, deep: int = 0) -> bool:
    """Whether a value holds only empty fields: `{"error": {"message": null}}`."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return deep < _DEEP and all(_is_blank(item, deep + 1) for item in value)
    return value is None or (isinstance(value, str) and not value.strip())


def _titled(value: Mapping[str, Any], found: str) -> str:
    """Prefix the sentence with the title, as in RFC 7807."""
    title = value.get("title")
    if not isinstance(title, str) or not title.strip() or title.strip() in found:
        return found
    return f"{title.strip().rstrip('.:')}: {found}"


def _placed(value: Mapping[str, Any], found: str) -> str:
    """Add the location in FastAPI's and pydantic's format: `{"loc": ["body", "x"], "msg": ...}`."""
    loc = value.get("loc")
    if not isinstance(loc, list | tuple) or not loc:
        return found
    return f"{'.'.join(map(str, loc))}: {found}"


def _kind(held: Any) -> str:
    if isinstance(held, str):
        return held.strip().rpartition("#")[2]
    return str(held) if isinstance(held, int) and not isinstance(held, bool) else ""


def _kinds(value: Any, deep: int = 0) -> Iterator[str]:
    """Yield the names and codes of an error's kind, including nested objects'."""
    if deep > _DEEP:
        return
    if isinstance(value, str) and (inner := decoded(value)) is not None:
        value = inner
    if isinstance(value, list | tuple):
        for item in value[:_SHOWN]:
            yield from _kinds(item, deep + 1)
    if not isinstance(value, Mapping):
        return
    yield from filter(None, (_kind(value.get(name)) for name in _KINDS))
    if isinstance(value.get("error"), str) and any(name in value for name in _SENTENCES):
        yield value["error"]
    for name in (*_INNER, "message"):
        yield from _kinds(value.get(name), deep + 1)


def _status(value: Any, kinds: list[str], deep: int = 0) -> int | None:
    """Return the HTTP status that a body states; else the one that its kind implies."""
    found = next(_numbers(value, deep), None)
    if found is not None:
        return found
    text = " ".join(kinds)
    return next((status for by, status in _WORDS if by.search(text)), None)


def _numbers(value: Any, deep: int) -> Iterator[int]:
    if deep > _DEEP:
        return
    if isinstance(value, list | tuple) and value:
        yield from _numbers(value[0], deep + 1)
    if not isinstance(value, Mapping):
        return
    for name in _STATUSES:
        held = value.get(name)
        if isinstance(held, str) and held.isdecimal() and len(held) == 3:  # noqa: PLR2004 - a status
            held = int(held)
        if isinstance(held, int) and not isinstance(held, bool) and 400 <= held < 600:  # noqa: PLR2004
            yield held
    for name in _INNER:
        yield from _numbers(value.get(name), deep + 1)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
