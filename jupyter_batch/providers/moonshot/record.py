"""The facts about Moonshot (Kimi)."""

from __future__ import annotations

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import EVERY_ENDING, Record

RECORDS = (
    Record(
        name="moonshot",
        title="Moonshot (Kimi)",
        litellm="moonshot",
        source="Moonshot's OpenAPI description, a copy",
        key=("MOONSHOT_API_KEY",),
        base=("MOONSHOT_API_BASE",),
        default_base="https://api.moonshot.cn/v1",
        hosts=(r"api\.moonshot\.(cn|ai)",),
        pack=Limits(requests=50_000, bytes=100_000_000),  # not documented where we looked
        any_window=True,
        listed=True,
        also=("moonshotai",),
        serves=("kimi-",),
        caveats="whether batches are at api.moonshot.ai, too, is not known: api_base= names it",
        connect="jupyter_batch.providers.openai.batches:connect",
        carried="httpx",
        proven=EVERY_ENDING,
        compatible=True,
        files=2,
    ),
)
