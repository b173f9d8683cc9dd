"""The facts about Groq."""

from __future__ import annotations

from jupyter_batch.providers.record import Record

RECORDS = (
    Record(
        name="groq",
        title="Groq",
        litellm="groq",
        compatible=True,
        source="console.groq.com: batch",
        batch=False,
        instead='model="openai/<model>", api_base="https://api.groq.com/openai/v1"',
        key=("GROQ_API_KEY",),
        default_base="https://api.groq.com/openai/v1",
        hosts=(r"api\.groq\.com",),
        requests=50_000,
        bytes=200_000_000,
        windows=("24h", "7d"),
        discount="50%, by an older page 25%",
        files=2,
        note="OpenAI's batch API at its own address, with its key as api_key=",
        serves=("qwen", "kimi-", "llama", "gpt-oss"),
    ),
)
