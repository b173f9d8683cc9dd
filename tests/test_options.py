"""The options of a call, and the messages of unusable values. No notebook and no network here."""

import inspect
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from jupyter_batch.artifacts import Artifacts
from jupyter_batch.config import settings
from jupyter_batch.config.arguments import checking
from jupyter_batch.config.help import option_table
from jupyter_batch.config.option import col
from jupyter_batch.config.options import CHAT_PARAMS, EVERY, OPTIONS
from jupyter_batch.config.settings import Settings, resolve
from jupyter_batch.core.errors import InputError, ModelError, OptionError
from jupyter_batch.group import Group
from jupyter_batch.job import Job

HERE = Settings("openai/gpt-4.1-mini", Path("home"))
NOTHING = Settings(None, Path("home"))


def test_every_option_has_its_place_in_the_record():
    """An option that is listed is an attribute of Options with the same default, and the other way round."""
    assert {f.name for f in fields(settings.Options)} == {o.name for o in OPTIONS} | {"params"}
    made = resolve({}, HERE)
    assert {o.name: getattr(made, o.name) for o in OPTIONS if o.name != "model"} == {
        o.name: o.default for o in OPTIONS if o.name != "model"
    }


def test_no_option_is_there_twice():
    """An option or a chat parameter has one name, and the public surface's are among them."""
    assert len(EVERY) == len(OPTIONS) + len(CHAT_PARAMS)
    assert {
        "out",
        "model",
        "system",
        "schema",
        "tools",
        "tool_choice",
        "cache",
        "mode",
        "reuse",
        "max_cost",
        "wait",
        "deadline",
        "na",
        "overwrite",
        "metadata",
        "name",
        "template",
        "api_key",
        "api_base",
        "api_version",
        "poll_interval",
        "completion_window",
        "output_expires_after",
        "shard_size",
    } <= set(EVERY)


def test_an_argument_wins_over_the_configured_model():
    """model= given on the call is used; without it the configured one; None counts as not given."""
    assert resolve({"model": "local/echo"}, HERE).model == "local/echo"
    assert resolve({"model": None}, HERE).model == "openai/gpt-4.1-mini"


def test_no_model_at_all_says_how_to_name_one():
    """Without any model the sentence says where to write it."""
    with pytest.raises(ModelError, match=r"LLMBatch\.model.*local/echo"):
        resolve({}, NOTHING)


def test_chat_parameters_are_apart_and_in_json_types():
    """Chat parameters land in params, numpy's numbers as Python's, None left out, a column marker as it is."""
    made = resolve(
        {
            "temperature": np.float64(0.5),
            "max_tokens": np.int64(7),
            "seed": None,
            "stop": ("\n", "END"),
            "user": col("who"),
        },
        HERE,
    )
    assert made.params == {
        "temperature": 0.5,
        "max_tokens": 7,
        "stop": ["\n", "END"],
        "user": col("who"),
    }
    assert type(made.params["max_tokens"]) is int
    assert type(made.params["temperature"]) is float


@pytest.mark.parametrize(
    ("given", "near"),
    [("temprature", "temperature"), ("max_token", "max_tokens"), ("mdel", "model")],
)
def test_an_unknown_option_names_the_nearest(given, near):
    """A slip is answered with the name that was meant."""
    with pytest.raises(OptionError, match=rf"unknown option `{given}`: did you mean .*`{near}`"):
        resolve({given: 1}, HERE)


def test_an_option_like_no_other_lists_all():
    """Where nothing is near, the sentence lists what there is."""
    with pytest.raises(OptionError, match=r"`zzzz`; the options are `out`, .*`extra_body`"):
        resolve({"zzzz": 1}, HERE)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("messages", "the prompt itself"),
        ("temp", "temperature"),
        ("response_model", "schema"),
        ("few_shot", "examples"),
        ("max_budget", "max_cost"),
        ("dry_run", r"preview\("),
    ],
)
def test_names_of_other_libraries_are_answered_with_ours(name, meant):
    """A name of OpenAI, litellm, curator or dspy is answered with the name here, not with a similar word."""
    with pytest.raises(OptionError, match=f"unknown option `{name}`: .*{meant}"):
        resolve({name: 1}, HERE)


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": -1},
        {"top_p": 1.5},
        {"response_format": {"type": "object", "properties": {}}},
        {"response_format": {"properties": {}}},
    ],
)
def test_values_that_no_provider_takes_are_refused(given):
    """They would fail in every row, a day later."""
    with pytest.raises(OptionError, match="takes"):
        resolve(given, HERE)


