"""Row fingerprints: hashes of the cells that a prompt read, equal in every process.

They are stored with a job (`Keys`), so a change here must keep those of earlier versions; the kind
of hash is recorded with the job.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jupyter_batch.frames.canonical import content
from jupyter_batch.frames.hashing import BLAKE2B, Hash, hash_of

PLAIN = frozenset({str, int, bool, type(None)})


def texts_of(cells: list[Any]) -> list[str | None]:
    """Return each cell's text for the fingerprint; None for a missing one.

    1 and 1.0 are equal: pandas converts integers to floats once a value is missing.
    """
    kinds = set(map(type, cells))
    if kinds <= {str, type(None)}:
        return cells
    if kinds <= PLAIN:
        return [None if cell is None else str(cell) for cell in cells]
    return [text_of(cell) for cell in cells]


def text_of(cell: Any) -> str | None:
    """Return a cell's text for the fingerprint; None for a missing one."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, float):
        return str(int(cell)) if math.isfinite(cell) and cell.is_integer() else repr(cell)
    return content(cell)


_ABSENT = b"\xff"  # not a text: invalid UTF-8


def fingerprints_of(
    columns: list[list[str | None]], rows: int, hashing: str = BLAKE2B
) -> list[bytes]:
    """Hash each row's texts with lengths, so that ("a", "bc") != ("ab", "c"), and missing != "".

    hashing: the kind of hash.
    """
    one = hash_of(hashing)
    if not columns:
        return [one(_ABSENT)] * rows
    if len(columns) == 1:
        return _hashed(columns[0], one)
    parts = [
        ["-;" if text is None else f"{len(text)};{text}" for text in column] for column in columns
    ]
    return _hashed(list(map("".join, zip(*parts, strict=True))), one)


def _hashed(texts: Sequence[str | None], one: Hash) -> list[bytes]:
    if None in texts:
        return [one(_ABSENT) if text is None else _hashed([text], one)[0] for text in texts]
    try:
        return [one(text.encode()) for text in texts]  # type: ignore[union-attr]
    except UnicodeEncodeError:  # lone surrogates
        return [one(text.encode("utf-8", "surrogatepass")) for text in texts]  # type: ignore[union-attr]
