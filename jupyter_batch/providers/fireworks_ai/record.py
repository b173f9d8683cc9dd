"""The facts about Fireworks."""

from __future__ import annotations

from jupyter_batch.providers.record import Record

RECORDS = (
    Record(
        name="fireworks_ai",
        title="Fireworks",
        dialect=None,
        litellm="fireworks_ai",
        source="docs.fireworks.ai: batch",
        batch=False,
        instead='mode="realtime"',
        key=("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
        hosts=(r"api\.fireworks\.ai",),
        bytes=500_000_000,
        windows=("24h",),
        keeps="your own data set",
        discount="50%",
        price=0.5,
        cached_apart=True,
        serves=("deepseek", "qwen", "llama", "meta-llama", "gpt-oss"),
    ),
)
