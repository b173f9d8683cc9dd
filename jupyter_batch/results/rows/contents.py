"""A job's rows as its files have them at one moment: indexed in the background, read row by row."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from jupyter_batch.core.request import CUT, Status, position_of
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.results.columns import CODES, Columns
from jupyter_batch.results.copy_answers import kept_in
from jupyter_batch.results.outcomes import Outcomes, of_job
from jupyter_batch.results.result_files import results_in
from jupyter_batch.results.result_preview import SAMPLE, beginning, first_block, shown_text
from jupyter_batch.results.row import Row, result_files, row_of
from jupyter_batch.results.rows.lines import Array, Line, ResultLines, near
from jupyter_batch.results.rows.search import File, Search
from jupyter_batch.results.rows.shapes import Shape
from jupyter_batch.row_files.answer_files import AnswerFile
from jupyter_batch.row_files.line_index import Held, look_elsewhere, requests_of
from jupyter_batch.row_files.request_files import REQUEST_ID
from jupyter_batch.row_files.request_search import lines_of
from jupyter_batch.row_files.row_columns import places_of, sent_hashes, source_index
from jupyter_batch.row_files.row_sources import NOWHERE

_TAKEN_OVER = ("reused-", "joined-")
"""Beginnings of the names of files with another job's answers."""


class Stopped(Exception):  # noqa: N818 - no error: the reading of files has ended early
    """The contents are not needed any more."""


