"""The requests that a refused create blames, out of a body in Anthropic's shape or near it. It knows no network."""

from __future__ import annotations

import re
from typing import NamedTuple

from jupyter_batch.core.refusals.sentence import Refusal, decoded, short
from jupyter_batch.wire.row_error import REASON_CHARS

TEXT = 65_536
"""How much of a refusal's body is read."""
_KEPT = 300
"""So many rows are named; a job with a mistake in each row is told enough by these."""
_REQUEST = re.compile(r"(?:\w+: )?requests\.([0-9]{1,9})\.")
"""How a refused create names the request that is at fault; they count from 0."""
_PLACE = re.compile(
    r"""["']requests["'],\s*([0-9]{1,9}),?\s*([^\]]{0,200})\],\s*["']msg["']:\s*(["'])(.*?)\3"""
)
"""How servers that check with pydantic do (OGX 1.5.0, as Python writes it; FastAPI's own `detail`, as JSON)."""


class Rows(NamedTuple):
    """message: "kind: text", of one line. request: the provider's id of the call. lines: as ProviderError.bad_lines."""

    message: str
    request: str
    lines: tuple[tuple[int, str], ...]


def read_rows(body: bytes, refusal: Refusal) -> Rows:
    """The requests that a refusal blames. body: as it came; refusal: what was read of it."""
    value = decoded(body)
    value = value if isinstance(value, dict) else {}
    error = value.get("error")
    error = error if isinstance(error, dict) else {}
    said = error.get("message")
    found = _placed(said if isinstance(said, str) else body[:TEXT].decode("utf-8", "replace"))
    kind = str(error.get("type") or "") if isinstance(said, str) and said else ""
    text = "; ".join(found.values()) if found else refusal.message
    message = short(f"{kind}: {text}".strip(": ")) or "no reason was given"
    if not found and (named := _REQUEST.match(message)):
        found = {int(named[1]) + 1: message}
    return Rows(message, str(value.get("request_id") or ""), tuple(found.items()))


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
