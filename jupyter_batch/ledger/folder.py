"""Paths of request and result files, and atomic writes of them. Folders are 0700, files 0600."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from jupyter_batch.core.errors import LedgerError, LedgerFullError, LedgerReadOnlyError

if TYPE_CHECKING:
    from jupyter_batch.ledger.records import ShardRecord


@contextlib.contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Translate an OSError in the block into an error about the ledger at `place`."""
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise LedgerFullError(
                f"the disk is full at {place} ({e.strerror}): free some space, then run the cell again; "
                "what was fetched so far is kept"
            ) from e
        if e.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise LedgerReadOnlyError(
                f"{place} can't be written to ({e.strerror}): make it writable, or set "
                "JUPYTER_BATCH_HOME to a folder that is"
            ) from e
        if e.errno in (errno.ENOTDIR, errno.EEXIST, errno.ELOOP):
            raise LedgerError(
                f"{place} can't be made ({e.strerror}): a file is where a folder should be; move it aside, or set "
                "JUPYTER_BATCH_HOME to another folder"
            ) from e
        raise LedgerError(
            f"{place}: {e.strerror or e}. If it stays so, set JUPYTER_BATCH_HOME to a folder on a local disk"
        ) from e


def private_folder(path: Path) -> Path:
    """The folder, created with mode 0700 together with each missing folder above it."""
    with disk_errors(path):
        for folder in reversed([one for one in (path, *path.parents) if not is_there(one)]):
            folder.mkdir(mode=0o700, exist_ok=True)
    return path


