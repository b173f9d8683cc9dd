"""Previews of a job from its files: the first answers with their rows, and failure examples.

Cheap reads: one block of a result file, and a binary search for each row that is shown; never a
whole file, however many rows there are.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.core.request import Status, ToolCalls, position_of
from jupyter_batch.core.status import Answer, Step
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.providers.table import BATCH
from jupyter_batch.realtime.journal import Book
from jupyter_batch.row_files.request_files import REQUEST_ID
from jupyter_batch.row_files.request_search import line_of
from jupyter_batch.row_files.row_columns import read_unsent
from jupyter_batch.wire.openai import BLOCK_BYTES

ANSWERS = 3
LONGEST = 400
"""Characters that are kept of a text: more than any screen shows of it."""
SAMPLE = 8
"""The number of requests compared to find their common beginning."""
SEARCHED = 64_000_000
"""Bytes of a result file in which the answers of the first rows are looked for."""
LONG_BEGINNING = 24
"""Characters: a shorter common beginning is not hidden."""

Reasons = tuple[tuple[str, int], ...]


class Seen(NamedTuple):
    """The preview of a job.

    reasons: of rows that were never sent; the ledger has those of the others.
    """

    answers: tuple[Answer, ...] = ()
    examples: tuple[tuple[str, Answer], ...] = ()
    reasons: Reasons = ()


class ResultPreview:
    """Reads when there may be something new, and caches the preview. One per job; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job = ""
        self._of: object = None
        self._seen = Seen()
        self._beginning: dict[Path, str] = {}

    def look(self, job: JobRecord, shards: list[ShardRecord], folder: JobFolder) -> Seen:
        """The preview so far.

        Never raises for missing or damaged files: the preview is smaller then.
        """
        with self._lock:
            if job.id != self._job:
                self._job, self._of, self._seen = job.id, None, Seen()
            state = (
                [shard.number for shard in shards if shard.step is Step.COLLECTED],
                job.mode != BATCH
                and len(self._seen.answers) < ANSWERS
                and [shard.completed for shard in shards],
            )
            if state != self._of:
                self._of = state
                with contextlib.suppress(
                    OSError, ValueError, msgspec.MsgspecError, LedgerError
                ):  # a folder that was cleaned up
                    self._seen = self._look(job, shards, folder)
            return self._seen

    def _look(self, job: JobRecord, shards: list[ShardRecord], folder: JobFolder) -> Seen:
        answers = tuple(self._answers(job, shards, folder))
        known = {reason for reason, _ in self._seen.examples}
        examples = list(self._seen.examples)
        for shard in shards:
            for reason, row in shard.examples:
                if reason not in known:
                    known.add(reason)
                    examples.append(
                        (
                            reason,
                            Answer(
                                row=row // job.samples,
                                asked=self._asked(job, shard, folder, row),
                                answer="",
                            ),
                        )
                    )
        unsent = [
            group
            for group in read_unsent(folder, job)
            if group.status is Status.FAILED and group.positions
        ]
        examples += [
            (group.reason, Answer(row=group.positions[0] // job.samples, asked="", answer=""))
            for group in unsent
            if group.reason not in known
        ]
        return Seen(
            answers,
            tuple(examples),
            tuple((group.reason, len(group.positions)) for group in unsent),
        )

    def _answers(
        self, job: JobRecord, shards: list[ShardRecord], folder: JobFolder
    ) -> Iterator[Answer]:
        """The answers of the first rows of the first shard that has any."""
        for shard in shards:
            values = kept_values(job, shard, folder) or decoded_values(job, shard, folder)
            for row in sorted(values)[:ANSWERS]:
                yield Answer(
                    row=row // job.samples,
                    asked=self._asked(job, shard, folder, row),
                    answer=words(values[row]),
                )
            if values:
                return

    def _asked(self, job: JobRecord, shard: ShardRecord, folder: JobFolder, row: int) -> str:
        """The request text of a row, without the beginning common to all of them."""
        path = folder.requests(shard.number)
        if path not in self._beginning:
            self._beginning[path] = beginning([shown_text(line) for line in first_lines(path)])
        return shown_text(line_of(path, job.id, row)).removeprefix(self._beginning[path])[:LONGEST]


def kept_values(job: JobRecord, shard: ShardRecord, folder: JobFolder) -> dict[int, Any]:
    """The answers of a collected shard's first rows, by its columns; none where they are not kept."""
    import numpy as np

    from jupyter_batch.results.columns import ANSWERED
    from jupyter_batch.results.result_files import kept_answers

    found = None
    if shard.step is Step.COLLECTED:
        found = kept_answers(folder.output(shard.number), job)
    if found is None:
        return {}
    is_shown = (found.status == ANSWERED) & (found.rows >= 0) & (found.rows < job.rows)
    lines = np.flatnonzero(is_shown)
    lines = lines[np.argsort(found.rows[lines], kind="stable")[:ANSWERS]]
    return dict(zip(found.rows[lines].tolist(), found.answers(lines), strict=True))


def decoded_values(job: JobRecord, shard: ShardRecord, folder: JobFolder) -> dict[int, Any]:
    """The answers of a shard's first rows among those of the first block of its result file."""
    from jupyter_batch.results.result_files import results_in

    found = map(REQUEST_ID.match, first_lines(folder.requests(shard.number)))
    ids = [match[1] for match in found if match]
    values: dict[int, Any] = {}
    for path in _outputs(job, shard, folder):
        for result in results_in(b"".join(lines_with(path, ids)) + first_block(path), job):
            row = position_of(job.id, result.custom_id)
            if row is not None and result.status is Status.SUCCEEDED:
                values[row] = result.value
    return values


def _outputs(job: JobRecord, shard: ShardRecord, folder: JobFolder) -> Iterator[Path]:
    """The files with a shard's answers: whole once it is collected; in realtime those so far."""
    if shard.step is Step.COLLECTED:
        yield folder.output(shard.number)
    elif job.mode != BATCH and shard.batch_id:
        yield Book(folder.path / "realtime", shard.batch_id).output


def first_block(path: Path) -> bytes:
    """The whole lines in the first 256 kB or so of a file; empty where the file is missing."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        block = file.read(BLOCK_BYTES)
    return block[: block.rfind(b"\n") + 1]


def first_lines(path: Path) -> list[bytes]:
    """The first lines of a request file; an empty list where it is missing."""
    return first_block(path).splitlines()[:SAMPLE]


def lines_with(path: Path, ids: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a result file that hold one of these ids, within its first part."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for row_id in ids:
            at = data.find(b'"' + row_id + b'"', 0, SEARCHED)
            if at >= 0:
                end = data.find(b"\n", at)
                begin = data.rfind(b"\n", 0, at) + 1
                yield data[begin : end + 1 if end >= 0 else len(data)]


def shown_text(line: bytes) -> str:
    """The last user message of a request line, in any dialect; "" where it is not text."""
    try:
        request = msgspec.json.decode(line)
        body = next(
            request[key] for key in ("body", "params", "modelInput", "request") if key in request
        )
        turns = next(
            (body[key] for key in ("messages", "contents", "input", "prompt") if key in body), ""
        )
    except (msgspec.DecodeError, TypeError, StopIteration):
        return ""
    if isinstance(turns, list) and turns and isinstance(turns[-1], dict):
        turns = next((turn for turn in reversed(turns) if turn.get("role") == "user"), turns[-1])
    return _text(turns)


def _text(turn: Any) -> str:
    """The text in a message, a content part, or a list of them."""
    if isinstance(turn, str):
        return turn
    if isinstance(turn, list):
        return " ".join(filter(None, map(_text, turn)))
    if isinstance(turn, dict):
        return _text(next((turn[key] for key in ("content", "parts", "text") if key in turn), ""))
    return ""


def beginning(texts: Iterable[str]) -> str:
    """The common beginning of the texts if long, up to its last sentence or line: the prompt."""
    there = list(filter(None, texts))
    common = os.path.commonprefix(there) if len(there) > 1 else ""  # noqa: RUF071 - texts, not paths
    cut = max(
        (
            common.rfind(mark) + len(mark)
            for mark in (": ", ". ", "? ", "! ", "\n")
            if mark in common
        ),
        default=0,
    )
    return common[:cut] if cut >= LONG_BEGINNING and all(len(text) > cut for text in there) else ""


def words(value: Any) -> str:
    """An answer for display: a text, fields by name, a vector's first numbers, tool calls."""
    if isinstance(value, str):
        return value[:LONGEST]
    if isinstance(value, ToolCalls):
        return (
            "calls "
            + ", ".join(f"{call['name']}({words(call['arguments'])})" for call in value[:8])
        )[:LONGEST]
    if isinstance(value, dict):
        return ", ".join(f"{name}: {words(held)}" for name, held in list(value.items())[:8])[
            :LONGEST
        ]
    if isinstance(value, list | tuple) or hasattr(value, "tolist"):
        plain = value.tolist() if hasattr(value, "tolist") else value
        more = f", … {len(plain):,} in all" if len(plain) > ANSWERS else ""
        return f"[{', '.join(map(words, plain[:ANSWERS]))}{more}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:LONGEST]
