"""No field of a request's body, which is on disk, decides where the request goes or as whom."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.place_fields import decides_place, sendable
from jupyter_batch.providers.clouds import arguments_of
from jupyter_batch.realtime.litellm_call import LitellmCall
from jupyter_batch.runner.connect import check_key
from jupyter_batch.server.upstream import Upstream
from tests.keys.recorder import recording
from tests.keys.test_clouds import job
from tests.keys.test_network import CHAT, asked

MINE = "bedrock-mine-0123456789"
BEDROCK = "bedrock/anthropic.claude-3-5-haiku-20241022-v1:0"


@pytest.fixture
def evil(monkeypatch):
    """A server that a body names; all else is refused by a proxy that is not there."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", MINE)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA0123456789ABCDEF")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret-0123456789")
    monkeypatch.setenv("AWS_REGION_NAME", "us-east-1")
    for name in ("AWS_BEDROCK_RUNTIME_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    with recording() as recorder:
        yield recorder


@pytest.mark.parametrize("field", ["aws_bedrock_runtime_endpoint", "AWS_BEDROCK_RUNTIME_ENDPOINT"])
def test_an_endpoint_in_a_body(field, evil):
    """A request file of someone else; the cloud's token stays here."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], field: evil.url}
    call = LitellmCall(BEDROCK, seconds=5)

    async def ask():
        try:
            await call(CHAT, body)
        except Exception as e:
            return e
        finally:
            await call.aclose()

    assert asyncio.run(ask()) is not None
    assert evil.calls == []


def test_an_endpoint_in_what_the_embedded_server_is_asked(evil):
    """The same behind `local/bedrock/...`."""
    upstream = Upstream(BEDROCK)

    async def ask():
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "aws_bedrock_runtime_endpoint": evil.url,
        }
        task = asyncio.ensure_future(upstream.ask(CHAT, body))
        await asyncio.wait([task], timeout=3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await upstream.close()

    asyncio.run(ask())
    assert evil.calls == []


@pytest.mark.parametrize(
    "field",
    [
        "api_base",
        "base_url",
        "aws_sts_endpoint",
        "sagemaker_base_url",
        "azure_ad_token",
        "vertex_ai_credentials",
        "langfuse_host",
        "use_litellm_proxy",
        "litellm_credential_name",
        "model_list",
        "fallbacks",
        "headers",
        "extra_headers",
        "ssl_verify",
    ],
)
def test_fields_that_say_where(field):
    """Whichever provider reads them."""
    assert decides_place(field)
    assert sendable({field: "x", "temperature": 1}) == {"temperature": 1}


@pytest.mark.parametrize(
    "field",
    [
        "model",
        "messages",
        "metadata",
        "max_tokens",
        "extra_body",
        "response_format",
        "service_tier",
        "web_search_options",
        "prompt_cache_key",
        "safety_identifier",
        "store",
        "thinking",
    ],
)
def test_fields_of_a_body(field):
    """Nothing of a request is dropped."""
    assert not decides_place(field)


def test_settings_of_a_cloud_that_nobody_can_give():
    """A ledger's record of a cloud, beyond what a call may hold: litellm would send its token to that address."""
    forged = {
        "aws_region_name": "us-east-1",
        "aws_sts_endpoint": "http://evil.example",
        "aws_bedrock_runtime_endpoint": "http://evil.example",
        "vertex_ai_credentials": "/home/me/key.json",
    }
    assert arguments_of(forged, None) == {"aws_region_name": "us-east-1"}


@pytest.mark.parametrize(
    "record",
    [
        job("bedrock", aws_region_name="x.evil.example/"),
        job("vertex_ai", vertex_location="evil.example/"),
    ],
)
def test_a_region_is_a_name_also_where_the_environment_has_an_address(record, monkeypatch):
    """In real time litellm makes a host of it, whatever the environment names for batches."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("VERTEXAI_API_BASE", "http://127.0.0.1:9")
    for key in (None, "a-key-0123456789"):
        with pytest.raises(OptionError, match="region"):
            check_key(record, api_key=key, named=())


def test_the_table_of_calls_is_still_asked(evil):
    """The fake is reached where a call gives its address."""
    asyncio.run(
        asked(lambda base: LitellmCall("openai/m", api_base=base, api_key="k-01234567"), evil.url)
    )
    assert evil.calls
