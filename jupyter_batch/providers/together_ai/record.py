"""The facts about Together."""

from __future__ import annotations

from jupyter_batch.providers.record import EVERY_ENDING, Record

RECORDS = (
    Record(
        name="together_ai",
        title="Together",
        litellm="together_ai",
        source="docs.together.ai: batch inference; its SDK 3.1",
        connect="jupyter_batch.providers.together_ai.batches:connect",
        carried="httpx",
        proven=EVERY_ENDING,
        key=("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"),
        base=("TOGETHERAI_API_BASE",),
        default_base="https://api.together.xyz/v1",
        hosts=(r"api\.together\.(xyz|ai)",),
        requests=50_000,
        bytes=100_000_000,
        windows=("24h",),
        discount="on selected models",
        cancel=True,
        listed=True,
        tagged=False,  # no metadata: found by the request file
        files=2,
        also=("together",),
        serves=("deepseek", "qwen", "kimi-", "llama", "meta-llama", "gpt-oss"),
        note="a batch has no counts of its rows",
        caveats="24h is a target; only selected models have a discount, so that the cost is unknown",
    ),
)
