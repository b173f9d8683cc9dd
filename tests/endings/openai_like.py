"""Hosts of OpenAI's batch API with differences, after their documentation; no code of ours is in it."""

from __future__ import annotations

import itertools

from aiohttp import web

from tests.endings.openai_host import OpenAI
from tests.providers.fakes.host import Batch


class Groq(OpenAI):
    """console.groq.com, batch: windows from 24h to 7d; chat alone."""

    windows = ("24h", "48h", "7d")


class DeepInfra(OpenAI):
    """deepinfra.com, batch API: one model in all lines."""

    async def create(self, request):
        """POST batches."""
        order = await request.json()
        assert len({line["body"]["model"] for line in self.lines(order["input_file_id"])}) == 1
        return await super().create(request)


class DashScope(OpenAI):
    """alibabacloud.com, Model Studio: windows of hours or days, 24h to 336h."""

    windows = ("24h", "7d", "14d", "336h")


class Moonshot(OpenAI):
    """Its OpenAPI description has nothing that OpenAI has not."""


class SiliconFlow(DeepInfra):
    """docs.siliconflow.cn, batch: one model a file."""


class Together(OpenAI):
    """docs.together.ai, batch inference, and the types of its SDK."""

    purpose = "batch-api"

    def __init__(self, clock):
        super().__init__(clock)
        self._jobs = itertools.count(1)

    def routes(self):
        """The verbs' paths."""
        return [
            web.post("/v1/files/upload", self.upload),
            web.get("/v1/files/{id}/content", self.fetch),
            web.post("/v1/batches", self.create),
            web.get("/v1/batches", self.list),
            web.get("/v1/batches/{id}", self.poll),
            web.post("/v1/batches/{id}/cancel", self.cancel),
        ]

    async def create(self, request):
        """POST batches: {"job": ..., "warning": ...}."""
        order = await request.json()
        lines = self.lines(order["input_file_id"])
        assert "metadata" not in order
        assert order["endpoint"] == "/v1/chat/completions"
        batch = Batch(
            f"job-{next(self._jobs)}",
            order["input_file_id"],
            {line["custom_id"]: line["body"] for line in lines},
            None,
            self.clock(),
            order,
        )
        self.batches[batch.id] = batch
        return web.json_response({"job": self._document(batch), "warning": None}, status=201)

    async def list(self, request):
        """GET batches: an array."""
        return web.json_response([self._document(batch) for batch in self.batches.values()])

    def _document(self, batch):
        document = super()._document(batch)
        error = batch.reason or None
        return {
            "id": document["id"],
            "user_id": "u",
            "status": document["status"].upper(),
            "endpoint": document["endpoint"],
            "model_id": "the-model",
            "input_file_id": document["input_file_id"],
            "output_file_id": document["output_file_id"],
            "error_file_id": document["error_file_id"],
            "error": error,
            "progress": 100.0 if batch.ending == "completed" else 0.0,
            "created_at": "2026-11-29T12:00:00.000Z",
            "job_deadline": "2026-11-30T12:00:00.000Z",
            "completed_at": None,
            "file_size_bytes": 1,
        }
