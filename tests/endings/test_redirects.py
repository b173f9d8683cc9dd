"""Servers that send a call on to another address: rows go to the one given, or nowhere. And for whom we ask."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from jupyter_batch.core.errors import ProviderError
from jupyter_batch.providers.azure.batches import ViaAzure
from jupyter_batch.providers.openai.batches import ViaOpenAI
from jupyter_batch.providers.protocol import Access
from jupyter_batch.providers.table import facts_of
from tests.keys.recorder import BATCH, FILE

LINE = '{"custom_id":"a-0","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}\n'


@asynccontextmanager
async def serving(answer):
    """A server that gives every call to `answer`; its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def provider_at(kind, base):
    """An adapter on the SDK, at an address."""
    if kind == "azure":
        return ViaAzure(
            facts_of("azure", base), Access(api_base=base, api_key="k"), api_version="2024-10-21"
        )
    return ViaOpenAI(facts_of("openai", base), Access(api_base=f"{base}/v1", api_key="k"))


async def submit(provider, tmp_path, uploaded=None):
    """One row, sent."""

    async def on_upload(_):
        pass

    requests = tmp_path / "requests.jsonl"
    requests.write_text(LINE)
    return await provider.submit(
        requests,
        {"jupyter_batch": "a/0"},
        endpoint="/v1/chat/completions",
        window="24h",
        uploaded=uploaded,
        on_upload=on_upload,
    )


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("uploaded", [None, "file-1"])
@pytest.mark.parametrize("kind", ["openai", "azure"])
def test_rows_are_not_sent_on_to_another_server(kind, uploaded, status, tmp_path):
    """The other server gets no rows and no key, and the refusal says what to do."""
    strangers = []

    async def stranger(request):
        if request.method != "GET" or {"authorization", "api-key"} & {
            *map(str.lower, request.headers)
        }:
            strangers.append(request.path)
        return web.json_response(BATCH)

    async def way():
        async with serving(stranger) as other:

            async def send_on(request):
                return web.Response(
                    status=status, headers={"location": f"{other}{request.path_qs}"}
                )

            async with serving(send_on) as base:
                with pytest.raises(ProviderError, match=f"sends us on to {other}.*api_base"):
                    await submit(provider_at(kind, base), tmp_path, uploaded)

    asyncio.run(way())
    assert strangers == []


def test_a_refused_or_lost_download_names_the_server_that_it_was_sent_on_to():
    """The other server has no key to refuse, so that its refusal may pass, and the name is its own."""

    async def storage(request):
        if request.path.endswith("/lost"):
            request.transport.abort()
        return web.Response(
            status=403, text="<Error><Message>Request has expired</Message></Error>"
        )

    async def way():
        async with serving(storage) as other:

            async def send_on(request):
                file = request.path.split("/")[-2]
                return web.Response(status=302, headers={"location": f"{other}/{file}"})

            async with serving(send_on) as base:
                provider = provider_at("openai", base)
                for file, words in (("old", "Request has expired"), ("lost", "no connection")):
                    with pytest.raises(ProviderError, match=words) as caught:
                        await provider.fetch(file, print)
                    assert other in str(caught.value)
                    assert base not in str(caught.value)
                    assert caught.value.transient

    asyncio.run(way())


@pytest.mark.parametrize("kind", ["openai", "azure"])
def test_a_server_may_send_on_to_itself(kind, tmp_path):
    """As frameworks do for a slash at the end: the same server has the whole file."""
    got = []

    async def answer(request):
        if not request.path.endswith("/"):
            return web.Response(
                status=307, headers={"location": f"{request.path}/?{request.query_string}"}
            )
        got.append(await request.text())
        return web.json_response(FILE if "files" in request.path else BATCH)

    async def way():
        async with serving(answer) as base:
            return await submit(provider_at(kind, base), tmp_path)

    assert asyncio.run(way()).id == "batch_1"
    assert LINE in got[0].replace("\r\n", "\n")


def test_each_call_is_for_the_same_organization(tmp_path, monkeypatch):
    """The OPENAI_ORGANIZATION of litellm applies to the calls below it: the file and its batch belong to one."""
    shown = {}

    async def answer(request):
        await request.read()
        verb = f"{request.method} {request.path}"
        shown[verb] = request.headers.get("OpenAI-Organization")
        if verb == "GET /v1/batches":
            return web.json_response({"object": "list", "data": [], "has_more": False})
        return web.json_response(FILE if verb == "POST /v1/files" else BATCH)

    async def way():
        async with serving(answer) as base:
            monkeypatch.setenv(
                "OPENAI_BASE_URL", base
            )  # else the organization is for OpenAI's host alone
            provider = provider_at("openai", base)
            await submit(provider, tmp_path)
            await provider.find({"jupyter_batch": "a/0"}, since=0)
            await provider.poll("batch_1")
            await provider.cancel("batch_1")

    monkeypatch.setenv("OPENAI_ORGANIZATION", "org-of-the-test")
    asyncio.run(way())
    assert shown == dict.fromkeys(
        [
            "POST /v1/files",
            "POST /v1/batches",
            "GET /v1/batches",
            "GET /v1/batches/batch_1",
            "POST /v1/batches/batch_1/cancel",
        ],
        "org-of-the-test",
    )


@pytest.mark.parametrize("answer", ["<html>Log in</html>", "", "{}", '{"id": null}', "[]", "null"])
@pytest.mark.parametrize("uploaded", [None, "file-1"])
@pytest.mark.parametrize("kind", ["openai", "azure"])
def test_a_call_that_is_answered_with_nothing_of_its_own(kind, uploaded, answer, tmp_path):
    """A login page, or nothing: no file is made of it, and no batch that would be taken for ours; it may pass."""
    asked = []

    async def page(request):
        if request.method != "GET":  # Azure's file status
            asked.append(request.path)
        await request.read()
        return web.Response(
            text=answer, content_type="text/html" if "<" in answer else "application/json"
        )

    async def way():
        async with serving(page) as base:
            try:
                return (await submit(provider_at(kind, base), tmp_path, uploaded)).id
            except ProviderError as e:
                return "" if e.transient else str(e)

    assert asyncio.run(way()) == ""
    assert len(asked) == 1
