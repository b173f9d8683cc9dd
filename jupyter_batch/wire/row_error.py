"""Reason of a row without an answer, out of its error in whatever shape a server sent it. Pure.

The sentence is core/refusals/sentence.py's, as for every call; this module adds the code that dialects put before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyter_batch.core.refusals.sentence import decoded, read_refusal

REASON_CHARS = 500
"""A reason is a sentence for a table's cell; some servers send pages."""
NO_REASON = "no reason was given"

_CODES = ("code", "type", "__type", "Code", "error_code", "errorCode", "err_code")
_INNER = ("error", "detail", "Error", "errors")
_CODE_CHARS = 80
_DEEP = 4


def reason_of(error: Any, code: str = "") -> str:
    """The code and the sentence of an error of any shape; NO_REASON where it says nothing."""
    text = (read_refusal(error).message if error else "") or NO_REASON
    has_code = text.startswith(code) or text == f"error code {code}"
    return cut(text if has_code else f"{code}: {text}")


def code_of(error: Any, deep: int = 0) -> str:
    """The word or number by which an error is known; "" where it has none. An address (RFC 7807's type) is none."""
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
    """A text of at most REASON_CHARS."""
    return text if len(text) <= REASON_CHARS else text[: REASON_CHARS - 1] + "…"


def _word(held: Any) -> str:
    if isinstance(held, bool) or not isinstance(held, str | int):
        return ""
    word = str(held).strip().rpartition("#")[2]
    return "" if "://" in word or word == "about:blank" or len(word) > _CODE_CHARS else word
