"""Over every door, no key of the environment leaves for a host that this kernel did not name."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.cli import main
from jupyter_batch.core.errors import InputError, JobBlockedError, KeyMissingError
from jupyter_batch.runner.process import session
from tests.keys.recorder import recording
from tests.keys.waiting import passes, until
from tests.ledgers import forget
from tests.messages import messages

MINE = "sk-mine-0123456789abcdef"
THEIRS = "gsk-theirs-0123456789abcdef"


@pytest.fixture
def foreign():
    """A server that the environment's key is not for."""
    with recording() as recorder:
        yield recorder


@pytest.fixture
def frame():
    """Three rows."""
    return pd.DataFrame({"t": list("abc")}, index=list("xyz"))


def day_one(foreign, frame, **options):
    """The job of a call that gave address and key, at that server."""
    asked = {"model": "openai/llama-3", "api_base": f"{foreign.url}/v1", "api_key": THEIRS}
    job = frame.llm.batch("Say {t}", **{"out": "said", **asked, **options})
    batch = options.get("mode") != "realtime"
    until(lambda: job.state == "running" if batch else len(foreign.calls) > 0)
    return job


@pytest.fixture
def day_two(foreign, frame, home, monkeypatch):
    """The id of an open job of yesterday; today a kernel has a key for OpenAI, and named nothing."""
    job = day_one(foreign, frame)
    assert THEIRS in foreign.headers
    forget(home)
    foreign.calls.clear()
    monkeypatch.setenv("OPENAI_API_KEY", MINE)
    return job.id


def blocked(job):
    """It waits for a key, and says for which host."""
    until(lambda: job.blocked == "key")
    return "OPENAI_API_KEY was not sent to 127.0.0.1" in repr(job)


def attach(job, frame):
    """The frame's accessor, by an id."""
    return frame.llm.attach(job)


