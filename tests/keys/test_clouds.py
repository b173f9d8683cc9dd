"""The credentials of a cloud, whose region and address stand in the ledger."""

from __future__ import annotations

import msgspec
import pytest

from jupyter_batch.core.errors import InputError, KeyMissingError
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.runner.connect import check_key

VERTEX = {
    "vertex_project": "p",
    "vertex_location": "us-central1",
    "gcs_bucket_name": "b",
}
BEDROCK = {"aws_region_name": "us-east-1", "s3_bucket_name": "b", "aws_batch_role_arn": "arn"}


def job(provider, api_base=None, mode="batch", **cloud):
    """A ledger's record of a job at a cloud."""
    settings = {"vertex_ai": VERTEX, "bedrock": BEDROCK}[provider]
    return JobRecord(
        id="jb1",
        fingerprint="",
        created_at=0.0,
        model=f"{provider}/m",
        provider=provider,
        dialect="openai",
        endpoint="/v1/chat/completions",
        body_model="m",
        out="o",
        columns=[],
        rows=1,
        mode=mode,
        api_base=api_base,
        cloud={**settings, **cloud},
    )


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    """The environment names no address."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_BEDROCK", "VERTEXAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("VERTEX_API_BASE", raising=False)


@pytest.mark.parametrize("mode", ["batch", "realtime"])
@pytest.mark.parametrize(
    "record",
    [
        job("vertex_ai", "https://evil.example"),
        job("vertex_ai", "http://127.0.0.1:9999"),
        job("vertex_ai", vertex_location="evil.example/"),
        job("vertex_ai", vertex_location="evil.example#-"),
        job("vertex_ai", vertex_location="me:pw@evil.example/-"),
        job("bedrock", "https://evil.example"),
        job("bedrock", aws_region_name="evil.example/"),
        job("bedrock", aws_region_name="x@evil.example/"),
    ],
)
def test_credentials_of_this_machine_stay_with_their_cloud(record, mode):
    """An address of the ledger's, or a region that makes another host of the cloud's."""
    record = msgspec.structs.replace(record, mode=mode)
    with pytest.raises(InputError):
        check_key(record, api_key=None, named=())


@pytest.mark.parametrize("provider", ["vertex_ai", "bedrock"])
def test_they_go_to_the_cloud_itself(provider, monkeypatch):
    """And to an address that the environment, or this kernel, names."""
    check_key(job(provider), api_key=None, named=())
    check_key(job(provider, "http://127.0.0.1:1"), api_key=None, named=None)
    check_key(job(provider, "http://127.0.0.1:1"), api_key="token", named=())
    with pytest.raises(KeyMissingError, match=r"127\.0\.0\.1:1"):
        check_key(job(provider, "http://127.0.0.1:1"), api_key=None, named=())
    name = {"vertex_ai": "VERTEXAI_API_BASE", "bedrock": "AWS_ENDPOINT_URL"}[provider]
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    check_key(job(provider, "http://127.0.0.1:1"), api_key=None, named=())
