"""Collection of a finished batch: fetch both result files, count their rows, update the shard.

The outcome of a line is results/outcomes.py's.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import msgspec

from jupyter_batch.core.errors import ConnectionFailedError, NotFoundError, ProviderError
from jupyter_batch.core.request import Usage
from jupyter_batch.core.status import Step
from jupyter_batch.file_checks import contents, json_documents, stored
from jupyter_batch.file_checks.contents import Contents, Missing
from jupyter_batch.file_checks.rejected_lines import for_the_others, rows_at_fault
from jupyter_batch.http.streams import result_file
from jupyter_batch.ledger.folder import JobFolder, disk_errors, is_there, written
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.providers.backoff import GONE_TRIES, is_lost
from jupyter_batch.results.result_files import kept_at
from jupyter_batch.results.shard_figures import of_shard
from jupyter_batch.row_files.own_ids import OwnIds
from jupyter_batch.row_files.row_columns import places_of

if TYPE_CHECKING:
    from jupyter_batch.ledger.store import Ledger
    from jupyter_batch.row_files.row_sources import Places
    from jupyter_batch.runner.context import ShardContext

SHORT_SECONDS = 600.0
"""The time from the observed end for a provider to complete a result file that lacks rows."""
_DRAFT = ".fetched"
_FEW = 8
"""The rows of a batch that are read without a change of threads."""
KEPT_JOBS = 4
"""The jobs whose row sources are kept between their batches."""


class Fetched(NamedTuple):
    """A file that was fetched. here: the contents of the file that is in its place now; odd: see Contents."""

    here: Contents
    odd: str


class NotWholeError(ConnectionFailedError):
    """A fetched file is no result file, or lacks rows the provider counted; it is fetched again."""


_P = ParamSpec("_P")
_T = TypeVar("_T")


@lru_cache(maxsize=1)
def _decoder(process: int) -> ThreadPoolExecutor:
    """The thread of a process that decodes files.

    Several would take turns at Python's lock, and each would hold a file's answers in memory.
    """
    return ThreadPoolExecutor(1, f"jupyter-batch-results-{process}")


async def _in_turn(
    shard: ShardRecord, function: Callable[_P, _T], *given: _P.args, **options: _P.kwargs
) -> _T:
    """Call a function in the thread that decodes, as `asyncio.to_thread` would in any.

    For a few rows it is called here: it costs less than the change of threads.
    """
    if shard.requests <= _FEW:
        return function(*given, **options)
    call = partial(contextvars.copy_context().run, function, *given, **options)
    return await asyncio.get_running_loop().run_in_executor(_decoder(os.getpid()), call)


async def collect(context: ShardContext, shard: ShardRecord) -> ShardRecord:
    """Fetch a shard's results completely; then count them.

    Raises NotWholeError where results are incomplete and more may come.
    """
    folder = context.ledger.folders.of(context.job.id)
    only_output = shard.awaits_file and not shard.lost  # the error file came in time
    shard = await _named(context, shard)
    gone, odd = False, ""
    here: dict[Path, Contents] = {}
    output, errors = folder.output(shard.number), folder.errors(shard.number)
    for file_id, target in ((shard.error_file_id, errors), (shard.output_file_id, output)):
        if not file_id:
            continue
        if await _is_wanted(context, shard, target, only_output=only_output):
            came = await _fetch(context, shard, file_id, target)
            gone, odd = gone or came is None, odd if came is None else came.odd
            here |= {} if came is None else {target: came.here}
    for path in (output, errors):
        if path not in here:
            here[path] = await _contents(path, context.job, shard)
    answers, failures = here[output], here[errors]
    if not answers.found and odd:
        answers = answers._replace(odd=odd)
    lacks = contents.missing(shard, context.facts, answers, failures)
    if lacks.rows and not gone and _may_come(context, shard, lacks):
        raise NotWholeError(_lacking(shard, lacks, answers))
    return await _counted(context, shard, lacks, answers)


async def _contents(path: Path, job: JobRecord, shard: ShardRecord) -> Contents:
    if not is_there(path):  # most often there are no errors
        return Contents(bytearray(shard.last - shard.first + 1))
    return await _in_turn(shard, contents.read, path, job, shard)


def _is_short(errors: Path, job: JobRecord, shard: ShardRecord) -> bool:
    """Whether a shard's error file on disk is empty, truncated, or lacks rows counted as failed."""
    came = contents.read(errors, job, shard)
    return came.cut or came.found < max(min(shard.failed, shard.requests), 1)


