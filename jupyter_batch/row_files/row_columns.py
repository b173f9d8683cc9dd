"""A job's files by row: rows left out, row sources, and request hashes.

A damaged file is rebuilt from the others, so that answers stay readable and no request is sent
twice. Raises LedgerError, before anything is sent, where the others do not suffice.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from jupyter_batch.core.errors import LedgerCorruptError, LedgerError
from jupyter_batch.core.request import Status, custom_id, position_of
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.reading import RESTORE, opened_if_there, reading
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.process.log import logger
from jupyter_batch.row_files.linked_parts import contents, row_spans, text_spans, write_linked
from jupyter_batch.row_files.request_files import REQUEST_ID
from jupyter_batch.row_files.row_sources import NOWHERE, Places, PlainPlaces

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from jupyter_batch.frames.row_keys import Keys
    from jupyter_batch.ledger.store import Ledger

    Array: TypeAlias = np.ndarray[Any, Any]

UNKNOWN_REASON = (
    "this row was not sent; why is not known any more, since unsent.json is gone or damaged"
)
_RESULT_ID = re.compile(rb'"custom_id"\s*:\s*"([^"\\]{1,80})"')


class Unsent(msgspec.Struct, frozen=True):
    """Rows without a request, by reason."""

    status: Status
    reason: str
    positions: list[int]


# --- rows without a request -----------------------------------------------------------------------------------------


def read_unsent(folder: JobFolder, job: JobRecord) -> list[Unsent]:
    """The rows planned without a request; their reasons are lost where the file is damaged.

    Raises LedgerError where the rows' keys are damaged as well.
    """
    try:
        return _unsent(folder, job)
    except LedgerCorruptError:
        import numpy as np

        left_out = np.flatnonzero(np.repeat(read_keys(folder, job).skipped, job.samples)).tolist()
        if not left_out:
            return []
        status = Status.FAILED if job.unsendable else Status.SKIPPED
        return [Unsent(status, UNKNOWN_REASON, left_out)]


def _unsent(folder: JobFolder, job: JobRecord) -> list[Unsent]:
    with opened_if_there(folder.unsent) as file:
        if file is None and job.skipped + job.unsendable == 0:
            return []
    with reading(folder.unsent):
        groups = msgspec.json.decode(folder.unsent.read_bytes(), type=list[Unsent])
        positions = [at for group in groups for at in group.positions]
        if positions and not 0 <= min(positions) <= max(positions) < job.rows:
            raise ValueError(positions)
    return groups


def read_keys(folder: JobFolder, job: JobRecord) -> Keys:
    """Return the stored keys of a job's rows. Raises LedgerError."""
    from jupyter_batch.frames.row_keys import Keys

    remedy = (
        f"the rows of job {job.id} can't be found in a frame by it. Run the job's cell again, which finds them by what "
        "they ask; job.results() has the answers"
    )
    with reading(folder.keys, remedy):
        keys = Keys.from_bytes(contents(folder.keys), job.hashing)
        if len(keys) != job.frame_rows:
            raise ValueError(len(keys))
    return keys


def source_index(job: JobRecord, folder: JobFolder) -> pd.Index[Any]:
    """The source's index; where it is damaged, the custom ids, which match no label by mistake."""
    import pandas as pd

    from jupyter_batch.frames.labels import index_from_bytes

    if not (job.aligned or job.own_ids):
        return pd.RangeIndex(job.frame_rows)
    try:
        with reading(folder.index):
            index: pd.Index[Any] = index_from_bytes(contents(folder.index))
            if len(index) != job.frame_rows:
                raise ValueError(len(index))
    except LedgerCorruptError as e:
        logger().warning(
            "jupyter_batch: %s. Until then the rows of job.results() are labelled by their custom ids, in the order "
            "in which they were sent; job.merge(df) finds each row of a frame all the same",
            e,
        )
        ids = [custom_id(job.id, at) for at in range(0, job.rows, job.samples)]
        return pd.Index(ids, dtype=object, name="custom_id")
    return index


# --- where answers come from ----------------------------------------------------------------------------------------


def places_of(job: JobRecord, shards: list[ShardRecord], folder: JobFolder) -> Places:
    """The source of each row's answer. Raises LedgerError where it cannot be determined."""
    left_out = [at for group in read_unsent(folder, job) for at in group.positions]
    with opened_if_there(folder.places) as file:
        there = file is not None
    if not there and (job.adopted or not shards):
        return Places.of(folder, job.rows, shards, left_out)
    if not there and _is_plain(job, shards, left_out):
        return PlainPlaces(job.rows, shards, left_out)
    try:
        with reading(folder.places):
            return Places.checked(folder.places.read_bytes(), job.rows, shards)
    except LedgerCorruptError as e:
        return Places(_placed_again(job, shards, folder, left_out, e))


