"""Proxies, certificates, and servers that send a call on."""

from __future__ import annotations

import asyncio
import functools
import ssl

import httpx
import pandas as pd
import pytest

from jupyter_batch.core.errors import ConnectionFailedError, ProviderError
from jupyter_batch.http import network
from jupyter_batch.providers.anthropic.batches import ViaAnthropic
from jupyter_batch.providers.azure.batches import ViaAzure
from jupyter_batch.providers.failures import normalise, refused
from jupyter_batch.providers.mistral.batches import ViaMistral
from jupyter_batch.providers.openai.batches import ViaOpenAI
from jupyter_batch.providers.protocol import Access
from jupyter_batch.providers.table import facts_of
from jupyter_batch.providers.xai.batches import ViaXai
from jupyter_batch.realtime.fast_path import StraightCall, call_to
from jupyter_batch.realtime.litellm_call import CallFailedError, LitellmCall
from jupyter_batch.realtime.responses_call import ResponsesCall
from tests.keys.recorder import recording

KEY = "sk-0123456789-abcdef"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "the prompt"}]}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """The environment of who runs the tests does not count."""
    for name in (*PROXIES, "NO_PROXY", "no_proxy", *network.BUNDLES, "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def remote():
    """A server that is asked."""
    with recording() as recorder:
        yield recorder


@pytest.fixture
def other():
    """A server without a name: a proxy, or the target of another one's redirects."""
    with recording() as recorder:
        yield recorder


def adapters(base, tmp_path):
    """Each adapter for batches, at an address."""
    access = Access(api_base=base, api_key=KEY)
    v1 = Access(api_base=f"{base}/v1", api_key=KEY)
    return {
        "openai": ViaOpenAI(facts_of("openai", base), v1),
        "azure": ViaAzure(facts_of("azure", base), access, api_version="2024-10-21"),
        "anthropic": ViaAnthropic(
            facts_of("anthropic", base), access, requests_of=lambda _: tmp_path / "r.jsonl"
        ),
        "mistral": ViaMistral(facts_of("mistral", base), v1, model="m"),
        "xai": ViaXai(facts_of("xai", base), v1),
    }


CALLS = {
    "straight": lambda base: call_to("openai/m", api_base=f"{base}/v1", api_key=KEY),
    "openai by litellm": lambda base: LitellmCall("openai/m", api_base=f"{base}/v1", api_key=KEY),
    "hosted_vllm": lambda base: LitellmCall("hosted_vllm/m", api_base=f"{base}/v1", api_key=KEY),
    "litellm_proxy": lambda base: LitellmCall("litellm_proxy/m", api_base=base, api_key=KEY),
    "anthropic": lambda base: LitellmCall("anthropic/claude-3", api_base=base, api_key=KEY),
    "mistral": lambda base: LitellmCall("mistral/m", api_base=f"{base}/v1", api_key=KEY),
    "groq": lambda base: LitellmCall("groq/m", api_base=f"{base}/v1", api_key=KEY),
    "gemini": lambda base: LitellmCall("gemini/gemini-2.5-flash", api_base=base, api_key=KEY),
    "ollama": lambda base: LitellmCall("ollama/m", api_base=base),
    "ollama_chat": lambda base: LitellmCall("ollama_chat/m", api_base=base),
    "azure": lambda base: LitellmCall(
        "azure/m", api_base=base, api_key=KEY, api_version="2024-10-21"
    ),
    "cohere": lambda base: LitellmCall("cohere/m", api_base=base, api_key=KEY),
    "xai": lambda base: LitellmCall("xai/m", api_base=f"{base}/v1", api_key=KEY),
    "responses": lambda base: ResponsesCall("m", api_base=f"{base}/v1", api_key=KEY),
}


async def asked(make, base, times=1):
    """The outcome of a real-time call: an answer or a CallFailedError."""
    call = make(base)
    endpoint, body = CHAT, BODY
    if isinstance(call, ResponsesCall):
        endpoint, body = "/v1/responses", {"model": "m", "input": "the prompt"}
    try:
        for _ in range(times):
            await call(endpoint, dict(body))
    except CallFailedError as e:
        return e
    finally:
        await call.aclose()
    return None


async def driven(provider, tmp_path):
    """Each verb of an adapter once; what fails is not the question."""

    async def on_upload(_):
        pass

    requests = tmp_path / "r.jsonl"
    requests.write_text(
        '{"custom_id":"a-0","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}\n'
    )
    verbs = (
        functools.partial(
            provider.submit,
            requests,
            {"jupyter_batch": "a/0"},
            endpoint=CHAT,
            window="24h",
            uploaded=None,
            on_upload=on_upload,
        ),
        functools.partial(provider.poll, "batch_1"),
        functools.partial(provider.cancel, "batch_1"),
        functools.partial(provider.find, {"jupyter_batch": "a/0"}, since=0.0),
        functools.partial(provider.fetch, "file-1", lambda _: None),
    )
    failed = []
    for verb in verbs:
        try:
            await verb()
        except ProviderError as e:
            failed.append(str(e))
    await provider.aclose()
    return failed


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize("kind", ["openai", "azure", "anthropic", "mistral", "xai"])
def test_this_machine_is_reached_without_a_proxy(
    kind, variable, remote, other, tmp_path, monkeypatch
):
    """Batches, every verb; NO_PROXY is not set."""
    monkeypatch.setenv(variable, other.url)
    asyncio.run(driven(adapters(remote.url, tmp_path)[kind], tmp_path))
    assert len(remote.calls) >= 4
    assert other.calls == []


def test_a_socks_proxy_does_not_matter_for_this_machine(remote, tmp_path, monkeypatch):
    """No client for it is made, for which a package would be missing."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    asyncio.run(driven(adapters(remote.url, tmp_path)["openai"], tmp_path))
    assert len(remote.calls) >= 4


def test_a_socks_proxy_to_other_hosts_is_reported(tmp_path, monkeypatch):
    """A missing value, or one to be set; not an answer that can't be read."""
    monkeypatch.setenv("ALL_PROXY", "socks5://me:secret-password@127.0.0.1:9")
    failed = asyncio.run(driven(adapters("http://far.invalid", tmp_path)["openai"], tmp_path))
    failed.append(str(asyncio.run(asked(CALLS["straight"], "http://far.invalid"))))
    for words in failed:
        assert "no connection to http://far.invalid" in words
        assert "through the proxy socks5://127.0.0.1:9" in words
        assert "secret-password" not in words
    assert "SOCKS" in failed[-1]


@pytest.mark.parametrize("kind", CALLS)
def test_this_machine_is_asked_in_real_time_without_a_proxy(kind, remote, other, monkeypatch):
    """Our own session and each of litellm's handlers."""
    monkeypatch.setenv("http_proxy", other.url)
    asyncio.run(asked(CALLS[kind], remote.url))
    assert remote.calls
    # litellm asks Ollama what a model can do by a client of its own, which holds no key and no prompt.
    assert [path for path in other.paths if not path.endswith("/api/show")] == []


def test_the_proxies_of_the_system_do_not_count_either(remote, other, tmp_path, monkeypatch):
    """MacOS and Windows have them in a registry, which urllib reads."""
    for name in ("getproxies", "getproxies_environment"):
        monkeypatch.setattr(f"urllib.request.{name}", lambda: {"http": other.url, "all": other.url})
    asyncio.run(driven(adapters(remote.url, tmp_path)["openai"], tmp_path))
    asyncio.run(asked(CALLS["straight"], remote.url))
    assert remote.calls
    assert other.calls == []
    assert network.proxy_for("http://far.example/v1") == other.url


@pytest.mark.parametrize("kind", ["openai", "azure", "anthropic", "mistral", "xai"])
def test_other_hosts_are_reached_through_it(kind, other, tmp_path, monkeypatch):
    """In an office nothing else works; a refusal of the proxy's own names it, without its password."""
    monkeypatch.setenv("http_proxy", other.url.replace("//", "//me:secret-password@"))
    other.answer = lambda *_: (503, {}, {"error": {"message": "no route"}})
    failed = asyncio.run(driven(adapters("http://far.invalid", tmp_path)[kind], tmp_path))
    assert other.calls
    assert all(f"through the proxy {other.url}" in words for words in failed)
    assert "secret-password" not in " ".join(failed)


def test_litellms_handlers_go_through_it_to_other_hosts(other, monkeypatch):
    """Real time."""
    monkeypatch.setenv("http_proxy", other.url)
    for kind in ("straight", "hosted_vllm", "anthropic"):
        other.calls.clear()
        asyncio.run(asked(CALLS[kind], "http://far.invalid"))
        assert other.calls, kind


def test_a_proxy_that_is_not_there_is_named(monkeypatch):
    """Not "no connection" alone."""
    monkeypatch.setenv("https_proxy", "http://me:secret-password@127.0.0.1:9")
    message = normalise(OSError("refused"), "https://api.openai.com/v1")
    assert isinstance(message, ConnectionFailedError)
    assert "no connection to https://api.openai.com/v1 through the proxy http://127.0.0.1:9" in str(
        message
    )
    assert "secret" not in str(message)
    assert "proxy" not in str(normalise(OSError("refused"), "http://127.0.0.1:8000/v1"))
    monkeypatch.setenv("https_proxy", "ftp://127.0.0.1:9")
    with pytest.raises(ConnectionError, match="is no proxy's address") as odd:
        network.client_for("https://api.openai.com/v1")
    assert "is no proxy's address" in str(normalise(odd.value, "https://api.openai.com/v1"))
    monkeypatch.setenv("https_proxy", "http://me:secret-password@127.0.0.1:9")
    refusal = refused(407, b"<title>Access denied</title>", "https://api.openai.com/v1")
    assert "through the proxy http://127.0.0.1:9: Access denied; HTTP_PROXY and" in str(refusal)
    assert refusal.transient, "of the way, not of the batch"
    assert refusal.not_sent
    page = refused(403, b"<title>Blocked</title>", "https://api.openai.com/v1")
    assert "Blocked, a web page: perhaps of a proxy" in str(page)


def test_a_certificate_that_is_not_trusted_is_reported_with_the_way_out(tmp_path, monkeypatch):
    """In an office whose proxy signs by itself."""
    cause = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate"
    message = str(normalise(OSError(cause), "https://api.openai.com/v1"))
    assert "set SSL_CERT_FILE to the file of your network's certificates" in message
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    message = str(normalise(OSError(cause), "https://api.openai.com/v1"))
    assert "SSL_CERT_FILE names" in message
    assert "which is no file" in message
    assert "ca.pem (REQUESTS_CA_BUNDLE)" in message


def test_the_certificates_of_the_system_count_with_those_of_python(monkeypatch):
    """An office puts its own there."""
    loaded = []
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: loaded.append(1))
    network._trusted.cache_clear()
    network.trusted()
    network._trusted.cache_clear()
    assert loaded == [1]


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("407 Proxy Authentication Required", "its user and password before its host"),
        ("403 Forbidden", "add it to NO_PROXY"),
    ],
)
def test_a_refusal_by_the_proxy_itself_has_a_remedy(words, advice, monkeypatch):
    """Of a tunnel to a host with TLS; without a proxy the words stand alone."""
    error = httpx.ProxyError(words)
    assert advice not in str(normalise(error, "https://api.openai.com/v1"))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert advice in str(normalise(error, "https://api.openai.com/v1"))


