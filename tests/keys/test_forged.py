"""A ledger that someone else wrote, or damaged, gets no key, no prompt and no loop of errors."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.http.address import host_of
from jupyter_batch.providers.keys import is_own_host, owner_of
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.runner.process import place_of, session
from jupyter_batch.server import launch
from tests.keys.recorder import recording
from tests.keys.waiting import passes, until
from tests.ledgers import forget
from tests.messages import messages

KEY = "sk-mine-0123456789abcdef"
BROKEN = ["http://[::1", "http://h:99999/v1", "http://h:port/v1", "//", "http://[h]/v1"]


@pytest.fixture
def frame():
    """Two rows."""
    return pd.DataFrame({"t": ["a", "b"]})


@pytest.fixture
def server():
    """A server that the kernel named."""
    with recording() as recorder:
        yield recorder


@pytest.mark.parametrize("base", BROKEN)
def test_an_address_that_is_none(base):
    """Outside every test, and named without an error."""
    assert not is_own_host(RECORDS["openai"], base)
    assert owner_of(base) is None
    assert isinstance(host_of(base), str)


@pytest.mark.parametrize("given", [None, KEY])
@pytest.mark.parametrize("base", BROKEN)
def test_a_job_at_an_address_that_is_none(base, given, server, frame, home, monkeypatch, caplog):
    """The job is blocked with a reason; a raw ValueError was retried for ever."""
    call = {"model": "openai/m", "api_base": f"{server.url}/v1", "api_key": "sk-other-0123456789"}
    job = frame.llm.batch("{t}", out="o", **call)
    until(lambda: server.calls)
    session(home).ledger.amend(job.id, api_base=base)
    forget(home)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    again = jupyter_batch.open(job.id)
    if given is not None:
        again.resume(api_key=given)
    jobs.resume_open()
    passes(home)
    assert again.blocked == "key"
    assert "unexpected" not in caplog.text
    assert repr(again)


@pytest.mark.parametrize("change", [{"provider": "xai"}, {"cloud": {"region": "x"}}])
@pytest.mark.parametrize("door", ["batch", "submit"])
def test_a_job_elsewhere_that_answers_to_a_call(change, door, server, frame, home):
    """Its key is lent where provider, address and region are the call's own, not for the address alone."""
    call = {"model": "openai/m", "api_base": f"{server.url}/v1", "api_key": KEY}
    ask = {
        "batch": lambda: frame.llm.batch("{t}", out="o", **call),
        "submit": lambda: frame.llm.build("{t}", out="o", **call).submit(),
    }[door]
    job = ask()
    until(lambda: job.state == "running")
    forget(home)
    session(home).ledger.amend(job.id, **change)
    again = ask()
    if again.id == job.id:
        assert session(home).key_of(job.id) is None


def test_a_name_that_litellm_takes_elsewhere(frame, home, monkeypatch):
    """In real time litellm calls whom the model's name says, and the key is that of the record's provider."""
    with recording() as server:
        server.answer = lambda *_: (503, {}, {"error": {"message": "busy"}})
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        monkeypatch.setenv("DEEPSEEK_API_BASE", f"{server.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        job = frame.llm.batch("{t}", out="o", model="openai/m", mode="realtime")
        until(lambda: server.calls)
        forget(home)
        session(home).ledger.amend(job.id, model="deepseek/m", api_base=None)
        server.calls.clear()
        again = jupyter_batch.open(job.id)
        until(lambda: again.blocked == "key")
        assert KEY not in server.headers
        assert "deepseek/m" in messages(again.snapshot())


@pytest.mark.parametrize("field", ["base_url", "pid", "token"])
def test_an_announcement_of_a_server_elsewhere(field, tmp_path):
    """`endpoint.json` of a folder that came from elsewhere: rows went to whatever host it named."""
    with recording() as server:
        folder = tmp_path / "server"
        folder.mkdir()
        named = {"pid": 2**22, "base_url": f"{server.url}/v1", "token": "token-0123456789"}
        (folder / "endpoint.json").write_text(json.dumps(named))
        assert launch.find(tmp_path) is not None
        server.calls.clear()
        odd = {
            "base_url": [
                server.url.replace("http:", "https:"),
                "http://h.example:80/v1",
                "http://[",
                "",
            ],
            "pid": ["1", 0, -1, None],
            "token": [None, 5],
        }
        for value in odd[field]:
            (folder / "endpoint.json").write_text(json.dumps({**named, field: value}))
            assert launch.find(tmp_path) is None
        assert server.calls == []


def test_places_are_compared_whole(server, frame, home):
    """Provider, model's provider, address in one spelling, and region."""
    call = {"model": "openai/m", "api_base": f"{server.url}/v1/", "api_key": KEY}
    record = frame.llm.batch("{t}", out="o", **call)._record()
    place = place_of(record)
    assert server.url in place
    assert place.startswith("openai openai ")
