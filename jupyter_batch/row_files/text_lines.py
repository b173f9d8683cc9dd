"""Request lines of a block of rows, encoded in Arrow's memory: a line is a join of texts.

A line equals that of wire/openai.py's Encoder byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import orjson

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

Spans: TypeAlias = "Callable[[Any], tuple[bytes, Array]]"

_SHORT = {
    b"\\": b"\\\\",  # first: the others insert it
    b'"': b'\\"',
    b"\b": b"\\b",
    b"\t": b"\\t",
    b"\n": b"\\n",
    b"\f": b"\\f",
    b"\r": b"\\r",
}
"""Characters that JSON escapes by one more byte."""
_CODES = np.frombuffer(b"".join(_SHORT), dtype=np.uint8)
_LAST_CONTROL = 0x1F


class TextLines:
    """Encodes lines that consist of constants, whole columns, and the row's position.

    pieces: constants, the numbers of columns, and None for the position. spans: the bytes and
    offsets of an array.
    """

    def __init__(self, pieces: Sequence[bytes | int | None], spans: Spans) -> None:
        self._pieces, self._spans = _united(pieces), spans

    @classmethod
    def of_requests(
        cls, job: str, parts: Sequence[bytes], texts: Sequence[Sequence[str | int]], spans: Spans
    ) -> TextLines:
        """Encode request lines.

        parts: the line's JSON around its texts, the first of which is its id. texts: the constants
        and the numbers of the columns of each other one.
        """
        pieces: list[bytes | int | None] = [parts[0] + b'"' + f"{job}-".encode(), None, b'"']
        for part, text in zip(parts[1:], [*texts, None], strict=True):
            pieces.append(part)
            if text is not None:
                within = [orjson.dumps(one)[1:-1] if isinstance(one, str) else one for one in text]
                pieces += [b'"', *within, b'"']
        return cls([*pieces, b"\n"], spans)

    def encode(
        self, first: int, columns: Sequence[Any], escaped: dict[int, Any]
    ) -> tuple[bytes, Array, Array] | None:
        """The lines, the offset of each and the end, and the digits of each position.

        columns: an Arrow array of texts each. escaped: those as in JSON by number, more of which are
        added. None for a text with a rare control character.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = pa.large_string()
        for piece in self._pieces:
            if isinstance(piece, int) and piece not in escaped:
                escaped[piece] = self._escaped(columns[piece])
        if None in escaped.values():
            return None
        rows = len(columns[0])
        ids = pa.array(np.arange(first, first + rows)).cast(texts)
        joined = pc.binary_join_element_wise(
            *(
                ids
                if piece is None
                else escaped[piece]
                if isinstance(piece, int)
                else pa.scalar(piece.decode(), texts)
                for piece in self._pieces
            ),
            pa.scalar("", texts),
        )
        return *self._spans(joined), np.diff(self._spans(ids)[1])

    def _escaped(self, texts: Any) -> Any:
        """The texts as in JSON; None for one that has another escape than `_SHORT`."""
        import pyarrow as pa

        data, offsets = self._spans(texts)
        codes = np.frombuffer(data, dtype=np.uint8)
        found = [codes == char for char in b'"\\' if char in data]
        if int(codes.min(initial=255)) <= _LAST_CONTROL:
            found.append(codes <= _LAST_CONTROL)
        if not found:
            return texts
        at = np.flatnonzero(np.logical_or.reduce(found) if len(found) > 1 else found[0])
        if not np.isin(codes[at], _CODES).all():
            return None
        for plain, escaped in _SHORT.items():
            if plain in data:
                data = data.replace(plain, escaped)
        buffers = [None, pa.py_buffer(offsets + np.searchsorted(at, offsets)), pa.py_buffer(data)]
        return pa.Array.from_buffers(pa.large_string(), len(texts), buffers)


def _united(pieces: Sequence[bytes | int | None]) -> list[bytes | int | None]:
    """The pieces with consecutive constants joined."""
    made: list[bytes | int | None] = []
    for piece in pieces:
        if isinstance(piece, bytes) and made and isinstance(made[-1], bytes):
            made[-1] += piece
        else:
            made.append(piece)
    return made