def _is_plain(job: JobRecord, shards: list[ShardRecord], left_out: list[int]) -> bool:
    """Whether row sources are unnecessary: each row has its own request, or none."""
    return sum(shard.requests for shard in shards) + len(left_out) == job.rows


def _placed_again(
    job: JobRecord,
    shards: list[ShardRecord],
    folder: JobFolder,
    left_out: list[int],
    damage: LedgerCorruptError,
) -> Array:
    """Rebuild the row sources from the request files, reused answers and request hashes."""
    import numpy as np

    from jupyter_batch.row_files.answer_files import reused_files

    array = np.full(job.rows, NOWHERE, dtype=np.int64)
    has_answer = np.zeros(job.rows, dtype=bool)
    for file in reused_files(folder, job.id):
        rows = _rows_in(file.path, job, _RESULT_ID.search) if file.at is None else file.answered
        has_answer[list(rows)] = True
    for shard in shards:
        mine = [*_rows_in(folder.requests(shard.number), job, REQUEST_ID.match)]
        for _, path in folder.taken_over(shard):
            mine += _rows_in(path, job, _RESULT_ID.search)
        array[mine] = shard.number
        has_answer[mine] = True
    rest = np.setdiff1d(np.flatnonzero(~has_answer), left_out)
    if not len(rest):
        return array
    keys = read_keys(folder, job)
    if keys.asks is None or job.round or job.inherited:
        raise damage
    n = job.samples
    asks = [tuple(ask) for ask in keys.asks.tolist()]
    first: dict[tuple[Any, int], int] = {}
    for row in np.flatnonzero(has_answer).tolist():
        first.setdefault((asks[row // n], row % n), row)
    for row in rest.tolist():
        leader = first.get((asks[row // n], row % n))
        if leader is None:
            raise damage
        array[row] = -2 - leader
    return array


def _rows_in(path: Path, job: JobRecord, find: Any) -> Iterator[int]:
    """The rows of a job that have a line in a file."""
    with opened_if_there(path) as file:
        for line in file or ():
            found = find(line)
            row = position_of(job.id, found[1].decode("utf-8", "replace")) if found else None
            if row is not None and row < job.rows:
                yield row


# --- what rows ask --------------------------------------------------------------------------------------------------


def request_hashes(job: JobRecord, folder: JobFolder, kind: str = "") -> Array | None:
    """The hashes of a job's requests, by row; None for a job without any.

    kind: None for one that the job has not; its own without it.

    Raises LedgerError where they are damaged and cannot be derived from the rows' keys.
    """
    remedy = (
        f"without it the requests of job {job.id} are not known, nor what is paid for already; nothing was sent. "
        f"{RESTORE[:1].upper()}{RESTORE[1:]}; reuse=False sends all rows, paid for or not"
    )
    from jupyter_batch.frames.row_keys import pairs

    if kind and kind != job.hashing:
        return _hashes_in(folder.hashes_in(kind), job)
    with opened_if_there(folder.request_hashes) as file:
        there = file is not None
    try:
        with reading(folder.request_hashes, remedy):
            hashes: Array = pairs(contents(folder.request_hashes))
            if len(hashes) != job.rows:
                raise ValueError(len(hashes))
            return hashes
    except LedgerCorruptError:
        found = _request_hashes_of_keys(job, folder)
        if found is None and there:
            raise
        return found


def _hashes_in(path: Path, job: JobRecord) -> Array | None:
    from jupyter_batch.frames.row_keys import pairs

    with opened_if_there(path) as file:
        if file is None:
            return None
    with reading(path):
        found: Array = pairs(path.read_bytes())
        if len(found) != job.rows:
            raise ValueError(len(found))
    return found


def hashes_elsewhere(
    ledger: Ledger, job: JobRecord
) -> Iterator[tuple[JobRecord, JobFolder, Array]]:
    """The other jobs whose answers can be used for this one, with their request hashes."""
    for other in ledger.jobs():
        if other.id == job.id or other.space != job.space:
            continue
        folder = ledger.folders.of(other.id)
        hashes = request_hashes(other, folder)
        if hashes is not None:
            yield other, folder, hashes


def changed_of(job: JobRecord, folder: JobFolder) -> Array | None:
    """The hashes of requests sent with changed parameters; None for a job without any."""
    return _hashes_in(folder.changed, job)


def sent_hashes(job: JobRecord, folder: JobFolder) -> Array | None:
    """The hashes of the requests as last sent; None for a job without any.

    Raises as `request_hashes`.
    """
    return _last_sent(request_hashes(job, folder), changed_of(job, folder))


def _last_sent(hashes: Array | None, changed: Array | None) -> Array | None:
    """The hashes of changed requests where a row has one, else those of the first requests."""
    if hashes is None or changed is None:
        return hashes
    import numpy as np

    sent: Array = np.where(changed.any(axis=1, keepdims=True), changed, hashes)
    return sent


def _request_hashes_of_keys(job: JobRecord, folder: JobFolder) -> Array | None:
    if job.round or job.adopted or job.samples > 1:  # keys are of other requests, or of some
        return None
    try:
        keys = read_keys(folder, job)
    except LedgerError:
        return None
    import numpy as np

    return None if keys.asks is None else np.where(keys.skipped[:, None], 0, keys.asks)


# --- the files of a new job -----------------------------------------------------------------------------------------


class RowFiles(msgspec.Struct):
    """The data of a new job by row. keys, index: as their files hold them, or the keys themselves.

    hashes: request hashes. changed: those of requests sent again with other parameters. others:
    request hashes of other kinds. before: the folder of a job that has most of the rows, and the
    position there of each, -1 for none: the data that it has, too, are linked.
    """

    unsent: list[Unsent]
    keys: Keys | bytes | None = None
    index: bytes | None = None
    hashes: Array | None = None
    changed: Array | None = None
    others: dict[str, Array] = {}
    before: tuple[JobFolder, Array] | None = None

    @classmethod
    def of(cls, job: JobRecord, folder: JobFolder) -> RowFiles:
        """The data of a stored job, for its successor; a damaged key or index file is left out."""
        rows = cls(read_unsent(folder, job))
        with contextlib.suppress(LedgerCorruptError):
            rows.keys = _contents(folder.keys)
        with contextlib.suppress(LedgerCorruptError):
            rows.index = _contents(folder.index)
        rows.hashes = request_hashes(job, folder)  # an old job may have none
        rows.changed = changed_of(job, folder)
        kinds = folder.other_hashes()
        found = {kind: request_hashes(job, folder, kind) for kind in kinds}
        rows.others = {kind: hashes for kind, hashes in found.items() if hashes is not None}
        return rows

    def sent_hashes(self) -> Array | None:
        """The hashes of the requests as last sent; None where they are not known."""
        return _last_sent(self.hashes, self.changed)

    def write(self, folder: JobFolder) -> None:
        """Write each file for which there is data."""
        keys, index = self.keys, self.index
        held: bytes | memoryview | None
        if keys is None or isinstance(keys, bytes):
            held = keys
        elif self.before is None:
            held = None
            with written(folder.keys) as file:
                for part in keys.parts():
                    file.write(part)
        else:
            held = keys.to_bytes()
        for target, data in ((folder.keys, held), (folder.index, index)):
            if data is not None:
                self._write(folder, target, data)
        folder.write(folder.unsent, msgspec.json.encode(self.unsent))
        if self.hashes is not None:
            held = self.hashes.astype("<u8", copy=False).data.cast("B")  # without a copy
            self._write(folder, folder.request_hashes, held)
        for kind, hashes in self.others.items():
            folder.write(folder.hashes_in(kind), hashes.astype("<u8").tobytes())
        if self.hashes is not None and self.changed is not None:
            folder.write(folder.changed, self.changed.astype("<u8").tobytes())

    def _write(self, folder: JobFolder, target: Path, data: bytes | memoryview) -> None:
        """Write a file; the parts that the job before has are linked."""
        if self.before is None:
            folder.write(target, data)
            return
        from jupyter_batch.frames.row_keys import sections

        data = bytes(data)
        there, at = self.before
        before = there.path / target.name
        try:
            held = contents(before)
        except (OSError, ValueError):  # gone or damaged
            folder.write(target, data)
            return
        if target == folder.index:
            spans = text_spans(data, held)
        elif target == folder.keys:
            spans = row_spans(data, held, at, sections(data, held))
        else:
            spans = row_spans(data, held, at, [(0, 0, 16)])
        write_linked(folder, target, data, before, spans)


def _contents(path: Path) -> bytes:
    """The bytes of a file. Raises LedgerError."""
    with reading(path):
        return contents(path)
