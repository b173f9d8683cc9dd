"""A cell that is run again on the frame that it had finds its job without rendering a row; any change is noticed."""

from __future__ import annotations

import time

import pandas as pd
import pytest

from jupyter_batch import col
from jupyter_batch.config import settings
from jupyter_batch.core.errors import AlignmentError
from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.digest import rows_digest
from jupyter_batch.merging.rendered import kept
from jupyter_batch.planning import known_frame
from jupyter_batch.planning import plan as planning
from jupyter_batch.planning.known_frame import frame_digest
from jupyter_batch.planning.plan import plan_all
from jupyter_batch.planning.request_lines import RequestLines
from jupyter_batch.planning.resolve import order
from jupyter_batch.runner.process import session


def frame(**columns):
    """Four rows, two of which ask the same; one has no text."""
    return pd.DataFrame({"text": ["a", "b", "a", None], "n": [1, 2, 3, 4], **columns})


def ordered(home, df, prompt="{text} {n}", **given):
    """The order of a cell; no key is read, and nothing is sent."""
    opts = settings.resolve(
        {"model": "openai/gpt-4.1-mini", "api_key": "sk-none", "out": "out", **given},
        settings.read(),
    )
    return order(
        session(home).ledger, df, prompt, opts, door="test", notebook=None, versions={"pandas": "1"}
    )


def planned(home, df, prompt="{text} {n}", **given):
    """The cell's result: its job, and the rows of the frame in it."""
    (made,) = plan_all(session(home).ledger, [ordered(home, df, prompt, **given)], time.time())
    return made


@pytest.fixture
def nothing_written(monkeypatch):
    """From here on no request file may be written."""

    def refuse():
        def write(*_):
            raise AssertionError("a request file is written")

        monkeypatch.setattr(planning, "write_requests", write)

    return refuse


def test_the_same_cell_again_writes_no_request(home, nothing_written):
    """The job of the first run is found by the digest alone, and each row has its place in it."""
    first = planned(home, frame())
    nothing_written()
    again = planned(home, frame())
    assert again.record.id == first.record.id
    assert again.rendered.find(frame()).tolist() == [0, 1, 2, 3]
    moved = frame().iloc[[2, 0, 3, 1]]
    assert again.rendered.find(moved).tolist() == [2, 0, 3, 1]


def test_without_search_unchanged_rows_have_their_places_after_a_restart(home, monkeypatch):
    """The ledger's data suffice: no row is hashed again, unless one changed or moved."""
    job = planned(home, frame()).record
    stored = kept(job, session(home).ledger.folders.of(job.id))
    hashed = []
    count = frames.row_hashes
    monkeypatch.setattr(frames, "row_hashes", lambda *given: hashed.append(1) or count(*given))
    assert stored.find(frame()).tolist() == [0, 1, 2, 3]
    assert not hashed
    assert stored.find(frame().iloc[[2, 0, 3, 1]]).tolist() == [2, 0, 3, 1]
    assert hashed
    with pytest.raises(AlignmentError, match="changed"):
        stored.find(frame(text=["a", "b", "c", None]))


def test_a_job_of_another_version_gets_its_digest(home, monkeypatch, nothing_written):
    """After an upgrade the rows are rendered once more, and not in the runs after that."""
    with monkeypatch.context() as patch:
        patch.setattr(known_frame, "VERSION", "0.0.1")
        first = planned(home, frame())
    assert planned(home, frame()).record.id == first.record.id
    nothing_written()
    assert planned(home, frame()).record.id == first.record.id


def test_a_digest_is_not_kept_for_rows_in_another_order(home):
    """The job has the rows, and the digest of its own order."""
    first = planned(home, frame())
    moved = planned(home, frame().iloc[[1, 0, 2, 3]])
    assert moved.record.id == first.record.id
    assert session(home).ledger.job(first.record.id).rows_digest == first.record.rows_digest != ""


