"""Normalization of Fireworks' addresses and names of models."""

from __future__ import annotations

import re


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
