"""`keep="logprobs"` asks for log probabilities, or says that the model gives none."""

from __future__ import annotations

import openai
import orjson
import pandas as pd
import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.server.embedded import Embedded


@pytest.fixture
def server(tmp_path):
    """The embedded server, whose answers have log probabilities where they are asked for."""
    with Embedded(tmp_path / "server") as running:
        yield running


def options(server, model="openai/echo"):
    """The options of a job there."""
    return {"model": model, "api_base": server.base_url, "api_key": server.token}


def bodies(server):
    """The requests of the last batch."""
    client = openai.OpenAI(base_url=server.base_url, api_key=server.token)
    content = client.files.content(server.batches()[-1]["input_file_id"]).content
    return [orjson.loads(line)["body"] for line in content.splitlines()]


def test_they_are_asked_for(server, home):
    """A column of nothing but missing values would be what `keep` alone gets."""
    df = pd.DataFrame({"text": ["sky", "sea"]})
    df.llm.batch("{text}", out="said", keep=["logprobs"], **options(server)).wait(60)
    assert [body["logprobs"] for body in bodies(server)] == [True, True]


def test_what_the_user_asked_stays(server, home):
    """The parameter itself, or extra_body, which is sent as it is."""
    df = pd.DataFrame({"text": ["sky"]})
    given = {"logprobs": True, "top_logprobs": 2}
    df.llm.batch("{text}", out="said", keep="logprobs", **given, **options(server)).wait(60)
    assert given.items() <= bodies(server)[0].items()
    extra = {"logprobs": 3}
    df.llm.batch("{text}", out="b", keep="logprobs", extra_body=extra, **options(server)).wait(60)
    assert bodies(server)[0]["logprobs"] == 3


@pytest.mark.parametrize("model", ["openai/o3", "anthropic/claude-haiku-4-5"])
def test_a_model_without_them_is_refused(server, home, model):
    """Before anything is sent, with the way out."""
    df = pd.DataFrame({"text": ["sky"]})
    with pytest.raises(OptionError, match="leave 'logprobs' out of keep="):
        df.llm.batch("{text}", keep=["reasoning", "logprobs"], **options(server, model))
    with pytest.raises(OptionError, match="not False"):
        df.llm.batch("{text}", keep="logprobs", logprobs=False, **options(server))
