"""A batch that other software sent is read by its id: its custom ids are the index, and nothing is sent."""

from __future__ import annotations

import time

import openai
import pytest

import jupyter_batch
from jupyter_batch import cli
from jupyter_batch.core.errors import InputError, JobNotFoundError, OptionError
from tests.anthropic.fake import KEY as ANTHROPIC_KEY
from tests.endings.openai_like import Together
from tests.ledgers import forget
from tests.providers.fakes.azure import Azure
from tests.providers.fakes.gemini import Gemini
from tests.providers.fakes.host import Batch, jsonl
from tests.providers.fakes.mistral import Mistral
from tests.providers.fakes.xai import Xai

from .test_every_provider import anthropic

ENDPOINT = "/v1/chat/completions"
TASKS = {"task 1": "a", "task/2": "b", "3": "c"}


def chat(text):
    """A request's body."""
    return {"model": "echo", "messages": [{"role": "user", "content": text}]}


def line_of(name, text):
    """A line of OpenAI's batch format."""
    return {
        "custom_id": name,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": chat(text),
    }


@pytest.fixture
def client(server):
    """Other software: OpenAI's own client."""
    with openai.OpenAI(base_url=server.base_url, api_key=server.token) as made:
        yield made


def sent(client, lines):
    """The id of a batch of these lines."""
    file = client.files.create(file=("mine.jsonl", jsonl(lines)), purpose="batch")
    made = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    return made.id, file.id


def test_another_softwares_batch(server, call, client, home, capsys):
    """Listed as the provider's own, read by its id, attached to the second time, and asked for nothing."""
    batch, _ = sent(client, [line_of(*task) for task in TASKS.items()])
    (listed,) = jupyter_batch.jobs(remote=True, **call)
    assert listed.id == batch
    before = server.stats()
    job = jupyter_batch.adopt(batch, **call).wait(60)
    assert job.is_successful
    found = job.results()
    assert found.index.name == "custom_id"
    assert found["response"].to_dict() == TASKS
    assert job.row("task/2").answer == "b"
    assert job.row("task/2").prompt[0]["content"] == "b"
    assert jupyter_batch.adopt(f" {batch}\n", **call) is job
    forget(home)
    assert jupyter_batch.open(job.id).results()["response"].to_dict() == TASKS
    assert list(jupyter_batch.jobs(remote=True, **call)) == []
    assert "No batch at" in repr(jupyter_batch.jobs(remote=True, **call))
    after = server.stats()
    for count in ("uploads", "batches_created"):
        assert after[count] == before[count] == 1
    where = ["--model", call["model"], "--api-base", call["api_base"]]
    assert cli.main(["adopt", batch, *where]) == 0
    assert job.id in capsys.readouterr().out


def test_the_id_alone(server, client, home, capsys, monkeypatch):
    """Where the environment has the key of the provider with such ids, nothing else is needed."""
    batch, _ = sent(client, [line_of(*task) for task in TASKS.items()])
    assert cli.main(["adopt", batch]) == 2
    assert "--provider openai" in capsys.readouterr().err
    monkeypatch.setenv("OPENAI_API_KEY", server.token)
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    assert cli.main(["adopt", batch]) == 0
    assert jupyter_batch.adopt(batch).wait(60).results()["response"].to_dict() == TASKS


def test_a_request_file_that_is_gone(server, call, client, home):
    """The custom ids are then those of the results."""
    batch, file = sent(client, [line_of(*task) for task in TASKS.items()])
    client.files.delete(file)
    job = jupyter_batch.adopt(batch, **call).wait(60)
    assert job.is_complete
    assert job.results()["response"].to_dict() == TASKS


def test_the_custom_id_is_that_of_the_line(server, call, client, home):
    """An answer that holds a custom_id of another row is not that row's."""
    tricky = '{"custom_id": "task/2", "x": 1}'
    batch, _ = sent(client, [line_of("task 1", tricky), line_of("task/2", "b")])
    job = jupyter_batch.adopt(batch, **call).wait(60)
    assert job.results()["response"].to_dict() == {"task 1": tricky, "task/2": "b"}


