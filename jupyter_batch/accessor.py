"""`df.llm` and `df.llm_batch`: the face's calls as methods. It holds the frame and nothing else, and decides nothing.

Registering needs pandas, and `import jupyter_batch` must not import it: what is registered early waits for pandas.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import warnings
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any

from jupyter_batch.config import options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType

    import pandas as pd

    from jupyter_batch.artifacts import Artifacts
    from jupyter_batch.jobs import Job
    from jupyter_batch.planning.preview import Preview, Previews

OURS = "llm_batch"
"""The accessor's name that is always ours; `llm` is ours too, unless another package was there first."""


class LLMAccessor:
    """LLM batches over this frame's rows."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def batch(self, prompt: Any, **given: Any) -> Job:
        """Submit one request for each row, and return the Job at once; the answers become a column when it is done.

        A model that makes vectors, such as "openai/text-embedding-3-small", is asked for them, as by `embed`.
        """
        from jupyter_batch import jobs

        job: Job = jobs.submit(self._frame, prompt, door="accessor", **given)
        return job

    def embed(self, text: Any, **given: Any) -> Job:
        """Have a vector made of each row's text; the cells of the column `out` are float32 arrays when it is done.

        text: a column, or a template such as "{title}: {body}". out: the column to fill (default "vector").
        dimensions: how many numbers a vector has, where the model can make it shorter. user, extra_body, and the
        options of `batch` that are no chat parameters: as there. `job.vectors()` is one array of all of them.
        Raises an InputError, before anything is sent, where something of this can't be used.
        """
        from jupyter_batch import jobs

        return jobs.embed(self._frame, text, door="accessor", **given)

    def build(self, prompt: Any, folder: str | Path | None = None, **given: Any) -> Artifacts:
        """The request files that `batch` with the same arguments would send, and their metadata, in a folder.

        Nothing is sent. The Artifacts that it gives have `.folder`, `.requests`, `.metadata` (when, files, endpoint,
        versions, model, parameters, and each row with its custom_id, index and inputs) and `.submit()`, which gives
        the Job. folder: where they go (default: one of the ledger's own). Raises an InputError where `batch` would.
        """
        from jupyter_batch import jobs

        made: Artifacts = jobs.build(self._frame, prompt, folder, door="accessor", **given)
        return made

    def preview(self, prompt: Any, **given: Any) -> Preview | Previews:
        """What `batch` with the same arguments would do; nothing is sent, nothing is kept, and no key is needed.

        It shows rows and requests, the first rendered prompts, tokens (a sample is counted of large frames, with its
        error), the range of costs in a batch and in real time, what reuse saves, and the limits; `.rows`, `.requests`,
        `.tokens`, `.cost.low`, `.cost.high`, ... are its figures.
        """
        from jupyter_batch import jobs

        return jobs.preview(self._frame, prompt, door="accessor", **given)

    def sample(self, prompt: Any, n: int = 5, **given: Any) -> pd.DataFrame:
        """`n` rows now, in real time and at its price, to look at: a copy of them with their answers.

        The rest is as in `batch`, which then reuses these answers. The same rows each time, so that a cell that is run
        again pays nothing.
        """
        from jupyter_batch import jobs

        return jobs.sample(self._frame, prompt, n, door="accessor", **given)

    def attach(
        self,
        job: Any,
        out: str | None = None,
        *,
        by_position: bool = False,
        overwrite: bool = False,
    ) -> Any:
        """Bring a job of another day to this frame: its answers land here, now and as they come. The job is returned.

        job: a Job, its id or its name; a group of several models too. out: the column to fill, if not the job's own.
        by_position: of an adopted job whose rows nobody knows, say that they are this frame's, in this order.
        overwrite: replace cells that are no answers of ours. Raises JobNotFoundError, AlignmentError where the frame's
        rows are not the job's, and ColumnError where such cells would be replaced.
        """
        from jupyter_batch import jobs

        return jobs.attach(job, self._frame, out, by_position=by_position, overwrite=overwrite)


def _describe() -> None:
    """Give `batch`, `preview` and `build` the options' own signature, and a table of them, for Tab and `?`."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    known = [
        inspect.Parameter(option.name, keyword, default=option.default)
        for option in options.OPTIONS + options.CHAT_PARAMS
    ]
    methods: tuple[Any, ...] = (LLMAccessor.batch, LLMAccessor.preview, LLMAccessor.build)
    for method in methods:
        first = [
            one
            for one in inspect.signature(method).parameters.values()
            if one.kind is not one.VAR_KEYWORD
        ]
        method.__signature__ = inspect.Signature([*first, *known])
        method.__doc__ = f"""{method.__doc__}

prompt: a template such as "Classify: {{text}}", where {{text}} is the row's value in that column; or a list of
    {{"role", "content"}} messages whose contents are templates; or col("messages"), a column of such lists (which are
    no templates); or a callable row -> text or messages; or a signature
    "text -> label, score: float", input columns and typed output columns; or a dspy module of one call.
{options.table()}

Raises an InputError, before anything is sent, where something of this can't be used.
"""


_describe()


def register() -> None:
    """Register the accessor now if pandas is there, else as soon as it is imported. Doing it twice does no harm."""
    if "pandas" in sys.modules:
        import pandas as pd  # waits, where another thread is in the middle of importing it

        _register_on(pd)
    elif not any(isinstance(finder, _AfterPandas) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterPandas())


def _register_on(pandas: ModuleType) -> None:
    for name in (OURS, "llm"):
        there = getattr(pandas.DataFrame, name, None)
        if there is None:
            pandas.api.extensions.register_dataframe_accessor(name)(LLMAccessor)
        elif there is not LLMAccessor and name not in _told:
            _told.add(name)
            owner = getattr(there, "__module__", None) or type(there).__module__
            warnings.warn(
                f"df.{name} belongs to {owner}: LLM batches are at df.{OURS} here", stacklevel=2
            )


_told: set[str] = set()  # the one thing to remember here: what was said is said once


class _AfterPandas(MetaPathFinder):
    """Stands aside for every import but that of pandas, whose module it registers on once it has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if name != "pandas":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader = spec.loader if spec is not None else None
        if loader is not None:
            run = loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                run(module)
                _register_on(module)

            loader.exec_module = run_and_register  # type: ignore[method-assign]  # for this one loader object
        return spec
