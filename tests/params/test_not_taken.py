"""Parameters that are no options here: refused before anything is sent, with the way to insist."""

from __future__ import annotations

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.config.settings import unknown
from jupyter_batch.core.errors import OptionError


@pytest.mark.parametrize(
    "name", ["top_k", "min_p", "modalities", "audio", "drop_params", "allowed_openai_params"]
)
def test_the_way_to_insist_is_named(name, home):
    """`top_k` is not a misspelled top_p."""
    with pytest.raises(OptionError, match=f"`{name}`.*extra_body="):
        pd.DataFrame({"a": ["x"]}).llm.batch("{a}", model="local/echo", **{name: 3})


def test_other_names_say_what_is_meant():
    """Other libraries' names."""
    assert "tools" in unknown("functions")
    assert "df.llm.embed" in unknown("dimensions")
    assert "retry" in unknown("num_retries")
    assert "did you mean `max_tokens`" in unknown("max_token")


def test_the_responses_api_has_no_stop(home):
    """The same for what /v1/responses does not have."""
    with pytest.raises(OptionError, match=r"`stop`.*extra_body="):
        jupyter_batch.batch(
            ["x"], model="openai/o3-pro", stop="x", api_key="k", api_base="http://127.0.0.1:9/v1"
        )
