"""The facts about Fireworks."""

from __future__ import annotations

import re

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
        realtime_base="jupyter_batch.providers.fireworks_ai.record:for_inference",
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


def root_of(base: str) -> str:
    """Return the address of batches, from that of either API: inference is below /inference/v1."""
    return re.sub(r"(/inference)?(/v1)?$", "", base.rstrip("/")) + "/v1"


def for_inference(base: str) -> str:
    """Return litellm's form of an address."""
    return root_of(base).removesuffix("/v1") + "/inference/v1"


def full_name(model: str) -> str:
    """Return a model's name in a batch, as litellm (1.110) completes it in real time."""
    if model.startswith("accounts/") or "#" in model:
        return model
    return (
        f"accounts/fireworks/{model}"
        if model.startswith(("models/", "routers/"))
        else f"accounts/fireworks/models/{model}"
    )
