"""A Bedrock and an S3 of this machine, a desk in front of them, and a home for jobs; nothing goes to another host."""

from __future__ import annotations

import sys

import pytest

from jupyter_batch.engine import session as sessions
from jupyter_batch.providers.via_bedrock import ViaBedrock
from tests.bedrock.fake import BUCKET, REGION, ROLE, Bedrock
from tests.vertex.desk import Desk, assert_nowhere

SETTINGS = {"aws_region_name": REGION, "s3_bucket_name": BUCKET, "aws_batch_role_arn": ROLE}
SECRETS = {"aws_access_key_id": Bedrock.key, "aws_secret_access_key": Bedrock.secret}
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
_called: list[str] = []


def _note_connections(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _called.append(str(arguments[1][0]))
    elif event == "socket.getaddrinfo":
        _called.append(str(arguments[0]))


sys.addaudithook(_note_connections)


@pytest.fixture(autouse=True)
def _to_no_other_host(monkeypatch, tmp_path):
    for name in ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_S3_BUCKET_NAME", "AWS_BATCH_ROLE_ARN",
                 "AWS_S3_OUTPUT_BUCKET_NAME", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL_S3",
                 "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_PROFILE_NAME",
                 "AWS_S3_ENCRYPTION_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    _called.clear()
    yield
    assert {host for host in _called if host not in ("127.0.0.1", "localhost", "::1", "None")} == set()


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A hundred rows and keys; at the end these must be nowhere on the disk."""
    with Bedrock(lambda: made.now) as fake:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", fake.url)
        made = Desk(tmp_path / "home", fake, lambda facts: ViaBedrock(
            facts, api_base=fake.url, model=MODEL, settings=SETTINGS, secrets=SECRETS),
            model=f"bedrock/{MODEL}", rows=100)
        yield made
        made.ledger.close()
    assert_nowhere(Bedrock.secret, tmp_path)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty ledger folder that this process's jobs go to; its worker is stopped at the end."""
    home = tmp_path / "home"
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(home))
    for name in ("JUPYTER_BATCH_MODEL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield home
    held = sessions._sessions.pop(home, None)
    if held is not None:
        held.close()
    assert_nowhere(Bedrock.secret, tmp_path)