def _is_file(path: Path) -> bool:
    return path.is_file()


async def _is_wanted(
    context: ShardContext, shard: ShardRecord, target: Path, *, only_output: bool
) -> bool:
    """Whether a result file is to be fetched: it is not here, or has to be fetched again."""
    if not _is_file(target):
        return True
    is_output = target == context.ledger.folders.of(context.job.id).output(shard.number)
    if shard.refetch and (is_output or not only_output):
        return True
    if not shard.attempts:
        return False
    return is_output or await asyncio.to_thread(_is_short, target, context.job, shard)


def _may_come(context: ShardContext, shard: ShardRecord, lacks: Missing) -> bool:
    """Whether to fetch again results that lack rows. A file that is no result file never counts."""
    now = context.clock()
    if not (shard.output_file_id or shard.error_file_id):
        return False
    if not (lacks.in_output or lacks.in_errors):  # no named file lacks a row
        return False
    if (
        context.job.cancel_at > shard.ended_at and not context.job.rush_at
    ):  # the user gives up results that are not here
        return False
    if _is_deleted(shard, now):
        return False
    return lacks.nothing or now - shard.ended_at < SHORT_SECONDS


def _is_deleted(shard: ShardRecord, now: float) -> bool:
    """Whether the provider has deleted its copy of the results by now, as documented."""
    return shard.keeps_until is not None and now > shard.keeps_until


def _lacking(shard: ShardRecord, lacks: Missing, output: Contents) -> str:
    """The defect of the fetched files."""
    until = (
        "; it is fetched again, and until then nothing is sent again. To give it up, cancel the job"
    )
    if lacks.nothing and output.odd:
        return f"the provider's result file is not there yet: its address answers {output.odd!r}{until}"
    if lacks.nothing:
        return f"the provider's result file is empty{until}"
    return f"{_short_by(shard, lacks)}; it is fetched again"


def _short_by(shard: ShardRecord, lacks: Missing) -> str:
    rows = max(min(shard.completed + shard.failed, shard.requests) or shard.requests, lacks.rows)
    return f"the provider's result file lacks {lacks.rows:,} of the {rows:,} rows that it counted"


async def _named(context: ShardContext, shard: ShardRecord) -> ShardRecord:
    """The shard with the files that the provider names now, where it named none before."""
    wanted = shard.completed or shard.unsure
    if not shard.refetch or not shard.batch_id or shard.output_file_id or not wanted:
        return shard
    try:
        view = await context.provider.poll(shard.batch_id)
    except ProviderError:
        if not shard.unsure:
            raise
        return shard  # the batch is still not visible
    if not view.output_file_id:
        is_empty = view.ending is not None and not view.completed
        return context.put(shard, unsure=False) if shard.unsure and is_empty else shard
    return context.put(
        shard,
        output_file_id=view.output_file_id,
        error_file_id=view.error_file_id or shard.error_file_id,
        completed=max(view.completed, shard.completed),
        failed=max(view.failed, shard.failed),
        unsure=view.ending is None,
        note="",
        why="",
    )


async def _counted(
    context: ShardContext, shard: ShardRecord, lacks: Missing, output: Contents
) -> ShardRecord:
    """The shard, collected: its rows and their cost."""
    shard = await _blamed(context, msgspec.structs.replace(shard, missing=lacks.rows))
    if not lacks.rows:
        shard = msgspec.structs.replace(shard, lost="")
    fields = await _in_turn(shard, _figures, context.ledger, context.job, shard)
    if lacks.rows and not fields["note"]:
        fields["note"] = _short_by(shard, lacks)
        if lacks.nothing and output.odd:
            fields["note"] += f": {output.odd!r}"
    fields["note"] = fields["note"] or _differing(fields["usage"], shard.reported)
    return context.put(
        shard,
        Step.COLLECTED,
        attempts=0,
        due_at=0.0,
        why=shard.why,
        at_fault=shard.at_fault,
        missing=lacks.rows,
        refetch=False,
        fetched_at=context.clock(),
        lost=shard.lost,
        **fields,
    )


