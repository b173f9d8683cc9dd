"""The facts about servers of OpenAI's batch API; most depend on the server."""

from __future__ import annotations

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import Proof, Record


def _server(
    name: str, title: str, note: str, *, named: str | None = None, free: str = ""
) -> Record:
    """The record of a kind of server. named: litellm's name of it, in its variables' names, too."""
    upper = (named or "").upper()
    return Record(
        name=name,
        title=title,
        note=note,
        source="the server's own documentation",
        connect="jupyter_batch.providers.openai.batches:connect",
        litellm=named or "openai",
        carried="httpx",
        proven=Proof(
            "whole cycle",
            "the embedded server (and AIBrix, OGX and a litellm proxy where they are installed)",
            "November 2026",
        ),
        key=(f"{upper}_API_KEY",) if named else ("OPENAI_API_KEY",),
        base=(f"{upper}_API_BASE",) if named else ("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        pack=Limits(requests=50_000, bytes=200_000_000),  # OpenAI's, since it is the same API
        caveats="limits, window, price and storage are the server's own: none of them is known here",
        files=2,
        any_window=True,
        responses=True,
        responses_names=True,
        vectors=True,
        free=free,
    )


RECORDS = (
    _server(
        "openai + api_base",
        "any server of OpenAI's batch API",
        'give api_base=, and the model as "openai/<the server\'s name for it>"',
    ),
    _server(
        "hosted_vllm",
        "vLLM behind a batch server",
        "needs api_base=; vLLM alone has no /v1/files and no /v1/batches",  # vLLM's documentation
        named="hosted_vllm",
        free="near",
    ),
    _server(
        "litellm_proxy",
        "a litellm proxy",
        "needs api_base=; limits and prices are those of the provider behind it",
        named="litellm_proxy",
    ),
)