class Contents:
    """The rows of a job. found, lines: None until `start` has read the files. error: why it failed.

    The first rows can be read before: where they are in the result files is guessed then.
    """

    def __init__(self, ledger: Ledger, job: JobRecord, shards: list[ShardRecord]) -> None:
        self.job, self.shards = job, shards
        self.ledger = ledger
        self.folder = ledger.folders.of(job.id)
        self.found: Outcomes | None = None
        self.lines: ResultLines | None = None
        self.error: Exception | None = None
        self.ready = threading.Event()
        self._started, self._reading = threading.Lock(), threading.Lock()
        self._stopped = False
        self._beginnings: dict[int | Path, str] = {}
        self._elsewhere: Held | None = None

    # -- reading all of it ------------------------------------------------------------------------

    def start(self) -> None:
        """Read all result files in a thread, once."""
        if self._started.acquire(blocking=False):
            threading.Thread(target=self._read, name="jupyter_batch-rows", daemon=True).start()

    def stop(self) -> None:
        """End the thread soon."""
        self._stopped = True

    def _read(self) -> None:
        try:
            found = of_job(self.job, self.shards, self.folder, values=False)
            lines = ResultLines(self.job.rows)
            files = result_files(self.job, self.shards, self.folder)
            lines.read(files, self._known_rows, self._check)
            self.lines = lines
            self._elsewhere = self._index_elsewhere()
            self.found = found
        except Stopped:
            pass
        except Exception as error:  # shown in the page
            self.error = error
        finally:
            self.ready.set()

    def _known_rows(self, file: AnswerFile) -> Array | None:
        columns = kept_in(file, self.job)
        return None if columns is None else columns.rows

    def _index_elsewhere(self) -> Held | None:
        """The requests of rows that other jobs sent, or a retry left; None without any."""
        wanted = self.places == NOWHERE
        if not wanted.any():
            return None
        held = requests_of(self.ledger, self.job, wanted, self.job.dialect)
        hashes = sent_hashes(self.job, self.folder)
        if hashes is not None:
            look_elsewhere(held, self.ledger, self.job, hashes, wanted, self.job.dialect)
        return held

    def _check(self) -> None:
        if self._stopped:
            raise Stopped

    # -- columns of all rows ----------------------------------------------------------------------

    @cached_property
    def places(self) -> Array:
        """The row sources (row_files/row_sources.py); int32, as a job has fewer rows than that."""
        return places_of(self.job, self.shards, self.folder).array.astype(np.int32)

    def asked(self, position: int) -> int:
        """The position whose request a row has: its own, or that of the row it duplicates."""
        place = int(self.places[position])
        return -2 - place if place < NOWHERE else position

    def by_request(self, values: Array) -> Array:
        """Values by row, with those of its original for each duplicate."""
        rows = np.flatnonzero(self.places < NOWHERE)
        if len(rows):
            values = values.copy()
            values[rows] = values[-2 - self.places[rows]]
        return values

    @cached_property
    def labels(self) -> Any:
        """The source's index."""
        return source_index(self.job, self.folder)

    def status(self) -> Array:
        """Indexes into CODES."""
        return np.frombuffer(self._whole.status, np.uint8)

    def is_cut(self) -> Array:
        """Whether an answer was cut off."""
        cut = [code for code, finish in enumerate(self._whole.finishes) if finish in CUT]
        finish = np.frombuffer(self._whole.finish, np.uint8)
        return np.isin(finish, cut) & np.isin(self.status(), (_SUCCEEDED, _REUSED))

    def costs(self) -> Array:
        """US dollars; NaN where unknown."""
        return np.frombuffer(self._whole.costs.paid, np.float64)

    def tokens(self) -> Array:
        """Input and output tokens together; NaN where unknown."""
        into = np.frombuffer(self._whole.input_tokens, np.int32).astype(np.float32)
        into[into < 0] = np.nan
        into += np.frombuffer(self._whole.output_tokens, np.int32)
        return into

    def sizes(self) -> Array:
        """Bytes of the result line; NaN where there is none."""
        if self.lines is None:
            raise RuntimeError("the result files have not been read")
        size = self.by_request(self.lines.size).astype(np.float32)
        size[size <= 0] = np.nan
        return size

    @property
    def _whole(self) -> Outcomes:
        if self.found is None:
            raise RuntimeError("the result files have not been read")
        return self.found

    # -- single rows ------------------------------------------------------------------------------

    def label(self, position: int) -> Any:
        """The label of a row in the source's index."""
        return self.labels[position // self.job.samples]

    def prompts(self, positions: list[int]) -> dict[int, str]:
        """The last user message of each, without the beginning common to all rows of a shard."""
        shards: dict[int, list[int]] = {}
        for position in positions:
            asked = self.asked(position)
            shards.setdefault(int(self.places[asked]), []).append(asked)
        texts: dict[int, str] = {}
        for shard, rows in shards.items():
            if shard < 0:
                texts |= self._prompts_elsewhere(rows)
                continue
            same = self._beginning(shard)
            for row, line in lines_of(self.folder.requests(shard), self.job.id, set(rows)).items():
                texts[row] = shown_text(line).removeprefix(same)
        return {at: texts[asked] for at in positions if (asked := self.asked(at)) in texts}

    def _prompts_elsewhere(self, rows: list[int]) -> dict[int, str]:
        held = self._elsewhere
        if held is None:
            return {}
        with self._reading:
            found = {
                row: shown_text(held.line(row)).removeprefix(self._beginning(held.path(row)))
                for row in rows
                if row in held
            }
            held.close()
        return found

    def _beginning(self, of: int | Path) -> str:
        """The beginning common to the prompts of a shard, or of another job's request file."""
        if of not in self._beginnings:
            path = of if isinstance(of, Path) else self.folder.requests(of)
            sample = first_block(path).splitlines()[:SAMPLE]
            self._beginnings[of] = beginning(map(shown_text, sample))
        return self._beginnings[of]

    def results(self, positions: list[int]) -> dict[int, list[Line]]:
        """The result lines of each row; before all was read, those that were found."""
        asked = set(map(self.asked, positions))
        if self.lines is not None:
            return {row: self.lines.lines(row) for row in asked}
        found: dict[int, list[Line]] = {}
        for shard in self.shards:
            mine = {row for row in asked if shard.first <= row <= shard.last}
            if mine:
                share = (min(mine) - shard.first) / max(1, shard.last + 1 - shard.first)
                files = [
                    (self.job.dialect, self.folder.output(shard.number)),
                    (self.job.dialect, self.folder.errors(shard.number)),
                    *self.folder.taken_over(shard),
                ]
                found.update(near(self.job.id, files, share, mine))
        return found

    def outcome(self, position: int, lines: Iterable[Line]) -> Outcomes | None:
        """The outcome of one row by its own lines, with its value; None where they have none."""
        asked = self.asked(position)
        one = Outcomes(asked, asked, values=True, job=self.job)
        came = False
        for line in lines:
            for result in results_in(line.data, self.job, line.dialect):
                if position_of(self.job.id, result.custom_id) == asked:
                    paid = not line.path.name.startswith(_TAKEN_OVER)
                    one.take(self.job.id, [result], paid=paid)
                    came = True
        return one if came else None

    def row(self, position: int) -> Row:
        """One row whole."""
        lines = self.results([position]).get(self.asked(position), [])
        return row_of(
            self.ledger,
            self.job,
            self.shards,
            self.folder,
            self._whole,
            position,
            self.label(position),
            ((line.dialect, line.data) for line in lines),
        )

    # -- search -----------------------------------------------------------------------------------

    def search(self, text: str) -> Search:
        """A search in prompts, answers and reasons of failures; it runs in a thread."""
        made = Search(text, self.job.rows)
        files = list(self._files())
        threading.Thread(
            target=made.run, args=(files,), name="jupyter_batch-search", daemon=True
        ).start()
        return made

    def _files(self) -> Iterator[File]:
        left = list(result_files(self.job, self.shards, self.folder))
        for shard in self.shards:
            yield self._request_file(shard.number)
            names = {self.folder.output(shard.number), self.folder.errors(shard.number)}
            for file in [one for one in left if one.path in names]:
                yield self._result_file(file)
                left.remove(file)
        for file in left:
            yield self._result_file(file)
        if self._elsewhere is not None:
            for path in dict.fromkeys(self._elsewhere.paths):
                yield self._request_file(path, self._elsewhere.row_at(path))

    def _request_file(self, of: int | Path, row_at: Callable[[Array], Array] | None = None) -> File:
        same = self._beginning(of)
        path = of if isinstance(of, Path) else self.folder.requests(of)
        around = _around(path)
        shape = around and Shape(self.job.id, around[0] + orjson.dumps(same)[1:-1], around[1])

        def read(line: bytes) -> Iterator[tuple[int, str]]:
            found = REQUEST_ID.match(line)
            own = position_of(self.job.id, found[1].decode()) if found else None
            if found is None or (own is None and row_at is None):
                return
            text = _between(line, found.end(), around)
            yield own or 0, (shown_text(line) if text is None else text).removeprefix(same)

        return File(path, read, _constant(path, same), row_at, shape=shape)

    def _result_file(self, file: AnswerFile) -> File:
        def read(line: bytes) -> Iterator[tuple[int, str]]:
            for result in results_in(line, self.job, file.dialect):
                position = file.row_of(result.custom_id)
                if position is not None:
                    yield (
                        position,
                        result.error or "" if result.value is None else plain(result.value),
                    )

        def columns() -> Columns | None:
            found = kept_in(file, self.job)
            return found if self.job.schema is None and not self.job.tools else None

        return File(file.path, read, columns=columns)


def plain(value: Any) -> str:
    """An answer as a text, whole; one that is no text as JSON."""
    if isinstance(value, str):
        return value
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, option=option, default=str).decode()


