"""Mapped parameters pay nothing twice: older ledgers, adopted batches, retries of jobs planned before."""

from __future__ import annotations

import openai
import orjson
import pandas as pd

from jupyter_batch import jobs
from jupyter_batch.frames.hashing import hash_of
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.resent_lines import Remapped, is_unmapped
from tests.example_snapshots import job as made_up
from tests.ledgers import lose


def frame(rows=3):
    """Rows that differ."""
    return pd.DataFrame({"text": [f"row number {n}" for n in range(rows)]})


def request_hash_of(job, home):
    """The stored hash of a job's only request."""
    return Ledger(home).folders.of(job.id).request_hashes.read_bytes()


def sent(server):
    """The bodies of the last batch."""
    client = openai.OpenAI(base_url=server.base_url, api_key=server.token)
    content = client.files.content(server.batches()[-1]["input_file_id"]).content
    return [orjson.loads(line)["body"] for line in content.splitlines()]


def test_the_request_hash_is_of_the_request_as_it_was_given(server, mapped, home):
    """A ledger of before this mapping has the same hashes, so that its answers are found and not paid again."""
    job = frame(1).llm.batch("{text}", out="said", max_tokens=50, seed=7, **mapped).wait(60)
    body = (
        b'{"model":"gpt-5-mini","messages":[{"role":"user","content":"row number 0"}],'
        b'"max_tokens":50,"seed":7}}\n'
    )
    assert request_hash_of(job, home) == hash_of(Ledger(home).job(job.id).hashing)(body)
    assert sent(server)[0]["max_completion_tokens"] == 50


def test_the_hash_of_an_embedding_is_of_the_request_as_it_was_given(mapped, home):
    """Likewise for vectors."""
    given = {**mapped, "model": "openai/text-embedding-3-small"}
    job = frame(1).llm.embed("text", out="v", dimensions=8, **given).wait(60)
    body = b'{"model":"text-embedding-3-small","input":"row number 0","dimensions":8}}\n'
    assert request_hash_of(job, home) == hash_of(Ledger(home).job(job.id).hashing)(body)


def test_an_adopted_job_with_mapped_parameters_is_found_by_its_cell(server, mapped, home):
    """The ledger is gone, the batch adopted, the cell run again: its rows are found by their requests."""
    df = frame()
    df.llm.batch("{text}", out="said", max_tokens=500, **mapped).wait(60)
    lose(home)
    where = {name: mapped[name] for name in ("model", "api_base", "api_key")}
    jobs.adopt(**where).follow()[0].wait(60)
    again = frame()
    assert again.llm.batch("{text}", out="said", max_tokens=500, **mapped).wait(60).is_successful
    assert again["said"].notna().all()
    assert server.stats()["batches_created"] == 1


def test_a_retry_of_an_older_job_maps_what_it_sends(server, mapped, home, monkeypatch):
    """The raw `max_tokens` of a job planned before, for which a model refuses each row, is not sent raw again."""
    with monkeypatch.context() as before:
        before.setattr("jupyter_batch.planning.request_lines.route_of", lambda _: None)
        server.set_faults("row_errors=1")
        job = frame().llm.batch("{text}", out="said", max_tokens=500, **mapped).wait(60)
    assert sent(server)[0]["max_tokens"] == 500
    server.set_faults("")
    df = frame()
    job.retry().wait(60)
    assert [body["max_completion_tokens"] for body in sent(server)] == [500] * 3
    assert all("max_tokens" not in body for body in sent(server))
    created = server.stats()["batches_created"]
    df.llm.batch("{text}", out="said", max_tokens=500, **mapped).wait(60)
    assert df["said"].notna().all(), "the cell has the answers of the retry"
    assert server.stats()["batches_created"] == created


def test_a_retry_of_an_older_job_with_other_parameters_maps_all(server, mapped, home, monkeypatch):
    """Answers that were cut off are sent again in the model's words; the cell with this limit has the answers."""
    with monkeypatch.context() as before:
        before.setattr("jupyter_batch.planning.request_lines.route_of", lambda _: None)
        server.set_faults("row_errors=1")
        job = frame().llm.batch("{text}", out="said", max_tokens=5, **mapped).wait(60)
    server.set_faults("")
    assert job.retry(max_tokens=600).wait(60).is_successful
    assert [body["max_completion_tokens"] for body in sent(server)] == [600] * 3
    created = server.stats()["batches_created"]
    df = frame()
    df.llm.batch("{text}", out="said", max_tokens=600, **mapped).wait(60)
    assert df["said"].notna().all()
    assert server.stats()["batches_created"] == created


def test_a_finish_in_real_time_goes_on_from_the_users_words(server, mapped, home):
    """Real time maps by itself; it is not handed what was mapped before."""
    server.set_faults("row_errors=1")
    df = frame()
    job = df.llm.batch("{text}", out="said", max_tokens=500, **mapped).wait(60)
    server.set_faults("")
    again = job.retry(max_tokens=700).wait(60)
    asked = Ledger(home).folders.of(again.id).asked
    bodies = [orjson.loads(line)["body"] for line in asked.read_bytes().splitlines()]
    assert [body["max_tokens"] for body in bodies] == [700] * 3


def test_a_line_that_cannot_be_mapped_stays():
    """A retry of an older job leaves what it can't map to the provider."""
    record = made_up(model="openai/o3", provider="openai", body_model="o3")
    assert is_unmapped(record)
    remapped = Remapped(record)
    assert b"max_completion_tokens" in remapped.line(line(max_tokens=5))
    assert remapped.line(line(temperature=0.3)) == line(temperature=0.3)


def line(**params):
    """A request line."""
    body = {"model": "o3", "messages": [{"role": "user", "content": "x"}], **params}
    url = "/v1/chat/completions"
    made = {"custom_id": "j-0", "method": "POST", "url": url, "body": body}
    return orjson.dumps(made) + b"\n"


def test_preview_shows_the_body_as_it_is_sent(mapped, home):
    """The first row's request, in the words that the model takes."""
    seen = frame().llm.preview("{text}", max_tokens=50, **mapped)
    assert seen.body == {
        "model": "gpt-5-mini",
        "messages": [{"role": "user", "content": "row number 0"}],
        "max_completion_tokens": 50,
    }
    for screen in (repr(seen), seen._repr_html_()):
        assert "max_completion_tokens" in screen
