"""Which key may go to which address: the decision by itself."""

from __future__ import annotations

import pytest

from jupyter_batch.core.errors import KeyMissingError, ModelError, OptionError
from jupyter_batch.http.address import address, check_base, is_near
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.providers.keys import (
    NO_KEY,
    Key,
    Source,
    decide,
    is_own_host,
    key_names,
    keys_of,
)
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.providers.table import access_for, realtime_key, split_model

FOREIGN = "https://other.example/v1"
ENVIRON = {"OPENAI_API_KEY": "sk-mine"}

OWN = {
    "openai": ["https://api.openai.com/v1", "https://eu.api.openai.com/v1"],
    "azure": ["https://name.openai.azure.com", "https://name.cognitiveservices.azure.com/"],
    "anthropic": ["https://api.anthropic.com", "https://api.anthropic.com:443/v1"],
    "xai": ["https://api.x.ai/v1", "https://eu-west-1.api.x.ai/v1"],
    "mistral": ["https://api.mistral.ai/v1"],
    "groq": ["https://api.groq.com/openai/v1"],
    "gemini": ["https://generativelanguage.googleapis.com/v1beta"],
    "vertex_ai": [
        "https://us-central1-aiplatform.googleapis.com",
        "https://aiplatform.googleapis.com",
        "https://aiplatform.eu.rep.googleapis.com",
    ],
    "bedrock": [
        "https://bedrock.us-east-1.amazonaws.com",
        "https://bedrock.cn-north-1.amazonaws.com.cn",
    ],
}
NOT_OWN = {
    "openai": [
        FOREIGN,
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com.evil.example/v1",
        "https://evil-api.openai.com.example",
        "https://api.openai.com@evil.example/v1",
        "https://xapi.openai.com/v1",
        "http://127.0.0.1:9999/v1",
        "https://api.groq.com/openai/v1",
    ],
    "azure": ["https://name.azure-api.net", "https://a.b.openai.azure.com", FOREIGN],
    "vertex_ai": [
        "https://evil.example/-aiplatform.googleapis.com",
        "https://storage.googleapis.com",
        FOREIGN,
    ],
    "bedrock": [
        "https://ec2-1-2-3-4.compute-1.amazonaws.com",
        "https://abc.execute-api.us-east-1.amazonaws.com",
        FOREIGN,
    ],
}


@pytest.mark.parametrize(("provider", "base"), [(p, b) for p, bases in OWN.items() for b in bases])
def test_a_providers_own_hosts(provider, base):
    """The environment's key goes to these without asking."""
    assert is_own_host(RECORDS[provider], base)


@pytest.mark.parametrize(
    ("provider", "base"), [(p, b) for p, bases in NOT_OWN.items() for b in bases]
)
def test_hosts_that_are_not_the_providers(provider, base):
    """A name that looks alike, another port, no TLS, another customer's machine."""
    assert not is_own_host(RECORDS[provider], base)


@pytest.mark.parametrize("record", [r for r in RECORDS.values() if r.default_base], ids=str)
def test_each_default_address_is_its_providers_own(record):
    """A record with an address of its own says so."""
    assert is_own_host(record, record.default_base)


def decided(base, key="sk-mine", source=Source.ENVIRONMENT, provider="openai", **more):
    """The headers that are sent to an address of the ledger."""
    keys = [Key(key, source, "OPENAI_API_KEY", provider)] if key else []
    asked = {"environ": {}, "named": (), **more}
    return decide(provider, base, keys, **asked)


@pytest.mark.parametrize("base", [FOREIGN, "http://127.0.0.1:9999/v1", "http://10.0.0.7:8000/v1"])
def test_an_environment_key_does_not_go_where_only_the_ledger_says(base):
    """For ledgers of any machine, this one included. The reason names the host, the variable, the way out."""
    chosen = decided(base)
    assert chosen.key is None
    host = base.split("/")[2]
    for words in (host, "OPENAI_API_KEY", "job.resume(api_key=...)", f"OPENAI_BASE_URL={base}"):
        assert words in chosen.reason
    assert "sk-mine" not in f"{chosen}"


@pytest.mark.parametrize(
    "more",
    [
        {"named": {address(FOREIGN)}},
        {"named": None},
        {"environ": {"OPENAI_BASE_URL": FOREIGN + "/"}},
        {"environ": {"OPENAI_API_BASE": FOREIGN}},
        {"environ": {"JUPYTER_BATCH_API_BASES": f"https://one.example/v1, {FOREIGN}"}},
        {"source": Source.CALL},
    ],
)
def test_it_goes_to_an_address_that_the_user_named(more):
    """In a call of this kernel, or through the same environment. A key of the call goes to its job's address."""
    assert decided(FOREIGN, **more).key == "sk-mine"


@pytest.mark.parametrize(
    "more",
    [
        {"named": {address("https://other.example/v2")}},
        {"named": {address("https://other.example:8443/v1")}},
        {"named": {address("http://other.example/v1")}},
        {"environ": {"ANTHROPIC_BASE_URL": FOREIGN}},
    ],
)
def test_an_address_is_named_as_a_whole(more):
    """Gateways serve many users below one host."""
    assert decided(FOREIGN, **more).key is None


def test_a_server_without_keys():
    """One on this machine that was named without a key is called without; a job that had a key never is."""
    near = "http://localhost:8000/v1"
    assert decided(near, "", named=None).key == NO_KEY
    assert decided(near, "", named={address(near)}).key == NO_KEY
    assert decided(near, "", keyless=True).key == NO_KEY
    assert decided(near, keyless=True).key == NO_KEY, "the environment's key is not for it"
    assert decided(near, "").key is None
    assert decided(FOREIGN, "", keyless=True).key is None
    assert decided(FOREIGN, "", named=None).key is None


