"""Each fault on request: what it does, that it is deterministic, and that the server's counters tell of it."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from server_asking import jsonl, line, until

from jupyter_batch.core.errors import OptionError
from jupyter_batch.server.faults import NAMES, Faults, parse_faults


def rows(count: int = 100) -> bytes:
    """An input file."""
    return jsonl(*(line(f"r-{i}", f"text {i}") for i in range(count)))


def ids(lines) -> list[str]:
    """The custom_ids."""
    return [row["custom_id"] for row in lines]


def statuses(ask, count: int = 40) -> list[int]:
    """The answers to so many requests."""
    return [ask.call("GET", "/models").status_code for _ in range(count)]


def test_a_spec_names_faults_and_refuses_what_it_does_not_know():
    """A spec is read into numbers; an unknown name, a share above 1 and a word for a number are refused by name."""
    faults = parse_faults("seed=7, latency=0.05, 429=0.2, shuffle, expire_after=300")
    assert (faults.seed, faults.latency, faults.rate_limit, faults.shuffle) == (7, 0.05, 0.2, True)
    assert faults.expire_after == 300
    assert parse_faults("") == parse_faults(None) == Faults()
    assert parse_faults({"500": 0.5, "shuffle": True}).server_error == 0.5
    for spec, named in (
        ("nonsense=1", "nonsense"),
        ("429=2", "between 0 and 1"),
        ("latency=x", "latency"),
        ("drop=-1", "negative"),
    ):
        with pytest.raises(OptionError, match=named):
            parse_faults(spec)


def test_the_table_of_faults_names_each_once():
    """The docs' table and the code have the same faults."""
    import jupyter_batch.server.faults as module

    table = [
        row.split("|")[1].strip(" `")
        for row in module.__doc__.splitlines()
        if row.startswith("| `")
    ]
    assert sorted(table) == sorted(NAMES)


def test_rate_limits_say_when_to_come_back(started):
    """429 with `retry-after` and OpenAI's shape; nothing took effect."""
    ask = started(faults="429=1,retry_after=3")
    answer = ask.call(
        "POST", "/files", files={"file": ("a.jsonl", rows(3))}, data={"purpose": "batch"}
    )
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    assert ask.server.stats()["routes"]["POST /v1/files"] == {"received": 1, "took_effect": 0}


def test_server_errors_are_500_and_do_nothing(started):
    """500 `server_error`, and no batch is created."""
    ask = started(faults="500=1")
    answer = ask.call("POST", "/batches", json={})
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert ask.server.stats()["batches_created"] == 0


def test_the_same_seed_has_the_same_faults(started):
    """Two servers with one seed fail the same requests; another seed fails others."""
    seen = [statuses(started(faults=f"seed={seed},429=0.3,500=0.2")) for seed in (7, 7, 8)]
    assert seen[0] == seen[1] != seen[2]
    assert set(seen[0]) == {200, 429, 500}


def test_latency_holds_answers_back(started):
    """Each answer takes at least the latency."""
    ask = started(faults="latency=0.1")
    began = time.monotonic()
    assert ask.call("GET", "/models").status_code == 200
    assert time.monotonic() - began >= 0.1


def test_a_reset_before_the_effect_does_nothing(started):
    """The connection is cut and no batch is there."""
    ask = started()
    file_id = ask.upload(rows(3))["id"]
    ask.server.set_faults("reset=1")
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    with pytest.raises(httpx.TransportError):
        ask.call("POST", "/batches", json=body)
    assert ask.server.batches() == []
    assert ask.server.stats()["routes"]["POST /v1/batches"] == {"received": 1, "took_effect": 0}


def test_a_reset_after_the_effect_loses_only_the_answer(started):
    """The connection is cut, and yet the batch is there."""
    ask = started()
    file_id = ask.upload(rows(3))["id"]
    ask.server.set_faults({"reset_after": 1})
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"tag": "t"},
    }
    with pytest.raises(httpx.TransportError):
        ask.call("POST", "/batches", json=body)
    assert [one["metadata"] for one in ask.server.batches()] == [{"tag": "t"}]
    assert ask.server.stats()["batches_created"] == 1


