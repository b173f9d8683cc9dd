"""The folders of all jobs, drafts of them, and those that wait for removal."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.ledger.folder import (
    JobFolder,
    check_kept,
    disk_errors,
    is_there,
    private_folder,
)
from jupyter_batch.process.holders import machine, process_alive

_ID = re.compile("jb[a-z0-9]+")
_DRAFT = ".draft-"
_GONE = ".forgotten-"


class Folders:
    """All jobs' folders under one home."""

    def __init__(self, home: Path) -> None:
        self.root = home / "jobs"
        # Apart from the jobs, so that it is listed in the same time however many there are.
        self._drafts = home / "drafts"
        self._older: list[Path] | None = None

    def of(self, job: str) -> JobFolder:
        """The folder of a job, whether it exists or not."""
        return JobFolder(self.root / job)

    def jobs(self, *, empty: bool = False) -> set[str]:
        """The jobs that have a non-empty folder, whether or not its files can be read; or any."""
        paths = [path for path in self.root.glob("jb*") if _ID.fullmatch(path.name)]
        return {path.name for path in paths if empty or _is_filled(path)}

    @property
    def hash_seed(self) -> Path:
        """The seed of the ledger's hashes (row_files/request_hashes.py)."""
        return self.root.parent / "hash-seed"

    @contextlib.contextmanager
    def drafted(self, job: str, *, built: bool = False) -> Iterator[JobFolder]:
        """A folder to plan into. `keep` makes it the job's; otherwise it is removed at the end.

        built: its files are used elsewhere, so that the seed of their hashes stays. Where the ledger
        is not writable the draft is elsewhere, for an estimate only, and can't be kept.
        """
        fresh = [path for path in (self.root, self.root.parent) if not is_there(path)]
        try:
            private_folder(self.root)
            draft = self._drafts / f"{_DRAFT}{machine()}-{os.getpid()}-{job}"
            self._begin(draft)
        except LedgerError as e:
            with tempfile.TemporaryDirectory(prefix="jupyter_batch-") as place:
                yield JobFolder(Path(place), unkept=e)
            return
        try:
            yield JobFolder(draft)
            fresh = [] if built else fresh
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            self._tidy()
            with contextlib.suppress(OSError):
                for path in fresh:  # refused input leaves nothing behind, not even an empty folder
                    if path != self.root:
                        self.hash_seed.unlink(missing_ok=True)
                    path.rmdir()

    def keep(self, draft: JobFolder, job: str) -> None:
        """Make a drafted folder the job's, in one rename."""
        check_kept(draft)
        with disk_errors(self.root):
            try:
                draft.path.rename(self.root / job)
            except OSError as e:
                if e.errno != errno.EXDEV:
                    raise
                near = self.root / draft.path.name  # the jobs are on a disk of their own
                shutil.copytree(draft.path, near)
                near.rename(self.root / job)

    def adopt(self, draft: JobFolder, job: str) -> None:
        """Move the draft's files into the job's folder, which exists if the ledger lost the job."""
        check_kept(draft)
        with disk_errors(self.root):
            target = private_folder(self.root / job)
            for path in sorted(draft.path.iterdir()):
                path.replace(target / path.name)

    def drop(self, job: str) -> None:
        """Remove a folder that never became a job's."""
        shutil.rmtree(self.root / job, ignore_errors=True)

    def forget(self, job: str) -> None:
        """Rename a job's folder for removal by `sweep`. A missing folder is no error."""
        name = f"{_GONE}{job}-{secrets.token_hex(4)}"
        with disk_errors(self.root), contextlib.suppress(FileNotFoundError):
            (self.root / job).rename(self.root / name)
        if self._older is not None:
            self._older.append(self.root / name)

    def sweep(self, before: Callable[[], object] = lambda: None) -> None:
        """Remove drafts of dead processes and forgotten folders, never a job's folder.

        before: called where there are forgotten ones.
        """
        paths = self._hidden()
        if any(path.name.startswith(_GONE) for path in paths):
            before()
        for path in paths:
            if path.name.startswith(_GONE) or not _alive(path.name):
                shutil.rmtree(path, ignore_errors=True)
        self._older = [path for path in self._older or () if is_there(path)]
        self._tidy()

    def _begin(self, draft: Path) -> None:
        """Make a folder for a draft; another process may remove the empty folder of drafts."""
        for is_last in (False, False, True):
            private_folder(self._drafts)
            try:
                with disk_errors(self.root):
                    draft.mkdir(mode=0o700)
            except LedgerError:
                if is_last or is_there(self._drafts):
                    raise
            else:
                return

    def _tidy(self) -> None:
        """Remove the folder of drafts where it is empty."""
        with contextlib.suppress(OSError):
            self._drafts.rmdir()

    def forgotten(self) -> list[str]:
        """The jobs whose folders wait for removal, and have not been made again."""
        names = [path.name for path in self._hidden() if path.name.startswith(_GONE)]
        gone = [name.removeprefix(_GONE).partition("-")[0] for name in names]
        return [job for job in gone if not is_there(self.root / job)]

    def state(self) -> str:
        """A text that changes when a job's folder is added or removed; "" without any folder."""
        try:
            found = self.root.stat()
        except OSError:
            return ""
        return f"{found.st_ino} {found.st_mtime_ns} {found.st_nlink}"

    def _hidden(self) -> list[Path]:
        """Forgotten folders, which are among the jobs, and drafts, those of earlier versions too."""
        if self._older is None:
            self._older = _hidden_in(self.root)
        return [*self._older, *_hidden_in(self._drafts)]


def _hidden_in(folder: Path) -> list[Path]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - thousands of jobs
    except OSError:  # there is none, or it belongs to another user
        return []
    return [folder / name for name in names if name.startswith((_DRAFT, _GONE))]


def _is_filled(path: Path) -> bool:
    """Whether a folder has anything in it; an unreadable one counts as filled."""
    try:
        return any(path.iterdir())
    except NotADirectoryError:
        return False
    except OSError:
        return True


def _alive(name: str) -> bool:
    where, _, pid = name.removeprefix(_DRAFT).rpartition("-")[0].rpartition("-")
    if where != machine():
        return True  # another machine's, or another container's on the same folder
    return pid.isdecimal() and process_alive(int(pid))