@contextlib.contextmanager
def written(target: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `target` once it is fully on disk; on error it is removed."""
    draft = _draft_of(target)
    with disk_errors(target.parent):
        try:
            handle = os.open(draft, _NEW, 0o600)
            with os.fdopen(handle, "wb", buffering=1 << 18) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, target)  # noqa: PTH105 - text, as in `write`
        except BaseException:
            _remove(draft)
            raise


def write(target: Path, data: bytes | memoryview) -> None:
    """Write a small file as `written` does, at a third of its cost."""
    draft = _draft_of(target)
    try:
        handle = os.open(draft, _NEW, 0o600)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(draft, target)  # noqa: PTH105 - a Path costs as much as the call
    except BaseException:
        _remove(draft)
        with disk_errors(target.parent):
            raise


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def _draft_of(target: Path) -> str:
    return f"{target}.{secrets.token_hex(4)}.part"


def _remove(draft: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(draft)  # noqa: PTH108


def is_there(path: Path) -> bool:
    """Whether something exists at a path; an inaccessible path counts as existing."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def check_kept(draft: JobFolder) -> None:
    """Raise the LedgerError of a draft that can't become a job's folder."""
    if draft.unkept is not None:
        raise draft.unkept


class JobFolder:
    """The paths of one job's files. unkept: for a draft, why it can't become a job's folder."""

    def __init__(self, path: Path, unkept: LedgerError | None = None) -> None:
        self.path = path
        self.unkept = unkept

    def requests(self, number: int) -> Path:
        """The request file of a shard, as it was or will be uploaded."""
        return self.path / f"requests-{number}.jsonl"

    def every(self, number: int) -> Path:
        """The requests of all rows, also those sent by other jobs already; where they are kept."""
        return self.path / f"all-{number}.jsonl"

    def output(self, number: int) -> Path:
        """The provider's output file of a shard, unchanged."""
        return self.path / f"output-{number}.jsonl"

    def errors(self, number: int) -> Path:
        """The provider's error file of a shard, unchanged."""
        return self.path / f"errors-{number}.jsonl"

    @property
    def keys(self) -> Path:
        """The rows' keys and fingerprints."""
        return self.path / "keys.bin"

    @property
    def blocks(self) -> Path:
        """Digests of blocks of the source's rows (planning/known_frame.py)."""
        return self.path / "blocks.bin"

    @property
    def index(self) -> Path:
        """The source's index."""
        return self.path / "index.json"

    def row_numbers(self, group: str) -> Path:
        """The number of the job of each row, for a group whose rows name their models."""
        return self.path / f"rows-{group}.bin"

    @property
    def unsent(self) -> Path:
        """The rows that have no request, and why."""
        return self.path / "unsent.json"

    @property
    def asked(self) -> Path:
        """The requests in OpenAI's format, where the request files are in another dialect."""
        return self.path / "asked.jsonl"

    @property
    def aside(self) -> Path:
        """Of a draft: requests that are probably not sent (dedup/sifted_lines.py)."""
        return self.path / "aside.jsonl"

    @property
    def left(self) -> Path:
        """The requests of unanswered rows that a retry of other rows has left."""
        return self.path / "left.jsonl"

    def unsent_files(self) -> list[Path]:
        """The files with requests that are in no batch of the job's own."""
        left = [self.left] if self.left.exists() else []
        return [*sorted(self.path.glob("all-*.jsonl")), *left]

    @property
    def calls(self) -> Path:
        """The log of tool calls (tool_calls/call_log.py)."""
        return self.path / "calls.jsonl"

    @property
    def request_hashes(self) -> Path:
        """A hash of each row's request, 16 bytes a row; zeros where the row has none of its own."""
        return self.path / "prints.bin"

    def hashes_in(self, kind: str) -> Path:
        """As `request_hashes`, of another kind, which other jobs have."""
        return self.path / f"prints-{kind}.bin"

    def other_hashes(self) -> dict[str, Path]:
        """The files of `hashes_in`, by kind."""
        return {path.stem.partition("-")[2]: path for path in self.path.glob("prints-*.bin")}

    @property
    def sent(self) -> Path:
        """The hashes of the requests as sent, where they differ from the user's parameters."""
        return self.path / "sent.bin"

    @property
    def changed(self) -> Path:
        """The request hashes of rows that were sent again with other parameters."""
        return self.path / "changed.bin"

    @property
    def places(self) -> Path:
        """The source of each row's answer: a shard, or another row (row_files/row_sources.py)."""
        return self.path / "places.bin"

    def reused(self, job: str, dialect: str) -> Path:
        """Result lines of an earlier job: a link to its file, or a copy under this job's ids."""
        return self.path / f"reused-{job}-{dialect}.jsonl"

    @property
    def references(self) -> tuple[Path, Path]:
        """The answers of earlier jobs that rows refer to (row_files/answer_files.py), and a copy."""
        return self.path / "reused.bin", self.path / "reused-copy.bin"

    def joined(self, number: int, dialect: str, job: str) -> Path:
        """Result lines that a shard took from another job (same requests), under our ids."""
        return self.path / f"joined-{number}-{dialect}.{job}.jsonl"

    def taken_over(self, shard: ShardRecord | None = None) -> Iterator[tuple[str, Path]]:
        """(dialect, file) of all answers from other jobs: had at planning, or for a shard."""
        if shard is not None and not (shard.joins or shard.joined or shard.waited):
            return
        start = "reused-" if shard is None else f"joined-{shard.number}-"
        try:
            names = os.listdir(self.path)  # noqa: PTH208 - thousands of batches
        except OSError:
            return
        for name in sorted(one for one in names if one.startswith(start)):
            if name.endswith(".jsonl"):
                yield (
                    name.removesuffix(".jsonl").split("-", 2)[2].partition(".")[0],
                    self.path / name,
                )

    @property
    def manifest(self) -> Path:
        """The job's record, so that answers can be read without the database."""
        return self.path / "job.json"

    @property
    def manifest_copy(self) -> Path:
        """A second copy of the job's record, for when the first is damaged or lost."""
        return self.path / "job-copy.json"

    def handle(self, number: int) -> Path:
        """A shard's record at each step, to find its batch without the database."""
        return self.path / f"shard-{number}.json"

    def write(self, target: Path, data: bytes | memoryview) -> None:
        """Write a small file atomically."""
        write(target, data)
