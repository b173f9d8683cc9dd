"""OpenAI's files and batches, after its API reference and batch guide; no code of ours is in it."""

from __future__ import annotations

import itertools

from aiohttp import web

from tests.providers.fakes.host import Batch, Host, completion, jsonl


class OpenAI(Host):
    """One project."""

    windows = ("24h",)

    def __init__(self, clock):
        super().__init__(clock)
        self._numbers = itertools.count(1)

    def routes(self):
        """The verbs' paths."""
        return [
            web.post("/v1/files", self.upload),
            web.get("/v1/files/{id}/content", self.fetch),
            web.post("/v1/batches", self.create),
            web.get("/v1/batches", self.list),
            web.get("/v1/batches/{id}", self.poll),
            web.post("/v1/batches/{id}/cancel", self.cancel),
        ]

    def refusal(self, status, message):
        """As OpenAI says no."""
        return {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        }

    async def upload(self, request):
        """POST files."""
        file, size, name = await self.keep_file(request, f"file-{next(self._numbers)}")
        return web.json_response(
            {
                "id": file,
                "object": "file",
                "bytes": size,
                "created_at": int(self.clock()),
                "filename": name,
                "purpose": "batch",
                "status": "processed",
            }
        )

    async def create(self, request):
        """POST batches: one endpoint, and each line's url is it."""
        order = await request.json()
        lines = self.lines(order["input_file_id"])
        if order["completion_window"] not in self.windows or {line["url"] for line in lines} != {
            order["endpoint"]
        }:
            raise ValueError(
                f"endpoint {order['endpoint']}, {lines[0]['url']}, {order['completion_window']}"
            )
        batch = Batch(
            f"batch_{next(self._numbers)}",
            order["input_file_id"],
            {line["custom_id"]: line["body"] for line in lines},
            order.get("metadata"),
            self.clock(),
            order,
        )
        self.batches[batch.id] = batch
        return web.json_response(self._document(batch))

    async def list(self, request):
        """GET batches, newest first."""
        newest = list(self.batches.values())[::-1]
        return web.json_response(
            {
                "object": "list",
                "data": [self._document(batch) for batch in newest],
                "first_id": newest[0].id if newest else None,
                "last_id": newest[-1].id if newest else None,
                "has_more": False,
            }
        )

    async def poll(self, request):
        """GET a batch."""
        return web.json_response(self._document(self.batches[request.match_info["id"]]))

    async def cancel(self, request):
        """POST cancel."""
        batch = self.batches[request.match_info["id"]]
        if batch.ending:
            return self.no(409, f"Cannot cancel a batch with status '{batch.ending}'.")
        batch.cancelling = True
        return web.json_response(self._document(batch))

    async def fetch(self, request):
        """GET a file's content."""
        kind, _, batch_id = request.match_info["id"].partition("-of-")
        batch = self.batches[batch_id]
        if kind == "out":
            lines = [
                {
                    "id": f"batch_req_{one}",
                    "custom_id": one,
                    "error": None,
                    "response": {"status_code": 200, "request_id": "r", "body": completion(text)},
                }
                for one, text in batch.answers.items()
            ]
        else:
            lines = [
                {
                    "id": f"batch_req_{one}",
                    "custom_id": one,
                    "error": None,
                    "response": {
                        "status_code": 400,
                        "request_id": "r",
                        "body": {
                            "error": {
                                "message": why,
                                "type": "invalid_request_error",
                                "param": None,
                                "code": None,
                            }
                        },
                    },
                }
                for one, why in batch.errors.items()
            ]
        return web.Response(body=jsonl(lines), content_type="application/octet-stream")

    def _document(self, batch):
        over = batch.ending is not None
        status = batch.ending or ("cancelling" if batch.cancelling else "in_progress")
        at = dict.fromkeys(
            (
                "in_progress_at",
                "finalizing_at",
                "completed_at",
                "failed_at",
                "expired_at",
                "cancelling_at",
                "cancelled_at",
            )
        )
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.order["endpoint"],
            "completion_window": "24h",
            "input_file_id": batch.file,
            "status": status,
            "created_at": int(batch.created),
            "expires_at": int(batch.created) + 86400,
            "metadata": batch.named,
            "output_file_id": f"out-of-{batch.id}"
            if over and batch.answers and batch.output_named
            else None,
            "error_file_id": f"err-of-{batch.id}"
            if over and batch.errors and batch.errors_named
            else None,
            "errors": {
                "object": "list",
                "data": [
                    {
                        "code": "invalid_request",
                        "message": batch.reason,
                        "param": None,
                        "line": line,
                    }
                    for line in batch.bad_lines
                ],
            }
            if batch.reason
            else None,
            "request_counts": {
                "total": len(batch.requests),
                "completed": len(batch.answers),
                "failed": len(batch.errors),
            },
            **at,
        }
