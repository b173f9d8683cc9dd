"""Any frame, any prompt, any change of the frame: the right cell or a refusal, and no cell of the user's is changed.

Each frame comes with a list of its rows as the test knows them: the names of their values, from which follows what a
row asks. Whatever a job writes into a row is held against that.
"""

# ruff: noqa: PD002 - changes in place are what is tried here
from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jupyter_batch.core.errors import InputError
from jupyter_batch.providers import table
from jupyter_batch.runner import process
from jupyter_batch.server.embedded import Embedded

OUT = "out"
BY_HAND = "by hand"


class Said:
    """A value whose content is in an attribute, and not in its text."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return "said"


POOL = {
    "a": "a",
    "b": "b",
    "empty": "",
    "one": 1,
    "one and a half": 1.5,
    "one as a float": 1.0,
    "true": True,
    "text of one": "1",
    "price": Decimal("1.50"),
    "day": pd.Timestamp("2024-05-01"),
    "date": dt.date(2024, 5, 1),
    "bytes": b"ab",
    "list": ["a", "b"],
    "other list": ["ab"],
    "dict": {"a": 1, "b": [2]},
    "other order": {"b": [2], "a": 1},
    "set": {"a", "b", "c"},
    "frozen": frozenset({"a", 1}),
    "tuple": ("a", "b"),
    "array": np.array([1, 2]),
    "series": pd.Series(["a", "b"]),
    "said a": Said("a"),
    "said b": Said("b"),
    "none": None,
    "nan": float("nan"),
    "nat": pd.NaT,
}
MISSING = {"none", "nan", "nat"}
PLAIN = ["a", "b", "empty", "text of one", "none"]
NUMBERS = ["one as a float", "one and a half", "nan"]


def name_of(value):
    """The name of a value of the pool: by identity, or as what pandas makes of it."""
    for name, held in POOL.items():
        if value is held:
            return name
    if not isinstance(value, list | dict | set | np.ndarray | pd.Series | Said):
        if pd.isna(value):
            return "nan"
        for name, held in POOL.items():
            if type(held) is type(value) and held == value:
                return name
        if isinstance(value, float):
            return next(n for n in NUMBERS if POOL[n] == value)
    return f"{type(value).__name__} {value!r}"


def of_the_row(row):
    """A prompt that reads names of values."""
    return f"t={name_of(row['t'])} x={name_of(row['x'])}"


def answer_of(value):
    """The value of a Said."""
    return getattr(value, "text", None)


PROMPTS = {
    "template": ("{t} and {x}", ("t", "x"), {}),
    "template of all": ("{c}: {t} {n}", ("c", "t", "n"), {}),
    "messages": (
        [{"role": "system", "content": "{t}"}, {"role": "user", "content": "{x}|{t}"}],
        ("t", "x"),
        {},
    ),
    "jinja": ("{{ t }} {{ x.text }}{{ x }}", ("t", "x"), {"template": "jinja"}),
    "function": (of_the_row, ("t", "x"), {}),
    "attribute": (lambda row: f"{row['t']}/{answer_of(row['x'])}", ("t", "x"), {}),
    "nothing": (None, ("id",), {}),
    "sent": ("{t} and {x}", ("t", "x"), {"na": "send"}),
}

INDEXES = {
    "range": pd.RangeIndex,
    "labels": lambda n: pd.Index([f"k{k}" for k in range(n)]),
    "twice": lambda n: pd.Index([k // 2 for k in range(n)]),
    "one label": lambda n: pd.Index(["k"] * n),
    "days": lambda n: pd.date_range("2024-01-01", periods=n),
    "two levels": lambda n: pd.MultiIndex.from_tuples([(k // 2, f"k{k}") for k in range(n)]),
    "two levels, twice": lambda n: pd.MultiIndex.from_tuples([(k // 2, "k") for k in range(n)]),
    "floats": lambda n: pd.Index([k / 2 for k in range(n)]),
}

rows_of = st.fixed_dictionaries(
    {
        "t": st.sampled_from(PLAIN),
        "x": st.sampled_from(sorted(POOL)),
        "c": st.sampled_from(["a", "b", "none"]),
        "n": st.sampled_from(NUMBERS),
    }
)
changes = st.sampled_from(
    [
        "turn",
        "turn, new labels",
        "drop",
        "append",
        "edit",
        "reset",
        "rename",
        "hand",
        "clear",
        "mix",
    ]
)


class Sheet:
    """A frame and its rows as the test knows them."""

    def __init__(self, rows, index):
        self.rows = [{**row, "hand": None, "id": number} for number, row in enumerate(rows)]
        self.frame = pd.DataFrame(
            {
                "t": pd.Series([POOL[row["t"]] for row in rows], dtype=object),
                "x": pd.Series([POOL[row["x"]] for row in rows], dtype=object),
                "c": pd.Categorical([POOL[row["c"]] for row in rows], categories=["a", "b"]),
                "n": pd.Series([POOL[row["n"]] for row in rows], dtype=float),
            }
        )
        self.frame.index = INDEXES[index](len(rows))

    def change(self, how, dice):
        """One change in place, as a user makes it."""
        frame, rows = self.frame, self.rows
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(self, how.split(",", maxsplit=1)[0])(frame, rows, dice, "new" in how)

    def turn(self, frame, rows, dice, renewed):
        """Other order."""
        order = dice.sample(range(len(rows)), len(rows))
        frame["place"] = np.argsort(order)
        frame.sort_values("place", inplace=True, ignore_index=renewed)
        frame.drop(columns="place", inplace=True)
        self.rows = [rows[at] for at in order]

    def drop(self, frame, rows, dice, _):
        """A row, and those of its label."""
        label = frame.index[dice.randrange(len(rows))]
        kept = [k for k, other in enumerate(frame.index) if other != label]
        if kept:
            frame.drop(index=label, inplace=True)
            self.rows = [rows[k] for k in kept]

    def append(self, frame, rows, dice, _):
        """A row like another, below."""
        at = dice.randrange(len(rows))
        label = (99, "new") if frame.index.nlevels > 1 else 99
        if isinstance(frame.index, pd.DatetimeIndex):
            label = pd.Timestamp("2030-01-01")
        if label in frame.index:
            return
        cells = {name: frame.iloc[at, frame.columns.get_loc(name)] for name in frame}
        wide = pd.Series([cells[name] for name in frame], index=frame.columns, dtype=object)
        kinds = frame.dtypes
        frame.loc[label, :] = wide
        for name in frame:
            if frame[name].dtype != kinds[name]:
                frame[name] = frame[name].astype(kinds[name])
        self.rows = [*rows, dict(rows[at])]

    def edit(self, frame, rows, dice, _):
        """A cell that the prompt may read."""
        at, name = dice.randrange(len(rows)), dice.choice(["t", "x"])
        value = dice.choice(PLAIN if name == "t" else ["a", "b", "list", "set", "said a", "said b"])
        frame.iloc[at, frame.columns.get_loc(name)] = POOL[value]
        rows[at][name] = value

    def reset(self, frame, rows, dice, _):
        """New labels."""
        del rows, dice
        frame.reset_index(drop=True, inplace=True)

    def rename(self, frame, rows, dice, _):
        """Labels of one's own."""
        del dice
        frame.index = [f"r{k}" for k in range(len(rows))][::-1]

    def hand(self, frame, rows, dice, _):
        """An answer of one's own."""
        at = dice.randrange(len(rows))
        if OUT not in frame:
            frame[OUT] = pd.Series([None] * len(rows), index=frame.index, dtype=object)
        frame.iloc[at, frame.columns.get_loc(OUT)] = BY_HAND
        rows[at]["hand"] = BY_HAND

    def clear(self, frame, rows, dice, _):
        """An answer taken out."""
        if OUT in frame:
            at = dice.randrange(len(rows))
            frame.iloc[at, frame.columns.get_loc(OUT)] = None
            rows[at]["hand"] = None

    def mix(self, frame, rows, dice, _):
        """The values of two rows change places, without their answers."""
        one, other = dice.randrange(len(rows)), dice.randrange(len(rows))
        for name in ("t", "x"):
            at = frame.columns.get_loc(name)
            first, second = frame.iloc[one, at], frame.iloc[other, at]
            frame.iloc[one, at], frame.iloc[other, at] = second, first
            rows[one][name], rows[other][name] = rows[other][name], rows[one][name]

    def prompt(self, prompt):
        """The prompt; for "nothing" a function that reads nothing of the row: its words come from elsewhere."""
        if prompt is not None:
            return prompt
        words = iter([f"word {row['id']}" for row in self.rows])
        return lambda _: next(words)

    def cells(self):
        """Every cell as it stands: values by identity where they are objects."""
        return {
            (name, at): (id(value) if isinstance(value, Said) else repr(value))
            for name in self.frame
            for at, value in enumerate(self.frame[name].tolist())
        }

    def asks(self, reads):
        """The requests of each row: the names of the columns it reads."""
        return [tuple(row[name] for name in reads) for row in self.rows]


