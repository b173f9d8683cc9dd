"""One row of a job with its request, result and reason, read from the job's files on demand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jupyter_batch.core.request import Result, Usage, custom_id
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.realtime.journal import Book
from jupyter_batch.results.columns import CODES
from jupyter_batch.results.copy_answers import answer_files, is_answer
from jupyter_batch.results.outcomes import Outcomes
from jupyter_batch.results.result_files import results_in
from jupyter_batch.row_files.answer_files import AnswerFile
from jupyter_batch.row_files.line_index import look_elsewhere, requests_of
from jupyter_batch.row_files.request_search import line_of
from jupyter_batch.row_files.row_columns import places_of, sent_hashes
from jupyter_batch.row_files.row_sources import NOWHERE
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.dialects import OPENAI, request_in
from jupyter_batch.wire.kept import kept
from jupyter_batch.wire.openai import BLOCK_BYTES, whole_lines


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a job: attributes, and the same as items (`row["answer"]`, `dict(row)`).

    label: in the source's index. position: counted from 0 in the job. status, error, finish, cost:
    as in `results()`.
    prompt: the messages, or the input, as they were sent; None for a row that was not sent.
    request: the body of the request, in the provider's format. answer: the text, the fields of a
    schema, or None. reasoning, citations, logprobs, transcript: further content of the answer.
    tokens: None where the provider reports none. raw: the provider's line, unchanged. batch: the id
    of its batch at the provider. With `n=`, values that differ between answers are lists.
    """

    label: Any
    position: int
    status: str
    prompt: Any
    answer: Any
    reasoning: str | None
    finish: str | None
    error: str | None
    tokens: Usage | None
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    citations: Any
    logprobs: Any
    transcript: str | None
    model: str
    custom_id: str
    batch: str | None
    request: Any
    raw: Any

    def keys(self) -> Iterator[str]:
        """The names of its fields."""
        return (field.name for field in dataclasses.fields(self))

    def __getitem__(self, name: str) -> Any:
        if name not in {field.name for field in dataclasses.fields(self)}:
            raise KeyError(name)
        return getattr(self, name)

    def __repr__(self) -> str:
        """The fields that have a value, one per line."""
        fields = {name: self[name] for name in self.keys()}
        width = max(map(len, fields))
        return "\n".join(
            f"{name:<{width}}  {value}" for name, value in fields.items() if value is not None
        )


def _known(tokens: int) -> int | None:
    """A count of tokens; None for the -1 of an unknown one."""
    return tokens if tokens >= 0 else None


def row_of(
    ledger: Ledger | None,
    job: JobRecord,
    shards: list[ShardRecord],
    folder: JobFolder,
    found: Outcomes,
    position: int,
    label: Any,
    lines: Iterable[tuple[str, bytes]] | None = None,
) -> Row:
    """The row at a position.

    ledger: to find requests sent by another job; None searches only this job. lines: (dialect,
    result line) of the row where they were found already; `found` may then be without answers.
    """
    places = places_of(job, shards, folder).array
    place = int(places[position])
    asked = -2 - place if place < NOWHERE else position
    number = int(places[asked])
    sent = _request(ledger, job, folder, asked, number, job.dialect)
    # The messages are shown in OpenAI's form, which a job of another dialect keeps as well.
    plain = sent if job.dialect == OPENAI else _request(ledger, job, folder, asked, number, OPENAI)
    if lines is None:
        lines = _lines_of(job, shards, folder, asked)
    line, result = deciding(job, asked, lines)
    extras = kept(line)
    cost = found.costs.paid[position]
    body, words = request_in(sent), request_in(plain or sent)
    return Row(
        label=label,
        position=position,
        status=str(CODES[found.status[position]]),
        prompt=words.get("messages", words.get("input", words.get("prompt"))),
        answer=found.answers[position] if len(found.answers) else result and result.value,
        reasoning=extras.get("reasoning"),
        finish=found.finishes[found.finish[position]],
        error=found.reasons.get(position),
        tokens=None if result is None else result.usage,
        input_tokens=_known(found.input_tokens[position]),
        output_tokens=_known(found.output_tokens[position]),
        cost=None if np.isnan(cost) else float(cost),
        citations=extras.get("citations"),
        logprobs=extras.get("logprobs"),
        transcript=extras.get("transcript"),
        model=job.model,
        custom_id=custom_id(job.id, asked),
        batch=next((one.batch_id for one in shards if one.number == number), None) or None,
        request=body or None,
        raw=tolerant.raw(line) if result is not None and line else None,
    )


