"""Vertex AI and Bedrock of this machine, with a harness in front of each; nothing goes to another host."""

from __future__ import annotations

import contextlib

import pytest

from jupyter_batch.providers.bedrock.batches import ViaBedrock
from jupyter_batch.providers.table import facts_of
from jupyter_batch.providers.vertex.batches import ViaVertex
from tests.clouds import bedrock, vertex
from tests.clouds.bedrock import Bedrock
from tests.clouds.vertex import Vertex
from tests.harness import Harness
from tests.ledgers import assert_nowhere, forget
from tests.loopback_only import nobody_else_called

VERTEX = {
    "vertex_project": vertex.PROJECT,
    "vertex_location": vertex.LOCATION,
    "gcs_bucket_name": vertex.BUCKET,
}
BEDROCK = {
    "aws_region_name": bedrock.REGION,
    "s3_bucket_name": bedrock.BUCKET,
    "aws_batch_role_arn": bedrock.ROLE,
}
BEDROCK_KEYS = {"aws_access_key_id": Bedrock.key, "aws_secret_access_key": Bedrock.secret}
GEMINI = "gemini-2.5-flash"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture(autouse=True)
def _to_no_other_host(monkeypatch, tmp_path):
    for name in (
        "VERTEXAI_PROJECT",
        "GOOGLE_CLOUD_PROJECT",
        "VERTEXAI_LOCATION",
        "VERTEX_LOCATION",
        "GCS_BUCKET_NAME",
        "GOOGLE_CLOUD_LOCATION",
        "GCS_BATCH_BUCKET_NAME",
        "VERTEXAI_CREDENTIALS",
        "STORAGE_EMULATOR_HOST",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "VERTEXAI_API_BASE",
        "VERTEX_API_BASE",
        "AWS_REGION_NAME",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_S3_BUCKET_NAME",
        "AWS_BATCH_ROLE_ARN",
        "AWS_S3_OUTPUT_BUCKET_NAME",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_BEDROCK",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_PROFILE_NAME",
        "AWS_S3_ENCRYPTION_KEY_ID",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    with nobody_else_called():
        yield


@contextlib.contextmanager
def at_vertex(tmp_path, monkeypatch):
    """Four rows and a token that is there; at the end it must be nowhere on the disk."""
    del monkeypatch
    facts = facts_of("vertex_ai", None)
    with Vertex(lambda: made.now) as fake:
        made = Harness(
            tmp_path / "home",
            lambda: ViaVertex(
                facts,
                api_base=fake.url,
                storage=fake.url,
                model=GEMINI,
                settings=VERTEX,
                secrets={"api_key": fake.key},
            ),
            fake=fake,
            model=f"vertex_ai/{GEMINI}",
            limits=facts.limits,
            dialect=facts.dialect,
            texts=[f"text {n}" for n in range(4)],
        )
        yield made
        made.ledger.close()
    assert_nowhere(Vertex.key, tmp_path)


@contextlib.contextmanager
def at_bedrock(tmp_path, monkeypatch):
    """A hundred rows and keys; at the end these must be nowhere on the disk."""
    facts = facts_of("bedrock", None)
    with Bedrock(lambda: made.now) as fake:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", fake.url)
        made = Harness(
            tmp_path / "home",
            lambda: ViaBedrock(
                facts, api_base=fake.url, model=CLAUDE, settings=BEDROCK, secrets=BEDROCK_KEYS
            ),
            fake=fake,
            model=f"bedrock/{CLAUDE}",
            limits=facts.limits,
            dialect=facts.dialect,
            texts=[f"text {n}" for n in range(100)],
        )
        yield made
        made.ledger.close()
    assert_nowhere(Bedrock.secret, tmp_path)


@pytest.fixture(params=[at_vertex, at_bedrock], ids=["vertex", "bedrock"])
def harness(request, tmp_path, monkeypatch):
    """One for each cloud; a file may have its own."""
    with request.param(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def home(home, tmp_path):
    """The ledger folder; at the end no secret must be in it."""
    yield home
    forget(home)
    for secret in (Vertex.key, Bedrock.secret):
        assert_nowhere(secret, tmp_path)
