"""Cells of any kind: one canonical text, or the row's reason; and the columns that a prompt may not read."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.errors import InputError

PROGRAM = """
import pandas as pd, numpy as np, dataclasses, sys
{options}
@dataclasses.dataclass
class Tags:
    tags: list
    def __str__(self): return "tags"
cells = [{{"b", "a", "c"}}, frozenset("xyz"), [{{"q", "p"}}, 1], {{"k": {{"n", "m"}}}},
         np.arange(3000), pd.DataFrame({{"a": range(200), "b": ["x" * 90] * 200}}),
         pd.Series(range(100)),
         [pd.DataFrame({{"a": [1.23456789]}})], pd.Timestamp("2024-01-01")]
frame = pd.DataFrame({{"x": pd.Series(cells, dtype=object)}})
from jupyter_batch.templates.template import parse
jinja = "{{{{ x }}}} {{% if x is mapping or x is string or x is number %}}{{% else %}}{{% endif %}}"
import os, hashlib
def said(row):
    return f"{{row['x']}}"
prompts = (("{{x}}", {{}}), ("{{x!r}}", {{}}), (jinja, {{"template": "jinja"}}), (said, {{}}))
for prompt, more in prompts:
    where = sys.argv[1] + "/" + os.urandom(4).hex()
    made = frame.llm.build(prompt, folder=where, model="openai/echo",
                           api_base="http://127.0.0.1:9/v1", api_key="k", **more)
    from pathlib import Path
    print(hashlib.sha256((made.folder / "prints.bin").read_bytes()).hexdigest(),
          hashlib.sha256((made.folder / "keys.bin").read_bytes()).hexdigest())
"""
NARROW = """
pd.set_option("display.max_rows", 4)
pd.set_option("display.precision", 2)
np.set_printoptions(precision=1, threshold=5)
"""


def test_requests_are_the_same_in_every_process_and_under_any_option(tmp_path):
    """Sets, arrays, frames and series as cells, for each form of prompt."""
    seen = set()
    for seed, more in (("1", ""), ("2", NARROW)):
        program = PROGRAM.format(options=more)
        found = subprocess.run(
            [sys.executable, "-c", "import jupyter_batch\n" + program, str(tmp_path)],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "JUPYTER_BATCH_HOME": str(tmp_path / "home"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stderr[-2000:]
        seen.add(found.stdout)
    assert len(seen) == 1
    assert len(next(iter(seen)).splitlines()) == 4


class Bare:
    """An object without a text of its own."""


class Loud:
    """An object whose text can't be made."""

    def __str__(self, *_):
        raise RuntimeError("no text")

    __repr__ = __format__ = __html__ = __str__


class Stop:
    """An object whose text is interrupted."""

    def __str__(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("prompt", "more"),
    [
        ("{x}", {}),
        ("{x!r}", {}),
        ("{x:>3}", {}),
        ("{{ x }}", {"template": "jinja"}),
        (lambda row: f"{row['x']}", {}),
        ("hi", {"system": "{x}"}),
    ],
)
@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (Bare(), "memory address|unsupported"),
        ((n for n in "ab"), "only once|memory address|unsupported"),
        (Loud(), "no text"),
    ],
    ids=["bare", "generator", "loud"],
)
def test_a_cell_without_a_text_is_its_rows_reason(call, prompt, more, cell, reason):
    """An object with an address as its text, a generator, a text that raises: the others are sent."""
    frame = pd.DataFrame({"x": pd.Series(["a", cell, "b"], dtype=object)})
    job = frame.llm.batch(prompt, out="out", **more, **call).wait(60)
    assert job.errors["_error"].str.contains(reason).tolist() == [True]
    assert frame["out"].notna().tolist() == [True, False, True]


def test_an_embedding_of_such_a_cell(call):
    """Vectors, too."""
    frame = pd.DataFrame({"x": pd.Series(["a", Loud(), Bare()], dtype=object)})
    job = frame.llm.embed("x", out="v", **call).wait(60)
    assert len(job.errors) == 2


def test_an_interrupt_passes(call):
    """KeyboardInterrupt is not a row's reason."""
    frame = pd.DataFrame({"x": pd.Series(["a", Stop()], dtype=object)})
    with pytest.raises(KeyboardInterrupt):
        frame.llm.batch("{x}", out="out", **call)


