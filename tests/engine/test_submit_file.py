"""A ready file of requests: checked line by line, sent with its own custom ids, and paid once."""

from __future__ import annotations

import json
import time

import openai
import pytest
from aiohttp import web

import jupyter_batch
from jupyter_batch.core.errors import InputError, OptionError
from tests.anthropic.fake import KEY as ANTHROPIC_KEY
from tests.endings.openai_host import OpenAI
from tests.ledgers import lose
from tests.providers.fakes.host import jsonl
from tests.providers.fakes.mistral import Mistral
from tests.waiting import wait_for

from .test_every_provider import anthropic


def line(name, text, **more):
    """A request line."""
    body = {"model": "echo", "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


def written(tmp_path, lines, name="requests.jsonl"):
    """The path of a file of lines."""
    path = tmp_path / name
    path.write_bytes(jsonl(lines))
    return path


def uploads(server):
    """The lines of each request file at the server, as they came."""
    with openai.OpenAI(base_url=server.base_url, api_key=server.token) as client:
        files = [one.id for one in client.files.list() if one.purpose == "batch"]
        contents = [client.files.content(one).text for one in files]
    lines = [[json.loads(text) for text in content.splitlines()] for content in contents]
    return sorted(lines, key=len, reverse=True)


THREE = [line("task 1", "a", temperature=0.5), line("b/2", "b"), line("3", "b")]


def test_a_file_is_sent_with_its_own_ids_once(server, call, home, tmp_path):
    """The lines arrive as they are; the answers are on their ids; the same file again is the same job."""
    path = written(tmp_path, THREE)
    job = jupyter_batch.submit_file(path, **call).wait(60)
    assert job.is_successful
    found = job.results()
    assert found.index.name == "custom_id"
    assert found["response"].to_dict() == {"task 1": "a", "b/2": "b", "3": "b"}
    assert uploads(server) == [THREE]
    assert jupyter_batch.submit_file(path, **call) is job
    more = written(tmp_path, [*THREE, line("4", "d")], "more.jsonl")
    other = jupyter_batch.submit_file(str(more), **call).wait(60)
    assert other.results()["response"].tolist() == ["a", "b", "b", "d"]
    assert (other.counts.reused, other.counts.succeeded) == (3, 1)
    assert [len(lines) for lines in uploads(server)] == [3, 1]


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("/v1/chat/completions", None),
        ("/v1/completions", "prompt"),
        ("/v1/responses", "input"),
        ("/v1/embeddings", "input"),
    ],
)
def test_a_lost_ledger(url, field, server, call, home, tmp_path):
    """Its batch is read by its id; then the file again finds its answers, and pays for none."""
    texts = {"task 1": "a", "b/2": "b", "3": "b"}
    lines = [
        {**line(name, text), "url": url, "body": {"model": "echo", field: text}}
        if field
        else line(name, text)
        for name, text in texts.items()
    ]
    path = written(tmp_path, lines)
    job = jupyter_batch.submit_file(path, **call).wait(60)
    (batch,), before = job.batches, job.results()["response"]
    lose(home)
    adopted = jupyter_batch.adopt(batch, **call).wait(60)
    assert adopted._record().endpoint == url
    again = jupyter_batch.submit_file(path, **call).wait(60)
    for found in (adopted.results()["response"], again.results()["response"]):
        assert list(found.index) == list(texts)
        if url == "/v1/embeddings":
            assert [vector.tolist() for vector in found] == [one.tolist() for one in before]
        else:
            assert found.to_dict() == texts
    assert server.stats()["batches_created"] == 1


def test_the_file_names_the_model_and_the_limits_cut_it(server, call, home, tmp_path):
    """Without model= it is the file's; more lines than fit into one batch are several."""
    path = written(tmp_path, [line(f"r{n}", f"{n}") for n in range(5)])
    place = {name: value for name, value in call.items() if name != "model"}
    job = jupyter_batch.submit_file(path, shard_size=2, wait=True, timeout=60, **place)
    assert job.is_successful
    assert job.results()["response"].to_dict() == {f"r{n}": f"{n}" for n in range(5)}
    assert [len(lines) for lines in uploads(server)] == [2, 2, 1]
    assert job.snapshot().model == "openai/echo"