def _figures(ledger: Ledger, job: JobRecord, shard: ShardRecord) -> dict[str, Any]:
    folder = ledger.folders.of(job.id)
    kept = stored.sums(folder, shard.number)
    return {**of_shard(job, shard, folder, _places_of(ledger, job, folder)), "kept": kept}


_places: OrderedDict[object, Places] = OrderedDict()  # of the last jobs, the latest last


def _places_of(ledger: Ledger, job: JobRecord, folder: JobFolder) -> Places:
    """The row sources of a job, which are read once for its batches."""
    number = ledger.next_number(job.id)  # it grows where a batch is cut
    key = (folder.path, number, _state(folder.places), _state(folder.unsent))
    found = _places.get(key)
    if found is None:
        found = _places[key] = places_of(job, ledger.shards(job.id), folder)
    with contextlib.suppress(KeyError):  # another thread's batch may have removed it
        _places.move_to_end(key)
        while len(_places) > KEPT_JOBS:
            _places.popitem(last=False)
    return found


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _differing(lines: Usage | None, batch: Usage | None) -> str:
    """The message where the provider's total for the batch is not the sum of its lines; "" else."""
    if lines is None or batch is None:
        return ""
    ours, theirs = ((used.input_tokens, used.output_tokens) for used in (lines, batch))
    if ours == theirs or not any(theirs):  # some servers report zeros
        return ""
    return (
        f"the provider counts {theirs[0]:,} input and {theirs[1]:,} output tokens for the batch, its result lines "
        f"{ours[0]:,} and {ours[1]:,}: the cost here is that of the lines; compare it with the bill"
    )


async def _blamed(context: ShardContext, shard: ShardRecord) -> ShardRecord:
    """The shard, with the rows for which its batch was refused, and the others' reason."""
    if not shard.bad_lines:
        return shard
    requests = context.ledger.folders.of(context.job.id).requests(shard.number)
    at_fault = await asyncio.to_thread(rows_at_fault, requests, context.job.id, shard.bad_lines)
    return msgspec.structs.replace(
        shard, at_fault=at_fault, why=for_the_others(at_fault, shard.why, context.job.samples)
    )


async def _fetch(
    context: ShardContext, shard: ShardRecord, file_id: str, target: Path
) -> Fetched | None:
    """Fetch a result file; None: it is no longer available.

    A file with fewer rows than the one on disk does not replace it.
    """
    draft = target.with_name(target.name + _DRAFT)
    try:
        with written(draft) as file, result_file(file.write) as write:
            await context.provider.fetch(file_id, write)
    except ProviderError as e:
        late = context.clock() - shard.ended_at >= SHORT_SECONDS
        there = await asyncio.to_thread(target.is_file)
        enough = there and late and not shard.refetch
        # If the provider is this disk, or a server of ours, a file that existed is gone for good.
        surely = context.facts.sure and shard.refetch
        tried = shard.attempts >= GONE_TRIES or surely or _is_deleted(shard, context.clock())
        gone = isinstance(e, NotFoundError) and (enough or tried)
        if not gone and not is_lost(e, shard.attempts, context.clock() - shard.ended_at):
            raise
        return None  # the file here counts, and each row without a line has a reason
    return await _in_turn(shard, _put_in_place, draft, target, context.job, shard)


def _put_in_place(draft: Path, target: Path, job: JobRecord, shard: ShardRecord) -> Fetched:
    json_documents.to_lines(draft)
    if job.own_ids:
        OwnIds(JobFolder(target.parent), job).ours(draft)
    came = contents.read(draft, job, shard)
    before = Contents(bytearray(len(came.rows)))
    if is_there(target):
        before = contents.read(target, job, shard)
    foreign = came.odd and not came.found
    with disk_errors(target.parent):
        if foreign or came.found < before.found:
            draft.unlink()
            kept_at(draft).unlink(missing_ok=True)
            return Fetched(before, came.odd)
        draft.replace(target)
        with contextlib.suppress(FileNotFoundError):
            kept_at(draft).replace(kept_at(target))
    return Fetched(came, came.odd)
