"""Status and reason of a row without an answer, from its error in any server's shape. Pure.

The sentence is from core/refusals/sentence.py, as for every call; this adds the dialect's code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from jupyter_batch.core.refusals.sentence import decoded, read_refusal
from jupyter_batch.core.request import Status

REASON_CHARS = 500
"""The most characters of a reason, which is shown in a table cell; some servers send pages."""
NO_REASON = "no reason was given"

_ENDINGS = {
    "batch_expired": Status.EXPIRED,
    "batch_cancelled": Status.CANCELLED,
    "batch_canceled": Status.CANCELLED,
}
ID = re.compile(rb'"custom_id"\s*:\s*"([^"\\]{1,80})"')
"""The id in a line; in a text within the line the quotes would be escaped."""
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_CODES = ("code", "type", "__type", "Code", "error_code", "errorCode", "err_code")
_INNER = ("error", "detail", "Error", "errors")
_CODE_CHARS = 80
_DEEP = 4


def failure_of(error: Any, http: int) -> tuple[Status, str]:
    """The status and the reason of an error of any shape; http: the row's HTTP status, 0 for OK."""
    try:
        written = orjson.dumps(error)
    except TypeError:  # a number of more than 64 bits
        return _read_failure(error, http)
    return _same_failure(written, http)


@lru_cache(maxsize=256)
def _same_failure(written: bytes, http: int) -> tuple[Status, str]:
    """The rows of a batch fail for a few reasons, and an error takes long to read."""
    return _read_failure(orjson.loads(written), http)


def _read_failure(error: Any, http: int) -> tuple[Status, str]:
    code = code_of(error)
    shown = f"HTTP {http}" if http and code in ("", str(http)) else code
    return _ENDINGS.get(code, Status.FAILED), reason_of(error, shown)


def reason_of(error: Any, code: str = "") -> str:
    """Return the code and the sentence of an error of any shape; NO_REASON if it is empty."""
    text = (read_refusal(error).message if error else "") or NO_REASON
    has_code = text.startswith(code) or text == f"error code {code}"
    return cut(text if has_code else f"{code}: {text}")


def code_of(error: Any, deep: int = 0) -> str:
    """Return an error's code, a word or number, or ""; a URL (RFC 7807's type) is not a code."""
    if isinstance(error, str):
        error = decoded(error)
    if isinstance(error, list) and error:
        error = error[0]
    if not isinstance(error, Mapping) or deep > _DEEP:
        return ""
    inner = (code_of(error.get(name), deep + 1) for name in _INNER)
    own = (_word(error.get(name)) for name in _CODES)
    return next(filter(None, (*inner, *own)), "")


def cut(text: str) -> str:
    """Truncate a text to REASON_CHARS."""
    return text if len(text) <= REASON_CHARS else text[: REASON_CHARS - 1] + "…"


def _word(held: Any) -> str:
    if isinstance(held, bool) or not isinstance(held, str | int):
        return ""
    word = str(held).strip().rpartition("#")[2]
    return "" if "://" in word or word == "about:blank" or len(word) > _CODE_CHARS else word


def id_in(line: bytes) -> str | None:
    """The id in an unreadable line; None where it was cut off, since its answer may be fetched again."""
    rest = _STRING.sub(b"", line)
    is_whole = rest.count(b"{") == rest.count(b"}") and rest.count(b"[") == rest.count(b"]")
    found = ID.findall(line) if is_whole and b'"' not in rest else []
    return found[0].decode("utf-8", "replace") if len(found) == 1 else None
