"""The facts about Anthropic."""

from __future__ import annotations

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import EVERY_ENDING, Record

RECORDS = (
    Record(
        name="anthropic",
        title="Anthropic",
        models=("claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-6"),
        dialect="anthropic",
        litellm="anthropic",
        proven=EVERY_ENDING,
        carried="httpx, translated by litellm",
        source="Claude docs: batch processing",
        batch_ids="msgbatch_",
        key=("ANTHROPIC_API_KEY",),
        base=("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
        default_base="https://api.anthropic.com",
        hosts=(r"api\.anthropic\.com",),
        chat="/v1/messages",
        requests=100_000,
        bytes=256_000_000,  # batch processing: 100,000 requests or 256 MB
        pack=Limits(
            requests=100_000, bytes=256_000_000 - 100
        ),  # less: the lines are put into one JSON object
        windows=("24h",),
        keeps="29 days",
        keeps_days=29,
        keeps_from="creation",
        discount="50%",
        price=0.5,
        cancel=True,
        listed=True,
        tagged=False,  # Message Batches API: no metadata on a batch; the custom_ids are in its results
        files=1,
        tells_all=True,  # batch processing: the results list every request, with its result type
        note="no request file: the requests are the create's body",
        caveats="a batch ends after 24 h: rows without an answer expire, and are not billed",
        connect="jupyter_batch.providers.anthropic.batches:connect",
        schema_as_tool=True,
        limited_schemas=True,
        cache_marks=True,
        checked_by="jupyter_batch.wire.anthropic.requests:Translation",
        nested_extra="jupyter_batch.wire.anthropic.requests:Translation",
        realtime_base="jupyter_batch.providers.anthropic.record:root_of",
        bare="claude-",
    ),
)


def root_of(base: str) -> str:
    """Return the base address below which `/v1/messages` lies.

    litellm appends that route to any address, so `http://host/v1` would become `http://host/v1/v1/messages`.
    """
    base = base.rstrip("/")
    for tail in ("/batches", "/messages", "/v1"):
        base = base.removesuffix(tail).rstrip("/")
    return base
