"""The facts about Fireworks."""

from __future__ import annotations

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import Proof, Record

RECORDS = (
    Record(
        name="fireworks_ai",
        title="Fireworks",
        litellm="fireworks_ai",
        source="docs.fireworks.ai: batch inference, API reference; its SDK 1.2",
        connect="jupyter_batch.providers.fireworks_ai.batches:connect",
        carried="httpx",
        proven=Proof(
            "whole cycle and every ending",
            "a server written from its documentation and published responses",
            "November 2026",
        ),
        key=("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY"),
        base=("FIREWORKS_API_BASE",),
        default_base="https://api.fireworks.ai/inference/v1",
        realtime_base="jupyter_batch.providers.fireworks_ai.address:for_inference",
        hosts=(r"api\.fireworks\.ai",),
        bytes=500_000_000,  # a dataset; the number of requests is not limited
        pack=Limits(
            requests=50_000, bytes=145_000_000
        ),  # less: an upload in one call is at most 150 MB
        windows=("24h",),
        keeps="your own data set",
        discount="50%",
        price=0.5,
        cached_apart=True,
        cancel=False,
        listed=True,
        tagged=True,  # by the display name
        files=1,
        checks_file=True,  # API reference: a dataset is UPLOADING, then READY
        idempotent=True,  # the caller chooses the job's id
        also=("fireworks",),
        serves=("deepseek", "qwen", "llama", "meta-llama", "gpt-oss"),
        note="chat alone; FIREWORKS_ACCOUNT_ID, where the key is of several accounts",
        caveats="a batch can't be cancelled; one invalid request fails the whole batch; a model without batches may "
        "stay pending",
    ),
)
