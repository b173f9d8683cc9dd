"""Option names of litellm and the providers that are not supported, with the alternative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

_FIELD = 'only some providers have it: give it in extra_body={{"{0}": {1}}}, which is sent as it is'
_SPOKEN = (
    "answers are texts here: what else a model gives is asked for in extra_body=, which is sent as it is, and is in "
    "job.row(label)"
)
_DROPPED = (
    "no parameter is dropped without a word: leave out what the model does not take, or give it in extra_body=, which "
    "is sent as it is"
)
_RETRIES = "calls to the provider are tried again by themselves; job.retry() asks failed rows again"
_HEADERS = (
    "headers are not taken, since a job continues after a restart of the kernel, and what may hold a secret is not "
    "written to disk; give a key as api_key=, and reach a gateway that wants more headers through a litellm "
    'proxy (model="litellm_proxy/NAME", api_base=...), whose configuration holds them'
)
_CALLED = {
    other: f"it is called {name} here"
    for name, others in {
        "temperature": ("temp",),
        "model": ("llm", "lm", "model_name", "model_id", "engine", "deployment"),
        "system": ("instructions", "system_message", "developer"),
        "schema": ("response_model", "output_type", "result_type", "data_model", "pydantic_model"),
        "out": ("column", "output_column", "target", "output_col", "result_column", "into"),
        "max_cost": ("budget", "max_budget", "cost_limit", "max_spend"),
        "examples": ("few_shot", "fewshot", "few_shots", "shots", "demos"),
        "images": ("files", "image_url", "attachments", "pdfs"),
        "api_base": ("endpoint_url", "api_url", "azure_endpoint", "base"),
        "reuse": ("use_cache", "caching", "cached"),
        "n": ("num_completions", "n_samples", "num_samples", "samples", "best_of"),
        "concurrency": ("max_concurrency", "max_workers", "num_workers", "max_parallel", "workers"),
        "name": ("title", "label", "description", "job_name"),
        "metadata": ("tags", "metadata_tags"),
    }.items()
    for other in others
} | {
    "json_mode": 'schema={"label": str} gives columns; response_format={"type": "json_object"} is the raw mode'
}
NOT_TAKEN: Mapping[str, str] = {
    "stream": "the answers of a batch come whole, there is no stream",
    "extra_headers": _HEADERS,
    "default_headers": _HEADERS,
    "headers": _HEADERS,
    "base_url": "it is called api_base here, as in litellm",
    "extra_query": "an address is taken without a query: give a key as api_key=, a version as api_version=",
    "top_k": _FIELD.format("top_k", 40),
    "min_p": _FIELD.format("min_p", 0.05),
    "repetition_penalty": _FIELD.format("repetition_penalty", 1.1),
    "modalities": _SPOKEN,
    "audio": _SPOKEN,
    "drop_params": _DROPPED,
    "allowed_openai_params": _DROPPED,
    "functions": "it is called tools here: give the functions, or OpenAI's definitions of them",
    "function_call": "it is called tool_choice here",
    "dimensions": "it is about vectors: df.llm.embed takes it",
    "encoding_format": "vectors come as arrays, however they are sent",
    "num_retries": _RETRIES,
    "max_retries": _RETRIES,
    "messages": "the messages are the prompt itself, the first argument: a list of {'role', 'content'} whose "
    "contents are templates, or col(NAME) for a column of conversations",
    "dry_run": "df.llm.preview(...) takes the same arguments and sends nothing",
    "limit": "df.llm.sample(..., n=5) asks some rows now; df.head(5).llm.batch(...) takes the first",
    "provider": 'the provider is part of the model, such as model="openai/gpt-4.1-mini"',
    **_CALLED,
}
"""Options of litellm and others that are not supported, with the alternative."""
_OF_HANDLES: Mapping[str, str] = {
    other: f"job.{name} has it"
    for name, others in {
        "state": ("status", "phase"),
        "counts": ("request_counts", "progress", "stats", "summary"),
        "results()": (
            "result",
            "output",
            "outputs",
            "answers",
            "responses",
            "to_frame",
            "to_pandas",
        ),
        "frame()": ("df", "dataframe"),
        "is_complete": ("done", "is_done", "finished", "is_finished", "completed", "ready"),
        "batches": ("batch_id", "batch_ids", "batch", "job_id"),
        "usage": ("tokens", "token_usage"),
        "refresh()": ("poll", "update", "reload"),
        "cancel()": ("stop", "abort", "kill", "terminate"),
        "errors": ("error", "failures", "failed", "exceptions"),
        "files": ("download", "raw", "paths", "output_file_id"),
        "wait()": ("join", "block", "await_completion"),
    }.items()
    for other in others
} | {
    "show": "`job` as the last line of a cell is its monitor",
    "display": "`job` as the last line of a cell is its monitor",
    "forget": "`%llm_batch forget ID` removes a finished job with its answers",
    "delete": "`%llm_batch forget ID` removes a finished job with its answers",
}
"""Names that users of other libraries try on a Job or a Group."""


class NamesExplained:
    """An object whose missing attributes are explained, where users of other libraries try them."""

    if not TYPE_CHECKING:  # a type checker still reports a misspelled attribute

        def __getattr__(self, name: str) -> Any:
            hint = f": {_OF_HANDLES[name]}" if name in _OF_HANDLES else ""
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}{hint}",
                name=name,
                obj=self,
            )
