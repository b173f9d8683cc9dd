"""The facts about OpenAI."""

from __future__ import annotations

from jupyter_batch.providers.record import Proof, Record

RECORDS = (
    Record(
        name="openai",
        title="OpenAI",
        models=("gpt-5.4-mini", "gpt-5.4-nano", "gpt-4.1-mini", "gpt-5.4", "gpt-4o-mini"),
        litellm="openai",
        proven=Proof(
            "whole cycle and every ending",
            "a server written from its API reference",
            "November 2026",
        ),
        carried="httpx",
        source="OpenAI: batch guide, API reference, help FAQ",
        batch_ids="batch_",
        key=("OPENAI_API_KEY",),
        base=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        default_base="https://api.openai.com/v1",
        hosts=(r"([a-z]{2}\.)?api\.openai\.com",),  # data residency guide: us., eu., au., ...
        requests=50_000,
        bytes=200_000_000,  # batch guide: 50,000 requests (and embedding inputs), 200 MB a file
        windows=("24h",),  # API reference: "currently only 24h is supported"
        keeps="30 days",
        keeps_days=30,  # API reference: batch files expire after 30 days by default
        output_life=(3600, 2_592_000),  # API reference: create batch, output_expires_after
        discount="50%",
        price=0.5,  # batch guide: half of the synchronous price
        flex=True,  # flex guide: chat and responses; 429 "Resource Unavailable" is not charged
        cancel=True,
        listed=True,
        tagged=True,  # API reference: metadata, 16 pairs of 64 and 512 characters
        files=2,  # batch guide: output_file_id, error_file_id
        note="one model and one endpoint a file; tokens enqueued are limited per model",
        caveats="an expired or cancelled batch keeps, and bills, what finished",
        connect="jupyter_batch.providers.openai.batches:connect",
        litellm_keys=("api_key", "openai_key"),
        litellm_base=True,
        any_window=True,
        responses=True,
        responses_names=True,  # litellm: "openai/responses/gpt-5"
        bridged=True,
        vectors=True,
        packed_vectors=True,
        further=(  # API reference: create batch; not /v1/videos, whose results are fetched elsewhere
            "/v1/completions",
            "/v1/moderations",
            "/v1/images/generations",
            "/v1/images/edits",
        ),
        listed_bare=True,
        # Models before structured outputs (gpt-4o-2024-08-06), and those with audio output.
        unstructured=r"(ft:)?(gpt-3\.5|gpt-4(?![.o\w])|gpt-4o-2024-05-13|o1-mini|o1-preview)|.*-audio",
        compatible=True,
        plain_params=True,
        openai_rules=True,
        bare=r"(?!gpt-oss)(gpt-|chatgpt-)|o[134](-|$)|text-embedding-(3|ada)|ft:gpt-|omni-moderation|"
        "computer-use-preview",
    ),
)
