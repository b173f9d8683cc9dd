"""Decoded result lines as columns, and their form on disk.

The form on disk: the values (texts as UTF-8, or vectors), each array, a header in JSON and its
length; checked by 32 bits of an XXH3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import msgspec
import numpy as np
from xxhash import xxh3_64

from jupyter_batch.core.request import Status, Usage
from jupyter_batch.core.secrets import masked
from jupyter_batch.row_files.checksums import file_hash

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

CODES = tuple(Status)
CODE = {status: code for code, status in enumerate(CODES)}
ANSWERED = CODE[Status.SUCCEEDED]
MOST_TOKENS = (1 << 31) - 1  # of one row; a larger or negative count is ignored
TOKENS: tuple[str, ...] = Usage.__struct_fields__
_MAGIC = b"JBC5"
START, _ALIGN, _CHECK = 8, 8, 0xFFFFFFFF
_MAPPED_BYTES = 1 << 20
"""Smaller files are read: a job may have thousands of shards, and a process few maps."""
_MOST_FINISHES = 255


class Texts(Sequence[Any]):
    """Texts as one UTF-8 buffer with offsets: Arrow's layout, of which a text is decoded on access.

    An empty span is a missing value, unless `empty` has its number.
    """

    def __init__(self, offsets: Array, data: Any, empty: Sequence[int] = ()) -> None:
        self.offsets = offsets
        self.data = data
        self.empty = frozenset(empty)

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Texts:
        """Encode texts. Raises UnicodeEncodeError for a lone surrogate."""
        parts = [b"" if value is None else value.encode() for value in values]
        offsets = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=offsets[1:])
        empty = [at for at, value in enumerate(values) if value == ""] if "" in values else ()
        return cls(offsets, b"".join(parts), empty)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, at: Any) -> Any:
        start, end = self.offsets[at : at + 2].tolist()
        if start == end:
            return "" if at in self.empty else None
        return str(self.data[start:end], "utf-8")

    def take(self, lines: Array) -> list[str | None]:
        """The texts of these lines."""
        data, empty = memoryview(self.data), self.empty
        starts, ends = self.offsets[lines].tolist(), self.offsets[lines + 1].tolist()
        found: list[str | None] = [
            str(data[start:end], "utf-8") if end > start else None
            for start, end in zip(starts, ends, strict=True)
        ]
        if empty:
            for at, line in enumerate(lines.tolist()):
                if line in empty:
                    found[at] = ""
        return found


class Floats(Sequence[Any]):
    """Vectors of one length, in the lines that have one: a row of `data` for each of them."""

    def __init__(self, data: Array, has_one: Array) -> None:
        self.data = data
        self._at = np.where(has_one, np.cumsum(has_one) - 1, -1)

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, line: Any) -> Any:
        at = self._at[line]
        return None if at < 0 else self.data[at]

    def take(self, lines: Array) -> list[Array | None]:
        """The vectors of these lines."""
        return [self[line] for line in lines.tolist()]


class Columns:
    """The lines of a result file, in their order.

    rows: each line's position in the job, -1 for none. status: an index into CODES. finish: an
    index into `finishes`. tier: an index into `tiers`, the service tiers that answers name. usage:
    tokens by kind, without the kinds that are 0 in all lines; has_usage:
    whether a line reports its usage. unbilled: see Result. cost: those that answers name, NaN where
    one names none; None without any. reasons, raws: of failures, by line.
    values: Texts, Floats, or a list of other values; parse: makes the answer of such a value.
    """

    parse: Callable[[Any], Any] | None = None
    is_partial = False
    """Whether lines of no row are expected: the file is another job's, of which some rows are ours."""

    def __init__(self, lines: int) -> None:
        self.rows: Array = np.full(lines, -1, dtype=np.int64)
        self.status: Array = np.zeros(lines, dtype=np.uint8)
        self.finish: Array = np.zeros(lines, dtype=np.uint8)
        self.tier: Array = np.zeros(lines, dtype=np.uint8)
        self.has_usage: Array = np.zeros(lines, dtype=bool)
        self.unbilled: Array = np.zeros(lines, dtype=bool)
        self.cost: Array | None = None
        self.usage: dict[str, Array] = {}
        self.finishes: list[str | None] = [None]
        self.tiers: list[str | None] = [None]
        self.reasons: dict[int, str] = {}
        self.raws: dict[int, str] = {}
        self.values: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def answers(self, lines: Array) -> list[Any]:
        """The answers in these lines, None for a failure."""
        held, parse = self.values, self.parse
        found = (
            held.take(lines)
            if isinstance(held, Texts | Floats)
            else [held[line] for line in lines.tolist()]
        )
        if parse is None:
            return found
        return [None if value is None else parse(value) for value in found]

    def moved(self, rows: Array) -> Columns:
        """The same lines for other rows, those of another job."""
        found = copy(self)
        found.rows, found.is_partial = rows, True
        return found

    def write(self, target: BinaryIO, mark: bytes) -> int:
        """Write columns of texts into an empty file; mark: what they were made of. See `write`."""
        assert isinstance(self.values, Texts)  # noqa: S101 - the caller has asked
        return write(target, mark, [self.values.data], lambda: self)

    @classmethod
    def read(cls, path: Path, mark: bytes) -> Columns | None:
        """The columns on disk; None where they are missing, damaged, or of something else."""
        try:
            data = _contents(path)
            check = int.from_bytes(data[4:8], "little")
            if data[:4] != _MAGIC or file_hash(path, START)[1] & _CHECK != check:
                return None
            length = int.from_bytes(data[-8:], "little")
            head = msgspec.json.decode(bytes(data[-8 - length : -8]), type=_Head)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None
        return None if head.mark != mark.hex() else head.columns(data)