@pytest.mark.parametrize(
    ("df", "more"),
    [
        (frame(text=["a", "b", "c", None]), {}),
        (frame(text=["a", "b", "a", ""]), {}),
        (frame(n=[1, 2, 3, 5]), {}),
        (frame(n=["1", "2", "3", "4"]), {}),
        (frame(n=[1.0, 2.0, 3.0, 4.0]), {}),
        (frame().set_axis([7, 8, 9, 10]), {}),
        (frame().iloc[[1, 0, 2, 3]], {}),
        (frame().iloc[:3], {}),
        (frame(), {"prompt": "{text}  {n}"}),
        (frame(), {"prompt": "{text} {n:d}"}),
        (frame(), {"system": "be brief"}),
        (frame(), {"temperature": 0.5}),
        (frame(), {"temperature": col("n")}),
        (frame(), {"model": "openai/gpt-4.1"}),
        (frame(), {"na": "send"}),
        (frame(), {"n": 2}),
        (frame(), {"schema": {"type": "object", "properties": {"x": {"type": "string"}}}}),
    ],
)
def test_whatever_a_request_is_made_from_changes_the_digest(home, df, more):
    """A cell, its type, a label, the order, the template, a parameter: each gives another digest."""
    assert digest(home, df, **more) != digest(home, frame())


def test_requests_that_differ_by_the_order_of_keys_have_digests_of_their_own(home):
    """Fields of a JSON schema are answered in their order: another order is another request."""

    def asking(*fields):
        schema = {"type": "object", "properties": {name: {"type": "string"} for name in fields}}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        return {"response_format": form}

    reason_first, label_first = asking("reason", "label"), asking("label", "reason")
    assert digest(home, frame(), **reason_first) != digest(home, frame(), **label_first)
    first = planned(home, frame(), **reason_first)
    assert planned(home, frame(), **label_first).record.id != first.record.id


def test_a_parameter_from_a_column_is_not_an_object_with_its_name(home):
    """`col("n")` and `{"name": "n"}`, which JSON encoders write alike, are different requests."""
    given = digest(home, frame(), logit_bias={"name": "n"})
    assert given != digest(home, frame(), logit_bias=col("n")) != ""


def test_what_no_request_is_made_from_does_not(home):
    """A column that is not read, a price, and a limit of the cost leave the digest as it is."""
    same = digest(home, frame(more=[1, 2, 3, 4]), max_cost=5.0, name="again")
    assert same == digest(home, frame()) != ""


def test_prompts_that_may_read_more_have_no_digest(home):
    """A function of the row, Jinja, and cells that are objects are rendered each time."""
    assert digest(home, frame(), lambda row: row["text"] or "x") == ""
    assert digest(home, frame(), "{{ n }}", template="jinja") == ""
    assert digest(home, frame(text=[["a"], ["b"], {"c"}, ["d"]])) == ""
    assert digest(home, frame(n=[2**70, 2, 3, 4])) == ""


def digest(home, df, prompt="{text} {n}", **given):
    """The digest of a cell."""
    asked = ordered(home, df, given.pop("prompt", prompt), **given)
    columns = RequestLines(asked.ask, asked.rows, "jbaaa").columns
    return frame_digest(asked.ask, rows_digest(asked.rows, columns))


def test_a_damaged_request_file_is_written_again(home):
    """The rows are rendered where a file of the job is not whole, so that it is restored."""
    first = planned(home, frame())
    path = session(home).ledger.folders.of(first.record.id).requests(0)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert planned(home, frame()).record.id == first.record.id
    assert path.read_bytes() == whole


@pytest.mark.parametrize("dtype", [object, "string", "str"])
def test_equal_texts_give_one_digest_whatever_was_cut_and_joined(home, dtype):
    """A frame made of slices has the digest of the frame made at once, and one of another content has not."""
    df = pd.DataFrame({"text": [f"text {n}" for n in range(20_000)]}).astype({"text": dtype})
    parts = pd.concat([df[:7], df[7:9000], df[9000:]])
    other = df.assign(text=df["text"].where(df.index != 19_999, "text 1999")).astype(df.dtypes)  # fmt: skip
    assert digest(home, df, "{text}") == digest(home, parts, "{text}") != ""
    assert digest(home, other, "{text}") != digest(home, df, "{text}")
