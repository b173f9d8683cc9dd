"""LLM batch jobs from a notebook. Names are resolved on first use; nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack, overload

from jupyter_batch.config.help import takes
from jupyter_batch.config.options import BatchOptions, EmbedOptions, FileOptions, Models
from jupyter_batch.core.version import VERSION

if TYPE_CHECKING:
    import os

    from jupyter_batch import jobs, providers
    from jupyter_batch.artifacts import Artifacts
    from jupyter_batch.config.option import col
    from jupyter_batch.core.errors import JupyterBatchError
    from jupyter_batch.group import Group
    from jupyter_batch.job import Job

__version__ = VERSION
__all__ = [
    "Artifacts",
    "Job",
    "JupyterBatchError",
    "__version__",
    "abatch",
    "adopt",
    "batch",
    "col",
    "embed",
    "jobs",
    "open",
    "providers",
    "submit_file",
]

_PLACES = {
    "Artifacts": "jupyter_batch.artifacts",
    "Job": "jupyter_batch.jobs",
    "JupyterBatchError": "jupyter_batch.core.errors",
    "col": "jupyter_batch.config.option",
}


@overload
def batch(
    prompts: Any, prompt: Any = None, *, model: Models, **options: Unpack[BatchOptions]
) -> Group: ...
@overload
def batch(
    prompts: Any, prompt: Any = None, *, model: str | None = None, **options: Unpack[BatchOptions]
) -> Job: ...
@takes(BatchOptions, table=True)
def batch(prompts: Any, prompt: Any = None, **options: Any) -> Job | Group:
    """Submit a list of prompts (texts, or lists of messages), or a frame and its template; returns the Job at once.

    A list of models returns a Group. The answers, in order: `job.results()["response"]`.
    """
    from jupyter_batch.jobs import submit

    return submit(prompts, prompt, **options)


@overload
def embed(
    texts: Any, text: Any = None, *, model: Models, **options: Unpack[EmbedOptions]
) -> Group: ...
@overload
def embed(
    texts: Any, text: Any = None, *, model: str | None = None, **options: Unpack[EmbedOptions]
) -> Job: ...
@takes(EmbedOptions)
def embed(texts: Any, text: Any = None, **options: Any) -> Job | Group:
    """Submit a list of texts, or a frame and its column or template, for vectors: `job.vectors()`; returns the Job.

    The options are those of `df.llm.embed`.
    """
    from jupyter_batch.jobs import embed as submit

    return submit(texts, text, **options)


@takes(BatchOptions)
async def abatch(
    prompts: Any,
    prompt: Any = None,
    *,
    model: str | Models | None = None,
    **options: Unpack[BatchOptions],
) -> list[Any]:
    """Submit prompts as `batch` does, wait, and return the answers in order, None where there is none."""
    from jupyter_batch.jobs import answers

    return await answers(prompts, prompt, model=model, **options)


def open(name: str) -> Job:  # noqa: A001 - the name is best with its module: `jupyter_batch.open(id)`
    """Return the job of that id (a unique beginning is enough) or name. Raises JobNotFoundError."""
    from jupyter_batch.jobs import open_job

    job: Job = open_job(name)
    return job


@takes(FileOptions)
def submit_file(
    path: str | os.PathLike[str], *, model: str | None = None, **options: Unpack[FileOptions]
) -> Job:
    """Submit a JSONL file of requests in OpenAI's batch format, checked line by line; returns the Job at once.

    `job.results()` has the answers on the file's custom ids. The same file again gives the same job; a file with new
    lines sends those alone. model: for all requests (default: the one that they name). Raises an InputError, with the
    line's number, before anything is sent.
    """
    from jupyter_batch.jobs import submit_file as submit

    job: Job = submit(path, model=model, **options)
    return job


def adopt(batch: str, *, model: str | None = None, **where: Any) -> Job:
    """Read a batch of this account by its id, from any software, or a job whose ledger is lost; returns the Job.

    Nothing is sent. `job.results()` has the answers on the batch's custom ids; a batch that runs is polled. where:
    provider=, api_base=, api_version=, api_key=. Raises JobNotFoundError where there is no such batch.
    """
    from jupyter_batch.jobs import adopt as take_up

    given = where if model is None else {**where, "model": model}
    job: Job = take_up(batch, **given).follow()[0]
    return job


def load_ipython_extension(ipython: Any) -> None:
    """Load the extension (`%load_ext jupyter_batch`)."""
    from jupyter_batch import accessor, magics

    accessor.register()
    magics.load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Unload the extension (`%unload_ext jupyter_batch`). Jobs continue."""
    from jupyter_batch import magics

    magics.unload(ipython)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "jupyter_batch"}]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "jupyter_batch.lab"}]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    if name in (
        "jobs",
        "providers",
    ):  # modules, and callable: `jupyter_batch.jobs()` lists the jobs
        return import_module(f"jupyter_batch.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _register_accessor() -> None:
    from jupyter_batch import accessor

    accessor.register()


_register_accessor()
