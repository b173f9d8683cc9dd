"""Chat result lines that differ in ids, counts and texts alone, compared a block at a time.

A shape is a decoded line that is cut at these values. Another line has the same JSON tree if each
value is one token, and the bytes between them are the same: so nothing else of it is decoded.
Other lines are left to results/lines/plain.py, with which this agrees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec
import numpy as np

from jupyter_batch.core.request import finish_of
from jupyter_batch.results.lines.plain import plain_answer

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

_ROW, _TEXT, _WORD, _DIGITS = "row", "text", "word", "digits"
_TOTAL, _START, _END = "total", "start", "end"
_DETAILS = ("cached_tokens", "reasoning_tokens")
_VALUES = {
    b"custom_id": _ROW,
    b"id": _WORD,
    b"response.request_id": _WORD,
    b"response.body.id": _WORD,
    b"response.body.system_fingerprint": _WORD,
    b"response.body.created": _DIGITS,
    b"response.body.choices.0.message.content": _TEXT,
    b"response.body.usage.prompt_tokens": "input_tokens",
    b"response.body.usage.completion_tokens": "output_tokens",
    b"response.body.usage.total_tokens": _TOTAL,
    b"response.body.usage.prompt_tokens_details.cached_tokens": "cached_tokens",
    b"response.body.usage.completion_tokens_details.reasoning_tokens": "reasoning_tokens",
}
"""The values in which lines of a shape differ, by their path. Words and digits are not used."""
_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
_LEAST = ord("-")
"""Words have no byte below this one, none beyond ASCII, and no backslash."""
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[-+.\w]+|[{}\[\],]')
_ODD_KEY = re.compile(rb"[\\.]|^\d*$")
_LONGER, _LONGEST_NUMBER, _MOST_DIGITS = 8, 16, 8
_MOST_SHAPES = 6  # of a file
_MOST_TRIES = 12  # lines of a file that are looked at for a shape, after which no more are sought
_FEWEST, _SHORTEST = 32, 16
"""Blocks with fewer lines, or fewer of a kind one after another on average, are left to plain.py."""
_TEXT_OF = msgspec.json.Decoder(str)
_NEWLINE, _QUOTE, _BACKSLASH, _BLANK, _ZERO, _NINE = *b'\n"\\ 0', 9
_ZEROS = np.uint64(0x3030303030303030)
_PAIRS, _FOURS, _EIGHTS = map(np.uint64, (10 * 2**8 + 1, 100 * 2**16 + 1, 10**4 * 2**32 + 1))


class Run(NamedTuple):
    """Consecutive lines that have shapes. texts: joined, as UTF-8; lengths: of each in bytes.

    shapes: the number of each line's shape; finishes, tiers: by shape. tokens: by kind.
    """

    rows: Array
    texts: bytes
    lengths: Array
    shapes: Array
    finishes: list[str | None]
    tiers: list[str | None]
    tokens: dict[str, Array]


class _Value(NamedTuple):
    """A value of a line, and the constant bytes between it and the one that is read before it.

    size: the most bytes that it may have.
    """

    constant: Array
    kind: str
    size: int


class _Shape:
    """The values up to the text, from the line's start on, and those down to it from the end back."""

    def __init__(self, line: bytes, values: list[tuple[int, int, str]], answer: Any) -> None:
        body = answer.response.body
        self.finish, self.tier = finish_of(body.choices[0].finish_reason), body.service_tier
        data = np.frombuffer(line, dtype=np.uint8)
        text = next(at for at, value in enumerate(values) if value[2] == _TEXT)
        self.before, self.after = list[_Value](), list[_Value]()
        last = 0
        for start, end, kind in values[: text + 1]:
            self.before.append(_Value(data[last:start], kind, _size(start, end, kind)))
            last = end
        last = len(line)
        for start, end, kind in reversed(values[text:]):
            self.after.append(_Value(data[end:last], kind, _size(start, end, kind)))
            last = start
        self.length = sum(len(value.constant) for value in (*self.before, *self.after))

    @classmethod
    def of(cls, line: bytes, job: str) -> _Shape | None:
        """The shape of a line; None where it is no plain answer, or has a value in an odd form."""
        answer = plain_answer(line)
        spans = None if answer is None else _scalars(line)
        if spans is None:
            return None
        values = []
        for path in _VALUES.keys() & spans.keys():
            start, end = spans[path]
            kind, token = _VALUES[path], line[start:end]
            if kind in (_ROW, _TEXT, _WORD):
                head = b'"%b-' % job.encode() if kind == _ROW else b'"'
                start, end, is_plain = start + len(head), end - 1, token.startswith(head)
            else:
                is_plain = token.isdigit()
                if token == b"0" and kind in _DETAILS:  # that is most often so: no value to compare
                    continue
            if is_plain:
                values.append((start, end, kind))
            elif token != b"null":
                return None
        if not {_ROW, _TEXT, *_TOKENS[:2]} <= {kind for *_, kind in values}:
            return None
        return cls(line, sorted(values), answer)