_LISTED = (
    "reasoning",
    "finish",
    "tokens",
    "citations",
    "logprobs",
    "transcript",
    "custom_id",
    "batch",
    "raw",
)


def together(samples: list[Row], found: Outcomes, row: int) -> Row:
    """A row with several samples: values that differ between answers are lists. found: by rows."""
    listed = {name: [sample[name] for sample in samples] for name in _LISTED}
    fields: dict[str, Any] = {
        name: None if all(value is None for value in values) else values
        for name, values in listed.items()
    }
    cost = found.costs.paid[row]
    return dataclasses.replace(
        samples[0],
        **fields,
        position=row,
        status=str(CODES[found.status[row]]),
        answer=found.answers[row],
        error=found.reasons.get(row),
        input_tokens=_known(found.input_tokens[row]),
        output_tokens=_known(found.output_tokens[row]),
        cost=None if np.isnan(cost) else float(cost),
    )


def _request(
    ledger: Ledger | None, job: JobRecord, folder: JobFolder, row: int, shard: int, dialect: str
) -> bytes:
    """The request line of a row in a dialect; empty where it was deleted or never made."""
    own = folder.requests(shard) if dialect == job.dialect else folder.asked
    if (shard >= 0 or own == folder.asked) and (line := line_of(own, job.id, row)):
        return line
    if ledger is None:
        return b""
    wanted = np.zeros(job.rows, dtype=bool)
    wanted[row] = True
    held = requests_of(ledger, job, wanted, dialect)
    try:
        hashes = None if row in held else sent_hashes(job, folder)
        if hashes is not None:
            look_elsewhere(held, ledger, job, hashes, wanted, dialect)
        return held.line(row) if row in held else b""
    finally:
        held.close()


def deciding(
    job: JobRecord, row: int, lines: Iterable[tuple[str, bytes]]
) -> tuple[bytes, Result | None]:
    """The deciding line for a row, and its result: an answer before a failure, else the first."""
    wanted = custom_id(job.id, row)
    first: tuple[bytes, Result | None] = (b"", None)
    for dialect, line in lines:
        for result in results_in(line, job, dialect):
            if result.custom_id != wanted:
                continue
            if is_answer(result):
                return line, result
            first = first if first[1] is not None else (line, result)
    return first


def _lines_of(
    job: JobRecord, shards: list[ShardRecord], folder: JobFolder, row: int
) -> Iterator[tuple[str, bytes]]:
    """(dialect, line) of the result lines that contain a row's id, which is the job's own in them."""
    for file in result_files(job, shards, folder):
        for line in _lines_with(file.path, file.id_of(row)):
            yield file.dialect, file.under_own_id(line, row)


def result_files(
    job: JobRecord, shards: list[ShardRecord], folder: JobFolder
) -> Iterator[AnswerFile]:
    """The files with all results, failures and realtime results so far included."""
    yield from answer_files(job, shards, folder)
    for shard in shards:
        yield AnswerFile(job.dialect, folder.errors(shard.number), job.id)
        if shard.batch_id and (folder.path / "realtime").is_dir():
            book = Book(folder.path / "realtime", shard.batch_id)
            yield AnswerFile(job.dialect, book.output, job.id)
            yield AnswerFile(job.dialect, book.errors, job.id)


def _lines_with(path: Path, text: str) -> Iterator[bytes]:
    """The lines of a file that contain a text in quotes; none for an empty text."""
    quoted = f'"{text}"'.encode()
    with opened_if_there(path) as file:
        if file is None or not text:
            return
        for block in whole_lines(iter(lambda: file.read(BLOCK_BYTES), b"")):
            if quoted in block:
                yield from (line for line in block.split(b"\n") if quoted in line)