def test_a_function_that_raises_is_the_rows_reason(call):
    """The rows for which it gives a prompt are sent; where it gives none for any, it is an error."""
    frame = pd.DataFrame({"x": [1, 0, 2]})
    job = frame.llm.batch(lambda row: str(2 // row["x"]), out="out", **call).wait(60)
    assert frame["out"].fillna("").tolist() == ["2", "", "1"]
    assert "ZeroDivisionError" in job.errors["_error"].iloc[0]
    with pytest.raises(InputError, match="reads 'y', and the row has no such column"):
        frame.llm.batch(lambda row: row["y"], out="out2", **call)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NaT, pd.NA, np.datetime64("NaT")])
def test_missing_values_of_every_kind(call, missing):
    """`na=`: they are all the same; infinity is a value."""
    frame = pd.DataFrame({"x": pd.Series(["a", missing, float("inf")], dtype=object)})
    frame.llm.batch("<{x}>", out="skip", **call).wait(60)
    frame.llm.batch("<{x}>", out="send", na="send", **call).wait(60)
    assert frame["skip"].fillna("-").tolist() == ["<a>", "-", "<inf>"]
    assert frame["send"].tolist() == ["<a>", "<>", "<inf>"]
    with pytest.raises(InputError, match="row 1"):
        frame.llm.batch("<{x}>", out="raise", na="raise", **call)


@pytest.mark.parametrize(
    ("prompt", "more"),
    [
        ("Say {text}", {}),
        ("{{ text }}", {"template": "jinja"}),
        ("{{ row['text'] }}", {"template": "jinja"}),
        (lambda row: row["text"], {}),
        ([{"role": "user", "content": "{text}"}], {}),
        (jupyter_batch.col("text"), {}),
        ("hi", {"system": "{text}"}),
        ("hi", {"images": "text"}),
        ("hi", {"user": jupyter_batch.col("text")}),
        ("{n}: {text}", {"out": None, "schema": {"text": str}}),
    ],
)
def test_a_prompt_does_not_read_the_column_that_it_fills(server, call, prompt, more):
    """Refused with a reason before anything is sent, also with overwrite=True."""
    frame = pd.DataFrame({"n": [1, 2], "text": ["a", "b"]})
    given = {key: value for key, value in {"out": "text", **more}.items() if value is not None}
    with pytest.raises(InputError, match=r"'text'.*out="):
        frame.llm.batch(prompt, overwrite=True, **given, **call)
    assert frame["text"].tolist() == ["a", "b"]
    assert not server.batches()


@pytest.mark.parametrize(
    ("prompt", "more"),
    [
        ("{% for k, v in row.items() %}{{ k }}={{ v }} {% endfor %}", {"template": "jinja"}),
        (lambda row: " ".join(f"{k}={v}" for k, v in row.items()), {}),
    ],
)
@pytest.mark.parametrize("model", [None, ["openai/echo", "openai/echo2"]])
def test_a_prompt_that_reads_the_whole_row_does_not_see_its_answers(
    server, call, prompt, more, model
):
    """Run twice, it pays once, for several models too."""
    frame = pd.DataFrame({"text": ["a", "b"]})
    given = {**call, **({"model": model} if model else {}), **more}
    frame.llm.batch(prompt, out="out", **given).wait(60)
    paid = sum(batch["request_counts"]["total"] for batch in server.batches())
    frame.llm.batch(prompt, out="out", **given).wait(60)
    assert sum(batch["request_counts"]["total"] for batch in server.batches()) == paid


def test_a_frame_without_a_name_is_reported(call):
    """The answers are for a frame that no longer exists: it is reported, with the way to them."""
    frame = pd.DataFrame({"text": ["a", "b"], "n": [1, 2]})
    job = frame[frame.n > 0].llm.batch("{text}", out="out", **call).wait(60)
    shown = job.snapshot().merged
    assert "no name leads to this frame: job.results()" in shown
    part = frame[frame.n > 1]
    held = [frame[frame.n < 2]]
    for one in (part, held[0]):
        assert (
            "no name" not in one.llm.batch("{text}", out="out", **call).wait(60).snapshot().merged
        )