def test_the_key_of_the_provider_whose_host_it_is():
    """Groq, called in OpenAI's dialect, gets Groq's key, not OpenAI's."""
    groq = "https://api.groq.com/openai/v1"
    both = {**ENVIRON, "GROQ_API_KEY": "gsk-mine"}
    for named in (None, ()):
        access = access_for("openai", api_base=groq, api_key=None, environ=both, named=named)
        assert access.api_key == "gsk-mine"
    with pytest.raises(KeyMissingError, match=r"api\.groq\.com"):
        access_for("openai", api_base=groq, api_key=None, environ=ENVIRON, named=())


@pytest.mark.parametrize("text", ["sk-SECRET\n", " sk-SECRET", '"sk-SECRET"', "'sk-SECRET'\r\n"])
def test_environment_keys_are_stripped(text):
    """A mounted secret's line break, an .env file's quotes."""
    access = access_for("openai", api_base=None, api_key=None, environ={"OPENAI_API_KEY": text})
    assert access.api_key == "sk-SECRET"
    assert realtime_key("groq", None, {"GROQ_API_KEY": text}) == "sk-SECRET"


@pytest.mark.parametrize("text", ["sk-SE\nCRET", "sk-SECRÉT", "sk SECRET", "sk-SECRET\x00x"])
def test_a_variable_that_holds_no_key_is_named_and_not_repeated(text):
    """Control characters and letters outside ASCII are refused before anything is sent."""
    with pytest.raises(KeyMissingError, match="OPENAI_API_KEY holds") as caught:
        access_for("openai", api_base=None, api_key=None, environ={"OPENAI_API_KEY": text})
    assert "CR" not in str(caught.value)
    with pytest.raises(OptionError, match="api_key holds") as caught:
        access_for("openai", api_base=None, api_key=text, environ={})
    assert "CR" not in str(caught.value)


@pytest.mark.parametrize(
    "base",
    [
        "http://h/v1?key=SECRET",
        "http://h/v1#SECRET",
        "http://SECRET@h/v1",
        "http://u:SECRET@h/v1",
        "http://:SECRET@h/v1",
        "https://SECRET:pass@[::1/v1",
        "SECRET?h",
        "ftp://SECRET/v1",
    ],
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(base, monkeypatch):
    """Query, fragment, user and password, and what is no address."""
    with pytest.raises(OptionError, match="api_base") as caught:
        check_base(base)
    assert "SECRET" not in str(caught.value)
    with pytest.raises(OptionError, match="OPENAI_BASE_URL") as caught:
        access_for("openai", api_base=None, api_key="k-12345", environ={"OPENAI_BASE_URL": base})
    assert "SECRET" not in str(caught.value)
    with pytest.raises(OptionError, match="ANTHROPIC_API_BASE") as caught:
        realtime_key("anthropic", "k-12345", {"ANTHROPIC_API_BASE": base})
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "model",
    [
        "openai/m?api_key=SECRET",
        "m?key=SECRET",
        "openai/m#SECRET",
        "openai/sk-SECRET1234567890abcd",
    ],
)
def test_a_model_with_a_key_is_refused_without_repeating_it(model):
    """Names of models are on disk and on screens."""
    with pytest.raises(ModelError, match="model= holds") as caught:
        split_model(model)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("litellm_proxy", "LITELLM_PROXY_API_KEY"),
        ("hosted_vllm", "HOSTED_VLLM_API_KEY"),
        ("openai_like", "OPENAI_LIKE_API_KEY"),
        ("custom_openai", "CUSTOM_OPENAI_API_KEY"),
        ("openai", "OPENAI_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
        ("perplexity", "PERPLEXITY_API_KEY"),
    ],
)
def test_the_variable_that_is_named_is_the_one_that_is_read(provider, name):
    """For each prefix, named in the message and read."""
    assert key_names(provider)[0] == name
    base = "https://proxy.example/v1"
    assert realtime_key(provider, None, {name: "sk-works"}, api_base=base) == "sk-works"
    if provider in RECORDS and RECORDS[provider].batch:
        with pytest.raises(KeyMissingError, match=name):
            access_for(provider, api_base=base, api_key=None, environ={})
        access = access_for(provider, api_base=base, api_key=None, environ={name: "sk-works"})
        assert access.api_key == "sk-works"


@pytest.mark.parametrize(
    "provider", [name for name, one in RECORDS.items() if one.key and " " not in name]
)
def test_litellm_reads_the_same_variables(provider):
    """Our first variable is litellm's for the provider, where it has one."""
    names = load_litellm().validate_environment(f"{provider}/some-model")["missing_keys"]
    named = [name for name in names if name.endswith("_API_KEY")]
    assert not named or set(named) & set(key_names(provider)), named


def test_keys_stay_out_of_reprs():
    """Of what holds one."""
    [key] = keys_of("openai", None, None, ENVIRON)
    access = access_for("openai", api_base=None, api_key=None, environ=ENVIRON)
    assert "sk-mine" not in f"{key!r} {decided(None)!r} {access!r}"


@pytest.mark.parametrize(
    ("base", "near"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://127.8.0.1/v1", True),
        ("http://localhost:8000", True),
        ("http://vllm.localhost:8000", True),
        ("http://[::1]:8000/v1", True),
        ("http://[::ffff:127.0.0.1]/v1", True),
        ("http://0.0.0.0:8000/v1", True),
        ("http://127.0.0.1.evil.example/v1", False),
        ("http://localhost.example/v1", False),
        ("http://192.168.0.2/v1", False),
    ],
)
def test_what_is_this_machine(base, near):
    """By its name or number; nothing is looked up."""
    assert is_near(base) is near
