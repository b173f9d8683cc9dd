"""The client for small calls: on the wire it equals httpx, whose part it leaves out."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from jupyter_batch.http.connections import let_go
from jupyter_batch.http.kept_client import Form, KeptClient, _url
from jupyter_batch.http.network import SentOnError
from tests.keys.recorder import recording

GIVEN = {"authorization": "Bearer sk-0123456789", "x-more": "word"}
CALLS = {
    "poll": ("GET", "/v1/batches/batch_1", {}),
    "odd path": ("GET", "/v1/b%C3%A4tches/ä b", {}),
    "query": ("GET", "/v1/batches", {"params": {"limit": 100, "after": "a b/c"}}),
    "create": ("POST", "/v1/batches", {"json": {"metadata": {"of": "tëst"}, "n": 1}}),
    "cancel": ("POST", "/v1/batches/batch_1/cancel", {}),
}


@pytest.fixture
def remote():
    """A server that is asked."""
    with recording() as recorder:
        yield recorder


def play(base, way, **more):
    """The result of a call on a client at this address, with all connections closed after it."""

    async def played():
        user = play
        async with KeptClient(user, base, timeout=5.0, headers=GIVEN, **more) as client:
            try:
                return await way(client)
            finally:
                await let_go(user)

    return asyncio.run(played())


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_is_sent_as_httpx_sends_it(remote, kind):
    """Address, headers and body are those of httpx, which has no part in it."""
    method, path, more = CALLS[kind]

    async def both(client):
        answer = await client.request(method, remote.url + path, **more)
        assert client._full is None, "no client of httpx was made"
        other = await client.full.request(method, remote.url + path, **more)
        return answer, other

    mine, other = play(remote.url, both, params={"api-version": "2024"})
    here, there = remote.calls
    assert here == there
    assert (mine.status_code, mine.content) == (other.status_code, other.content)
    assert mine.reason_phrase == other.reason_phrase
    assert {**mine.headers, "date": ""} == {**other.headers, "date": ""}


def test_a_form_is_sent_as_httpx_sends_it(remote):
    """A small file with its fields: the same but for the mark between the parts."""
    data, kind = b'{"a": 1}\n', "application/jsonl"

    async def both(client):
        form = Form.of({"purpose": "batch"}, "jb-0.jsonl", data, kind)
        await client.request("POST", f"{remote.url}/v1/files", form=form)
        files = {"file": ("jb-0.jsonl", data, kind)}
        await client.full.post(f"{remote.url}/v1/files", data={"purpose": "batch"}, files=files)

    play(remote.url, both)
    bodies = []
    for _, _, headers, body in remote.calls:
        mark = headers["content-type"].partition("boundary=")[2]
        bodies.append(
            (body if isinstance(body, bytes) else body.encode()).replace(mark.encode(), b"-")
        )
    assert bodies[0] == bodies[1]


def test_a_redirect_is_followed_by_httpx_from_its_first_answer(remote):
    """A redirect on the same server is followed without another request for it; a POST to another is refused."""
    usual = remote.answer

    def sent_on(method, path, headers, body):
        if path.startswith("/old"):
            return 307, {"location": path.replace("/old", remote.to)}, {}
        return usual(method, path, headers, body)

    remote.answer, remote.to = sent_on, "/v1"

    async def asked(client):
        found = await client.request("GET", f"{remote.url}/old/batches/batch_1")
        written = []
        file = await client.download(f"{remote.url}/old/files/file-1", written.append)
        return found, file, b"".join(written)

    found, file, body = play(remote.url, asked, follow_redirects=True)
    assert (found.is_success, file.is_success) == (True, True)
    assert b"batch_1" in found.content
    assert b"file-1" in body
    assert [path for _, path, _, _ in remote.calls] == [
        "/old/batches/batch_1",
        "/v1/batches/batch_1",
        "/old/files/file-1",
        "/v1/files/file-1",
    ]
    with recording() as other:
        remote.to = f"{other.url}/v1"
        with pytest.raises(SentOnError):
            play(
                remote.url,
                lambda client: client.request("POST", f"{remote.url}/old/batches", json={}),
                follow_redirects=True,
            )
        assert other.calls == []


def test_a_proxy_is_used_by_httpx(remote, monkeypatch):
    """A host that is not this machine is asked through the environment's proxy."""
    monkeypatch.setenv("http_proxy", remote.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def asked(client):
        return await client.request("GET", "http://batches.example/v1/batches/batch_1")

    assert play("http://batches.example", asked).is_success
    assert [path for _, path, _, _ in remote.calls] == ["http://batches.example/v1/batches/batch_1"]


def test_a_create_is_on_a_connection_of_its_own():
    """A server that closes its connections unannounced gets it all the same; other calls keep theirs."""
    seen = []

    async def serve(reader, writer):
        connection = len(seen)
        seen.append(0)
        head = b""
        while b"/last" not in head:
            head = await reader.readuntil(b"\r\n\r\n")
            seen[connection] += 1
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    async def way():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with KeptClient(way, base, timeout=5.0, headers=GIVEN) as client:
                for path in ("/a", "/b", "/last"):
                    assert (await client.request("GET", f"{base}{path}")).is_success
                assert (await client.request("POST", f"{base}/last", fresh=True)).is_success
                assert (await client.full.post(f"{base}/last", content=b"x")).is_success
            await let_go(way)

    asyncio.run(way())
    assert seen == [3, 1, 1]


@pytest.mark.parametrize(
    "address",
    [
        "https://api.openai.com/v1/batches/batch_6-a.b~c",
        "http://127.0.0.1:8765/v1/files/file-1/content",
        "https://api.openai.com:443/v1/batches",
        "http://localhost:80/v1/files",
        "https://API.openai.com/v1/a b%zz",
        "https://api.openai.com/v1/../files/./x",
        "https://api.openai.com",
    ],
)
def test_an_address_is_that_of_httpx(address):
    """The addresses that httpx has no part in are those that it would send."""
    assert str(_url(address, ())) == str(httpx.URL(address))
