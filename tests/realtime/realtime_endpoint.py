"""A chat and embeddings endpoint over real HTTP whose every answer is decided by the test, and which counts."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

CUT, HANG = "cut", "hang"
"""The connection is cut; no answer comes before `release`."""

Decide = Callable[[str, int], Any]
"""(the row's text, how often it was asked before) -> None for an answer, an HTTP status, CUT, HANG, a body, or a
whole response."""


class Endpoint:
    """Runs from entering the block to leaving it.

    asked: how often each text came; peak: the most at once; hanging: those that HANG now; sent: (path, body, headers)
    of each request.
    """

    def __init__(
        self,
        decide: Decide = lambda text, before: None,
        *,
        headers: dict[str, str] | None = None,
        cancels: bool = False,
    ) -> None:
        """headers: of each refusal. cancels: who hangs up is not served any more."""
        self.decide = decide
        self.headers = headers or {}
        self.asked: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.order: list[str] = []
        self.sent: list[tuple[str, bytes, dict[str, str]]] = []
        self.busy = self.peak = self.hanging = self.answered = 0
        self.cancels = cancels
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._released: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def release(self) -> None:
        """Let go what hangs, now and later."""
        self._loop.call_soon_threadsafe(self._released.set)

    async def _start(self) -> None:
        self._released = asyncio.Event()
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._vectors)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=1.0, handler_cancellation=self.cancels
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def _decided(self, request: web.Request, text: str) -> web.StreamResponse | None:
        before = self.asked[text]
        self.asked[text] += 1
        self.order.append(text)
        self.sent.append(
            (request.path, await request.read(), {k.lower(): v for k, v in request.headers.items()})
        )
        self.keys.add(request.headers.get("authorization", ""))
        decision = self.decide(text, before)
        if decision == HANG:
            self.hanging += 1
            try:
                await self._released.wait()
            finally:
                self.hanging -= 1
            decision = None
        if decision == CUT:
            request.transport.close()
            return web.Response()
        if isinstance(decision, int):
            error = {
                "message": f"told {decision} about {text}",
                "type": "t",
                "param": "messages",
                "code": "c",
            }
            return web.json_response({"error": error}, status=decision, headers=self.headers)
        if isinstance(decision, web.StreamResponse):
            return decision
        if decision is not None:
            return web.json_response(decision)
        self.answered += 1
        return None

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else str(content)
        return await self._counted(
            request,
            text,
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": text.upper()},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
            },
        )

    async def _vectors(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        text = body["input"] if isinstance(body["input"], str) else body["input"][0]
        return await self._counted(
            request,
            text,
            {
                "object": "list",
                "model": body["model"],
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
                "data": [{"object": "embedding", "index": 0, "embedding": [0.5, float(len(text))]}],
            },
        )

    async def _counted(
        self, request: web.Request, text: str, answer: dict[str, Any]
    ) -> web.StreamResponse:
        self.busy += 1
        self.peak = max(self.peak, self.busy)
        try:
            decided = await self._decided(request, text)
            return web.json_response(answer) if decided is None else decided
        finally:
            self.busy -= 1
