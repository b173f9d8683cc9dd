"""The facts about Mistral."""

from __future__ import annotations

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import EVERY_ENDING, Record

RECORDS = (
    Record(
        name="mistral",
        otel="mistral_ai",
        title="Mistral",
        models=("mistral-small-latest", "mistral-medium-latest", "mistral-large-latest"),
        litellm="mistral",
        proven=EVERY_ENDING,
        carried="httpx",
        source="docs.mistral.ai: batch inference, API reference",
        key=("MISTRAL_API_KEY",),
        base=("MISTRAL_API_BASE",),
        default_base="https://api.mistral.ai/v1",
        hosts=(r"api\.mistral\.ai", r"codestral\.mistral\.ai"),
        requests=1_000_000,
        bytes=512_000_000,  # 1 M pending requests a workspace; 512 MB a file
        pack=Limits(
            requests=50_000, bytes=50_000_000
        ),  # less: a file is held in memory for the upload
        windows=("24h", "7d"),
        window_hours=(1, 168),  # timeout_hours: 24 by default, at most 7 days
        discount="50%",
        price=0.5,
        cancel=True,
        listed=True,
        tagged=True,
        files=2,
        note="one model a batch; completion_window: any number of hours or days, up to 7d",
        caveats="without billing set up, a create is refused with 402",
        connect="jupyter_batch.providers.mistral.batches:connect",
        vectors=True,  # API reference: batch jobs
        further=("/v1/ocr",),
        renamed={"dimensions": "output_dimension"},
        also=("mistralai",),
        bare=r"(open-)?(mistral|mixtral|ministral|codestral|magistral|pixtral|devstral)-",
    ),
)