DOORS = {
    "load_ext": lambda job, _: jobs.resume_open(),
    "open": lambda job, _: jupyter_batch.open(job),
    "attach": attach,
    "resume": lambda job, _: jupyter_batch.open(job).resume(),
    "refresh": lambda job, _: jupyter_batch.open(job).refresh(),
    "cancel": lambda job, _: jupyter_batch.open(job).cancel(),
    "finish": lambda job, _: jupyter_batch.open(job).finish(),
    "list": lambda job, _: [one.resume() for one in jobs.list_jobs()],
    "wait": lambda job, _: jupyter_batch.open(job).wait(0.2),
    "watch": lambda job, _: main(["watch", "--timeout", "0.2"]),
    "watch it": lambda job, _: main(["watch", job, "--timeout", "0.2"]),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_job_at_a_host_that_was_not_named_is_not_polled(door, day_two, foreign, frame, home):
    """The other host hears nothing at all: neither the key nor a placeholder; the job waits for its key."""
    with contextlib.suppress(InputError, JobBlockedError):  # raised by what waits, or asks at once
        DOORS[door](day_two, frame)
    jobs.resume_open()
    passes(home)
    assert foreign.calls == []
    assert blocked(jupyter_batch.open(day_two))


def test_the_key_of_the_cell_sets_it_going(day_two, foreign, frame, home):
    """Restart and run all: `%load_ext` asks with nothing, and the cell's own key is the only secret that is sent."""
    jobs.resume_open()
    passes(home)
    assert foreign.calls == []
    again = frame.llm.batch(
        "Say {t}",
        out="said",
        model="openai/llama-3",
        api_base=f"{foreign.url}/v1",
        api_key=THEIRS,
        aws_secret_access_key="of-a-cloud",
    )
    assert again.id == day_two
    until(lambda: again.state == "running" and foreign.calls)
    assert {call[2]["authorization"] for call in foreign.calls} == {f"Bearer {THEIRS}"}
    assert not messages(again.snapshot())


def test_where_the_key_of_the_cell_is_refused_the_environments_is_not_sent(
    day_two, foreign, frame, home
):
    """A refusal does not make the environment's key one for this address; the job is blocked."""
    usual = foreign.answer
    refusal = {"error": {"message": "Invalid API Key", "code": "invalid_api_key"}}
    foreign.answer = lambda *_: (401, {}, refusal)
    asked = {"model": "openai/llama-3", "api_base": f"{foreign.url}/v1", "api_key": THEIRS}
    again = frame.llm.batch("Say {t}", out="said", **asked)
    until(lambda: again.blocked == "key" and foreign.calls)
    foreign.answer = usual
    again.resume()
    jobs.resume_open()
    passes(home)
    assert {call[2]["authorization"] for call in foreign.calls} == {f"Bearer {THEIRS}"}


def test_another_job_there_does_not_get_the_environments_key(day_two, foreign, frame, home):
    """An address that was given with a key is for that key; yesterday's other jobs there have keys of their own."""
    frame.llm.batch(
        "Sing {t}", out="sung", model="openai/llama-3", api_base=f"{foreign.url}/v1", api_key=THEIRS
    )
    jobs.resume_open()
    until(lambda: foreign.calls)
    passes(home)
    assert MINE not in foreign.headers
    assert blocked(jupyter_batch.open(day_two))


@pytest.mark.parametrize("way", ["cell", "resume", "variable", "addresses"])
def test_the_ways_out(way, day_two, foreign, frame, home, monkeypatch):
    """The address named in a cell or in the environment, or a key for the job."""
    key = MINE
    if way == "cell":
        frame.llm.batch(
            "Say {t}", out="said", model="openai/llama-3", api_base=f"{foreign.url}/v1/"
        )
    elif way == "resume":
        key = THEIRS
        jupyter_batch.open(day_two).resume(api_key=THEIRS)
    elif way == "variable":
        monkeypatch.setenv("OPENAI_BASE_URL", f"{foreign.url}/v1")
        jobs.resume_open()
    else:
        monkeypatch.setenv("JUPYTER_BATCH_API_BASES", f"https://x.example/v1 {foreign.url}/v1")
        jobs.resume_open()
    until(lambda: foreign.calls)
    passes(home)
    assert {call[2]["authorization"] for call in foreign.calls} == {f"Bearer {key}"}


@pytest.mark.parametrize("command", ["watch", "cancel", "retry"])
def test_an_address_given_on_the_command_line_is_named(command, day_two, foreign, home):
    """In a terminal `--api-base` says that the environment's key may go there."""
    words = {
        "watch": ["watch", day_two, "--timeout", "1"],
        "cancel": ["cancel", day_two],
        "retry": ["retry", day_two],
    }[command]
    main([*words, "--api-base", f"{foreign.url}/v1"])
    jobs.resume_open()
    until(lambda: foreign.calls)
    assert f"Bearer {MINE}" in foreign.headers


def test_real_time_at_a_host_that_was_not_named(foreign, frame, home, monkeypatch):
    """Neither the key nor the prompts of what was open go there, by litellm's own look for a key either."""
    foreign.answer = lambda *_: (503, {}, {"error": {"message": "busy"}})
    job = day_one(foreign, frame, mode="realtime")
    other = day_one(foreign, frame, mode="realtime", model="groq/llama", out="other")
    forget(home)
    foreign.calls.clear()
    monkeypatch.setenv("OPENAI_API_KEY", MINE)
    monkeypatch.setenv("GROQ_API_KEY", MINE)
    jobs.resume_open()
    passes(home)
    assert foreign.calls == []
    assert blocked(jupyter_batch.open(job.id))
    elsewhere = jupyter_batch.open(other.id)
    until(lambda: elsewhere.blocked == "key")
    assert "GROQ_API_KEY was not sent" in repr(elsewhere)


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("anthropic/claude", "ANTHROPIC_API_KEY"),
        ("mistral/m", "MISTRAL_API_KEY"),
        ("xai/grok", "XAI_API_KEY"),
        ("hosted_vllm/m", "HOSTED_VLLM_API_KEY"),
        ("litellm_proxy/m", "LITELLM_PROXY_API_KEY"),
    ],
)
def test_other_providers(model, variable, foreign, frame, home, monkeypatch):
    """Each adapter keeps to it."""
    job = frame.llm.batch(
        "Say {t}", out="said", model=model, api_base=f"{foreign.url}/v1", api_key=THEIRS
    )
    until(lambda: foreign.calls)
    forget(home)
    foreign.calls.clear()
    monkeypatch.setenv(variable, MINE)
    jobs.resume_open()
    passes(home)
    assert foreign.calls == []
    again = jupyter_batch.open(job.id)
    until(lambda: again.blocked == "key")
    assert f"{variable} was not sent to 127.0.0.1" in repr(again)


