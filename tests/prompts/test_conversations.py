"""A column of conversations as the prompt: lists, arrays of structs as parquet gives them, JSON; each row its own."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_batch import col
from jupyter_batch.core.errors import ColumnError, TemplateError
from jupyter_batch.prompts.conversations import Spoken, conversation, plain
from jupyter_batch.templates.values import RowError

from .files import sent

UNHURRIED = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # of a machine that others share
SYSTEM = {"role": "system", "content": "Be brief."}
TALKS = [
    [{"role": "user", "content": "What is {this}?"}],
    [
        SYSTEM,
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Again"},
    ],
    [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "two"},
                {"type": "image_url", "image_url": {"url": "https://x.invalid/a.png"}},
            ],
        }
    ],
    [
        {"role": "user", "content": "6 times 7?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "times", "arguments": '{"a": 6, "b": 7}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ],
]


def test_each_row_is_its_own_conversation(server, call, home):
    """They go as they are, braces too; the answer is on its row; run again it is the same job."""
    df = pd.DataFrame({"messages": TALKS, "n": range(4)})
    job = df.llm.batch(col("messages"), out="o", **call).wait(60)
    assert job.is_successful, job.errors["_error"].tolist()
    text = [[{k: v for k, v in one.items() if v is not None} for one in talk] for talk in TALKS]
    assert sent(job) == text, "litellm says nothing where a content is None"
    assert df["o"].tolist()[:3] == [
        "What is {this}?",
        "Again",
        "two\n[image https://x.invalid/a.png]",
    ]
    again = pd.DataFrame({"messages": TALKS, "n": range(4)}).iloc[[2, 0, 3, 1]]
    assert again.llm.batch(col("messages"), out="o", **call).wait(60).id == job.id
    assert again["o"].tolist() == [df["o"].iloc[n] for n in (2, 0, 3, 1)]
    assert server.stats()["batches_created"] == 1


@pytest.mark.parametrize("backend", ["numpy", "arrow"])
def test_out_of_parquet(backend, call, home, tmp_path):
    """As parquet gives them back, arrays of structs with all fields of any message, they ask for just the same."""
    talks = [TALKS[0], TALKS[1], TALKS[3]]
    df = pd.DataFrame({"messages": talks})
    job = df.llm.batch(col("messages"), out="o", **call).wait(60)
    df[["messages"]].to_parquet(tmp_path / "talks.parquet")
    options = {"dtype_backend": "pyarrow"} if backend == "arrow" else {}
    read = pd.read_parquet(tmp_path / "talks.parquet", **options)
    assert "tool_calls" in read["messages"].iloc[0][0], "a field of another row's"
    other = read.llm.batch(col("messages"), out="o", **call).wait(60)
    assert other.id == job.id or other.counts.reused == 3, "the same requests"
    assert read["o"].tolist() == df["o"].tolist()


def test_texts_json_and_what_is_none(call, home):
    """A text is one user message, JSON of messages those messages; what is no conversation is its row's reason."""
    cells = [
        "plain text",
        json.dumps(TALKS[1]),
        "[1, 2]",
        "[not json",
        None,
        [],
        {"role": "user", "content": "x"},
        7,
        [{"role": "robot", "content": "x"}],
        [{"role": "user"}],
        tuple(TALKS[1]),
    ]
    df = pd.DataFrame({"talk": pd.Series(cells, dtype=object)})
    job = df.llm.batch(col("talk"), out="o", **call).wait(60)
    asked = sent(job)
    assert asked[:4] == [
        [{"role": "user", "content": "plain text"}],
        TALKS[1],
        [{"role": "user", "content": "[1, 2]"}],
        [{"role": "user", "content": "[not json"}],
    ]
    roles = (
        'each message is {"role": ..., "content": ...} with a role out of system, developer, user, assistant, '
        "tool"
    )
    assert [reason.partition(", function")[0] for reason in job.errors["_error"]] == [
        "no value in column 'talk'",
        "the conversation is an empty list: it has to be a text or a list of messages",
        "the conversation is a dict (\"{'role': 'user', 'content': 'x'}\"): it has to be a text or a list of messages",
        "the conversation is a int ('7'): it has to be a text or a list of messages",
        f"the conversation holds a dict (\"{{'role': 'robot', 'content': 'x'}}\"): {roles}",
        f"the conversation holds a dict (\"{{'role': 'user'}}\"): {roles}",
    ]
    assert df["o"].iloc[-1] == "Again"


def test_with_a_system_template(call, home):
    """`system` is a template over the row, and comes first."""
    df = pd.DataFrame({"talk": [TALKS[0], TALKS[0]], "who": ["a poet", None]})
    job = df.llm.batch(col("talk"), system="You are {who}.", out="o", **call).wait(60)
    assert sent(job) == [[{"role": "system", "content": "You are a poet."}, *TALKS[0]]]
    assert job.errors["_error"].tolist() == ["no value in column 'who'"]


def test_mistakes(call, home):
    """A column that is not there is named, with the nearest."""
    df = pd.DataFrame({"messages": TALKS})
    with pytest.raises(
        ColumnError, match=r"the frame has no column 'mesages'; did you mean 'messages'\?"
    ):
        df.llm.batch(col("mesages"), **call)
    with pytest.raises(TemplateError, match=r'col\("a column of conversations"\)'):
        df.llm.batch(7, **call)


TEXT = st.text('aé{ \n"[🙂', max_size=5)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXT},
    optional={"name": TEXT},
)


@UNHURRIED
@given(st.lists(MESSAGE, min_size=1, max_size=4))
def test_what_arrow_adds_is_taken_away(messages):
    """Arrays, and fields of other messages that are None, change nothing."""
    wide = [{**dict.fromkeys(["name", "tool_calls"]), **message} for message in messages]
    assert plain(np.array(wide, dtype=object)) == messages
    assert plain(tuple(wide)) == messages


def test_fields_come_in_one_order():
    """A conversation of another library, with its fields in any order, is the same request."""
    orders = [
        {"tool_calls": [], "name": "n", "audio": 1, "content": "c", "role": "user"},
        {"role": "user", "audio": 1, "name": "n", "content": "c", "tool_calls": []},
    ]
    assert [list(plain(one)) for one in orders] == [
        ["role", "content", "name", "audio", "tool_calls"]
    ] * 2


@UNHURRIED
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXT | st.binary(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=6,
    )
)
def test_any_cell(cell):
    """Any cell is a conversation, or has a reason in a sentence."""
    (text,) = Spoken("c", None).holes(0, [[cell]], 1)["messages"]
    assert text.reason if isinstance(text, RowError) else conversation(text, "it") is text