def test_no_such_batch(server, call, home):
    """An id that the provider does not know is an error, and leaves no job."""
    with pytest.raises(JobNotFoundError, match="batch_nope"):
        jupyter_batch.adopt("batch_nope", **call)
    for wrong in (["batch_nope"], " "):
        with pytest.raises(OptionError, match="given by its id"):
            jupyter_batch.adopt(wrong, **call)
    assert list(jupyter_batch.jobs()) == []
    with pytest.raises(OptionError, match="remote=True"):
        jupyter_batch.jobs(model="openai/echo")


FILES = {
    "azure": (Azure, line_of),
    "xai": (Xai, line_of),
    "mistral": (Mistral, lambda name, text: {"custom_id": name, "body": chat(text)}),
    "gemini": (
        Gemini,
        lambda name, text: {"key": name, "request": {"contents": [{"parts": [{"text": text}]}]}},
    ),
}


@pytest.mark.parametrize("name", list(FILES))
def test_at_each_provider(name, home):
    """A running batch is polled until it ends; a failed request has its reason; nothing is created or uploaded."""
    kind, line = FILES[name]
    with kind(time.time) as fake:
        call = {"model": f"{name}/the-model", "api_base": fake.url, "api_key": fake.key}
        if name == "azure":
            call["api_version"] = "2024-10-21"
        lines = [line(*task) for task in TASKS.items()]
        fake.files["file-of-theirs"] = jsonl(lines)
        batch = fake.batches["batches/b1" if name == "gemini" else "b1"] = Batch(
            "batches/b1" if name == "gemini" else "b1",
            "file-of-theirs" if name != "gemini" else "files/theirs",
            dict(zip(TASKS, lines, strict=True)),
            "theirs" if name in ("gemini", "xai") else None,
            time.time(),
            {
                "endpoint": "/v1/chat/completions",
                "model": "the-model",
                "vectors": False,
                "completion_window": "24h",
                "name": "theirs",
            },
        )
        job = jupyter_batch.adopt(batch.id, **call)
        assert job.wait(0.05).state == "running"
        batch.answers = {"task 1": "A", "task/2": "B"}
        batch.errors = {"3": "the model fell over"}
        batch.ending = "completed"
        job.refresh().wait(60)
        found = job.results()
        assert found["response"].dropna().to_dict() == {"task 1": "A", "task/2": "B"}
        assert "the model fell over" in found.loc["3", "_error"]
        assert fake.asked["create"] == fake.asked["upload"] == 0


def test_without_counts_and_requests(home):
    """Together has no counts: of an ended batch whose request file is gone, the results' lines are the rows."""
    with Together(time.time) as fake:
        call = {"model": "together_ai/m", "api_base": f"{fake.url}/v1", "api_key": fake.key}
        requests = {name: chat(text) for name, text in TASKS.items()}
        batch = Batch("job-9", "gone", requests, None, time.time(), {"endpoint": ENDPOINT})
        fake.batches["job-9"] = batch
        with pytest.raises(InputError, match="adopt it once it has ended"):
            jupyter_batch.adopt("job-9", **call)
        batch.answers, batch.errors = {"task 1": "A", "3": "C"}, {"task/2": "the model fell over"}
        batch.ending = "completed"
        found = jupyter_batch.adopt("job-9", **call).wait(60).results()
        assert found["response"].dropna().to_dict() == {"task 1": "A", "3": "C"}
        assert "the model fell over" in found.loc["task/2", "_error"]


def test_at_anthropic(home):
    """Anthropic never returns the requests: the custom ids come with the results."""
    with anthropic() as fake:
        made = fake.add(
            [
                {
                    "custom_id": f"task-{n}",
                    "params": {
                        "model": "claude-haiku-4-5",
                        "max_tokens": 9,
                        "messages": [{"role": "user", "content": text}],
                    },
                }
                for n, text in enumerate("abc")
            ]
        )
        batch = made if isinstance(made, str) else made["id"]
        job = jupyter_batch.adopt(
            batch,
            model="anthropic/claude-haiku-4-5",
            api_base=fake.base,
            api_key=ANTHROPIC_KEY,
        ).wait(60)
        found = job.results()
        assert found["response"].dropna().to_dict() == {"task-0": "A", "task-1": "B"}
        assert "bad prompt" in found.loc["task-2", "_error"]
        assert "create" not in fake.calls
