"""A key goes to the host it was given for: not to another provider, nor to another job's address."""

from __future__ import annotations

import pytest

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.core.errors import OptionError
from jupyter_batch.planning.target import Member, keys_by_job
from jupyter_batch.runner.process import session
from tests.keys.recorder import BATCH, recording
from tests.keys.test_every_entry_point import blocked, foreign, frame
from tests.keys.waiting import passes, until
from tests.ledgers import forget

__all__ = ["foreign", "frame"]
MINE = "sk-mine-0123456789abcdef"
THEIRS = "gsk-theirs-0123456789abcdef"
FAILED = {**BATCH, "status": "failed", "errors": {"data": [{"code": "bad", "message": "bad file"}]}}


def test_an_address_is_named_for_the_provider_that_was_called_there(
    foreign, frame, home, monkeypatch
):
    """A call of one provider's model at an address does not release another provider's key."""
    base = f"{foreign.url}/v1"
    theirs = {
        model: frame.llm.batch("Say {t}", out=model, model=model, api_base=base, api_key=THEIRS)
        for model in ("anthropic/claude", "mistral/m", "openai/m")
    }
    until(lambda: sum("POST" in path for path in foreign.paths) >= 5)
    forget(home)
    foreign.calls.clear()
    for name in ("ANTHROPIC_API_KEY", "MISTRAL_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, f"{MINE}-{name}")
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", "vllm-0123456789abcdef")
    frame.llm.batch("Sing {t}", out="sung", model="hosted_vllm/m", api_base=base)
    jobs.resume_open()
    until(lambda: foreign.calls)
    passes(home)
    assert MINE not in foreign.headers
    for job in theirs.values():
        again = jupyter_batch.open(job.id)
        until(lambda again=again: again.blocked == "key")


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("door", ["retry", "finish"])
def test_what_goes_on_from_a_job_elsewhere_does_not_get_its_key(
    door, given, foreign, frame, home, monkeypatch
):
    """A ledger of someone else, in which the retry of this job is at his server."""
    with recording() as honest:
        usual = honest.answer
        honest.answer = lambda *call: (200, {}, FAILED) if "batch_1" in call[1] else usual(*call)
        asked = {"model": "openai/m", "api_base": f"{honest.url}/v1", "api_key": THEIRS}
        job = frame.llm.batch("Say {t}", out="said", **asked).wait(20)
        child = getattr(job, door)(api_key=THEIRS)
        forget(home)
        session(home).ledger.amend(child.id, api_base=f"{foreign.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", MINE)
        again = jupyter_batch.open(job.id)
        session(home).know(job.id, THEIRS)  # of its call
        forged = getattr(again, door)(**({"api_key": THEIRS} if given else {}))
        assert forged.id == child.id
        passes(home)
        assert foreign.calls == []
        assert blocked(forged)


def test_a_refused_key_for_a_job_of_the_ledger_does_not_name_its_address(
    foreign, frame, home, monkeypatch
):
    """`resume(api_key=...)` is for that key; a variable that is set later is for its provider."""
    base = f"{foreign.url}/v1"
    job = frame.llm.batch("Say {t}", out="said", model="openai/m", api_base=base, api_key=THEIRS)
    until(lambda: foreign.calls)
    forget(home)
    foreign.answer = lambda *_: (401, {}, {"error": {"message": "no such key"}})
    again = jupyter_batch.open(job.id)
    until(lambda: again.blocked == "key")
    again.resume(api_key=THEIRS)
    until(lambda: again.id in session(home).worker.refused)
    monkeypatch.setenv("OPENAI_API_KEY", MINE)
    again.resume()
    jobs.resume_open()
    passes(home)
    assert {call[2]["authorization"] for call in foreign.calls} == {f"Bearer {THEIRS}"}


def test_one_key_for_models_of_several_providers_is_refused(frame, home):
    """OpenAI's key would go to Anthropic; nothing is planned."""
    for door in (frame.llm.batch, frame.llm.build):
        with pytest.raises(OptionError, match="one provider"):
            door("{t}", model=["openai/gpt-4.1-mini", "anthropic/claude-haiku-4-5"], api_key=MINE)
    assert len(jobs.list_jobs()) == 0


def test_one_key_for_several_dialects_at_one_gateway(foreign, frame, home):
    """It is that gateway's."""
    models = ["openai/a", "hosted_vllm/b"]
    group = frame.llm.batch("{t}", model=models, api_base=f"{foreign.url}/v1", api_key=THEIRS)
    group.resume(api_key=THEIRS)
    assert {job._here.key_of(job.id) for job in group.jobs} == {THEIRS}


def test_a_key_for_a_group_goes_to_the_job_that_lacks_one():
    """Two run, the third waits for its key: `group.resume(api_key=...)` is for that one."""
    openai, anthropic = Member("a", "o", lacks_key=False), Member("b", "a", lacks_key=True)
    mistral = Member("c", "m", lacks_key=True)
    assert keys_by_job("k", [openai, anthropic]) == {"a": None, "b": "k"}
    assert keys_by_job("k", [openai, openai._replace(id="b")]) == {"a": "k", "b": "k"}
    assert keys_by_job(None, [openai, mistral]) == {"a": None, "c": None}
    for members in ([openai, anthropic, mistral], [openai, mistral._replace(lacks_key=False)]):
        with pytest.raises(OptionError, match="one provider"):
            keys_by_job("k", members)


def test_a_group_with_a_key_for_one_of_its_providers(frame, home, monkeypatch):
    """The other's job keeps the key of the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", MINE)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with recording() as one, recording() as other:
        usual, refusal = other.answer, {"error": {"message": "no such key"}}
        other.answer = lambda *_: (401, {}, refusal)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{one.url}/v1")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", other.url)
        group = frame.llm.batch("{t}", model=["openai/a", "anthropic/b"])
        until(lambda: one.calls and group.jobs[1].blocked == "key")
        other.answer = usual
        other.calls.clear()
        group.resume(api_key="sk-ant-0123456789abcdef")
        until(lambda: other.calls)
        passes(home)
        assert "sk-ant-0123" not in one.headers
        assert {call[2]["x-api-key"] for call in other.calls} == {"sk-ant-0123456789abcdef"}
