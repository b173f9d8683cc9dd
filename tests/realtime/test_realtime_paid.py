"""Real time: what was answered is paid for, and is not asked again, whatever can be made of it."""

from __future__ import annotations

import orjson
import pytest
from aiohttp import web
from realtime_endpoint import Endpoint
from realtime_harness import KEY, provider, requests, run, texts

from jupyter_batch.core.request import Status
from jupyter_batch.realtime.fast_path import StraightCall
from jupyter_batch.realtime.litellm_call import LitellmCall

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


@pytest.mark.parametrize("body", [{"choices": []}, {"choices": None}, {}])
@pytest.mark.parametrize("kind", [StraightCall, LitellmCall])
def test_an_answer_of_nothing_with_its_bill_is_asked_once(tmp_path, body, kind):
    """Some gateways filter the whole answer away and count its tokens: that row has failed, with its tokens."""

    def decide(text, before):
        return (
            web.Response(body=orjson.dumps({**body, "usage": USAGE})) if text == "row 3" else None
        )

    with Endpoint(decide) as endpoint:
        call = kind("openai/m", api_base=endpoint.base, api_key=KEY, seconds=20.0)
        real = provider(tmp_path, endpoint.base, call=call)
        view, found = run(real, requests(tmp_path, texts(10)))
    assert endpoint.asked["row 3"] == 1
    assert view.completed + view.failed == 10
    assert found["jb-3"].status is Status.FAILED
    assert "neither an answer nor an error" in found["jb-3"].error
    assert found["jb-3"].usage.output_tokens == 4
    assert sum(one.status is Status.SUCCEEDED for one in found.values()) == 9


@pytest.mark.parametrize("kind", [StraightCall, LitellmCall])
def test_nothing_at_all_is_asked_again(tmp_path, kind):
    """No choices, no bill: the server has not answered yet."""

    def decide(text, before):
        return web.Response(body=b'{"choices": []}') if text == "row 3" and before < 2 else None

    with Endpoint(decide) as endpoint:
        call = kind("openai/m", api_base=endpoint.base, api_key=KEY, seconds=20.0)
        view, _ = run(provider(tmp_path, endpoint.base, call=call), requests(tmp_path, texts(10)))
    assert endpoint.asked["row 3"] == 3
    assert (view.completed, view.failed) == (10, 0)
