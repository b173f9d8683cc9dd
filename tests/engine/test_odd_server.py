"""Servers whose batch objects litellm refuses to read: null where it wants a number, a state of their own."""

from __future__ import annotations

import asyncio

from aiohttp import web

from jupyter_batch.providers.openai.batches import ViaOpenAI
from jupyter_batch.providers.protocol import Access
from jupyter_batch.providers.table import facts_of


def test_counts_that_are_null_do_not_hide_the_ending():
    """A completed batch with `failed: null` is read as completed, and is not polled for ever."""

    async def retrieve(request):
        return web.json_response(
            {
                "id": request.match_info["id"],
                "object": "batch",
                "endpoint": "/v1/chat/completions",
                "status": "completed",
                "completion_window": "24h",
                "created_at": 1,
                "input_file_id": "file-in",
                "output_file_id": "file-out",
                "request_counts": {"total": 2, "completed": 2, "failed": None},
            }
        )

    async def ask():
        app = web.Application()
        app.router.add_get("/v1/batches/{id}", retrieve)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            return await ViaOpenAI(
                facts_of("openai", base), Access(api_base=base, api_key="k")
            ).poll("batch_1")
        finally:
            await runner.cleanup()

    view = asyncio.run(ask())
    assert (view.status, view.completed, view.failed, view.output_file_id) == (
        "completed",
        2,
        0,
        "file-out",
    )


def test_a_create_that_is_answered_with_a_state_of_its_own_is_taken_at_once(tmp_path):
    """AIBrix says "scheduling": the id of what is paid for is read out of the answer, and one poll is one call."""
    asked = []

    def batch():
        return web.json_response(
            {
                "id": "0fda-uuid",
                "object": "batch",
                "endpoint": "/v1/chat/completions",
                "status": "scheduling",
                "completion_window": "1d",
                "input_file_id": "f",
            }
        )

    async def create(request):
        asked.append("create")
        return batch()

    async def retrieve(request):
        asked.append("poll")
        return batch()

    async def ask():
        app = web.Application()
        app.router.add_post("/v1/batches", create)
        app.router.add_get("/v1/batches/{id}", retrieve)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        provider = ViaOpenAI(facts_of("openai", base), Access(api_base=base, api_key="k"))
        try:
            made = await provider.submit(
                tmp_path,
                {"jupyter_batch": "j/0"},
                endpoint="/v1/chat/completions",
                window="24h",
                uploaded="f",
                on_upload=None,
            )
            await provider.poll(made.id)
            asked.clear()
            return made, await provider.poll(made.id)
        finally:
            await runner.cleanup()

    made, view = asyncio.run(ask())
    assert (made.id, made.status, made.ending) == ("0fda-uuid", "scheduling", None)
    assert view == made
    assert asked == ["poll"], (
        "a server that litellm can't read is known as such after the first time"
    )
