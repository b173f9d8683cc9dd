"""A server of OpenAI's shape with one answer that has no bound, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import zlib
from contextlib import contextmanager

from aiohttp import web

MIB = 1 << 20


def gzip_bomb(head: bytes, mib: int, tail: bytes) -> bytes:
    """A gzip body of `head`, `mib` MiB of one letter, and `tail`."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    block = b"x" * MIB
    parts = [packer.compress(head), *(packer.compress(block) for _ in range(mib))]
    return b"".join([*parts, packer.compress(tail), packer.flush()])


def completion(text: str) -> dict:
    """An answer in a few words."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


class Hostile:
    """Answers the first row with what `kind` says, the second one as it should."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.lines: list[dict] = []
        self.asked = itertools.count()

    async def upload(self, request):
        """POST files."""
        form = await request.post()
        content = form["file"].file.read()
        self.lines = [json.loads(line) for line in content.splitlines()]
        file = {"id": "file-1", "object": "file", "bytes": 1, "created_at": 1, "filename": "f"}
        return web.json_response({**file, "purpose": "batch", "status": "processed"})

    async def batch(self, request):
        """POST batches, GET batches/ID: completed at once."""
        return web.json_response(
            {
                "id": "batch_1",
                "object": "batch",
                "endpoint": "/v1/chat/completions",
                "status": "completed",
                "completion_window": "24h",
                "created_at": 1,
                "input_file_id": "file-1",
                "output_file_id": "file-2",
                "request_counts": {"total": 2, "completed": 2, "failed": 0},
            }
        )

    async def content(self, request):
        """GET files/ID/content."""
        first, second = (line["custom_id"] for line in self.lines)
        good = {"custom_id": second, "response": {"status_code": 200, "body": completion("good")}}
        good_line = json.dumps({**good, "error": None}).encode() + b"\n"
        head = b'{"custom_id": "%b", "error": null, "response": {"status_code": 200, "body": '
        head %= first.encode()
        if self.kind == "nested line":
            line = head + b"[" * 100_000 + b"]" * 100_000 + b"}}\n"
            return web.Response(body=good_line + line)
        body = gzip_bomb(good_line + head + b'"', 450, b'"}}\n')
        return web.Response(body=body, headers={"content-encoding": "gzip"})

    async def chat(self, request):
        """POST chat/completions."""
        asked = await request.json()
        if "first" not in json.dumps(asked["messages"]):
            return web.json_response(completion("good"))
        next(self.asked)
        if self.kind == "gzip":
            head = json.dumps(completion("HERE")).encode().split(b"HERE")
            body = gzip_bomb(head[0], 450, head[1])
            return web.Response(
                body=body,
                headers={"content-encoding": "gzip", "content-type": "application/json"},
            )
        if self.kind == "nested":
            return web.Response(body=b"[" * 1_000_000, content_type="application/json")
        status = 400 if self.kind == "endless error" else 200
        answer = web.StreamResponse(status=status, headers={"content-type": "application/json"})
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b" " * MIB)
        except (ConnectionError, asyncio.CancelledError):
            return answer


@contextmanager
def hostile(kind: str):
    """The server and its address."""
    host = Hostile(kind)
    loop = asyncio.new_event_loop()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/v1/files", host.upload)
    app.router.add_get("/v1/files/{id}/content", host.content)
    app.router.add_post("/v1/batches", host.batch)
    app.router.add_get("/v1/batches/{id}", host.batch)
    app.router.add_post("/v1/chat/completions", host.chat)
    runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner.addresses[0][1]

    port = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield host, f"http://127.0.0.1:{port}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