def write(
    target: BinaryIO, mark: bytes, values: Iterable[Any], columns: Callable[[], Columns]
) -> int:
    """Write columns into an empty file; return the XXH3 of its bytes from START on.

    Their values come first; these may fill the columns as they are read.
    """
    target.write(_MAGIC + bytes(4))
    check, size = xxh3_64(), 0

    def put(part: Any) -> None:
        check.update(part)
        target.write(part)

    for part in values:
        put(part)
        size += memoryview(part).nbytes
    put(bytes(-size % _ALIGN))
    made = columns()
    texts = made.values if isinstance(made.values, Texts) else None
    arrays = {
        "rows": made.rows,
        **({} if texts is None else {"offsets": texts.offsets}),
        **({} if made.cost is None else {"cost": made.cost}),
        **{f"usage.{kind}": counts for kind, counts in made.usage.items()},
        "status": made.status,
        "finish": made.finish,
        "tier": made.tier,
        "has_usage": made.has_usage,
        "unbilled": made.unbilled,
    }
    head = msgspec.json.encode(
        _Head(
            mark.hex(),
            len(made),
            size,
            {name: array.dtype.str for name, array in arrays.items()},
            made.finishes,
            made.tiers,
            made.reasons,
            made.raws,
            [] if texts is None else sorted(texts.empty),
        )
    )
    for part in (*(array.view(np.uint8) for array in arrays.values()), head):
        put(part)
    put(len(head).to_bytes(8, "little"))
    target.seek(len(_MAGIC))
    target.write((check.intdigest() & _CHECK).to_bytes(4, "little"))
    return check.intdigest()


class _Head(msgspec.Struct, array_like=True):
    """What is on disk after the values and the arrays. size: of the values in bytes."""

    mark: str
    lines: int
    size: int
    dtypes: dict[str, str]
    finishes: list[str | None]
    tiers: list[str | None]
    reasons: dict[int, str]
    raws: dict[int, str]
    empty: list[int]

    def columns(self, data: memoryview) -> Columns:
        """The columns over the content of a file."""
        start, arrays = START + self.size + -self.size % _ALIGN, {}
        for name, dtype in self.dtypes.items():
            count = self.lines + (name == "offsets")
            arrays[name] = np.frombuffer(data, dtype, count, start)
            start += arrays[name].nbytes
        found = Columns(0)
        found.rows, found.status, found.finish = arrays["rows"], arrays["status"], arrays["finish"]
        found.tier, found.cost = arrays["tier"], arrays.get("cost")
        found.has_usage, found.unbilled = arrays["has_usage"], arrays["unbilled"]
        found.usage = {
            kind: arrays[f"usage.{kind}"] for kind in TOKENS if f"usage.{kind}" in arrays
        }
        found.finishes, found.tiers = self.finishes, self.tiers
        # A secret may have become known since. Many lines fail for the same reason.
        clean = {text: masked(text) for text in {*self.reasons.values(), *self.raws.values()}}
        found.reasons = {line: clean[reason] for line, reason in self.reasons.items()}
        found.raws = {line: clean[raw] for line, raw in self.raws.items()}
        values = data[START : START + self.size]
        if "offsets" in arrays:
            found.values = Texts(arrays["offsets"], values, self.empty)
        else:
            has_one = found.status == ANSWERED
            vectors = np.frombuffer(values, np.float32)
            found.values = Floats(vectors.reshape(max(int(has_one.sum()), 1), -1), has_one)
        return found


def _contents(path: Path) -> memoryview:
    """The bytes of a file: mapped by Arrow if it is large, without a file descriptor. Raises OSError."""
    if path.stat().st_size >= _MAPPED_BYTES:
        with contextlib.suppress(ImportError):
            import pyarrow as pa

            with pa.memory_map(str(path)) as mapped:  # the buffer keeps the map, not the file
                return memoryview(mapped.read_buffer())
    return memoryview(path.read_bytes())