def _scalars(line: bytes) -> dict[bytes, tuple[int, int]] | None:
    """The span of each text and number, by its path; None where a key is odd, or occurs twice."""
    found: dict[bytes, tuple[int, int]] = {}
    seen, path = set[bytes](), list[bytes]()
    for match in _TOKEN.finditer(line):
        token = match[0]
        if token in b"{[":
            path.append(b"" if token == b"{" else b"0")
        elif token in b"}]":
            path.pop()
        elif token == b",":
            path[-1] = b"%d" % (int(path[-1]) + 1) if path[-1].isdigit() else b""
        elif path and not path[-1]:
            path[-1] = token[1:-1]
            here = b".".join(path)
            if here in seen or _ODD_KEY.search(path[-1]):
                return None
            seen.add(here)
        else:
            found[b".".join(path)] = match.span()
    return found


def _size(start: int, end: int, kind: str) -> int:
    """The most bytes, and the one after them, that a value may have of which one is known."""
    return end - start + _LONGER if kind == _WORD else _LONGEST_NUMBER


class Shapes:
    """The shapes of the lines of a file, which are found as they come. job: its id."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._known: list[_Shape] = []
        self._tries = _MOST_TRIES

    def runs(self, block: memoryview) -> Iterator[Run | memoryview]:
        """The whole lines of a block in their order: those of known shapes, and the bytes of others."""
        lines = _Lines(block) if self._known or self._tries else None
        if lines is None or len(lines.ends) < _FEWEST:
            yield block
            return
        for number, shape in enumerate(self._known):
            lines.match(number, shape)
        self._seek(block, lines)
        lines.read_texts()
        changes = np.flatnonzero(np.diff(lines.shapes < 0)) + 1
        cuts = [0, *changes.tolist(), len(lines.ends)]
        if len(changes) * _SHORTEST > len(lines.ends):
            yield block
            return
        for first, last in pairwise(cuts):
            if lines.shapes[first] < 0:
                yield block[lines.starts[first] : lines.ends[last - 1] + 1]
            else:
                yield lines.run(first, last, self._known)

    def _seek(self, block: memoryview, lines: _Lines) -> None:
        """Find shapes of lines that fit none."""
        left = np.flatnonzero(lines.shapes < 0)
        while len(left) and self._tries and len(self._known) < _MOST_SHAPES:
            self._tries -= 1
            line = bytes(block[lines.starts[left[0]] : lines.ends[left[0]]])
            shape = _Shape.of(line, self._job)
            if shape is not None and lines.match(len(self._known), shape):
                self._known.append(shape)
                left = left[lines.shapes[left] < 0]
            else:
                left = left[len(left) // 2 + 1 :]


class _Lines:
    """The lines of a block, and their values as they are found. shapes: -1 where none fits."""

    def __init__(self, block: memoryview) -> None:
        self._block, self._data = block, np.frombuffer(block, dtype=np.uint8)
        self.ends = np.flatnonzero(self._data == _NEWLINE)
        if self._data[-1] != _NEWLINE:
            self.ends = np.append(self.ends, len(block))
        self.starts = np.concatenate([[0], self.ends[:-1] + 1])
        self.shapes = np.full(len(self.ends), -1, dtype=np.int64)
        self._values: dict[str, Array] = {}
        self._texts = b""
        self._lengths: Array = np.zeros(len(self.ends), dtype=np.int64)

    def match(self, number: int, shape: _Shape) -> bool:
        """Set the values of the lines that have no shape yet and fit this one; return if some do."""
        left = np.flatnonzero((self.shapes < 0) & (self.ends - self.starts >= shape.length))
        if not len(left):
            return False
        before = _Reader(self._data, self.starts[left], forward=True)
        after = _Reader(self._data, self.ends[left], forward=False)
        numbers = before.read(shape.before) | after.read(shape.after)
        fits = np.flatnonzero(before.fits & after.fits & (before.at < after.at))
        ends, digits = (np.stack(each)[:, fits] for each in zip(*numbers.values(), strict=True))
        is_plain = (digits > 0) & ((digits == 1) | (self._data[ends - digits] != _ZERO))
        most = [_LONGEST_NUMBER if kind == _DIGITS else _MOST_DIGITS for kind in numbers]
        plain = (is_plain & (digits <= np.array(most)[:, None])).all(axis=0)
        if not plain.all():
            fits, ends, digits = fits[plain], ends[:, plain], digits[:, plain]
        values = _numbers(self._data, ends, np.minimum(digits, _MOST_DIGITS))
        found = dict(zip(numbers, values, strict=True))
        found |= {_START: before.at[fits], _END: after.at[fits]}
        here = left[fits]
        self.shapes[here] = number
        if len(here) == len(self.ends):
            self._values = found
            return True
        for kind, held in found.items():
            self._values.setdefault(kind, np.zeros(len(self.ends), dtype=np.int64))[here] = held
        return bool(len(here))

    def read_texts(self) -> None:
        """Read the texts of the lines that have a shape; one that can't be read here has none."""
        here = np.flatnonzero(self.shapes >= 0)
        if not len(here):
            return
        starts, ends = self._values[_START][here], self._values[_END][here]
        joined = _joined(self._block, starts, ends)
        if joined is None or np.frombuffer(joined, dtype=np.uint8).min() < _BLANK:
            self.shapes[:] = -1
            return
        lengths = ends - starts
        self._texts, self._lengths[here] = joined, lengths
        if b'"' in joined or b"\\" in joined:
            data, ends = np.frombuffer(joined, dtype=np.uint8), lengths.cumsum()
            escaped = np.flatnonzero((data == _QUOTE) | (data == _BACKSLASH))
            some = np.unique(np.searchsorted(ends, escaped, side="right"))
            self._texts = b"".join(self._unescaped(joined, here, some.tolist(), ends.tolist()))

    def _unescaped(
        self, joined: bytes, here: Array, some: list[int], ends: list[int]
    ) -> Iterator[bytes]:
        """The joined texts of the lines `here` in parts, where `some` of them have escapes."""
        last = 0
        for at in some:
            start, end = ends[at - 1] if at else 0, ends[at]
            yield joined[last:start]
            last = end
            try:
                text = _TEXT_OF.decode(b'"%b"' % joined[start:end]).encode()
            except (msgspec.DecodeError, UnicodeError):
                text, self.shapes[here[at]] = b"", -1
            self._lengths[here[at]] = len(text)
            yield text
        yield joined[last:]

    def run(self, first: int, last: int, shapes: list[_Shape]) -> Run:
        """The lines from `first` to before `last`, which have shapes."""
        start, length = self._lengths[:first].sum(), self._lengths[first:last].sum()
        found = {kind: values[first:last] for kind, values in self._values.items()}
        if _TOTAL in found and "reasoning_tokens" in found:  # as wire.tolerant.whole_output has it
            thought, out = found["reasoning_tokens"], found["output_tokens"]
            is_apart = found[_TOTAL] == found["input_tokens"] + out + thought
            found["output_tokens"] = np.where(is_apart, out + thought, out)
        return Run(
            found[_ROW],
            self._texts[start : start + length],
            self._lengths[first:last],
            self.shapes[first:last],
            [shape.finish for shape in shapes],
            [shape.tier for shape in shapes],
            {kind: found[kind] for kind in _TOKENS if kind in found},
        )


