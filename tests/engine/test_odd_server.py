"""A server whose batch objects litellm refuses to read: null where it insists on a number."""

from __future__ import annotations

import asyncio

from aiohttp import web

from jupyter_batch.providers.protocol import Access
from jupyter_batch.providers.table import facts_of
from jupyter_batch.providers.via_litellm import ViaLitellm


def test_counts_that_are_null_do_not_hide_the_ending():
    """A completed batch with `failed: null` is read as completed, and is not polled for ever."""
    async def retrieve(request):
        return web.json_response({
            "id": request.match_info["id"], "object": "batch", "endpoint": "/v1/chat/completions",
            "status": "completed",
            "completion_window": "24h", "created_at": 1, "input_file_id": "file-in", "output_file_id": "file-out",
            "request_counts": {"total": 2, "completed": 2, "failed": None}})

    async def ask():
        app = web.Application()
        app.router.add_get("/v1/batches/{id}", retrieve)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            return await ViaLitellm(facts_of("openai", base), Access(api_base=base, api_key="k")).poll("batch_1")
        finally:
            await runner.cleanup()

    view = asyncio.run(ask())
    assert (view.status, view.completed, view.failed, view.output_file_id) == ("completed", 2, 0, "file-out")
