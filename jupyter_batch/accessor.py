"""`df.llm` and `df.llm_batch`: the calls of jobs.py as methods of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack, overload

from jupyter_batch.config.arguments import checking
from jupyter_batch.config.help import takes
from jupyter_batch.config.options import BatchOptions, EmbedOptions, Models, SampleOptions

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from jupyter_batch.artifacts import Artifacts
    from jupyter_batch.group import Group
    from jupyter_batch.job import Job
    from jupyter_batch.planning.preview import Preview, Previews


class LLMAccessor:
    """LLM batches over this frame's rows."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    @overload
    def batch(self, prompt: Any, *, model: Models, **given: Unpack[BatchOptions]) -> Group: ...
    @overload
    def batch(
        self, prompt: Any, *, model: str | None = None, **given: Unpack[BatchOptions]
    ) -> Job: ...
    @takes(BatchOptions, table=True)
    def batch(self, prompt: Any, **given: Any) -> Job | Group:
        """Submit one request for each row, and return the Job at once; it fills the column `out` when it is done.

        A list of models returns a Group. An embedding model is asked for vectors, as by `embed`.
        """
        from jupyter_batch import jobs

        return jobs.submit(self._frame, prompt, door="accessor", **given)

    @overload
    def embed(self, text: Any, *, model: Models, **given: Unpack[EmbedOptions]) -> Group: ...
    @overload
    def embed(
        self, text: Any, *, model: str | None = None, **given: Unpack[EmbedOptions]
    ) -> Job: ...
    @takes(EmbedOptions)
    def embed(self, text: Any, **given: Any) -> Job | Group:
        """Submit each row's text for a vector; the cells of the column `out` are float32 arrays when it is done.

        text: a column, or a template such as "{title}: {body}". out: the column to fill (default "vector").
        dimensions: how many numbers a vector has, where the model can make it shorter. user, extra_body, and the
        options of `batch` that are no chat parameters: as there. `job.vectors()` is one array of all of them.
        Raises an InputError before anything is sent, if an argument is invalid.
        """
        from jupyter_batch import jobs

        return jobs.embed(self._frame, text, door="accessor", **given)

    @overload
    def build(
        self,
        prompt: Any,
        folder: str | Path | None = None,
        *,
        model: Models,
        **given: Unpack[BatchOptions],
    ) -> list[Artifacts]: ...
    @overload
    def build(
        self,
        prompt: Any,
        folder: str | Path | None = None,
        *,
        model: str | None = None,
        **given: Unpack[BatchOptions],
    ) -> Artifacts: ...
    @takes(BatchOptions, table=True)
    def build(
        self, prompt: Any, folder: str | Path | None = None, **given: Any
    ) -> Artifacts | list[Artifacts]:
        """Write the request files that `batch` with the same arguments would send, and their metadata, to a folder.

        Nothing is sent. The Artifacts have `.folder`, `.requests`, `.metadata` (when, files, endpoint, versions,
        model, parameters, and each row with its custom_id, index and inputs) and `.submit()`, which returns the Job.
        folder: default: one of the ledger's own. Raises an InputError where `batch` would.
        """
        from jupyter_batch import jobs

        return jobs.build(self._frame, prompt, folder, door="accessor", **given)

    @overload
    def preview(self, prompt: Any, *, model: Models, **given: Unpack[BatchOptions]) -> Previews: ...
    @overload
    def preview(
        self, prompt: Any, *, model: str | None = None, **given: Unpack[BatchOptions]
    ) -> Preview: ...
    @takes(BatchOptions, table=True)
    def preview(self, prompt: Any, **given: Any) -> Preview | Previews:
        """Show what `batch` with the same arguments would do; nothing is sent or stored, and no key is needed.

        It shows rows and requests, the first rendered prompts, tokens (of large frames a sample is counted, with its
        error), the range of costs in a batch and in real time, what reuse saves, and the limits; `.rows`, `.requests`,
        `.tokens`, `.cost.low`, `.cost.high`, ... are its figures.
        """
        from jupyter_batch import jobs

        return jobs.preview(self._frame, prompt, door="accessor", **given)

    @takes(SampleOptions)
    def sample(
        self,
        prompt: Any,
        n: int = 5,
        *,
        model: str | Models | None = None,
        **given: Unpack[SampleOptions],
    ) -> pd.DataFrame:
        """Ask `n` rows now, in real time and at its price, and return a copy of them with their answers.

        The other options are those of `batch`, which then reuses these answers. The rows are the same each time, so
        that a cell that is run again pays nothing.
        """
        from jupyter_batch import jobs

        part: pd.DataFrame = jobs.sample(
            self._frame, prompt, n, door="accessor", model=model, **given
        )
        return part

    @checking
    def attach(
        self,
        job: Any,
        out: str | None = None,
        *,
        by_position: bool = False,
        overwrite: bool = False,
    ) -> Any:
        """Merge the answers of a job into this frame, now and as they come, and return the job.

        job: a Job or Group, its id or its name. out: the column to fill; default: the job's own. by_position: the rows
        of an adopted job, where unknown, are this frame's, in this order. overwrite: replace cells that are not our
        answers. Raises JobNotFoundError, AlignmentError where the frame's rows are not the job's, and ColumnError
        where such cells would be replaced.
        """
        from jupyter_batch import jobs

        return jobs.attach(job, self._frame, out, by_position=by_position, overwrite=overwrite)