class _Reader:
    """An offset in each of many lines, which moves over bytes that they have in common, and values.

    fits: whether a line had all that was expected. One that has cannot leave its line, of which no
    value has the end: so what is next to it in the block is read for the first and last line alone.
    """

    def __init__(self, data: Array, at: Array, *, forward: bool) -> None:
        self._data, self._forward = data, forward
        self.at, self.fits = at, np.ones(len(at), dtype=bool)

    def read(self, values: list[_Value]) -> dict[str, tuple[Array, Array]]:
        """Move up to the text; return each number's end, and how many digits it has, by kind."""
        numbers = {}
        for constant, kind, size in values:
            same = self._seen(len(constant)) == constant
            if not same.all():
                self.fits &= same.all(axis=1)
            self._move(len(constant))
            if kind == _WORD:
                seen = self._seen(size)
                self._skip((seen.view(np.int8) < _LEAST) | (seen == _BACKSLASH))
            elif kind != _TEXT:
                start = self.at
                width = self._skip(self._seen(size) - _ZERO > _NINE)
                numbers[kind] = (self.at if self._forward else start), width
        return numbers

    def _seen(self, size: int) -> Array:
        """The bytes of each line that come next, in the order of the file."""
        last = len(self._data) - size
        if self._forward:
            self.fits[-1] &= self.at[-1] <= last
            at = np.minimum(self.at, last)
        else:
            at = self.at - size
            self.fits[0] &= at[0] >= 0
        windows: Array = np.ndarray((last + 1,), f"V{size}", self._data, 0, (1,))
        return windows[at].view(np.uint8).reshape(len(at), size)

    def _skip(self, others: Array) -> Array:
        """Move to the first other byte; return the number of bytes before it, 0 where there is none."""
        width: Array = (others if self._forward else others[:, ::-1]).argmax(axis=1)
        self._move(width)
        return width

    def _move(self, width: Any) -> None:
        self.at = self.at + width if self._forward else self.at - width


