"""Custom ids that are not ours: of batches that other software sent, and of submitted files.

They are the job's index. In the files on this disk each is replaced by the job's own id of that row,
so that the rest of the package knows one form of ids.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from jupyter_batch.core.request import custom_id, position_of
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.reading import opened
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.row_files.request_files import REQUEST_ID, sent_hash

INDEX_NAME = "custom_id"
_ID = re.compile(rb'"custom_id"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+)')


class _Line(msgspec.Struct):
    custom_id: str | int | None = None


_line = msgspec.json.Decoder(_Line).decode


def sent_file(folder: JobFolder, job: JobRecord, number: int) -> Path:
    """A copy of a shard's request file with the rows' own custom ids, to be sent."""
    ids, made = OwnIds(folder, job), folder.path / f"sent-{number}.jsonl"
    with opened(folder.requests(number)) as ours, written(made) as file:
        file.writelines(ids.theirs(line) for line in ours)
    return made


def index_of(ids: list[str]) -> bytes:
    """Custom ids as the content of a job's index file."""
    import pandas as pd

    from jupyter_batch.frames.labels import index_to_bytes

    return index_to_bytes(pd.Index(ids, dtype=object, name=INDEX_NAME))


class Repeats:
    """Request hashes of lines that need not differ: the second of two equal ones has a hash of its own."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._seen: Counter[bytes] = Counter()

    def hash_of(self, line: bytes) -> bytes:
        """The hash of the next line, in OpenAI's format."""
        first = sent_hash(line, self._kind)
        self._seen[first] += 1
        count = self._seen[first]
        return first if count == 1 else sent_hash(line, self._kind, count - 1)


class OwnIds:
    """The custom ids of a job's rows; where they were not known at its start, as its results show them."""

    def __init__(self, folder: JobFolder, job: JobRecord) -> None:
        from jupyter_batch.row_files.row_columns import source_index

        self._folder, self._job = folder, job
        self._ids: list[str] = [str(label) for label in source_index(job, folder)]
        self._position = {
            label: at for at, label in enumerate(self._ids) if position_of(job.id, label) != at
        }
        self._free = iter([at for at, label in enumerate(self._ids) if label not in self._position])
        self._learned = False

    def theirs(self, line: bytes) -> bytes:
        """A request line of this disk, with the row's own custom id."""
        found = REQUEST_ID.match(line)
        at = position_of(self._job.id, found[1].decode()) if found else None
        if found is None or at is None:
            return line
        return b'{"custom_id":' + msgspec.json.encode(self._ids[at]) + line[found.end() :]

    def ours(self, path: Path) -> None:
        """Rewrite a result file with the job's ids; lines of other requests stay unchanged."""
        with opened(path) as came, written(path) as file:
            file.writelines(self._lines(came))
        if self._learned:
            self._folder.write(self._folder.index, index_of(self._ids))

    def _lines(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        for line in lines:
            yield line if line.isspace() else self._renamed(line)

    def _renamed(self, line: bytes) -> bytes:
        try:
            known = _line(line).custom_id
        except (msgspec.DecodeError, UnicodeDecodeError):  # cut off
            known = None
            is_whole = False
        else:
            is_whole = True
        for found in _ID.finditer(line):
            own_id = str(msgspec.json.decode(found[1]))
            if is_whole and own_id != str(known):
                continue  # of an object within the answer
            at = self._at(own_id, is_whole=is_whole)
            if at is None:
                return line
            return line[: found.start(1)] + self._quoted(at) + line[found.end(1) :]
        if is_whole and known is None and line.startswith(b"{"):  # Gemini's inline requests
            at = next(self._free, None)
            if at is not None:
                self._learned = True
                self._ids[at] = str(at)
                return b'{"custom_id":' + self._quoted(at) + b"," + line[1:]
        return line

    def _quoted(self, at: int) -> bytes:
        return b'"' + custom_id(self._job.id, at).encode() + b'"'

    def _at(self, own_id: str, *, is_whole: bool) -> int | None:
        at = self._position.get(own_id)
        if at is None and is_whole and (at := next(self._free, None)) is not None:
            self._ids[at], self._position[own_id], self._learned = own_id, at, True
        return at
