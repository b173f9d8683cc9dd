"""The facts about Groq."""

from __future__ import annotations

from jupyter_batch.providers.record import EVERY_ENDING, Record

RECORDS = (
    Record(
        name="groq",
        title="Groq",
        litellm="groq",
        source="console.groq.com: batch guide, API reference; its SDK 1.7",
        key=("GROQ_API_KEY",),
        base=("GROQ_API_BASE",),
        default_base="https://api.groq.com/openai/v1",
        hosts=(r"api\.groq\.com",),
        requests=50_000,
        bytes=100_000_000,  # API reference and SDK; the guide says 200 MB
        windows=("24h", "7d"),
        window_hours=(24, 168),  # guide: from 24h to 7d
        keeps="30 days",
        keeps_days=30,
        discount="50%",
        price=0.5,
        no_flex="Groq's flex tier costs the full price (it has ten times the rate limits, and may refuse: "
        'service_tier="flex" asks for it in real time)',  # console.groq.com/docs/flex-processing
        cancel=True,
        listed=True,
        tagged=True,
        serves=("qwen", "kimi-", "llama", "gpt-oss"),
        note="chat alone",
        caveats="batches are not in its free plan (403 not_available_for_plan)",
        connect="jupyter_batch.providers.openai.batches:connect",
        carried="httpx",
        proven=EVERY_ENDING,
        compatible=True,
        files=2,
    ),
)
