"""The facts about the Gemini API."""

from __future__ import annotations

import re

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import EVERY_ENDING, Record

RECORDS = (
    Record(
        name="gemini",
        otel="gcp.gemini",
        title="Gemini API",
        models=("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-3-flash-preview"),
        dialect="gemini",
        litellm="gemini",
        proven=EVERY_ENDING,
        carried="httpx, translated by litellm",
        source="ai.google.dev: Batch API, Files API, limits; google-genai",
        batch_ids="batches/",
        key=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        base=("GEMINI_API_BASE",),  # litellm's
        default_base="https://generativelanguage.googleapis.com",
        hosts=(r"generativelanguage\.googleapis\.com",),
        bytes=2_000_000_000,  # a file; the number of requests is not limited
        pack=Limits(requests=200_000, bytes=990_000_000),  # less, so that an upload ends in time
        windows=("24h",),
        keeps="6 weeks?",  # as other clients read the guide; uploaded files: 48 h
        discount="50%",
        price=0.5,
        flex=True,  # Flex inference (preview)
        sheds=(503,),  # Flex inference: sheddable capacity, 503 UNAVAILABLE
        cancel=True,
        listed=True,
        tagged=True,  # by the display name: there is no other metadata
        files=1,
        checks_file=True,  # Files API: a file may be PROCESSING
        vectors=True,  # Batch API: asyncBatchEmbedContent
        note="needs a paid tier",
        caveats="24 h are a target: a batch expires after 48 h, and an expired batch has no results",
        connect="jupyter_batch.providers.gemini.batches:connect",
        realtime_base="jupyter_batch.providers.gemini.record:versioned",
        also=("google", "google-gla", "google_genai"),
        bare="gemini-|gemma-",
    ),
)


VERSION = "v1beta"
"""The API's version with batches (Gemini API reference)."""


def root_of(base: str) -> str:
    """Return the address above the version, where uploads and downloads have paths of their own."""
    return re.sub(r"/v1(alpha|beta)?$", "", base.rstrip("/")).rstrip("/")


def versioned(base: str) -> str:
    """Return litellm's form of the address, to which it appends "/models/..."."""
    return f"{root_of(base)}/{VERSION}"
