"""Headers that the libraries below take from the environment go to the hosts that they are for alone."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import pytest

from jupyter_batch.core.errors import AuthenticationError
from jupyter_batch.http.environment_headers import strays
from jupyter_batch.providers.azure.batches import ViaAzure
from jupyter_batch.providers.openai.batches import ViaOpenAI
from jupyter_batch.providers.protocol import Access
from jupyter_batch.providers.table import facts_of
from jupyter_batch.realtime.fast_path import call_to
from jupyter_batch.realtime.litellm_call import LitellmCall
from tests.keys.recorder import recording
from tests.keys.test_network import asked, driven

MINE = "sk-mine-0123456789abcdef"
THEIRS = "gsk-theirs-0123456789abcdef"
OTHER = "http://other.example:8000/v1/chat/completions"
CUSTOM = {"OPENAI_CUSTOM_HEADERS": "X-Team: team-secret\nX-More: 1"}
SENT = {"x-team": "team-secret", "authorization": f"Bearer {THEIRS}"}


@pytest.fixture
def remote(monkeypatch):
    """A server that the environment's headers are not for."""
    monkeypatch.setenv("OPENAI_API_KEY", MINE)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: team-secret-0123")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine-0123")
    monkeypatch.setenv("OPENAI_ORGANIZATION", "org-mine-0123")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine-0123")
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "JUPYTER_BATCH_API_BASES"):
        monkeypatch.delenv(name, raising=False)
    with recording() as recorder:
        yield recorder


def is_read(package, variable):
    """Whether the installed version of a package reads a variable: the lowest ones do not read each."""
    [root] = importlib.util.find_spec(package).submodule_search_locations
    word = variable.encode()
    return any(word in path.read_bytes() for path in Path(root).rglob("*.py"))


def needs(package, variable):
    """Skip where the installed version does not read the variable, so that there is nothing to be refused."""
    if not is_read(package, variable):
        pytest.skip(f"this version of {package} does not read {variable}")


def names(headers, url, key, environ):
    """The headers that stay here."""
    return [stray.header for stray in strays(headers, url, key, environ)]


def test_where_the_environments_headers_may_go():
    """To their provider, to an address that the environment names, or with the environment's own key."""
    assert names(SENT, OTHER, THEIRS, CUSTOM) == ["x-team"]
    assert names(SENT, OTHER, None, CUSTOM) == ["x-team"], "deepinfra's own host, by litellm"
    assert names(SENT, "https://api.openai.com/v1/files", THEIRS, CUSTOM) == []
    assert names(SENT, "https://api.openai.com.evil.example/v1", THEIRS, CUSTOM) == ["x-team"]
    assert names(SENT, "http://api.openai.com/v1", THEIRS, CUSTOM) == ["x-team"]
    base = {"OPENAI_BASE_URL": "http://other.example:8000/v1/"}
    assert names(SENT, OTHER, THEIRS, CUSTOM | base) == []
    assert names(SENT, OTHER.replace("/v1/", "/v12/"), THEIRS, CUSTOM | base) == ["x-team"]
    assert names(SENT, OTHER, MINE, CUSTOM | {"OPENAI_API_KEY": f" {MINE}\n"}) == []


def test_a_token_that_a_library_prefers_to_the_key():
    """For each header; not where the library looks for a key itself, and not the key."""
    environ = {"GIGACHAT_ACCESS_TOKEN": MINE}
    for header in ("authorization", "x-anything"):
        for value in (MINE, f"Bearer {MINE}"):
            [stray] = strays({header: value}, OTHER, THEIRS, environ)
            assert (stray.header, stray.variable) == (header, "GIGACHAT_ACCESS_TOKEN")
            assert strays({header: value}, OTHER, None, environ) == []
            assert strays({header: value}, OTHER, MINE, environ) == []


@pytest.mark.parametrize("model", ["openai/m", "hosted_vllm/m", "litellm_proxy/m", "deepinfra/m"])
@pytest.mark.parametrize("make", [call_to, LitellmCall])
def test_in_real_time(make, model, remote):
    """The straight way and litellm's clients send the key of the call, and nothing else of this machine's."""
    assert (
        asyncio.run(
            asked(lambda base: make(model, api_base=f"{base}/v1", api_key=THEIRS), remote.url)
        )
        is None
    )
    assert f"Bearer {THEIRS}" in remote.headers
    for mine in ("mine", "team-secret"):
        assert mine not in remote.headers.lower()


def test_in_batches(remote, tmp_path):
    """Each verb of what speaks through the openai SDK."""
    access = Access(api_base=f"{remote.url}/v1", api_key=THEIRS)
    for provider in (
        ViaOpenAI(facts_of("openai", remote.url), access),
        ViaAzure(facts_of("azure", remote.url), access, api_version="2024-10-21"),
    ):
        asyncio.run(driven(provider, tmp_path))
    assert len(remote.calls) >= 8
    assert THEIRS in remote.headers
    for mine in ("mine", "team-secret"):
        assert mine not in remote.headers.lower()


def test_with_the_environments_key_its_headers_go(remote, tmp_path):
    """A gateway that was named without a key gets what belongs to that key."""
    access = Access(api_base=f"{remote.url}/v1", api_key=MINE)
    asyncio.run(driven(ViaOpenAI(facts_of("openai", remote.url), access), tmp_path))
    if is_read("openai", "OPENAI_CUSTOM_HEADERS"):
        assert "team-secret-0123" in remote.headers
    assert "org-mine-0123" in remote.headers


@pytest.mark.parametrize(
    ("variable", "value", "model"),
    [
        ("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {MINE}", "openai/m"),
        ("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {MINE}", "deepinfra/m"),
        ("GIGACHAT_ACCESS_TOKEN", MINE, "gigachat/m"),
        ("WATSONX_TOKEN", MINE, "watsonx/m"),
    ],
)
def test_what_takes_the_place_of_the_key_is_refused(variable, value, model, remote, monkeypatch):
    """Nothing is sent, and the variable is named: the job is blocked for its key."""
    needs("openai" if variable.startswith("OPENAI") else "litellm", variable)
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("WATSONX_PROJECT_ID", "p")
    failed = asyncio.run(
        asked(lambda base: call_to(model, api_base=f"{base}/v1", api_key=THEIRS), remote.url)
    )
    assert isinstance(failed.error, AuthenticationError)
    assert variable in str(failed.error)
    assert MINE not in str(failed.error)
    assert remote.calls == []


def test_in_batches_too(remote, tmp_path, monkeypatch):
    """The same in batches, which take these headers, too."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {MINE}")
    access = Access(api_base=f"{remote.url}/v1", api_key=THEIRS)
    failed = asyncio.run(driven(ViaOpenAI(facts_of("openai", remote.url), access), tmp_path))
    assert remote.calls == []
    assert all("OPENAI_CUSTOM_HEADERS" in words for words in failed)