def test_groups_and_vectors(foreign, frame, home, monkeypatch):
    """The members of a group, and embeddings."""
    asked = {"api_base": f"{foreign.url}/v1", "api_key": THEIRS}
    group = frame.llm.batch("Say {t}", out="said", model=["openai/a", "openai/b"], **asked)
    vectors = frame.llm.embed("t", out="v", model="openai/text-embedding-3-small", **asked)
    until(lambda: sum("POST" in path and "batches" in path for path in foreign.paths) >= 3)
    forget(home)
    foreign.calls.clear()
    monkeypatch.setenv("OPENAI_API_KEY", MINE)
    opened = [*jupyter_batch.open(group.id).jobs, jupyter_batch.open(vectors.id)]
    passes(home)
    assert foreign.calls == []
    assert all(blocked(job) for job in opened)


def test_artifacts_of_someone_else(foreign, frame, home, tmp_path, monkeypatch):
    """Their server is named, and wants a key given for it; nothing is sent, nothing planned before."""
    folder = tmp_path / "built"
    frame.llm.build(
        "Say {t}", folder=folder, out="said", model="openai/m", api_base=f"{foreign.url}/v1"
    )
    forget(home)
    monkeypatch.setenv("OPENAI_API_KEY", MINE)
    theirs = jupyter_batch.Artifacts(folder)
    with pytest.raises(KeyMissingError, match=r"was not sent to 127\.0\.0\.1"):
        theirs.submit()
    assert foreign.calls == []
    assert len(jobs.list_jobs()) == 0
    theirs.submit(api_key=THEIRS)
    until(lambda: foreign.calls)
    assert MINE not in foreign.headers


def test_artifacts_of_this_kernel(foreign, frame, home, monkeypatch):
    """The address was typed here, so that the environment's key goes there as for any call."""
    monkeypatch.setenv("OPENAI_API_KEY", MINE)
    built = frame.llm.build("Say {t}", out="said", model="openai/m", api_base=f"{foreign.url}/v1")
    built.submit()
    until(lambda: foreign.calls)
    assert f"Bearer {MINE}" in foreign.headers


def test_a_ledger_of_someone_else_gets_no_key_of_a_call(day_two, foreign, frame, home, monkeypatch):
    """A forged job that answers to just this call, and names another server, gets nothing of the call's key."""
    with recording() as honest:
        honest_base = f"{honest.url}/v1"
        job = frame.llm.batch(
            "Hum {t}", out="hum", model="openai/m", api_base=honest_base, api_key=THEIRS
        )
        until(lambda: honest.calls)
        ledger = session(home).ledger
        ledger.amend(job.id, api_base=f"{foreign.url}/v1")
        forget(home)
        again = frame.llm.batch(
            "Hum {t}", out="hum", model="openai/m", api_base=honest_base, api_key=THEIRS
        )
        assert again.id == job.id
        passes(home)
        assert foreign.calls == []


def test_a_server_without_a_key_is_followed_the_next_day(foreign, frame, home, monkeypatch):
    """A job that was submitted without any key to a server on this machine goes on, still without one."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    frame.llm.batch("Say {t}", out="said", model="openai/m", api_base=f"{foreign.url}/v1")
    until(lambda: foreign.calls)
    forget(home)
    foreign.calls.clear()
    monkeypatch.setenv("OPENAI_API_KEY", MINE)
    jobs.resume_open()
    until(lambda: foreign.calls)
    assert MINE not in foreign.headers


ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
where = []
calls = ("socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, args: where.append(str(args)) if event in calls else 0)
from tests.keys.waiting import counted, passes
from tests.messages import messages
with counted():
    {door}
    from jupyter_batch import jobs
    from jupyter_batch.config.settings import home
    passes(home())
    print([messages(one.snapshot()) for one in jobs.list_jobs()])
print("ASKED", [one for one in where if "{host}" in one])
"""
PROCESS = {
    "load_ext": "from IPython.core.interactiveshell import InteractiveShell\n"
    "    InteractiveShell.instance().run_line_magic('load_ext', 'jupyter_batch')",
    "watch": "from jupyter_batch.cli import main\n    main(['watch', '--timeout', '1'])",
}


@pytest.mark.parametrize("door", PROCESS)
def test_a_process_of_its_own(door, day_two, foreign, home):
    """As it was found: a kernel that runs `%load_ext` alone, or `watch`: no name looked up, no socket opened."""
    host = foreign.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(door=PROCESS[door], host=host)],
        env={**os.environ, "JUPYTER_BATCH_HOME": str(home), "OPENAI_API_KEY": MINE},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "ASKED []" in done.stdout, done.stdout + done.stderr
    assert "OPENAI_API_KEY was not sent to 127.0.0.1" in done.stdout + done.stderr
    assert MINE not in done.stdout + done.stderr
    assert foreign.calls == []
