"""Requests of plain texts for Anthropic: encoded without litellm, to the byte as litellm does it."""

import functools
import itertools
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.anthropic.plain import PlainEncoder, encoder
from jupyter_batch.wire.anthropic.requests import Encoder
from jupyter_batch.wire.openai import CHAT, Hole


@pytest.fixture(scope="module")
def litellm():
    """The module as the package loads it."""
    return load_litellm()


def turn(role, content):
    """A message."""
    return {"role": role, "content": content}


def unasked():
    """A loader that must not be called."""
    raise AssertionError("litellm was loaded")


SHAPES = {
    "user": [turn("user", Hole("a"))],
    "system": [turn("system", Hole("b")), turn("user", Hole("a"))],
    "constant system": [turn("system", 'Be %s "brief" %b.\n'), turn("user", Hole("a"))],
    "turns": [turn("user", "one "), turn("assistant", "two"), turn("user", Hole("a"))],
    "prefill": [turn("system", "s"), turn("user", Hole("a")), turn("assistant", Hole("b"))],
    "constant": [turn("user", "the same")],
}
PARAMS = [
    {},
    {"max_tokens": 50},
    {"temperature": 0},
    {"temperature": 0.5, "max_tokens": 4096},
    {"max_tokens": 4000, "temperature": 1.0},
    {"top_p": 0.25},
    {"max_tokens": 1, "top_p": 1},
]


TEXTS = {"a": ["plain", 'q " \\ \n', " %b edges"], "b": ["ünï", "x", "{y}"]}
IDS = ["j-0", "j-1", "j-2"]


def test_every_model_gets_the_bytes_that_litellm_makes(litellm):
    """Each of Anthropic's models in litellm's list, one that it does not know, with all parameters."""
    models = sorted(name for name in litellm.anthropic_models if name.startswith("claude-"))
    light = 0
    for model, params in itertools.product([*models, "claude-next-9"], PARAMS):
        body = {"model": model, "messages": SHAPES["system"], **params}
        made = encoder(body, unasked, {})
        if made is None:
            continue
        light += 1
        assert made.encode(IDS, TEXTS) == Encoder(CHAT, body, litellm=litellm).encode(IDS, TEXTS)
    assert light > len(models) * 3


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gets_the_bytes_that_litellm_makes(litellm, shape):
    """Systems, turns and a beginning of the answer."""
    body = {"model": "claude-haiku-4-5", "messages": SHAPES[shape], "max_tokens": 9}
    made = encoder(body, unasked, {})
    assert made.encode(IDS, TEXTS) == Encoder(CHAT, body, litellm=litellm).encode(IDS, TEXTS)


@functools.cache
def by_litellm(shape):
    """Litellm's own encoder."""
    body = {"model": "claude-haiku-4-5", "messages": SHAPES[shape]}
    return Encoder(CHAT, body, litellm=load_litellm())


ANY = st.one_of(st.text(), st.sampled_from(["", " ", "x-anthropic-a: b", "x ", "\u00a0", "%b"]))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(ANY, ANY), min_size=1, max_size=4), st.sampled_from(sorted(SHAPES)))
def test_any_text_gives_the_line_of_litellm(rows, shape):
    """Rows that litellm would change are encoded by it; each row keeps its place."""
    body = {"model": "claude-haiku-4-5", "messages": SHAPES[shape]}
    ids = [f"j-{at}" for at in range(len(rows))]
    texts = {"a": [one for one, _ in rows], "b": [two for _, two in rows]}
    made = encoder(body, unasked, {})
    made._mapped = by_litellm(shape)  # made once, not for each example
    assert made.encode(ids, texts) == by_litellm(shape).encode(ids, texts)


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 2},
        {"temperature": 0.5, "top_p": 0.5},
        {"max_tokens": 10**9},
        {"max_tokens": 0},
        {"temperature": True},
        {"temperature": Hole("param temperature")},
        {"stop": ["x"]},
        {"tools": []},
    ],
)
def test_other_parameters_are_left_to_litellm(params):
    """Refused, or not known to be passed on: litellm decides, as before."""
    body = {"model": "claude-haiku-4-5", "messages": SHAPES["user"], **params}
    assert encoder(body, unasked, {}) is None


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [turn("system", "s")],
        [turn("assistant", "a")],
        [turn("user", "a"), turn("user", "b")],
        [turn("user", "a"), turn("assistant", "b ")],
        [turn("developer", "d"), turn("user", "a")],
        [turn("user", [{"type": "text", "text": "a"}])],
        [turn("user", "")],
        Hole("messages"),
    ],
)
def test_other_messages_are_left_to_litellm(messages):
    """Everything but texts of a user and an assistant in turns."""
    assert encoder({"model": "claude-haiku-4-5", "messages": messages}, unasked, {}) is None


def test_a_row_without_a_text_keeps_its_reason():
    """A row's own error is its line, and litellm is not asked about it."""
    made = encoder({"model": "claude-haiku-4-5", "messages": SHAPES["user"]}, unasked, {})
    assert made.encode(["j-0"], {"a": [RowError("no value")]}) == [RowError("no value")]


def test_a_limit_above_the_model_is_refused_as_before(litellm):
    """The model's most tokens are read from litellm's list, whether it is loaded or not."""
    body = {"model": "claude-haiku-4-5", "messages": SHAPES["user"], "max_tokens": 64_001}
    assert encoder(body, unasked, {}) is None
    with pytest.raises(OptionError, match="above the 64,000"):
        Encoder(CHAT, body, litellm=litellm)
    more = {**body, "max_tokens": 64_000}
    assert isinstance(encoder(more, unasked, {}), PlainEncoder)


def test_a_first_job_of_plain_texts_does_not_import_litellm(tmp_path):
    """From the call to the answers, in a process of its own."""
    code = f"""
import os, sys
os.environ["JUPYTER_BATCH_HOME"] = {str(tmp_path / "home")!r}
import pandas as pd
from jupyter_batch.server.embedded import Embedded
with Embedded({str(tmp_path / "server")!r}) as server:
    df = pd.DataFrame({{"text": ["a", "b"]}})
    job = df.llm.batch("Echo {{text}}", out="answer", model="anthropic/claude-haiku-4-5",
        api_base=server.base_url.removesuffix("/v1"), api_key=server.token, max_tokens=20)
    print(job.id, "litellm" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "False"