def _around(path: Path) -> tuple[bytes, bytes] | None:
    """The bytes before, from the id on, and after the text in the first lines, if they are the same in each."""
    found = set()
    for line in first_block(path).splitlines()[:SAMPLE]:
        begin, text = REQUEST_ID.match(line), orjson.dumps(shown_text(line))
        at = line.rfind(text)
        if begin is None or at < begin.end():
            return None
        found.add((line[begin.end() : at + 1], line[at + len(text) - 1 :]))
    return found.pop() if len(found) == 1 else None


def _between(line: bytes, start: int, around: tuple[bytes, bytes] | None) -> str | None:
    """The text of a line that is like the first ones; None where it has to be decoded."""
    if around is None:
        return None
    before, after = around
    line = line.rstrip(b"\n")
    text = line[start + len(before) : len(line) - len(after)]
    if (
        not (line.startswith(before, start) and line.endswith(after))
        or b"\\" in text
        or b'"' in text
    ):
        return None
    return text.decode("utf-8", "replace")


def _constant(path: Path, same: str) -> tuple[bytes, ...]:
    """The bytes of the request lines from the id to the end of the text common to all of them."""
    text = orjson.dumps(same)[1:-1]
    sample = first_block(path).splitlines()[:SAMPLE]
    rest = [line[found.end() :] for line in sample if (found := REQUEST_ID.match(line))]
    common: Any = os.path.commonprefix(rest)  # noqa: RUF071 - bytes, not paths
    end = common.find(text) + len(text)
    return (common[:end],) if text and end >= len(text) else ()


_SUCCEEDED, _REUSED = CODES.index(Status.SUCCEEDED), CODES.index(Status.REUSED)
