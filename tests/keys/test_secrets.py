"""A wrong, echoed or refused key is nowhere on disk nor on a screen."""

from __future__ import annotations

import json
import threading

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.core.secrets import forms
from jupyter_batch.runner.process import session
from tests.keys.recorder import recording
from tests.keys.waiting import until
from tests.ledgers import forget
from tests.messages import messages

DOORS = {
    "batch": lambda frame, given: frame.llm.batch("{t}", **given),
    "preview": lambda frame, given: frame.llm.preview("{t}", **given),
    "build": lambda frame, given: frame.llm.build("{t}", **given),
    "realtime": lambda frame, given: frame.llm.batch("{t}", mode="realtime", **given),
    "sample": lambda frame, given: frame.llm.sample("{t}", **given),
    "embed": lambda frame, given: frame.llm.embed("t", **given),
}
KEY = "sk-SECRET-0123456789-zyxw"


@pytest.fixture
def remote():
    """A server that is asked."""
    with recording() as recorder:
        yield recorder


@pytest.fixture
def frame():
    """Two rows."""
    return pd.DataFrame({"t": ["a", "b"]})


def shown(job):
    """All that is on a screen of a job, in one text."""
    seen = job.snapshot()
    return "\n".join(
        [
            repr(job),
            job._repr_html_() if hasattr(job, "_repr_html_") else "",
            str(seen),
            job.results().to_string(),
            job.errors.to_string(),
            repr(jobs.list_jobs()),
        ]
    )


def assert_nowhere(key, home, *texts):
    """No form of it is in a file of the ledger, nor in these texts."""
    files = [path for path in home.rglob("*") if path.is_file()]
    for form in forms(key):
        assert not [path for path in files if form.encode() in path.read_bytes()], form
        assert not [text for text in texts if form in text], form


@pytest.mark.parametrize("mode", ["batch", "realtime"])
@pytest.mark.parametrize("around", ["{}\n", ' "{}"', "\t{}\r\n"])
def test_a_mounted_secret_works(around, mode, remote, frame, home, monkeypatch):
    """A line break at the end of the variable's value is none of the key's."""
    monkeypatch.setenv("OPENAI_API_KEY", around.format(KEY))
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", around.format(KEY))
    for model in ("openai/m", "hosted_vllm/m"):
        frame.llm.batch("{t}", out=model, model=model, mode=mode, api_base=f"{remote.url}/v1")
    until(lambda: len([path for path in remote.paths if path.startswith("POST")]) >= 4)
    assert {call[2]["authorization"] for call in remote.calls} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("mode", ["batch", "realtime"])
@pytest.mark.parametrize(
    "says",
    [
        "Incorrect API key provided: {}",
        "Illegal header value b'Bearer {}\\n'",
        "https://h/v1?api_key={} was not found",
        "Incorrect API key provided: sk-SE*****zyxw",
    ],
)
def test_what_a_server_repeats_is_masked(says, mode, remote, frame, home):
    """The key in a refusal is neither stored nor shown, in batches and in real time."""
    words = says.format(KEY)
    remote.answer = lambda *_: (
        400,
        {},
        {"error": {"message": words, "code": words, "type": words}},
    )
    job = frame.llm.batch(
        "{t}", out="o", model="openai/m", mode=mode, api_base=f"{remote.url}/v1", api_key=KEY
    )
    job.wait(20)
    assert job.is_complete
    assert "***" in job.results()["_error"].iloc[0]
    assert_nowhere(KEY, home, shown(job))
    assert "zyxw" not in shown(job)