@pytest.mark.parametrize(
    ("listed", "host", "is_direct"),
    [
        ("api.example.com", "api.example.com", True),
        ("example.com", "api.example.com", True),
        ("other.test, .example.com", "api.example.com", True),
        ("*.example.com", "api.example.com", True),
        ("example.com.", "api.example.com", True),
        ("https://api.example.com", "api.example.com", True),
        ("api.example.com:443", "api.example.com", True),
        ("api.example.com:8443", "api.example.com", False),
        ("ample.com", "api.example.com", False),
        ("*", "api.example.com", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.*", "10.1.2.3", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("fd00::/8", "[fd00::1]", True),
        ("[fd00::1]:80", "[fd00::1]", False),
        ("[", "api.example.com", False),
    ],
)
def test_the_forms_of_no_proxy(listed, host, is_direct, monkeypatch):
    """Those of curl and of other libraries, too, which urllib does not read."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", listed)
    assert (network.proxy_for(f"https://{host}/v1") is None) is is_direct


@pytest.mark.parametrize("name", network.BUNDLES)
def test_certificates_of_each_variable(name, tmp_path, monkeypatch):
    """SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE name one file for every client."""
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    monkeypatch.setenv(name, str(path))
    assert network.bundle() == str(path)
    monkeypatch.delattr(ssl.SSLContext, "load_verify_locations", raising=False)  # see loopback_only
    with pytest.raises(ConnectionError, match=rf"{name} names .*ca\.pem, which can't be read"):
        network.trusted()
    monkeypatch.setenv(name, str(tmp_path / "absent.pem"))
    assert network.bundle() is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", CALLS)
def test_prompts_are_not_sent_on_in_real_time(kind, status, remote, other):
    """The other host hears nothing: neither the prompt, nor the key, nor a bare GET."""
    remote.answer = lambda _m, path, *_: (status, {"location": f"{other.url}{path}"}, b"")
    failed = asyncio.run(asked(CALLS[kind], remote.url))
    assert failed is not None
    assert remote.calls
    assert other.calls == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["openai", "azure", "anthropic", "mistral", "xai"])
def test_a_key_is_never_sent_on(kind, status, remote, other, tmp_path):
    """Requests with rows are not redirected at all; a download may be, and carries no key there."""
    remote.answer = lambda _m, path, *_: (status, {"location": f"{other.url}{path}"}, b"")
    asyncio.run(driven(adapters(remote.url, tmp_path)[kind], tmp_path))
    assert remote.calls
    assert KEY not in other.headers
    assert [path for path in other.paths if not path.startswith("GET")] == []
    assert [call for call in other.calls if call[3]] == []


def test_results_at_a_storage_host_are_fetched_without_the_key(remote, other, tmp_path):
    """A signed address; the content is there, the key and the organisation are not."""
    remote.answer = lambda _m, path, *_: (302, {"location": f"{other.url}/signed?sig=1"}, b"")
    other.answer = lambda *_: (200, {}, b'{"custom_id":"a-0"}\n')
    for kind in ("openai", "azure"):
        blocks = []
        asyncio.run(adapters(remote.url, tmp_path)[kind].fetch("file-1", blocks.append))
        assert b"".join(blocks) == b'{"custom_id":"a-0"}\n'
    assert KEY not in other.headers
    assert not {"authorization", "api-key", "openai-organization"} & set(other.calls[-1][2])


def test_the_users_own_calls_to_litellm_are_as_they_were(remote, other):
    """Clients are guarded on our own loops alone."""
    from jupyter_batch.http.litellm import load_litellm

    # litellm up to 1.109 keeps clients by the id of their loop: no client of an earlier loop may have the id of ours.
    load_litellm().in_memory_llm_clients_cache.flush_cache()
    kept = []

    async def ours():
        kept.append(asyncio.get_running_loop())
        await asked(CALLS["hosted_vllm"], remote.url)

    asyncio.run(ours())
    remote.answer = lambda _m, path, *_: (307, {"location": f"{other.url}{path}"}, b"")

    async def theirs():
        litellm = load_litellm()
        await litellm.acompletion(
            "hosted_vllm/m", messages=BODY["messages"], api_base=f"{remote.url}/v1", api_key=KEY
        )
        await litellm.close_litellm_async_clients()

    asyncio.run(theirs())
    assert other.calls


def test_the_straight_way_is_tried(remote):
    """The table above tries what is used."""
    assert isinstance(CALLS["straight"](remote.url), StraightCall)
    assert not isinstance(CALLS["openai by litellm"](remote.url), StraightCall)


def test_the_embedded_server_is_asked_without_a_proxy(home, other, monkeypatch):
    """`local/echo`, whose token is for it alone; the demo next to it uses it, too."""
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, other.url)
    frame = pd.DataFrame({"t": ["a", "b"]})
    assert frame.llm.batch("{t}", out="o", model="local/echo").wait(60).is_successful
    assert other.calls == []
    from jupyter_batch.demo import _ask
    from jupyter_batch.server import launch

    endpoint = launch.ensure(home)
    assert _ask(endpoint, "/batches?limit=1")["data"]
    launch.stop(home)
    assert other.calls == []
