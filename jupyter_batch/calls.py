"""The calls without a frame: batch, embed, abatch, submit_file. They are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack, overload

from jupyter_batch.config.help import takes
from jupyter_batch.config.options import BatchOptions, EmbedOptions, FileOptions, Models

if TYPE_CHECKING:
    import os

    from jupyter_batch.group import Group
    from jupyter_batch.job import Job


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
