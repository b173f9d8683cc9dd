"""A provider of another package: an entry point is all that makes it one of ours."""

from __future__ import annotations

import sys
import warnings

import pandas as pd
import pytest

from jupyter_batch import completion
from jupyter_batch.cli import main
from jupyter_batch.core.errors import ModelError, OptionError
from jupyter_batch.providers.prices import price_of
from jupyter_batch.providers.record import RECORDS, Registry
from tests.providers import toy


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages; what was known of entry points is read again."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    known = RECORDS.__dict__.pop("_all", None)
    yield tmp_path / "site"
    RECORDS.__dict__.pop("_all", None)
    if known is not None:
        RECORDS.__dict__["_all"] = known
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy_llm"]:
        del sys.modules[name]


def test_it_is_listed(site, capsys):
    """`jupyter batch providers` has a row for it."""
    toy.install(site)
    assert main(["providers"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("toy "))
    assert row.split()[:5] == ["toy", "yes", "?", "?", "1h"]


def test_tab_completes_it(site):
    """Its models are among those that `--model` takes."""
    toy.install(site)
    assert "toy/toy-1" in completion.models()


def test_it_is_priced(site):
    """By its own record, in a batch and in real time."""
    toy.install(site)
    price = price_of("toy/toy-1")
    assert (price.batch.rates.input, price.batch.rates.output) == (1e-6, 2e-6)
    assert (price.standard.rates.input, price.standard.rates.output) == (2e-6, 4e-6)


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        ({"completion_window": "24h"}, OptionError, "Toy has 1h"),
        ({"completion_window": "1h", "model": "toy/"}, ModelError, "PROVIDER/MODEL"),
    ],
)
def test_wrong_options_are_refused(site, home, more, error, says):
    """Before anything is sent."""
    toy.install(site)
    call = {"model": "toy/toy-1", "api_key": "k-toy-12345", **more}
    with pytest.raises(error, match=says):
        pd.DataFrame({"t": ["a"]}).llm.batch("{t}", **call)


def test_it_runs_a_job(site, home, capsys):
    """From the frame to the column, over its own API, with its price."""
    toy.install(site)
    df = pd.DataFrame({"t": ["a", "b"]})
    with toy.served() as (url, asked):
        job = df.llm.batch(
            "{t}",
            out="out",
            model="toy/toy-1",
            api_base=url,
            api_key="k-toy-12345",
            completion_window="1h",
        )
        job.wait(60)
    assert df["out"].tolist() == ["A", "B"]
    [(key, order)] = asked
    assert key == "Bearer k-toy-12345"
    assert order["window"] == "1h"
    assert sorted(order["prompts"].values()) == ["a", "b"]
    assert job.usage.input_tokens == 2_000_000


def test_one_that_cannot_be_loaded_is_a_warning_that_names_it(site):
    """The others stay, and nothing else is affected."""
    toy.install(site, value="toy_llm.record:MISSING")
    with pytest.warns(UserWarning, match=r"'toy' \(toy_llm\.record:MISSING\) can't be used"):
        names = list(RECORDS)
    assert "toy" not in names
    assert "openai" in names


def test_a_name_of_ours_is_not_replaced(site):
    """An entry point can't take the requests to a provider that is there."""
    toy.install(site)
    record = site / "toy_llm" / "record.py"
    record.write_text(record.read_text().replace('name="toy"', 'name="openai"'))
    with pytest.warns(UserWarning, match="'openai' already"):
        known = dict(RECORDS)
    assert known["openai"].title == "OpenAI"


def test_entry_points_wait_until_they_are_needed(site):
    """A name of ours is found without a look at other packages."""
    toy.install(site, value="toy_llm.record:MISSING")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Registry()["anthropic"].title == "Anthropic"
