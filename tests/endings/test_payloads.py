"""Recorded lines and batch objects the whole way: values in the column, other fields, and the job's tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from aiohttp import web

from tests.endings.remote import remote_provider
from tests.endings.table import Cell
from tests.messages import messages

PAYLOADS = Path(__file__).parents[1] / "payloads"
OPENAI_FILES = ("openai_output_lines", "openai_error_lines", "other_provider_lines")


def records(name):
    """The cases of one file, by name."""
    with (PAYLOADS / f"{name}.jsonl").open(encoding="utf-8") as file:
        return {record["case"]: record for record in map(json.loads, file)}


EXPECTED = records("expected")
OBJECTS = records("batch_objects")
ENDED = [case for case, one in OBJECTS.items() if one["line"].get("status") == "failed"]
OPEN = [
    case
    for case, one in OBJECTS.items()
    if one["line"].get("status")
    in ("validating", "in_progress", "cancelling", "running", "pending")
]


def frame_of(cases):
    """A row for each case."""
    return pd.DataFrame({"t": list(cases)}, index=list(cases))


def line_for(record, custom_id):
    """The recorded line, as the answer to that request; one that is no object can't be anybody's."""
    if "raw" in record:
        return record["raw"].encode()
    line = record["line"]
    if isinstance(line, dict):
        line = {**line, "custom_id": custom_id}
    return json.dumps(line, ensure_ascii=not record.get("write_unescaped")).encode()


def check(df, job, cases):
    """Each row has what `expected` says: value, reason, tokens."""
    shown, billed, into, out = job.results(), [], 0, 0
    for case in cases:
        expected, value, row = EXPECTED[case], df.loc[case, "out"], shown.loc[case]
        if row["_status"] == "succeeded":
            if expected["value_kind"].endswith("tool") and value != expected["value"]:
                assert json.loads(value)[0].keys() >= {"name", "arguments"}, case
            else:
                assert (
                    list(value) == expected["value"]
                    if expected["value_kind"] == "vector"
                    else (value == expected["value"])
                ), case
        else:
            assert pd.isna(value), case
            assert expected["value_kind"].startswith("na"), (case, row["_error"])
            assert row["_error"], case
        for words in expected["error_contains"] or []:
            assert words in (row["_error"] or ""), case
        used = expected["usage"]
        if used is None:
            assert pd.isna(row["_input_tokens"]), case
        else:
            assert (row["_input_tokens"], row["_output_tokens"]) == (
                used["input_tokens"],
                used["output_tokens"],
            ), case
            into, out = into + used["input_tokens"], out + used["output_tokens"]
            billed.append(used)
    assert (job.usage.input_tokens, job.usage.output_tokens) == (into, out)
    assert job.usage.cached_tokens == sum(used["cached_tokens"] or 0 for used in billed)
    assert job.usage.reasoning_tokens == sum(used["reasoning_tokens"] or 0 for used in billed)


def test_every_recorded_line_of_openais_shape_in_one_batch(harness):
    """Answers, failures and lines that are no result at all, in two files: none of them takes another with it."""
    lines = {case: record for name in OPENAI_FILES for case, record in records(name).items()}
    in_errors = set(records("openai_error_lines"))
    with remote_provider("openai", harness.clock) as remote:
        df = frame_of(lines)
        job = df.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent)
        (batch,) = remote.fake.batches.values()
        ids = {body["messages"][-1]["content"]: one for one, body in batch.requests.items()}
        files = {"out": b"", "err": b""}
        for case, record in lines.items():
            files["err" if case in in_errors else "out"] += line_for(record, ids[case]) + b"\n"

        def spoil(verb, path, answer):
            return (
                web.Response(body=files["out" if "out-of-" in path else "err"])
                if verb == "fetch"
                else answer
            )

        remote.fake.spoil = spoil
        good = [case for case in lines if case not in in_errors]
        batch.answers, batch.errors = (
            {ids[case]: "" for case in good},
            {ids[case]: "" for case in in_errors},
        )
        batch.ending = "completed"
        harness.until(lambda: job.is_complete)
        job.wait(60)
        check(df, job, [case for case in lines if case in EXPECTED])
        rest = [case for case in lines if case not in EXPECTED]
        assert all(case.startswith("vertex") for case in rest), (
            "a shape of its own, which no OpenAI file holds"
        )
        assert job.errors.loc[rest, "_error"].str.contains("neither an answer nor an error").all()


def test_every_recorded_result_of_anthropics_in_one_batch(harness):
    """Thinking, tools, refusals, errors in both shapes, an expired row."""
    lines = records("anthropic_results")
    with remote_provider("anthropic", harness.clock) as remote:
        df = frame_of(lines)
        job = df.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent)
        (batch,) = remote.fake.batches.values()

        async def results(_):
            return web.Response(
                body=b"\n".join(
                    line_for(lines[case], one["custom_id"])
                    for case, one in zip(lines, batch["requests"], strict=True)
                )
                + b"\n"
            )

        remote.fake.results = results
        remote.work(Cell("anthropic", "completed", "present", "errors"))
        remote.answer_all()
        harness.until(lambda: job.is_complete)
        job.wait(60)
        check(df, job, list(lines))


def reported_as(remote, case):
    """Report the one batch as in a recorded object, under its own id and tag."""
    (batch,) = remote.fake.batches.values()
    mine = {"id": batch.id, "input_file_id": batch.file, "metadata": batch.named}
    body = json.dumps({**OBJECTS[case]["line"], **mine}).encode()
    remote.fake.spoil = lambda verb, path, answer: (
        web.Response(body=body, content_type="application/json") if verb == "poll" else answer
    )


@pytest.mark.parametrize("case", OPEN)
def test_a_recorded_object_of_an_open_batch_is_polled_again(case, harness):
    """An unknown state, with empty or null fields: that is no ending, and no file."""
    with remote_provider("openai", harness.clock) as remote:
        df = harness.frame()
        job = df.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent)
        reported_as(remote, case)
        harness.until(lambda: [verb for verb, _ in remote.log].count("poll") >= 4)
        assert not job.is_complete
        assert "fetch" not in dict(remote.log)
        remote.answer_all()
        harness.until(lambda: job.is_complete)
        job.wait(60)
        assert df["out"].tolist() == list("ABCD")


@pytest.mark.parametrize("case", ENDED)
def test_a_recorded_object_of_a_failed_batch_says_why(case, harness):
    """The provider's code and message, short, and the rows it names; for its quota it is sent again instead."""
    with remote_provider("openai", harness.clock) as remote:
        job = harness.frame().llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: remote.sent)
        reported_as(remote, case)
        errors = OBJECTS[case]["line"]["errors"]["data"]
        if errors[0]["code"] == "token_limit_exceeded":
            harness.until(lambda: job.state == "waiting", skip=0.5)
            assert "quota" in messages(job.snapshot())
            assert errors[0]["message"][:40] in messages(job.snapshot())
            job.cancel()
            harness.until(lambda: job.is_complete)
            return
        harness.until(lambda: job.is_complete)
        job.wait(60)
        shown = job.errors["_error"]
        assert len(shown) == 4
        assert shown.str.len().max() < 1500
        for at, label in enumerate("wxyz", start=1):
            mine = [error for error in errors if error["line"] == at]
            if mine:
                assert "for this row" in shown[label]
                assert all(
                    error[key] in shown[label] for key in ("code", "message") for error in mine
                )
            else:
                assert errors[0]["code"] in shown[label]
        words = " ".join(shown) + messages(job.snapshot())
        assert all(error["param"] in words for error in errors[:2] if error.get("param"))


def test_the_job_that_together_documents(harness, monkeypatch):
    """Its times are texts, it names files before its end, and an error while it runs: it goes on until it has ended."""
    documented = json.loads((PAYLOADS / "together_ai.json").read_text())["created"]["job"]
    with remote_provider("together_ai", harness.clock) as remote:
        document, ours = remote.fake._document, ("id", "input_file_id", "endpoint")
        monkeypatch.setattr(
            remote.fake,
            "_document",
            lambda batch: (
                made
                if (made := document(batch))["status"] == "COMPLETED"
                else documented | {name: made[name] for name in ours}
            ),
        )
        df = harness.frame()
        job = df.llm.batch("{t}", out="out", **remote.call)
        harness.until(lambda: dict(remote.log).get("poll"))
        [shard] = job._shards()
        assert (shard.provider_status, shard.ending) == ("in_progress", None)
        remote.answer_all()
        harness.until(lambda: job.is_complete)
        assert job.wait(60).is_successful
        assert df["out"].tolist() == list("ABCD")
