"""A row is found by what it asks: the right cell, or a refusal, whatever became of the frame."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.errors import AlignmentError

VECTORS = "openai/echo"


class Said:
    """A value whose content is in an attribute, and not in its text."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return "said"


def in_place(frame, method, *given, **more):
    """A change of the frame itself, which pandas 3.1 warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(frame, method)(*given, inplace=True, **more)


def words(*message):
    """A prompt that is a function of the row and reads nothing of it."""
    left = iter(message)
    return lambda _: next(left)


def test_answers_of_a_function_that_reads_nothing_stay_on_their_rows(call):
    """The same questions in another order, from another iterator: each row has its own answer."""
    first = pd.DataFrame({"id": [3, 1, 2]})
    first.llm.batch(words("three", "one", "two"), out="out", **call).wait(60)
    assert first["out"].tolist() == ["three", "one", "two"]
    other = pd.DataFrame({"id": [1, 2, 3]})
    job = other.llm.batch(words("one", "two", "three"), out="out", **call).wait(60)
    assert other["out"].tolist() == ["one", "two", "three"]
    assert job.results()["out"].tolist() == ["one", "two", "three"]


def test_a_merge_by_hand_does_not_guess(call):
    """The requests differ and the cells do not: refused, with the number of rows."""
    frame = pd.DataFrame({"id": [3, 1, 2]})
    job = frame.llm.batch(words("three", "one", "two"), out="out", **call).wait(60)
    with pytest.raises(AlignmentError, match="3 of 3 rows"):
        job.merge(pd.DataFrame({"id": [1, 2, 3]}))
    frame = frame.drop(columns="out").sort_values("id")
    with pytest.raises(AlignmentError, match="can't be distinguished"):
        frame.llm.attach(job.id)
    assert "out" not in frame


@pytest.mark.parametrize("same", [True, False], ids=["asked again", "first time"])
@pytest.mark.parametrize(
    ("cells", "prompt", "more"),
    [
        ([Said("three"), Said("one"), Said("two")], lambda r: r["x"].text, {}),
        ([Said("three"), Said("one"), Said("two")], "{{ x.text }}", {"template": "jinja"}),
        (["x", "x", "x"], None, {}),
        (
            [pd.DataFrame({"t": [content]}) for content in ("three", "one", "two")],
            lambda r: r["x"].iloc[0, 0],
            {},
        ),
    ],
    ids=["function", "jinja", "constant", "frames"],
)
def test_rows_that_move_while_the_job_runs(server, call, cells, prompt, more, same):
    """A sort in place that renumbers the labels: each answer is on the row that asked for it."""
    server.set_faults("latency=0.2")
    frame = pd.DataFrame({"id": [3, 1, 2], "x": cells})
    content = ("three", "one", "two")
    if same:
        other = frame.iloc[[1, 2, 0]].copy()
        ask = prompt or (lambda row: (row["x"], {1: "one", 2: "two", 3: "three"}[row["id"]])[1])
        other.llm.batch(ask, out="out", **more, **call).wait(60)
    ask = prompt or words(*content)
    job = frame.llm.batch(ask, out="out", **more, **call)
    in_place(frame, "sort_values", "id", ignore_index=True)
    job.wait(60)
    assert frame["out"].tolist() == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda frame: in_place(frame, "drop", index=0), ["one", "two"]),
        (lambda frame: in_place(frame, "rename", columns={"id": "number"}), None),
        (lambda frame: frame.insert(0, "more", 1), ["three", "one", "two"]),
        (lambda frame: frame.__setitem__("id", 1), None),
    ],
    ids=["dropped", "renamed", "grown", "equal now"],
)
def test_what_is_known_of_a_frame_whose_prompt_read_nothing(server, call, change, expected):
    """The frame's other cells tell its rows; where they do not any more, nothing is written."""
    server.set_faults("latency=0.2")
    frame = pd.DataFrame({"id": [3, 1, 2]})
    job = frame.llm.batch(words("three", "one", "two"), out="out", **call)
    change(frame)
    job.wait(60)
    if expected is None:
        assert "out" not in frame
        assert "not merged" in job.snapshot().merged
    else:
        assert frame["out"].tolist() == expected


@pytest.mark.parametrize("reuse", [True, False])
def test_rows_that_ask_the_same_share_an_answer(call, reuse):
    """Equal rows under renumbered labels, in more of them than were sent: none is left out."""
    frame = pd.DataFrame({"t": ["a", "b", "a"]}, index=["x", "y", "y"])
    job = frame.llm.batch("{t}", out="out", reuse=reuse, **call).wait(60)
    other = pd.DataFrame({"t": ["b", "a", "a", "a"]})
    job.merge(other)
    assert other["out"].tolist() == ["b", "a", "a", "a"]


def test_the_results_are_in_the_order_of_the_frame_that_asked_last(call):
    """Also of rows that were left out, each with its own reason."""
    first = pd.DataFrame({"a": ["x", None, "y"], "b": ["1", "2", None]}, index=list("klm"))
    first.llm.batch("{a}{b}", out="out", **call).wait(60)
    last = first[["a", "b"]].iloc[::-1]
    job = last.llm.batch("{a}{b}", out="out", **call).wait(60)
    found = job.results()
    assert found.index.tolist() == ["m", "l", "k"]
    assert found["_error"].tolist()[:2] == ["no value in column 'b'", "no value in column 'a'"]
    assert found["out"].tolist()[2] == "x1"


def test_one_and_one_point_zero_are_different_questions(server, call):
    """Fingerprints that agree where requests do not: rendered again, each answer on its own row."""
    server.set_faults("latency=0.2")
    frame = pd.DataFrame({"x": [1, 1.0, "1"], "k": [2, 1, 0]}, dtype=object)
    job = frame.llm.batch("{x!r}", out="out", **call)
    in_place(frame, "sort_values", "k", ignore_index=True)
    job.wait(60)
    assert frame["out"].tolist() == ["'1'", "1.0", "1"]


def test_images_vectors_and_conversations_find_their_rows(server, call):
    """Sorted in place under new labels, for each kind of prompt."""
    server.set_faults("latency=0.2")
    frame = pd.DataFrame(
        {"k": [2, 1, 0], "m": [[{"role": "user", "content": c}] for c in "abc"], "t": list("abc")}
    )
    asked = [
        frame.llm.batch(jupyter_batch.col("m"), out="said", **call),
        frame.llm.embed("t", out="vector", **{**call, "model": VECTORS}),
    ]
    plain = frame.llm.embed("t", out="v2", **{**call, "model": VECTORS})
    in_place(frame, "sort_values", "k", ignore_index=True)
    for job in (*asked, plain):
        job.wait(60)
    assert frame["said"].tolist() == ["c", "b", "a"]
    direct = pd.DataFrame({"t": list("cba")})
    direct.llm.embed("t", out="vector", **{**call, "model": VECTORS}).wait(60)
    for mine, theirs in zip(frame["vector"], direct["vector"], strict=True):
        assert (mine == theirs).all()
