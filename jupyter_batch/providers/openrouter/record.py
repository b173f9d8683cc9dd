"""The facts about OpenRouter."""

from __future__ import annotations

from jupyter_batch.providers.record import Record

RECORDS = (
    Record(
        name="openrouter",
        title="OpenRouter",
        dialect=None,
        litellm="openrouter",
        source="openrouter.ai: batch API",
        batch=False,
        instead='mode="realtime"',
        key=("OPENROUTER_API_KEY",),
        hosts=(r"openrouter\.ai",),
        requests=5_000,
        bytes=200_000_000,
        discount="50%, typically",
        serves=("deepseek", "command-", "qwen", "kimi-", "llama", "meta-llama", "gpt-oss"),
    ),
)
