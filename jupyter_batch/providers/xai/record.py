"""The facts about xAI."""

from __future__ import annotations

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import EVERY_ENDING, Record

RECORDS = (
    Record(
        name="xai",
        otel="x_ai",
        title="xAI",
        models=("grok-4.3",),
        litellm="xai",
        proven=EVERY_ENDING,
        carried="httpx",
        source="docs.x.ai: batch API, REST reference",
        key=("XAI_API_KEY",),
        base=("XAI_API_BASE",),
        default_base="https://api.x.ai/v1",
        hosts=(r"([a-z0-9-]+\.)?api\.x\.ai",),  # regions
        # batch API: more than 100,000 requests may be throttled; 25 MB a call that adds requests inline. A JSONL
        # file's limit is not documented, so the same is assumed.
        pack=Limits(requests=50_000, bytes=25_000_000),
        keeps=None,
        discount="differs by model",  # its pages say "reduced pricing", litellm's price map 20%
        cancel=True,
        listed=True,
        tagged=True,  # by the batch's name
        files=1,
        note="results are paged, not a file",
        caveats="no window to choose: most end within 24 h; the discount differs by model",
        connect="jupyter_batch.providers.xai.batches:connect",
        responses=True,  # docs.x.ai: a line's url selects its endpoint
        responses_names=True,
        bridged=True,
        long_inclusive=True,  # as litellm's calculator
        also=("grok",),
        bare="grok-",
    ),
)
