"""Chat result lines that differ in ids, counts and texts alone, compared a block at a time.

A shape is a decoded line that is cut at these values. Another line has the same JSON tree if each
value is one token, and the bytes between them are the same: so nothing else of it is decoded. Lines
whose values have the same widths (results/lines/layouts.py) are compared at once.
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
from jupyter_batch.results.lines.layouts import DIGITS, PROBE, WORD, Side, numbers_at
from jupyter_batch.results.lines.plain import plain_answer

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]

_ROW, _TEXT = "row", "text"
_TOTAL, _START, _END = "total", "start", "end"
_DETAILS = ("cached_tokens", "reasoning_tokens")
_VALUES = {
    b"custom_id": _ROW,
    b"id": WORD,
    b"response.request_id": WORD,
    b"response.body.id": WORD,
    b"response.body.system_fingerprint": WORD,
    b"response.body.created": DIGITS,
    b"response.body.choices.0.message.content": _TEXT,
    b"response.body.usage.prompt_tokens": "input_tokens",
    b"response.body.usage.completion_tokens": "output_tokens",
    b"response.body.usage.total_tokens": _TOTAL,
    b"response.body.usage.prompt_tokens_details.cached_tokens": "cached_tokens",
    b"response.body.usage.completion_tokens_details.reasoning_tokens": "reasoning_tokens",
}
"""The values in which lines of a shape differ, by their path. Words and digits are not used."""
_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[-+.\w]+|[{}\[\],]')
_ODD_KEY = re.compile(rb"[\\.]|^\d*$")
_MOST_SHAPES = 6  # of a file
_MOST_TRIES = 12  # lines of a file that are looked at for a shape, after which no more are sought
_FEWEST, _SHORTEST = 32, 16
"""Blocks with fewer lines, or fewer of a kind one after another on average, are left to plain.py."""
_TEXT_OF = msgspec.json.Decoder(str)
_NEWLINE, _QUOTE, _BACKSLASH, _BLANK = b'\n"\\ '
_ONE = np.uint64(1)


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


class _Shape:
    """The two sides of a line, before and after its text."""

    def __init__(self, line: bytes, values: list[tuple[int, int, str]], answer: Any) -> None:
        body = answer.response.body
        self.finish, self.tier = finish_of(body.choices[0].finish_reason), body.service_tier
        text = next(at for at, value in enumerate(values) if value[2] == _TEXT)
        start, end, _ = values[text]
        after = [(first - end, last - end, kind) for first, last, kind in values[text + 1 :]]
        self.head = Side(line[:start], values[:text], is_head=True)
        self.tail = Side(line[end:], after, is_head=False)

    def learn(self, line: bytes) -> bool:
        """Add the layouts of a line; return whether it has this shape, and one of them is new."""
        head, tail = self.head.find(line), self.tail.find(line)
        if head is None or tail is None or min(len(head[0]), len(tail[0])) < PROBE:
            return False
        if b"\\" in head[0] or b"\\" in tail[0]:  # in no word of theirs
            return False
        return self.head.learn(head) | self.tail.learn(tail)

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
            if kind in (_ROW, _TEXT, WORD):
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
        shape = cls(line, sorted(values), answer)
        return shape if shape.learn(line) else None


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
        """Find shapes and layouts of lines that fit none."""
        left, skipped = np.flatnonzero(lines.shapes < 0), 1
        while len(left):
            line = bytes(block[lines.starts[left[0]] : lines.ends[left[0]]])
            number = self._shape_of(line)
            if number is not None and lines.match(number, self._known[number]):
                left, skipped = left[lines.shapes[left] < 0], 1
            else:
                left, skipped = left[skipped:], 2 * skipped

    def _shape_of(self, line: bytes) -> int | None:
        """The number of the shape that has now learned a line's layout, or that was made of the line."""
        for number, shape in enumerate(self._known):
            if shape.learn(line):
                return number
        if not self._tries or len(self._known) == _MOST_SHAPES:
            return None
        self._tries -= 1
        made = _Shape.of(line, self._job)
        if made is None:
            return None
        self._known.append(made)
        return len(self._known) - 1


class _Lines:
    """The lines of a block, and their values as they are found. shapes: -1 where none fits."""

    def __init__(self, block: memoryview) -> None:
        self._block, self._data = block, np.frombuffer(block, dtype=np.uint8)
        self.ends = _newlines(self._data)
        if self._data[-1] != _NEWLINE:
            self.ends = np.append(self.ends, len(block))
        self.starts = np.concatenate([[0], self.ends[:-1] + 1])
        self.shapes = np.full(len(self.ends), -1, dtype=np.int64)
        self._values: dict[str, Array] = {}
        self._texts = b""
        self._lengths: Array = np.zeros(len(self.ends), dtype=np.int64)

    def match(self, number: int, shape: _Shape) -> bool:
        """Set the values of the lines that have no shape yet and fit this one; return if some do."""
        left = np.flatnonzero(self.shapes < 0)
        if not len(left):
            return False
        heads = shape.head.sort(self._data, self.starts[left])
        tails = shape.tail.sort(self._data, self.ends[left])
        starts = self.starts[left] + shape.head.sizes[heads]
        ends = self.ends[left] - shape.tail.sizes[tails]
        fits = (heads >= 0) & (tails >= 0) & (starts < ends)
        if not fits.all():
            left, heads, tails = left[fits], heads[fits], tails[fits]
            starts, ends = starts[fits], ends[fits]
        at = [
            self.starts[left] + shape.head.ends[:, heads],
            self.ends[left] + shape.tail.ends[:, tails],
        ]
        digits = [shape.head.digits[:, heads], shape.tail.digits[:, tails]]
        values = numbers_at(self._data, np.concatenate(at), np.concatenate(digits))
        found = dict(zip([*shape.head.read, *shape.tail.read], values, strict=True))
        found |= {_START: starts, _END: ends}
        self.shapes[left] = number
        if len(left) == len(self.ends):
            self._values = found
            return True
        for kind, held in found.items():
            self._values.setdefault(kind, np.zeros(len(self.ends), dtype=np.int64))[left] = held
        return bool(len(left))

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


def _newlines(data: Array) -> Array:
    """The offsets of newlines, in half of the time of `np.flatnonzero` where lines are long."""
    flags = np.empty(-(-len(data) // 64) * 64, dtype=bool)
    flags[len(data) :] = False
    np.equal(data, _NEWLINE, out=flags[: len(data)])
    words = np.packbits(flags, bitorder="little").view("<u8")
    some = words.nonzero()[0]
    held = words[some]
    if (held & (held - _ONE)).any():  # two within 64 bytes
        return np.flatnonzero(flags)
    return some * 64 + np.frexp(held.astype(np.float64))[1] - 1


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
