"""The facts about Azure OpenAI."""

from __future__ import annotations

from jupyter_batch.providers.record import EVERY_ENDING, Record

RECORDS = (
    Record(
        name="azure",
        otel="azure.ai.openai",
        title="Azure OpenAI",
        litellm="azure",
        proven=EVERY_ENDING,
        carried="httpx",
        source="Microsoft Learn: batch how-to, quotas, create batch (v1), REST reference 2024-10-21",
        key=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
        base=("AZURE_API_BASE",),  # litellm's own order
        version=("AZURE_API_VERSION",),
        # Names below these are all Azure's own; an API gateway (azure-api.net) is a customer's.
        hosts=(
            r"[a-z0-9-]+\.openai\.azure\.(com|us|cn)",
            r"[a-z0-9-]+\.cognitiveservices\.azure\.(com|us|cn)",
            r"[a-z0-9-]+\.services\.ai\.azure\.com",
        ),
        chat="/chat/completions",  # batch how-to: no /v1 in the lines
        requests=50_000,  # create batch, v1; the quotas page has 100,000: the smaller is taken by both
        bytes=200_000_000,
        windows=("24h",),
        keeps="until deleted",  # batch how-to: 500 input files, 10,000 where they expire
        discount="50% of global standard",
        price=0.5,  # batch how-to
        flex=True,  # flex how-to (preview): Global Standard deployments
        cancel=True,
        listed=True,
        tagged=True,
        files=2,  # REST reference
        checks_file=True,  # batch how-to: a create is refused until the file is processed
        note="the model is the name of a batch deployment",
        caveats="24 h is a target: late batches are not ended",
        connect="jupyter_batch.providers.azure.batches:connect",
        responses_names=True,
        bridged=True,
        openai_rules=True,
    ),
)
