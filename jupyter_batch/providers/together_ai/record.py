"""The facts about Together."""

from __future__ import annotations

from jupyter_batch.providers.record import Record

RECORDS = (
    Record(
        name="together_ai",
        title="Together",
        litellm="together_ai",
        source="docs.together.ai: batch",
        batch=False,
        instead='mode="realtime"',
        key=("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"),
        hosts=(r"api\.together\.(xyz|ai)",),
        requests=50_000,
        bytes=100_000_000,
        windows=("24h",),
        discount="up to 50%, some models",
        serves=("deepseek", "qwen", "kimi-", "llama", "meta-llama", "gpt-oss"),
    ),
)