@pytest.mark.parametrize("model", ["anthropic/claude-3-5-haiku", "mistral/m", "xai/m", "azure/m"])
def test_other_adapters_mask_too(model, remote, frame, home):
    """Whichever adapter hears it."""
    remote.answer = lambda *_: (400, {}, {"error": {"message": f"bad key {KEY}"}, "detail": KEY})
    job = frame.llm.batch(
        "{t}", out="o", model=model, api_base=remote.url, api_key=KEY, api_version="2024-10-21"
    )
    until(lambda: "***" in str(job.snapshot()))
    assert_nowhere(KEY, home, shown(job))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"api_base": "http://h/v1?key=SECRET-KEY"}, "query"),
        ({"api_base": "http://h/v1#SECRET-KEY"}, "fragment"),
        ({"api_base": "http://me:SECRET-KEY@h/v1"}, "password"),
        ({"api_base": "h/v1?key=SECRET-KEY"}, "address"),
        ({"model": "openai/m?api_key=SECRET-KEY"}, "query"),
        ({"model": "m?api_key=SECRET-KEY"}, "query"),
        ({"model": "openai/m#SECRET-KEY"}, "fragment"),
        ({"api_key": "SECRET-KEY x"}, "white space"),
        ({"api_key": "SECRET-KEY\x07"}, "api_key"),
        ({"extra_headers": {"x-portkey-api-key": "SECRET-KEY"}}, "litellm_proxy"),
        ({"default_headers": {"x": "SECRET-KEY"}}, "litellm_proxy"),
        ({"extra_body": {"extra_headers": {"x": "SECRET-KEY"}}}, "extra_headers"),
        ({"extra_body": {"api_key": "SECRET-KEY"}}, "api_key"),
        ({"extra_query": {"key": "SECRET-KEY"}}, "query"),
    ],
)
@pytest.mark.parametrize("door", DOORS)
def test_a_secret_in_the_wrong_place(door, options, word, frame, home):
    """Refused at every door in words that do not repeat it; nothing is on disk."""
    given = {"model": "openai/m", "api_base": "http://127.0.0.1:9/v1", "api_key": KEY, **options}
    with pytest.raises(InputError, match=word) as caught:
        DOORS[door](frame, given)
    message = f"{caught.value!r} {caught.value}"
    assert "SECRET" not in message
    if "headers" in str(options) and "extra_body" not in options:
        assert "extra_body" not in message
    assert_nowhere("SECRET-KEY", home)


def test_an_address_with_a_secret_on_the_command_line(capsys, home):
    """`adopt`, `watch` and `serve`."""
    from jupyter_batch.cli import main

    for words in (
        ["adopt", "--provider", "openai"],
        ["watch"],
        ["serve", "--upstream", "openai/m"],
    ):
        assert main([*words, "--api-base", "http://h/v1?key=SECRET-KEY"]) == 2
        printed = capsys.readouterr()
        assert "query" in printed.err
        assert "SECRET" not in printed.out + printed.err


def test_orphans_at_an_address_with_a_secret(home):
    """An older key is masked in what adoption reads."""
    with pytest.raises(OptionError, match="query") as caught:
        jobs.orphans(provider="openai", api_base="http://h/v1?key=SECRET-KEY", api_key=KEY)
    assert "SECRET" not in str(caught.value)


def test_a_late_refusal_of_an_older_key(remote, frame, home, monkeypatch):
    """It counts against the key that was used: the new one is used at once, and the old one is not reported."""
    asked, late = threading.Event(), threading.Event()

    def answer(method, path, headers, body):
        if "old-key" in headers["authorization"]:
            if not late.is_set():
                asked.set()
                late.wait(20)
            return 401, {}, {"error": {"message": "no such key"}}
        return usual(method, path, headers, body)

    usual, remote.answer = remote.answer, answer
    call = {"model": "openai/m", "api_base": f"{remote.url}/v1"}
    job = frame.llm.batch("{t}", out="o", api_key="old-key-012345", **call)
    assert asked.wait(20)
    again = frame.llm.batch("{t}", out="o", api_key="new-key-012345", **call)
    late.set()
    until(lambda: again.state == "running", seconds=10)
    assert job.id == again.id
    assert "refused" not in messages(again.snapshot())
    assert "new-key-012345" in remote.calls[-1][2]["authorization"]


def test_an_open_folder_and_an_open_job_show_no_key(remote, frame, home):
    """Reprs of what holds one."""
    call = {"model": "openai/m", "api_base": f"{remote.url}/v1", "api_key": KEY}
    job = frame.llm.batch("{t}", out="o", **call)
    here = session(home)
    built = frame.llm.build("{t} again", out="p", **call)
    held = [here, here._keys, here.worker, built, job, vars(here)["_keys"]]
    until(lambda: remote.calls)
    assert KEY not in " ".join(map(repr, held))
    for provider in list(here.worker._providers.values()):
        assert KEY not in repr(provider)
    assert_nowhere(KEY, home, json.dumps(str(built.metadata.read_text())))


def test_a_job_of_the_day_before_says_nothing_of_keys(remote, frame, home, monkeypatch):
    """Neither key is in the sentence of a job that is blocked."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    frame.llm.batch(
        "{t}", out="o", model="openai/m", api_base=f"{remote.url}/v1", api_key="sk-other-0123456789"
    )
    until(lambda: remote.calls)
    forget(home)
    [job] = jobs.list_jobs()
    jupyter_batch.open(job.id)
    until(lambda: "was not sent" in messages(job.snapshot()))
    assert_nowhere(KEY, home, shown(job))
    assert_nowhere("sk-other-0123456789", home, shown(job))
