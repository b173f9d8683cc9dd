"""The facts about the Gemini API."""

from __future__ import annotations

from jupyter_batch.providers.record import Record

RECORDS = (
    Record(
        name="gemini",
        title="Gemini API",
        dialect=None,
        litellm="gemini",
        key=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        hosts=(r"generativelanguage\.googleapis\.com",),
        source="ai.google.dev: batch, limits",
        batch=False,
        instead='mode="realtime"',
        bytes=2_000_000_000,
        discount="50%",
        price=0.5,
        note="a batch API of its own, which litellm does not speak",
        bare="gemini-|gemma-",
    ),
)
