"""No request goes to a host other than the configured one: nothing but the given address can be reached at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_batch.core.errors import OptionError
from tests.endings.table import PROVIDERS

AT_ONCE = ("at once openai", "at once hosted_vllm", "at once litellm_proxy")


def test_every_provider_with_every_other_way_blocked(tmp_path):
    """Submit, poll, fetch, retry, cancel: in batches and at once, no name is looked up, no other address is called.

    Not at an import of litellm's, and not where the environment names other addresses.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.endings.hosts_process",
            str(tmp_path / "home"),
            *PROVIDERS,
            *AT_ONCE,
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    data = json.loads(done.stdout.splitlines()[-1])
    assert data["tried"] == []
    assert list(data["found"]) == [*PROVIDERS, *AT_ONCE]
    for name, (job, again, other, answers) in data["found"].items():
        assert (job, again) == ("completed", "completed"), name
        assert other in ("cancelled", "True"), name
        assert answers == list("ABCD"), name
    assert done.stderr == ""


@pytest.mark.parametrize("provider", ["hosted_vllm", "litellm_proxy"])
@pytest.mark.parametrize("mode", ["batch", "realtime", "auto"])
def test_who_has_no_address_of_its_own_is_refused_without_one(provider, mode, harness, monkeypatch):
    """By itself litellm would send the rows to OpenAI: refused at once, whatever is in the environment."""
    for name in (
        "OPENAI_BASE_URL",
        "OPENAI_API_BASE",
        "HOSTED_VLLM_API_BASE",
        "LITELLM_PROXY_API_BASE",
    ):
        monkeypatch.setenv(name, "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    with pytest.raises(OptionError, match="api_base"):
        harness.frame().llm.batch("{t}", model=f"{provider}/m", api_key="k", mode=mode)
    assert not harness.home.exists()
