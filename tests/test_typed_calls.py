"""The public calls as a type checker sees them, and the one place where an option is declared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_batch.config.option import declared
from jupyter_batch.config.options import BatchOptions, EmbedOptions, SampleOptions

PACKAGE = Path(__file__).parents[1] / "jupyter_batch"

LITERALS = {
    "TEXT": "'word'",
    "NAME": "{'label': str}",
    "N": "3",
    "X": "0.5",
    "SECONDS": "2",
    "DURATION": "'24h'",
    "JSON": "{'a': 1}",
    "KEY=VALUE": "{'team': 'nlp', 'run': 3}",
    "URL": "'http://h:1/v1'",
    "COLUMN": "['photo']",
    "CHOICE": "'auto'",
    "": "True",
    "DOLLARS": "5",
    "PRICES": "{'openai/m': {'input': 0.2, 'output': 0.8}}",
}
"""A value as it is written in Python, by the option's placeholder on a command line."""

HEAD = """\
import pandas as pd
from typing_extensions import assert_type
from jupyter_batch import abatch, batch, embed
from jupyter_batch.accessor import LLMAccessor
from jupyter_batch.artifacts import Artifacts
from jupyter_batch.config.option import col
from jupyter_batch.group import Group
from jupyter_batch.job import Job
from jupyter_batch.planning.preview import Preview, Previews

llm = LLMAccessor(pd.DataFrame())
assert_type(batch(["a"]), Job)
assert_type(batch(["a"], model="m"), Job)
assert_type(batch(["a"], model=["m", "n"], max_tokens=col("budget")), Group)
assert_type(embed(["a"], model=("m", "n")), Group)
assert_type(llm.batch("x", model="m", stop=["a"], deadline="2h", keep="reasoning"), Job)
assert_type(llm.batch("x", model=["m", "n"]), Group)
assert_type(llm.build("x", "folder"), Artifacts)
assert_type(llm.build("x", model=["m"]), list[Artifacts])
assert_type(llm.preview("x"), Preview)
assert_type(llm.preview("x", model=["m"]), Previews)
assert_type(llm.sample("x", 3, model=["m"], system=None), pd.DataFrame)
assert_type(batch(["a"], model=["m"]).retry(max_tokens=9), Group)
async def answers() -> list[object]:
    return await abatch(["a"], temperature=0)
"""

BAD = """\
batch(["a"], modle="x")
batch(["a"], max_tokens="many")
batch(["a"], mode="soon")
embed(["a"], temperature=1)
llm.batch("x", temprature=0)
batch(["a"]).retry(max_tokns=9)
llm.build("x", na="drop")
llm.preview("x", model=3)
llm.sample("x", n="three")
llm.embed("x", schema={"label": str})
"""


def literal(option):
    """A value that the option takes."""
    metavar = option.kind.metavar
    return LITERALS.get(metavar) or repr(metavar.strip("{}").split(",")[0])


@pytest.mark.heavy
def test_mypy_accepts_each_option_and_no_other(tmp_path):
    """`mypy --strict`: each declared option is accepted, a list of models gives a Group, and each slip is an error."""
    calls = [
        f"{call}{option.name}={literal(option)})"
        for call, group in (
            ('batch(["a"], ', BatchOptions),
            ('llm.batch("x", ', BatchOptions),
            ('llm.build("x", ', BatchOptions),
            ('llm.preview("x", ', BatchOptions),
            ('llm.sample("x", ', SampleOptions),
            ('llm.embed("x", ', EmbedOptions),
        )
        for option in declared(group)
    ]
    source = HEAD + "\n".join([*calls, BAD])
    script = tmp_path / "calls.py"
    script.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(script)],
        cwd=PACKAGE.parent,
        env={**os.environ, "MYPYPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    lines = source.splitlines()
    refused = {int(number) for number in re.findall(r"calls\.py:(\d+): error", done.stdout)}
    assert [lines[number - 1] for number in sorted(refused)] == BAD.splitlines(), done.stdout


FOUND = """
import inspect
import jupyter_batch
from jupyter_batch import cli
from jupyter_batch.accessor import LLMAccessor
from jupyter_batch.completion import complete
from jupyter_batch.config.magic_line import parser, read_line
from jupyter_batch.config.settings import resolve
from jupyter_batch.config.settings import read
for call in (jupyter_batch.batch, LLMAccessor.batch, LLMAccessor.build, LLMAccessor.preview, LLMAccessor.sample):
    shown = inspect.signature(call).parameters
    assert shown["toy"].default == 7 and shown["toy_param"].default is None, call
assert "toy" in inspect.signature(LLMAccessor.embed).parameters
assert "toy: a whole number above 0 (default 7)" in LLMAccessor.batch.__doc__
assert "toy_param" in LLMAccessor.batch.__doc__
assert "--toy N" in parser().format_help() and "--toy-param TEXT" in parser().format_help()
assert read_line("df --toy 3 --toy-param b", {})[1] == {"toy": 3, "toy_param": "b"}
assert sorted(complete("%%llm_batch df --toy", {})) == ["--toy", "--toy-param"]
checked = resolve({"model": "local/echo", "toy_param": "b"}, read())
assert (checked.toy, checked.params) == (7, {"toy_param": "b"})
asked = cli.parser("retry").parse_args(["retry", "ID", "--toy-param", "b"])
assert asked.toy_param == "b"
print("found")
"""


def test_an_option_is_declared_in_one_place(tmp_path):
    """One added line is in signatures, help, the magic's parser, completion and command line."""
    shutil.copytree(
        PACKAGE, tmp_path / "jupyter_batch", ignore=shutil.ignore_patterns("__pycache__")
    )
    for module, before, added in (
        (
            "options.py",
            "    reuse: Annotated[",
            'toy: Annotated[Some, Option("a toy", 7)]',
        ),
        (
            "chat_params.py",
            "    top_p: Annotated[",
            'toy_param: Annotated[LineParam, Option("a toy")]',
        ),
    ):
        place = tmp_path / "jupyter_batch" / "config" / module
        text = place.read_text(encoding="utf-8")
        assert text.count(before) == 1
        place.write_text(text.replace(before, f"    {added}\n{before}"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", FOUND],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "found", done.stderr