EMBED = {
    "custom_id": "v",
    "method": "POST",
    "url": "/v1/embeddings",
    "body": {"model": "echo", "input": "text"},
}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            [line("a", "x"), line("b", "y"), line("a", "z")],
            "line 3: the custom_id 'a' is that of line 1",
        ),
        ([line("a", "x"), EMBED], "line 2: a batch has one endpoint"),
        ([line("a", "x"), line("b", "y", model="other")], "line 2: a batch has one model"),
        ([line("a", "x"), {"custom_id": "b"}], "line 2: no request of OpenAI's batch format"),
        (
            [line("a", "x"), {**line("b", "y"), "url": "/v1/images"}],
            "line 2: expected POST to one of",
        ),
        ([line("a", "x"), {**line("b", "y"), "body": {"model": "echo"}}], "`messages` in the body"),
        ([line("a", "x"), line(" ", "y")], "line 2: expected a custom_id"),
        ([line("a", "x", stream=True)], "line 1: a batch has no streams"),
        ([], "no requests"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_sent(server, home, tmp_path, lines, says):
    """The error has the line's number; no job is left, and nothing reaches the server."""
    place = {"api_base": server.base_url, "api_key": server.token}
    with pytest.raises(InputError, match=says):
        jupyter_batch.submit_file(written(tmp_path, lines), **place)
    assert list(jupyter_batch.jobs()) == []
    assert server.stats()["uploads"] == 0


def test_bad_json_and_bad_options(server, call, home, tmp_path):
    """A line that is no JSON has its number, empty lines counted; an option of prompts is refused."""
    path = tmp_path / "requests.jsonl"
    path.write_bytes(jsonl(THREE[:1]) + b"\n{'custom_id': 'b'}\n")
    with pytest.raises(InputError, match=r"requests\.jsonl, line 3: no request"):
        jupyter_batch.submit_file(path, **call)
    with pytest.raises(OptionError, match="temperature"):
        jupyter_batch.submit_file(path, temperature=1, **call)
    with pytest.raises(InputError, match="can't be read"):
        jupyter_batch.submit_file(tmp_path / "none.jsonl", **call)
    with pytest.raises(InputError, match="takes the path of a JSONL file, not None"):
        jupyter_batch.submit_file(None, **call)


def test_embeddings(server, call, home, tmp_path):
    """A file of embeddings gives vectors."""
    path = written(tmp_path, [{**EMBED, "custom_id": name} for name in "ab"])
    job = jupyter_batch.submit_file(path, **call).wait(60)
    assert job.is_successful
    assert job.vectors().shape[0] == 2


def test_at_a_provider_with_another_format(home, tmp_path):
    """The requests are translated as any; the answers are on the file's ids."""
    with anthropic() as fake:
        path = written(tmp_path, [line("task 1", "a", max_tokens=7), line("task 2", "b")])
        where = {"api_base": fake.base, "api_key": ANTHROPIC_KEY}
        job = jupyter_batch.submit_file(path, model="anthropic/claude-haiku-4-5", **where).wait(60)
        (batch,) = fake.batches.values()
        assert [one["params"]["max_tokens"] for one in batch["requests"]] == [7, 4096]
        assert job.results()["response"].dropna().to_dict() == {"task 1": "A"}
        again = job.retry().wait(60)
        assert again.results()["response"].to_dict() == {"task 1": "A", "task 2": "B"}


def test_a_retry_sends_the_failed_lines_with_their_ids(server, call, home, tmp_path):
    """Failed lines are sent again alone, under their own ids."""
    server.set_faults("row_errors=1")
    job = jupyter_batch.submit_file(written(tmp_path, THREE[:2]), **call).wait(60)
    assert job.counts.failed == 2
    server.set_faults("")
    jupyter_batch.submit_file(written(tmp_path, THREE[1:2], "one.jsonl"), **call).wait(60)
    again = job.retry().wait(60)
    assert again.is_successful
    assert again.results()["response"].to_dict() == {"task 1": "a", "b/2": "b"}
    sent = [[one["custom_id"] for one in lines] for lines in uploads(server)]
    assert sorted(sent) == [["b/2"], ["task 1"], ["task 1", "b/2"]]


def ready(url, name, **body):
    """A line of another endpoint."""
    return {"custom_id": name, "method": "POST", "url": url, "body": body}


def test_old_completions(server, call, home, tmp_path):
    """/v1/completions: prompts are sent as they are, and the texts come back."""
    lines = [ready("/v1/completions", f"t{n}", model="echo", prompt=f"say {n}") for n in range(2)]
    job = jupyter_batch.submit_file(written(tmp_path, lines), **call).wait(60)
    assert job.is_successful, job.errors
    assert job.results()["response"].to_dict() == {"t0": "say 0", "t1": "say 1"}
    assert uploads(server) == [lines]


FURTHER = {
    "/v1/moderations": (
        {"input": "a"},
        {"results": [{"flagged": True, "categories": {"hate": True}}]},
        '{"flagged":true,"categories":{"hate":true}}',
    ),
    "/v1/images/generations": (
        {"prompt": "a"},
        {"data": [{"url": "https://h/a.png"}, {"b64_json": "AAAA"}]},
        "https://h/a.png\n\nAAAA",
    ),
    "/v1/images/edits": (
        {"prompt": "a", "images": [{"image_url": "https://h/b.png"}]},
        {"data": [{"url": "https://h/a.png"}]},
        "https://h/a.png",
    ),
}


@pytest.mark.parametrize("url", list(FURTHER))
def test_what_is_neither_chat_nor_embeddings(url, home, tmp_path):
    """A moderation is its JSON, images are their addresses or contents; no price by tokens. Adopted by its id, too."""
    asked, answer, value = FURTHER[url]
    with OpenAI(time.time) as fake:
        call = {"model": "openai/the-model", "api_base": f"{fake.url}/v1", "api_key": fake.key}
        path = written(tmp_path, [ready(url, "one", model="the-model", **asked)])
        job = jupyter_batch.submit_file(path, **call)
        wait_for(lambda: fake.batches, job)
        assert fake.only.order["endpoint"] == url
        reply = {"custom_id": "one", "response": {"status_code": 200, "body": answer}}
        fake.only.answers, fake.only.ending = {"one": "x"}, "completed"
        fake.spoil = lambda verb, path, given: (
            web.Response(body=jsonl([reply])) if verb == "fetch" and "out-of" in path else given
        )
        assert job.refresh().wait(60).is_successful
        assert list(fake.only.requests.values()) == [{"model": "the-model", **asked}]
        (batch,) = job.batches
        assert job.results()["response"].tolist() == [value]
        assert job.cost is None
        lose(home)
        (listed,) = jupyter_batch.jobs(limit=1, remote=True, **call)
        assert listed.id == batch
        adopted = jupyter_batch.adopt(batch, **call).wait(60)
        assert adopted.results()["response"].to_dict() == {"one": value}
        assert adopted._record().endpoint == url
        assert adopted.cost is None


def test_ocr_at_mistral(home, tmp_path):
    """/v1/ocr: the pages' texts."""
    with Mistral(time.time) as fake:
        call = {"model": "mistral/mistral-ocr-latest", "api_base": fake.url, "api_key": fake.key}
        document = {"type": "document_url", "document_url": "https://h/a.pdf"}
        path = written(tmp_path, [ready("/v1/ocr", "one", model="m", document=document)])
        job = jupyter_batch.submit_file(path, **call)
        wait_for(lambda: fake.batches, job)
        assert fake.only.order["endpoint"] == "/v1/ocr"
        assert list(fake.only.requests.values()) == [{"document": document}]
        pages = {"pages": [{"index": 0, "markdown": "# A"}, {"index": 1, "markdown": "b"}]}
        reply = {"custom_id": "one", "response": {"status_code": 200, "body": pages}}
        fake.only.answers, fake.only.ending = {"one": "x"}, "completed"
        fake.spoil = lambda verb, _, given: (
            web.Response(body=jsonl([reply])) if verb == "fetch" else given
        )
        assert job.refresh().wait(60).is_successful
        assert job.results()["response"].tolist() == ["# A\n\nb"]


def test_an_endpoint_that_a_provider_has_not(home, tmp_path):
    """The message has those that it takes; nothing is stored."""
    path = written(tmp_path, [ready("/v1/moderations", "one", model="m", input="a")])
    with pytest.raises(OptionError, match=r"/v1/moderations.*Mistral, which take .*/v1/ocr"):
        jupyter_batch.submit_file(path, model="mistral/m", api_key="k")
    with pytest.raises(OptionError, match="in a batch only"):
        jupyter_batch.submit_file(path, model="openai/m", api_key="k", mode="realtime")
    assert list(jupyter_batch.jobs()) == []
