"""Vertex AI's address, by location, and the models that it has batches for."""

from __future__ import annotations

from collections.abc import Mapping

from jupyter_batch.core.errors import ModelError
from jupyter_batch.wire.clouds.gemini import gemini_name


def base_of(settings: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """The API's address: from the environment, or the location (as litellm forms it)."""
    base = environ.get("VERTEXAI_API_BASE") or environ.get("VERTEX_API_BASE")
    if base:
        return base
    location = settings["vertex_location"]
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if "-" not in location:  # a geography: "us", "eu"
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def check_model(model: str) -> None:
    """Raise ModelError for a model without batches."""
    if not gemini_name(model).startswith(("gemini-", "?")):  # "?": no model yet
        raise ModelError(
            f"batches at Vertex AI are sent for Gemini models (vertex_ai/gemini-...), and {model!r} is "
            'none; mode="realtime" asks it at once, at the full price'
        )