def test_a_truncated_download_ends_in_the_middle_of_a_line(started):
    """The content is shorter than announced, and its last line is not whole."""
    ask = started()
    ended = ask.run(rows())
    ask.server.set_faults("truncate=1")
    got = bytearray()
    path = f"{ask.server.base_url}/files/{ended['output_file_id']}/content"
    with ask.http.stream("GET", path) as answer, pytest.raises(httpx.RemoteProtocolError):
        list(map(got.extend, answer.iter_bytes()))
    assert 0 < len(got) < int(answer.headers["content-length"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(got.splitlines()[-1])
    ask.server.set_faults("")
    assert len(ask.lines(ended["output_file_id"])) == 100


def test_late_output_hides_the_file_ids_of_so_many_retrieves(started):
    """Completed, yet without file ids, for the first n retrieves; listing counts none."""
    ask = started(faults="late_output=2")
    ended = ask.run(rows(3))
    seen = [ended["output_file_id"]]
    assert ask.call("GET", "/batches").json()["data"][0]["output_file_id"] is None
    seen += [ask.batch(ended["id"])["output_file_id"] for _ in range(2)]
    assert seen[:2] == [None, None]
    assert seen[2] is not None


def test_a_batch_expires_after_so_many_rows(started):
    """Exactly n rows are done, the rest say `batch_expired`."""
    ask = started(faults="expire_after=30")
    ended = ask.run(rows())
    output, errors = ask.results(ended)
    assert (ended["status"], len(output), len(errors)) == ("expired", 30, 70)
    assert {row["error"]["code"] for row in errors} == {"batch_expired"}
    assert sorted(ids(output + errors)) == sorted(f"r-{i}" for i in range(100))


def test_row_errors_go_to_the_error_file(started):
    """A share of the rows fails with 500; none is lost."""
    ask = started(faults="seed=3,row_errors=0.3")
    ended = ask.run(rows())
    output, errors = ask.results(ended)
    assert 10 < len(errors) < 60
    assert sorted(ids(output + errors)) == sorted(f"r-{i}" for i in range(100))
    assert {row["response"]["status_code"] for row in errors} == {500}
    assert ended["request_counts"] == {
        "total": 100,
        "completed": len(output),
        "failed": len(errors),
    }


def test_dropped_rows_have_no_line(started):
    """A share of the rows has a line in neither file; they count as failed."""
    ask = started(faults="seed=3,drop=0.2")
    ended = ask.run(rows())
    output, errors = ask.results(ended)
    assert 50 < len(output) < 100
    assert errors == []
    assert ended["request_counts"] == {
        "total": 100,
        "completed": len(output),
        "failed": 100 - len(output),
    }


def test_doubled_rows_have_their_line_twice(started):
    """A share of the lines is there twice, and counted once."""
    ask = started(faults="seed=3,double=0.2")
    ended = ask.run(rows())
    output, _ = ask.results(ended)
    assert len(output) > 100
    assert len(set(ids(output))) == ended["request_counts"]["completed"] == 100


def test_the_enqueued_token_limit_fails_the_batch(started):
    """A batch above the limit fails with OpenAI's code and words; it is taken again when the others are done."""
    ask = started(faults="enqueued_tokens=2000", pace=3.0)
    first = ask.create(rows(30))
    until(lambda: ask.batch(first["id"])["status"] == "in_progress")
    second = ask.run(rows(30))
    (error,) = second["errors"]["data"]
    assert (second["status"], error["code"]) == ("failed", "token_limit_exceeded")
    assert error["line"] is error["param"] is None
    assert error["message"].startswith("Enqueued token limit reached for echo in organization")
    assert "Limit: 2,000 enqueued tokens." in error["message"]
    assert ask.ended(first["id"])["status"] == "completed"
    assert ask.run(rows(30))["status"] == "completed"


def test_faults_can_be_changed_while_it_runs(ask):
    """`PUT /jupyter_batch/faults` takes a spec or the faults by name, needs the token, and refuses nonsense."""
    url = ask.server.base_url.removesuffix("/v1") + "/jupyter_batch/faults"
    assert ask.http.put(url, json={"spec": "429=1"}).json()["429"] == 1
    assert ask.call("GET", "/models").status_code == 429
    assert ask.http.put(url, json={"429": 0}).status_code == 200
    assert ask.call("GET", "/models").status_code == 200
    assert ask.http.put(url, json={"nonsense": 1}).status_code == 400
    assert httpx.put(url, json={}).status_code == 401
    assert set(ask.http.get(url).json()) == set(NAMES)


def test_the_counters_tell_what_was_asked(ask):
    """Uploads, batches and downloads are counted with their bytes."""
    data = rows(5)
    ended = ask.run(data)
    content = ask.call("GET", f"/files/{ended['output_file_id']}/content").content
    stats = ask.server.stats()
    assert (stats["uploads"], stats["batches_created"], stats["downloads"]) == (1, 1, 1)
    assert (stats["upload_bytes"], stats["download_bytes"]) == (len(data), len(content))
    assert stats["routes"]["POST /v1/batches"] == {"received": 1, "took_effect": 1}