def _numbers(data: Array, ends: Array, digits: Array) -> Array:
    """The numbers of 1 to 8 digits that end at these offsets, the eight bytes of each as one integer."""
    words: Array = np.ndarray((len(data) - 7,), "<u8", data, 0, (1,))
    others = (64 - 8 * digits).astype(np.uint64)  # bits before the number, which are the lower ones
    held = ((words[ends - 8] ^ _ZEROS) >> others) << others
    held = (held * _PAIRS >> 8) & 0x00FF00FF00FF00FF
    held = (held * _FOURS >> 16) & 0x0000FFFF0000FFFF
    found: Array = (held * _EIGHTS >> 32).astype(np.int64)
    return found


def _joined(block: memoryview, starts: Array, ends: Array) -> bytes | None:
    """The parts of a block between these offsets, joined; None where one is not UTF-8.

    They are in order, and apart.
    """
    try:
        import pyarrow as pa
    except ImportError:
        parts = [
            block[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
        return b"".join(parts) if all(map(_is_text, parts)) else None
    offsets = np.stack([starts, ends], axis=1)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    every = pa.Array.from_buffers(pa.large_string(), 2 * len(starts) - 1, buffers)
    texts = every.take(pa.array(np.arange(0, len(every), 2)))
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return bytes(texts.buffers()[2][: int((ends - starts).sum())])


def _is_text(part: memoryview) -> bool:
    try:
        str(part, "utf-8")
    except UnicodeDecodeError:
        return False
    return True
