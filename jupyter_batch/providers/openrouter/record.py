"""The facts about OpenRouter."""

from __future__ import annotations

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import EVERY_ENDING, Record

RECORDS = (
    Record(
        name="openrouter",
        title="OpenRouter",
        litellm="openrouter",
        source="openrouter.ai: Batch API guide, quickstart, API reference; its SDK 1.3",
        connect="jupyter_batch.providers.openrouter.batches:connect",
        carried="httpx",
        proven=EVERY_ENDING,
        key=("OPENROUTER_API_KEY",),
        base=("OPENROUTER_API_BASE",),
        default_base="https://openrouter.ai/api/v1",
        hosts=(r"openrouter\.ai",),
        requests=5_000,
        bytes=200_000_000,
        pack=Limits(requests=5_000, bytes=190_000_000),
        windows=("24h",),
        keeps="30 days",
        keeps_days=30,
        names_cost=True,  # its SDK: the cost of the completion, in credits; a credit is a US dollar
        discount="50%, typically",  # each model has its own batch price, so that it is not certain
        cancel=False,
        listed=True,
        tagged=True,  # by the results' ids, once it has ended
        files=1,
        vectors=True,
        serves=("deepseek", "command-", "qwen", "kimi-", "llama", "meta-llama", "gpt-oss"),
        note="one model a batch, sent as its batch variant (MODEL:batch); images as public addresses alone",
        caveats="a batch can't be cancelled; Google Vertex may take 96 h; an invalid request fails the whole batch",
    ),
)
