"""The facts about Vertex AI."""

from __future__ import annotations

from collections.abc import Mapping

from jupyter_batch.core.errors import ModelError
from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import Metadata, Proof, Record, Setting

RECORDS = (
    Record(
        name="vertex_ai",
        otel="gcp.vertex_ai",
        title="Vertex AI (Gemini)",
        dialect="vertex",
        litellm="vertex_ai",
        proven=Proof("whole cycle", "a server written from its REST reference", "November 2026"),
        carried="httpx and google-auth, translated by litellm",
        login="GOOGLE_APPLICATION_CREDENTIALS",
        base=("VERTEXAI_API_BASE", "VERTEX_API_BASE"),
        hosts=(
            r"([a-z0-9-]+-)?aiplatform\.googleapis\.com",
            r"aiplatform\.[a-z]+\.rep\.googleapis\.com",
        ),
        source="Google Cloud: batch prediction for Gemini, REST reference",
        requests=200_000,
        bytes=1_000_000_000,  # a file in Cloud Storage
        pack=Limits(requests=200_000, bytes=990_000_000),  # less: each line gets a label on upload
        keeps="your own bucket",
        discount="50%, not on top of the cache's",
        price=0.5,
        cancel=True,
        listed=True,
        tagged=True,  # REST reference: labels, and a filter by them
        windows=("24h",),  # 24 h once it runs, up to 72 h in the queue
        files=1,
        caveats="a batch may be queued for 72 h; a cancelled one keeps, and bills, what finished",
        note="Gemini models; needs vertex_project=, vertex_location=, gcs_bucket_name=, and "
        "`pip install 'jupyter_batch[vertex]'`",
        connect="jupyter_batch.providers.vertex.batches:connect",
        settings=(
            Setting(
                "vertex_project",
                ("VERTEXAI_PROJECT", "GOOGLE_CLOUD_PROJECT"),
                "the project's id",
                call=True,
            ),
            Setting(
                "vertex_location",
                ("VERTEXAI_LOCATION", "VERTEX_LOCATION", "GOOGLE_CLOUD_LOCATION"),
                'the region, such as "us-central1"',
                form="region",
                call=True,
            ),
            Setting(
                "gcs_bucket_name",
                ("GCS_BATCH_BUCKET_NAME", "GCS_BUCKET_NAME"),
                "a Cloud Storage bucket of yours",
                form="bucket",
            ),
            Setting("vertex_credentials", ("VERTEXAI_CREDENTIALS",), call=True),
        ),
        needs=("google.auth", "requests"),
        extra="vertex",
        token_alone=True,
        metadata=Metadata(  # Google Cloud: labels
            r"[a-z][a-z0-9_-]{0,62}",
            r"[a-z0-9_-]{0,63}",
            "labels of lower-case letters, digits, - and _, at most 63 of them",
        ),
        base_of="jupyter_batch.providers.vertex.record:base_of",
        check_model="jupyter_batch.providers.vertex.record:check_model",
        bare="gemini-|gemma-",
    ),
)


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
    from jupyter_batch.wire.clouds.gemini import gemini_name

    if not gemini_name(model).startswith(("gemini-", "?")):  # "?": no model yet
        raise ModelError(
            f"batches at Vertex AI are sent for Gemini models (vertex_ai/gemini-...), and {model!r} is "
            'none; mode="realtime" asks it at once, at the full price'
        )