@pytest.mark.parametrize(
    "given", [{"metadata": {"k": "sk-proj-Ab12Cd34Ef56Gh78"}}, {"name": "sk-proj-Ab12Cd34Ef56Gh78"}]
)
def test_a_key_where_it_would_be_stored_is_refused_and_not_repeated(given):
    """Tags and labels are in the ledger, and tags at the provider."""
    with pytest.raises(OptionError, match="holds a key") as caught:
        resolve(given, HERE)
    assert "Ab12" not in str(caught.value)


@pytest.mark.parametrize("name", ["stream", "timeout_seconds"])
def test_what_this_release_does_not_have_is_unknown(name):
    """No option is taken and then silently ignored."""
    with pytest.raises(OptionError, match=f"unknown option `{name}`"):
        resolve({name: 1}, HERE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("na", "drop"),
        ("na", None.__class__),
        ("template", "mustache"),
        ("shard_size", -1),
        ("shard_size", 0),
        ("shard_size", 2.5),
        ("shard_size", True),
        ("timeout", -1),
        ("timeout", "soon"),
        ("timeout", float("nan")),
        ("timeout", timedelta(1)),
        ("poll_interval", 0),
        ("poll_interval", float("inf")),
        ("reuse", "yes"),
        ("wait", 1),
        ("out", ""),
        ("out", 3),
        ("out", "two\nlines"),
        ("model", ["a", "b"]),
        ("system", 5),
        ("completion_window", "soon"),
        ("completion_window", "0h"),
        ("metadata", {"k": [1]}),
        ("metadata", "team=nlp"),
        ("metadata", {"k" * 65: "v"}),
        ("metadata", {"k": "v" * 513}),
        ("metadata", {str(n): "v" for n in range(13)}),
        ("api_base", "localhost:8000"),
        ("api_key", 5),
        ("name", " "),
        ("n", 0),
        ("n", 129),
        ("temperature", "hot"),
        ("max_tokens", 0),
        ("stop", []),
        ("stop", {"a": 1}),
        ("stop", 3),
        ("stop", ["a", 1]),
        ("logit_bias", {1.5: 2}),
        ("response_format", "json"),
        ("extra_body", {"x": object()}),
        ("extra_body", {"x": float("nan")}),
        ("logprobs", 1),
        ("seed", 1.5),
        ("model", col("m")),
        ("max_cost", -1),
        ("max_cost", "cheap"),
        ("prices", 5),
        ("prices", {}),
        ("prices", {"m": {}}),
        ("prices", {"m": {"inputs": 1}}),
        ("prices", {"m": {"input": -1}}),
        ("prices", {"m": {"input": "1"}}),
        ("prices", {"m": {"input": 1, "realtime": {"realtime": {"input": 1}}}}),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence(name, value):
    """The sentence names the option and what it takes, on one line."""
    with pytest.raises(OptionError) as caught:
        resolve({name: value}, HERE)
    text = str(caught.value)
    assert text.startswith(f"`{name}` takes ")
    assert "\n" not in text
    assert len(text) < 250
    assert isinstance(caught.value, InputError)


def test_good_values_are_kept_as_they_are():
    """A right value comes out unchanged; metadata are texts, an address has no last slash."""
    made = resolve(
        {
            "na": "raise",
            "template": "jinja",
            "shard_size": 500,
            "timeout": 0,
            "poll_interval": 0.5,
            "reuse": np.bool_(False),
            "completion_window": "7d",
            "metadata": {"team": "nlp", "run": 3},
            "api_base": "http://127.0.0.1:8000/v1/",
            "name": "my job",
            "out": "sentiment",
            "logit_bias": {50256: -100},
        },
        HERE,
    )
    assert (made.na, made.template, made.shard_size) == ("raise", "jinja", 500)
    assert (made.timeout, made.poll_interval) == (0, 0.5)
    assert made.reuse is False
    assert made.metadata == {"team": "nlp", "run": "3"}
    assert made.api_base == "http://127.0.0.1:8000/v1"
    assert (made.completion_window, made.name, made.out, made.params) == (
        "7d",
        "my job",
        "sentiment",
        {"logit_bias": {"50256": -100}},
    )


def test_prices_are_by_model_and_a_call_s_own_come_first():
    """One price without a model is for whichever it is; what is configured stands below, model by model."""
    mine = {"input": 0.2, "output": 0.8, "realtime": {"input": 0.4}}
    assert resolve({"prices": mine}, HERE).prices == {"": mine}
    configured = Settings("openai/m", Path("home"), {"m": {"input": 1}, "other": {"input": 2}})
    assert resolve({"prices": {"m": mine}}, configured).prices == {"m": mine, "other": {"input": 2}}
    assert resolve({}, configured).prices == {"m": {"input": 1}, "other": {"input": 2}}
    with pytest.raises(OptionError, match="`prices` takes a dict such as"):
        resolve({}, Settings("openai/m", Path("home"), {"m": 1}))


def test_the_key_is_in_no_repr_and_in_no_error():
    """A secret is held, but neither the record's repr nor the sentence about a bad one shows it."""
    made = resolve({"api_key": "sk-secret"}, HERE)
    assert made.api_key == "sk-secret"
    assert "sk-secret" not in repr(made)
    with pytest.raises(OptionError) as caught:
        resolve({"api_key": "sk-secret\nsk-other"}, HERE)
    assert "sk-" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(OptionError, match="begins with a variable's name and '='") as caught:
        resolve({"api_key": "OPENAI_API_KEY=sk-secret"}, HERE)
    assert "sk-" not in str(caught.value)


def test_the_arguments_of_each_method_are_checked_before_it_runs():
    """Each has a kind of its own, or is checked by its method, which is named here."""
    by_the_method = {"self", "df", "f", "label", "tools", "params"}
    for kind in (Job, Group, Artifacts):
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            for parameter in () if name.startswith("_") else inspect.signature(method).parameters:
                if parameter in by_the_method:
                    continue
                with pytest.raises(OptionError, match=f"`{parameter}` takes"):
                    method(object(), **{parameter: object()})


def test_an_argument_of_none_is_its_default():
    """So it is where there is one; a time that has passed is 0, and an infinite one none."""

    def wait(timeout=None, *, overwrite=False):
        return timeout, overwrite

    wait = checking(wait)
    assert wait(3, overwrite=None) == (3, False)
    assert wait(-1.5) == (0.0, False)
    assert wait(float("inf")) == (None, False)
    assert wait(timeout=np.float64(2)) == (2, False)
    for bad in ("x", float("nan"), True, timedelta(1)):
        with pytest.raises(OptionError, match="`timeout` takes seconds"):
            wait(bad)


def test_the_record_is_frozen():
    """The options of a submission do not change afterwards."""
    with pytest.raises(AttributeError):
        resolve({}, HERE).out = "x"


def test_the_table_names_every_option_with_its_help():
    """The docstring's table is made from the options: each name and each help is in it."""
    table = option_table()
    for option in OPTIONS:
        assert f"{option.name}: " in table
        assert option.help in table
    for option in CHAT_PARAMS:
        assert option.name in table


def test_settings_config_wins_over_environment():
    """%config over the environment over nothing; an empty one is none."""
    env = {"JUPYTER_BATCH_MODEL": "openai/a", "JUPYTER_BATCH_HOME": "~/jb"}
    assert settings.read(env, {"model": "openai/b"}).model == "openai/b"
    assert settings.read(env, {}) == Settings("openai/a", Path("~/jb").expanduser())
    assert settings.read({"JUPYTER_BATCH_MODEL": ""}, {"model": None}).model is None


def test_a_wrong_config_value_is_one_sentence():
    """%config takes any value; the sentence comes when it is used."""
    with pytest.raises(
        OptionError, match=r"%config LLMBatch\.model takes a litellm model id, not 5"
    ):
        settings.read({}, {"model": 5})


def test_home_is_absolute_and_has_a_default(tmp_path, monkeypatch):
    """A relative folder counts from where we were at its first use; without any, it is the platform's folder."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert settings.home({"JUPYTER_BATCH_HOME": "a ledger"}) == tmp_path / "a ledger"
        monkeypatch.chdir(tmp_path.parent)
    assert settings.home({}).is_absolute()
    assert settings.home({}).name == "jupyter_batch"
