"""Requests of texts are made a block at a time in Arrow's memory; each is the one that a row by itself gives."""

from __future__ import annotations

import itertools
import random
import time

import numpy as np
import pandas as pd
import pytest

from jupyter_batch.config import settings
from jupyter_batch.frames import text_blocks as blocks
from jupyter_batch.planning import request_lines
from jupyter_batch.planning.plan import plan_all
from jupyter_batch.planning.request_lines import RequestLines
from jupyter_batch.planning.resolve import order
from jupyter_batch.runner.process import session

ODD = [
    '"',
    "\\",
    "\n",
    "\t",
    "\r",
    "\b",
    "\f",
    "é",
    "漢",
    "😀",
    "{n}",
    "%s",
    "\x7f",
    "\u2028",
    "a",
    "/",
]


def order_of(home, df, prompt, **given):
    """The order of a cell."""
    opts = settings.resolve(
        {"model": "openai/gpt-4.1-mini", "api_key": "sk-none", "out": "out", **given},
        settings.read(),
    )
    return order(
        session(home).ledger, df, prompt, opts, door="test", notebook=None, versions={"pandas": "1"}
    )


def made(asked, least, monkeypatch):
    """(the request lines with their rows, the rows' keys, the blocks that came whole)."""
    monkeypatch.setattr(request_lines, "LEAST_ROWS", least)
    lines = RequestLines(asked.ask, asked.rows, "jbabc")
    found, whole, of_texts = [], [], lines._of_texts

    def counted(block):
        made = of_texts(block)
        if made is not None:
            whole.append(made)
        return made

    monkeypatch.setattr(lines, "_of_texts", counted)
    for some in lines:
        spans = itertools.pairwise(some.offsets.tolist())
        found += [(row, some.data[a:b]) for row, (a, b) in zip(some.rows, spans, strict=True)]
    return found, lines.keys().to_bytes(), lines.unsent(), len(whole)


def words(rows, odd, seed=0):
    """Texts of characters that JSON escapes, and of others; some are empty."""
    draw = random.Random(seed)
    return ["".join(draw.choices(odd, k=draw.randrange(9))) for _ in range(rows)]


@pytest.mark.parametrize("dtype", ["str", object])
@pytest.mark.parametrize(
    ("prompt", "given"),
    [
        ("{text}", {}),
        ('Is "{text}" as good as {n}, {flag} and {price}? {text}\n\t100%', {}),
        ("{text} {n}", {"system": "Be \\ brief about {text}", "temperature": 0}),
        ("{text:>4} {n}", {}),
    ],
)
def test_each_line_hash_and_key_is_that_of_a_row_by_itself(home, monkeypatch, dtype, prompt, given):
    """With all characters that JSON escapes, in one block and over many, and in a frame's slice."""
    rows = 300
    df = pd.DataFrame(
        {
            "text": pd.Series(words(rows + 7, ODD), dtype=dtype),
            "n": np.arange(rows + 7) * 7 - 90,
            "flag": [True, False] * ((rows + 7) // 2) + [True],
            "price": np.arange(rows + 7) / 4,
        }
    ).iloc[7:]
    asked = order_of(home, df, prompt, **given)
    one_by_one = made(asked, rows + 1, monkeypatch)
    assert one_by_one[3] == 0
    for size in (64, 4096):
        monkeypatch.setattr(blocks, "_FIRST_ROWS", size)
        whole = made(asked, 0, monkeypatch)
        assert whole[:3] == one_by_one[:3]
        assert bool(whole[3]) is (":>4" not in prompt)


def test_a_row_that_a_block_cannot_hold_is_made_by_itself(home, monkeypatch):
    """A missing cell, a rare control character, another type: the rest of the rows come in blocks."""
    texts = words(300, ODD, 1)
    texts[70], texts[140], texts[220] = "a\x00b", None, "\x1f"
    df = pd.DataFrame({"text": pd.Series(texts, dtype="str"), "x": [[1], *range(1, 300)]})
    monkeypatch.setattr(blocks, "_FIRST_ROWS", 16)
    monkeypatch.setattr(blocks, "_MOST_ROWS", 16)
    for prompt in ("{text}", "{x} {text}"):
        asked = order_of(home, df, prompt)
        one_by_one, whole = made(asked, 301, monkeypatch), made(asked, 0, monkeypatch)
        assert whole[:3] == one_by_one[:3]
        assert whole[3] > 0
        assert len(whole[0]) == 299
        assert [group.positions for group in whole[2]] == [[140]]


def test_half_a_character_fails_its_row_alone(home, monkeypatch):
    """A lone surrogate in a column of objects: the row has a reason, the others are sent."""
    df = pd.DataFrame({"text": pd.Series(["a", "\ud800", *["b"] * 98], dtype=object)})
    asked = order_of(home, df, "{text}")
    one_by_one, whole = made(asked, 101, monkeypatch), made(asked, 0, monkeypatch)
    assert whole[:3] == one_by_one[:3]
    assert [group.positions for group in whole[2]] == [[1]]


def test_the_request_files_and_the_job_are_the_same_either_way(home, monkeypatch):
    """Also where rows are identical, of which one is sent."""
    df = pd.DataFrame({"text": ["a", "b", "a", *[f"text {n}" for n in range(300)]]})
    found = []
    for least in (1000, 0):
        monkeypatch.setattr(request_lines, "LEAST_ROWS", least)
        asked = order_of(home, df, "{text}", reuse=False)
        (job,) = plan_all(session(home).ledger, [asked], time.time())
        folder = session(home).ledger.folders.of(job.record.id)
        data = folder.requests(0).read_bytes().replace(job.record.id.encode(), b"ID")
        found.append((data, job.record.fingerprint, folder.keys.read_bytes()))
    assert found[0] == found[1]