class Right:
    """The right answer for each request, learnt from the requests of the jobs themselves."""

    def __init__(self):
        self.texts = {}

    def learn(self, asks, job):
        """The answers of a job by position; one thing asked has one answer."""
        found = job.results()
        for ask, text, status in zip(asks, found[OUT].tolist(), found["_status"], strict=True):
            if status in ("succeeded", "reused"):
                assert self.texts.setdefault(ask, text) == text

    def check(self, sheet, reads, before):
        """Each cell is a hand's, or missing, or the answer to what its row asks or asked."""
        now = sheet.cells()
        for key, value in before.items():
            assert key[0] == OUT or now[key] == value, "a cell of the user's"
        if OUT not in sheet.frame:
            return
        for row, ask, cell in zip(
            sheet.rows, sheet.asks(reads), sheet.frame[OUT].tolist(), strict=True
        ):
            if row["hand"] is not None:
                assert cell == BY_HAND
            elif not pd.isna(cell):
                assert cell == self.texts[ask], (ask, cell)


@contextlib.contextmanager
def refused(sheet):
    """A refusal changes nothing."""
    before = sheet.cells()
    try:
        yield
    except InputError:
        assert sheet.cells() == before


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """The embedded server, and a ledger of its own."""
    home = tmp_path_factory.mktemp("frames")
    with pytest.MonkeyPatch.context() as patch, Embedded(home / "server") as server:
        patch.setattr(table, "_NEAR", table._OURS)
        patch.setenv("JUPYTER_BATCH_HOME", str(home / "home"))
        yield {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        for held in process._sessions.values():
            held.close()


examples = itertools.count()
KINDS = os.environ.get("JUPYTER_BATCH_PROMPTS", ",".join(sorted(PROMPTS))).split(",")
EXAMPLES = int(os.environ.get("JUPYTER_BATCH_EXAMPLES", "40"))


@pytest.mark.heavy
@pytest.mark.timeout(600)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.generate],  # each example runs jobs: shrinking would take many minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(rows_of, min_size=1, max_size=6),
    index=st.sampled_from(sorted(INDEXES)),
    kind=st.sampled_from(KINDS),
    during=st.lists(changes, max_size=2),
    between=st.lists(changes, max_size=3),
    dice=st.randoms(use_true_random=False),
)
def test_the_right_cell_or_a_refusal(call, rows, index, kind, during, between, dice):
    """Changed while the job runs, and before the cell is run again."""
    prompt, reads, more = PROMPTS[kind]
    sheet, right = Sheet(rows, index), Right()
    tag = {"user": f"example {next(examples)}"}  # no answers of another example are taken
    sent = sheet.asks(reads)
    job = None
    with contextlib.suppress(InputError):
        job = sheet.frame.llm.batch(sheet.prompt(prompt), out=OUT, **tag, **more, **call)
    if job is None:
        return
    for how in during:
        sheet.change(how, dice)
    before = sheet.cells()
    with refused(sheet):
        job.wait(60)
    right.learn(sent, job)
    right.check(sheet, reads, before)
    for how in between:
        sheet.change(how, dice)
    now = sheet.asks(reads)
    before = sheet.cells()
    with refused(sheet):
        again = sheet.frame.llm.batch(sheet.prompt(prompt), out=OUT, **tag, **more, **call)
        again.wait(60)
        if again.id != job.id:
            right.learn(now, again)
        right.check(sheet, reads, before)
