"""Why a call was refused, out of the body of an answer in Anthropic's shape or near it. It knows no network."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.core.secrets import masked
from jupyter_batch.wire.tolerant import REASON_CHARS

TEXT = 65_536
"""How much of a refusal's body is read."""
_TOLD = 400
_KEPT = 300
"""So many rows are named; a job with a mistake in each row is told enough by these."""
_REQUEST = re.compile(r"(?:\w+: )?requests\.([0-9]{1,9})\.")
"""How a refused create names the request that is at fault; they count from 0."""
_PLACE = re.compile(
    r"""["']requests["'],\s*([0-9]{1,9}),?\s*([^\]]{0,200})\],\s*["']msg["']:\s*(["'])(.*?)\3"""
)
"""How servers that check with pydantic do (OGX 1.5.0, as Python writes it; FastAPI's own `detail`, as JSON)."""


class Refusal(NamedTuple):
    """message: "kind: text", of one line. request: the provider's id of the call. lines: as ProviderError.bad_lines."""

    message: str
    request: str
    lines: tuple[tuple[int, str], ...]


def read_refusal(body: bytes) -> Refusal:
    """Of `{"type": "error", "error": {"type", "message"}, "request_id"}`, or of anything."""
    text = body[:TEXT].decode("utf-8", "replace")
    kind, request = "", ""
    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        said = None
    if isinstance(said, dict):
        kind, text = _inner(said.get("error") or said, text)
        request = str(said.get("request_id") or "")
    found = _placed(text)
    if found:
        text = "; ".join(found.values())
    message = (
        masked(" ".join(f"{kind}: {text}".strip(": ").split()))[:_TOLD] or "no reason was given"
    )
    if not found and (named := _REQUEST.match(message)):
        found = {int(named[1]) + 1: message}
    return Refusal(message, request, tuple(found.items()))


def _inner(error: Any, text: str) -> tuple[str, str]:
    """(kind, message) of an error's object; `text` where it holds none."""
    if not isinstance(error, dict):
        return "", error if isinstance(error, str) else text
    message = error.get("message")
    return (
        (str(error.get("type") or ""), message)
        if isinstance(message, str) and message
        else ("", text)
    )


def _placed(text: str) -> dict[int, str]:
    """The requests that the text places mistakes in, from 1, and all that is wrong with each, in Anthropic's form."""
    found: dict[int, str] = {}
    for number, path, _, why in _PLACE.findall(text[:TEXT]):
        line = int(number) + 1
        where = ".".join(["requests", number, *re.findall(r"\w+", path)])
        told = f"{where}: {why}"
        if line in found:
            found[line] = f"{found[line]}; {told}"[:REASON_CHARS]
        elif len(found) < _KEPT:
            found[line] = told
    return found
