"""Artifacts: request files and their metadata on disk, which can be submitted as a Job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_batch.config import settings
from jupyter_batch.config.arguments import ChecksArguments, argument
from jupyter_batch.job import Job, of
from jupyter_batch.runner.process import place_of, session

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_batch.merging.rendered import Rendered


class Artifacts(ChecksArguments):
    """The result of `df.llm.build`: a folder with the request files and a metadata.json, not sent yet.

    `Artifacts(folder)` opens it later. Raises InputError for another folder.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        frame: pd.DataFrame | None = None,
        rows: pd.DataFrame | None = None,
        rendered: Rendered | None = None,
        out: str = "",
        api_key: str | None = None,
        functions: Any = None,
    ) -> None:
        from jupyter_batch.planning.files.export import METADATA, read_built

        self.folder: Path = argument("folder", folder)
        self.metadata = self.folder / METADATA
        built = read_built(self.folder)
        self.id = built.job.id
        self.rows = built.job.frame_rows
        self._sent = sum(shard.requests for shard in built.shards)
        self._frame, self._out, self._api_key, self._functions = frame, out, api_key, functions
        self._rendered, self._rows = rendered, rows

    @property
    def requests(self) -> list[Path]:
        """The request files, as they will be uploaded."""
        from jupyter_batch.planning.files.export import requests_of

        return requests_of(self.folder)

    def submit(
        self, *, api_key: str | None = None, wait: bool = False, timeout: float | None = None
    ) -> Job:
        """Send the files and return the Job at once; a second call returns the same one, and pays for nothing twice.

        The answers are merged into the frame that `build` was called on; for a folder that was opened later, use
        `df.llm.attach(job)`. A folder that names a server unknown to this kernel needs `api_key`.
        Raises InputError where a file was changed since it was built, and KeyMissingError.
        """
        from jupyter_batch.planning.files.export import read_built, take

        here = session(settings.read().home)
        now = time.time()
        built = read_built(self.folder).job
        here.check_key(built, api_key or self._api_key)
        record = take(here.ledger, self.folder, now=now)
        job = of(here, record.id)
        here.lend(record.id, self._functions)
        if self._frame is not None:
            again = record.created_at != now
            job._answers.asked_on(
                self._frame, self._out, again=again, rows=self._rows, rendered=self._rendered
            )
        # A job that the ledger has for these files, and that names another server, gets nothing of this call.
        ours = place_of(record) == place_of(built)
        job._begin(api_key or self._api_key if ours else None)
        if wait:
            job.wait(timeout)
        return job

    def __repr__(self) -> str:
        files = len(self.requests)
        return (
            f"<Artifacts {self.id}: {self._sent:,} requests in {files} file{'' if files == 1 else 's'} at "
            f"{self.folder}, nothing sent: .submit() sends them>"
        )
