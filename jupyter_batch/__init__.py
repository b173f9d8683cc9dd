"""LLM batch jobs from a notebook. Names are resolved on first use; nothing heavy is imported."""

from __future__ import annotations

from jupyter_batch.core.version import VERSION
from jupyter_batch.registration import register

TYPE_CHECKING = False  # of `typing`, which takes longer to import than all of this
if TYPE_CHECKING:
    from typing import Any

    from jupyter_batch import jobs, providers
    from jupyter_batch.artifacts import Artifacts
    from jupyter_batch.calls import abatch, batch, embed, submit_file
    from jupyter_batch.config.option import col
    from jupyter_batch.core.errors import JupyterBatchError
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
    "abatch": "jupyter_batch.calls",
    "batch": "jupyter_batch.calls",
    "col": "jupyter_batch.config.option",
    "embed": "jupyter_batch.calls",
    "submit_file": "jupyter_batch.calls",
}


def open(name: str) -> Job:  # noqa: A001 - the name is best with its module: `jupyter_batch.open(id)`
    """Return the job of that id (a unique beginning is enough) or name. Raises JobNotFoundError."""
    from jupyter_batch.jobs import open_job

    job: Job = open_job(name)
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
    from jupyter_batch import magics

    register()
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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register()
