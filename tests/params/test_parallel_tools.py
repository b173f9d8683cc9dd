"""A parameter is refused by the name that the user gave."""

from __future__ import annotations

import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.wire.dialects import encoder
from jupyter_batch.wire.openai import CHAT


@pytest.mark.parametrize(
    ("name", "value"), [("parallel_tool_calls", False), ("tool_choice", "required")]
)
def test_without_tools_the_refusal_names_what_was_given(name, value):
    """Claude has one field for both parameters; the sentence is about the one in the call."""
    body = {
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "user", "content": "x"}],
        name: value,
    }
    with pytest.raises(OptionError, match=f"{name} has no meaning without tools"):
        encoder("anthropic", CHAT, body, load_litellm).encode(["a-0"], {})
