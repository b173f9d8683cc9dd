"""Parser of the requests blamed in a refused create, in Anthropic's error format or near it."""

from __future__ import annotations

import re
from typing import NamedTuple

from jupyter_batch.core.refusals.sentence import Refusal, decoded, short
from jupyter_batch.wire.row_error import REASON_CHARS

TEXT = 65_536
"""The most of a refusal's body that is read."""
_KEPT = 300
"""The most rows that are reported; enough for a job with a mistake in each row."""
_REQUEST = re.compile(r"(?:\w+: )?requests\.([0-9]{1,9})\.")
"""How a refused create names the request at fault, counting from 0."""
_PLACE = re.compile(
    r"""["']requests["'],\s*([0-9]{1,9}),?\s*([^\]]{0,200})\],\s*["']msg["']:\s*(["'])(.*?)\3"""
)
"""The same from servers that validate with pydantic (OGX 1.5.0, as a Python repr; FastAPI's
`detail`, as JSON)."""


class Rows(NamedTuple):
    """The parsed refusal.

    message: "kind: text", in one line. request: the provider's id of the call. lines: see
    ProviderError.bad_lines.
    """

    message: str
    request: str
    lines: tuple[tuple[int, str], ...]


def read_rows(body: bytes, refusal: Refusal) -> Rows:
    """Return the requests that a refusal blames. body: as received; refusal: parsed from it."""
    value = decoded(body)
    value = value if isinstance(value, dict) else {}
    error = value.get("error")
    error = error if isinstance(error, dict) else {}
    given = error.get("message")
    found = _placed(given if isinstance(given, str) else body[:TEXT].decode("utf-8", "replace"))
    kind = str(error.get("type") or "") if isinstance(given, str) and given else ""
    text = "; ".join(found.values()) if found else refusal.message
    message = short(f"{kind}: {text}".strip(": ")) or "no reason was given"
    if not found and (named := _REQUEST.match(message)):
        found = {int(named[1]) + 1: message}
    return Rows(message, str(value.get("request_id") or ""), tuple(found.items()))


def _placed(text: str) -> dict[int, str]:
    """Map the requests named in the text, from 1, to all their errors, in Anthropic's format."""
    found: dict[int, str] = {}
    for number, path, _, why in _PLACE.findall(text[:TEXT]):
        line = int(number) + 1
        where = ".".join(["requests", number, *re.findall(r"\w+", path)])
        reason = f"{where}: {why}"
        if line in found:
            found[line] = f"{found[line]}; {reason}"[:REASON_CHARS]
        elif len(found) < _KEPT:
            found[line] = reason
    return found
