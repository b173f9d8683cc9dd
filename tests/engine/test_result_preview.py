"""The first answers next to their rows, and a row for each reason: few reads, for any size of the files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_batch.core.request import ToolCalls
from jupyter_batch.jobs import open_job
from jupyter_batch.results import result_preview

from .conftest import numbered

JOB = "jb3f9c2k7a1q"


def test_a_job_shows_its_first_answers_next_to_their_rows(server, call):
    """Three rows, what each of them asked, and what came for it; read again from the ledger alone it is the same."""
    job = numbered(50).llm.batch("Classify the sentiment of this: {text}", out="out", **call).wait()
    answers = job.snapshot().answers
    assert [answer.row for answer in answers] == [0, 1, 2], "the provider's order is another one"
    results = job.results()["out"].tolist()
    for answer in answers:
        assert answer.asked == f"row number {answer.row}", (
            "the prompt's own words, which all rows begin with, are gone"
        )
        assert answer.answer == results[answer.row]
    assert open_job(job.id).snapshot().answers == answers


def test_each_reason_has_its_first_row(server, call):
    """The reason of failed rows comes with the first such row; so does the reason of a row that could not be sent."""
    server.set_faults("row_errors=0.3,seed=3")
    job = numbered(40).llm.batch("Classify the sentiment of this: {text}", out="out", **call).wait()
    (reason, count), *_ = job.snapshot().reasons
    failed = job.errors
    rows = [int(label[1:]) for label in failed.index[failed["_error"] == reason]]
    assert count == len(rows) > 1
    example = dict(job.snapshot().examples)[reason]
    assert (example.row, example.asked) == (min(rows), f"row number {min(rows)}")


def test_in_real_time_the_answers_so_far_are_shown(server, call):
    """Before anything is collected, what the run has written by now is there."""
    server.set_faults("latency=0.2")
    job = numbered(30).llm.batch("{text}", out="out", mode="realtime", concurrency=1, **call)
    seen = job.snapshot()
    while not seen.answers:
        seen = job.snapshot()
    assert not seen.is_complete
    assert seen.answers[0].asked.startswith("row number")
    job.cancel()
    job.wait()


@given(rows=st.lists(st.integers(0, 10**6), unique=True, max_size=60), widths=st.data())
def test_each_line_is_found_by_halves(tmp_path_factory, rows, widths):
    """Each row's line is found, for lines of any length; a row that is not there has none."""
    path = tmp_path_factory.mktemp("lines") / "requests.jsonl"
    lines = {
        row: b'{"custom_id":"%b-%d","x":"%b"}\n'
        % (JOB.encode(), row, b"y" * widths.draw(st.integers(0, 300)))
        for row in sorted(rows)
    }
    path.write_bytes(b"".join(lines.values()))
    for row, line in lines.items():
        assert result_preview.line_of(path, JOB, row) == line
    assert result_preview.line_of(path, JOB, 10**6 + 1) == b""
    assert result_preview.line_of(path, "jbother", rows[0] if rows else 0) == b""


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id":"x","body":{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hello"}]}}',
        b'{"custom_id":"x","body":{"messages":[{"role":"user","content":[{"type":"text","text":"hello"},{"type":"image"}]}]}}',
        b'{"custom_id":"x","body":{"input":"hello"}}',
        b'{"custom_id":"x","params":{"system":"s","messages":[{"role":"user","content":"hello"}]}}',
        b'{"custom_id":"x","modelInput":{"messages":[{"role":"user","content":[{"text":"hello"}]}]}}',
        b'{"custom_id":"x","request":{"contents":[{"role":"user","parts":[{"text":"hello"}]}]}}',
    ],
)
def test_what_was_asked_is_read_in_every_dialect(line):
    """OpenAI's chat and responses, Anthropic's, Bedrock's and Vertex AI's lines: the user's last message."""
    assert result_preview.shown_text(line) == "hello"


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"1", b'{"body":1}', b'{"body":{"messages":[]}}', b'{"x":{}}']
)
def test_what_is_no_request_says_nothing(line):
    """A line that can't be read is no reason to show nothing else."""
    assert result_preview.shown_text(line) == ""


def test_a_short_or_whole_beginning_is_kept():
    """Only a long beginning that all share is left out, up to a sentence's end, and never a whole row."""
    prompt = "Classify the sentiment (positive/negative): "
    assert result_preview.beginning([f"{prompt}row 1", f"{prompt}row 2"]) == prompt
    assert result_preview.beginning(["To: a", "To: b"]) == ""
    assert result_preview.beginning([prompt, f"{prompt}x"]) == ""
    assert result_preview.beginning([f"{prompt}alone"]) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("text", "text"),
        ({"label": "positive", "score": 0.51234567}, "label: positive, score: 0.5123"),
        ([0.1, 0.2, 0.3, 0.4], "[0.1, 0.2, 0.3, … 4 in all]"),
        (True, "True"),
        (None, "None"),
        (ToolCalls([{"id": "1", "name": "look_up", "arguments": {}}]), "calls look_up()"),
        (
            ToolCalls(
                [
                    {"id": "1", "name": "stock", "arguments": {"item": "lamp", "at": [1, 2]}},
                    {"id": "2", "name": "buy", "arguments": "no JSON"},
                ]
            ),
            "calls stock(item: lamp, at: [1, 2]), buy(no JSON)",
        ),
    ],
)
def test_answers_of_each_kind_are_read(value, words):
    """Texts, a schema's fields, vectors, tool calls."""
    assert result_preview.words(value) == words
