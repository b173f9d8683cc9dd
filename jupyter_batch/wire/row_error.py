"""Reason of a row without an answer, from its error in any server's shape. Pure.

The sentence is from core/refusals/sentence.py, as for every call; this adds the dialect's code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyter_batch.core.refusals.sentence import decoded, read_refusal

REASON_CHARS = 500
"""The most characters of a reason, which is shown in a table cell; some servers send pages."""
NO_REASON = "no reason was given"

_CODES = ("code", "type", "__type", "Code", "error_code", "errorCode", "err_code")
_INNER = ("error", "detail", "Error", "errors")
_CODE_CHARS = 80
_DEEP = 4


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
