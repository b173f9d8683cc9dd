"""xAI's files and batches, after docs.x.ai: the batch API and the REST reference."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

from aiohttp import web

from tests.providers.fakes.host import Batch, Host, completion

PAGE = 3
"""Its pages hold this many at most, whatever was asked for."""


class Xai(Host):
    """One team. pending: requests of an ended batch that are on their way still."""

    def __init__(self, clock):
        super().__init__(clock)
        self.pending = 0
        self._numbers = itertools.count(1)

    def results_of(self, batch_id):
        """They have the batch's own id."""
        return batch_id

    def routes(self):
        """The verbs' paths."""
        return [
            web.post("/v1/files", self.upload),
            web.post("/v1/batches", self.create),
            web.get("/v1/files/{id}/content", self.content),
            web.get("/v1/batches", self.list),
            web.get("/v1/batches/{id}/results", self.fetch),
            web.post("/v1/batches/{id:[^:/]+}:cancel", self.cancel),
            web.get("/v1/batches/{id}", self.poll),
        ]

    def refusal(self, status, message):
        """As xAI says no."""
        return {"code": "The request was refused", "error": message}

    async def upload(self, request):
        """POST files."""
        file, size, name = await self.keep_file(request, f"file_{next(self._numbers)}")
        return web.json_response(
            {
                "id": file,
                "bytes": size,
                "filename": name,
                "purpose": "",
                "created_at": int(self.clock()),
                "object": "file",
            }
        )

    async def content(self, request):
        """GET a file's content."""
        return web.Response(
            body=self.files[request.match_info["id"]], content_type="application/octet-stream"
        )

    async def create(self, request):
        """POST batches: a name and the file."""
        order = await request.json()
        if set(order) != {"name", "input_file_id"}:
            raise ValueError(f"unknown fields in {order}")
        lines = self.lines(order["input_file_id"])
        if {(line["method"], line["url"]) for line in lines} != {("POST", "/v1/chat/completions")}:
            raise ValueError("a line without its url")
        batch = Batch(
            f"batch_{next(self._numbers)}",
            order["input_file_id"],
            {line["custom_id"]: line["body"] for line in lines},
            order["name"],
            self.clock(),
            order,
        )
        self.batches[batch.id] = batch
        return web.json_response(self._document(batch, fresh=True))

    async def list(self, request):
        """GET batches, oldest first."""
        start = int(request.query.get("pagination_token", 0))
        all_of_them = list(self.batches.values())
        page = all_of_them[start : start + PAGE]
        token = str(start + PAGE) if len(all_of_them) > start + PAGE else None
        return web.json_response(
            {"batches": [self._document(batch) for batch in page], "pagination_token": token}
        )

    async def poll(self, request):
        """GET a batch."""
        return web.json_response(self._document(self.batches[request.match_info["id"]]))

    async def cancel(self, request):
        """POST :cancel."""
        batch = self.batches[request.match_info["id"]]
        if batch.ending:
            return self.no(400, f"the batch is {batch.ending}")
        batch.ending = "cancelled"
        return web.json_response(self._document(batch))

    async def fetch(self, request):
        """GET results: answers and errors in one list of pages."""
        batch = self.batches[request.match_info["id"]]
        start = int(request.query.get("pagination_token", 0))
        results = [
            {
                "batch_request_id": one,
                "error_message": None,
                "batch_result": {
                    "response": {"chat_get_completion": completion(text)},
                    "error": {"code": 0, "message": ""},
                },
            }
            for one, text in batch.answers.items()
        ]
        results += [
            {
                "batch_request_id": one,
                "error_message": why,
                "batch_result": {
                    "response": None,
                    "error": {"code": 3, "message": "Invalid argument"},
                },
            }
            for one, why in batch.errors.items()
        ]
        token = str(start + PAGE) if len(results) > start + PAGE else None
        return web.json_response(
            {"results": results[start : start + PAGE], "pagination_token": token}
        )

    def _document(self, batch, *, fresh=False):
        def day(at):
            return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")

        total, done = len(batch.requests), len(batch.answers) + len(batch.errors)
        stopped = batch.ending in ("cancelled", "failed")
        pending = self.pending if batch.ending else total - done
        dead = total - done - pending if batch.ending == "cancelled" else 0
        if batch.ending == "expired":
            pending = total - done
        if fresh or (batch.reason and not done):  # its file is not read yet, or was refused
            total = pending = 0
        return {
            "batch_id": batch.id,
            "name": batch.named,
            "create_time": day(batch.created),
            "expire_time": day(batch.created + 86400),
            "create_api_key_id": "********",
            "cancel_time": day(self.clock()) if stopped else None,
            "cancel_by_xai_message": batch.reason or None,
            "state": {
                "num_requests": total,
                "num_pending": pending,
                "num_success": len(batch.answers),
                "num_error": len(batch.errors),
                "num_cancelled": dead,
            },
        }
