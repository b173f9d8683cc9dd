"""A request that a chat model takes at /v1/responses alone goes there, as litellm sends it in real time."""

from __future__ import annotations

import openai
import orjson
import pandas as pd
import pytest

from jupyter_batch.config.option import col
from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.providers.endpoints import for_params, for_text
from jupyter_batch.wire.openai import CHAT, RESPONSES
from tests.params.litellm_rules import BRIDGES

TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}


def endpoint_of(model, params, api_base=None, mode="batch"):
    """The endpoint of a request to a model with these parameters."""
    spoken = for_text(model, mode=mode)
    return for_params(
        spoken, model, params, api_base=api_base, mode=mode, load=load_litellm
    ).endpoint


@pytest.mark.parametrize(
    ("model", "params", "endpoint"),
    [
        pytest.param("openai/gpt-5.4", {"tools": [TOOL]}, RESPONSES, marks=BRIDGES),
        ("openai/gpt-5.4-mini", {"tools": [TOOL], "reasoning_effort": "high"}, RESPONSES),
        ("openai/gpt-5.6", {"tools": [TOOL], "reasoning_effort": col("effort")}, RESPONSES),
        pytest.param(
            "openai/gpt-5.4", {"tools": [TOOL], "reasoning_effort": "none"}, CHAT, marks=BRIDGES
        ),
        ("openai/gpt-5.4", {"reasoning_effort": "high"}, CHAT),
        ("openai/gpt-5-mini", {"tools": [TOOL], "reasoning_effort": "high"}, CHAT),
        ("openai/gpt-4.1-mini", {"tools": [TOOL]}, CHAT),
        ("xai/grok-4", {"web_search_options": {}}, RESPONSES),
        ("xai/grok-4", {"tools": [TOOL]}, CHAT),
    ],
)
def test_litellms_rule_decides(model, params, endpoint):
    """From gpt-5.4 on, chat completions refuse functions while the model reasons: each row, after a day."""
    assert endpoint_of(model, params) == endpoint


def test_another_server_is_asked_by_chat():
    """A server of OpenAI's shape that calls its model so may have no /v1/responses."""
    assert endpoint_of("openai/gpt-5.4", {"tools": [TOOL]}, "https://other.example/v1") == CHAT


def test_azure_has_no_such_batches():
    """Refused before anything is sent, with what to do."""
    given = {"tools": [TOOL], "reasoning_effort": "high"}
    with pytest.raises(OptionError, match='reasoning_effort="none"'):
        endpoint_of("azure/gpt-5.4", given, "https://x.openai.azure.com")


def test_a_job_is_sent_there(server, mapped, home):
    """Through the accessor: request lines, tools and effort are those of the Responses API."""
    df = pd.DataFrame({"text": ["a", "b"]})
    given = {**mapped, "model": "openai/gpt-5.4", "tools": [TOOL], "reasoning_effort": "high"}
    df.llm.batch("{text}", out="said", **given).wait(60)
    client = openai.OpenAI(base_url=server.base_url, api_key=server.token)
    batch = server.batches()[-1]
    assert batch["endpoint"] == RESPONSES
    content = client.files.content(batch["input_file_id"]).content
    body = orjson.loads(content.splitlines()[0])["body"]
    assert body["reasoning"] == {"effort": "high"}
    assert body["tools"][0]["name"] == "f"
    assert df["said"].notna().all()
