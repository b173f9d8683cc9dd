"""Option names of litellm and the providers that are not supported, with the alternative."""

from __future__ import annotations

from collections.abc import Mapping

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
}
"""Options of litellm and others that are not supported, with the alternative."""
