"""Azure OpenAI's files and batches, after Microsoft's REST reference 2024-10-21 and batch how-to."""

from __future__ import annotations

import itertools

from aiohttp import web

from tests.providers.fakes.host import Batch, Host, completion, jsonl


class Azure(Host):
    """One resource; versions: of the API that it was asked in."""

    def __init__(self, clock):
        super().__init__(clock)
        self.versions = set()
        self.file_status = None
        self._numbers = itertools.count(1)

    def routes(self):
        """Without /v1."""
        return [
            web.post("/openai/files", self.upload),
            web.get("/openai/files/{id}/content", self.fetch),
            web.get("/openai/files/{id}", self.file),
            web.post("/openai/batches", self.create),
            web.get("/openai/batches", self.list),
            web.get("/openai/batches/{id}", self.poll),
            web.post("/openai/batches/{id}/cancel", self.cancel),
        ]

    def refusal(self, status, message):
        """As Azure says no."""
        return {"error": {"code": str(status), "message": message}}

    def allowed(self, request):
        """The key is a header of its own."""
        self.versions.add(request.query.get("api-version"))
        return request.headers.get("api-key") == self.key and "Authorization" not in request.headers

    async def upload(self, request):
        """POST files."""
        file, size, name = await self.keep_file(request, f"file-{next(self._numbers)}")
        return web.json_response(
            {
                "id": file,
                "bytes": size,
                "filename": name,
                "purpose": "batch",
                "object": "file",
                "status": "pending",
                "created_at": int(self.clock()),
            },
            status=201,
        )

    async def file(self, request):
        """GET a file's state: processed, where a test has no other."""
        if self.file_status is not None:
            return await self.file_status(request)
        name = request.match_info["id"]
        return web.json_response(
            {
                "id": name,
                "bytes": len(self.files[name]),
                "filename": name,
                "purpose": "batch",
                "object": "file",
                "status": "processed",
                "created_at": int(self.clock()),
            }
        )

    async def create(self, request):
        """POST batches: the endpoint and each line's url lack /v1."""
        order = await request.json()
        lines = self.lines(order["input_file_id"])
        if order["endpoint"] != "/chat/completions" or {line["url"] for line in lines} != {
            "/chat/completions"
        }:
            raise ValueError(f"endpoint {order['endpoint']}, {lines[0]['url']}")
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
        """GET batches, newest first; 2 a page, so that paging is seen."""
        newest = sorted(self.batches.values(), key=lambda batch: -batch.created)
        after = request.query.get("after")
        ids = [batch.id for batch in newest]
        page = newest[ids.index(after) + 1 if after else 0 :][:2]
        return web.json_response(
            {
                "object": "list",
                "data": [self._document(batch) for batch in page],
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "has_more": bool(page) and page[-1].id != ids[-1],
            }
        )

    async def poll(self, request):
        """GET a batch."""
        return web.json_response(self._document(self.batches[request.match_info["id"]]))

    async def cancel(self, request):
        """POST cancel."""
        batch = self.batches[request.match_info["id"]]
        if batch.ending:
            return self.no(409, f"the batch is {batch.ending}")
        batch.cancelling = True
        return web.json_response(self._document(batch))

    async def fetch(self, request):
        """GET a file's content."""
        if request.match_info["id"] in self.files:  # a request file
            return web.Response(
                body=self.files[request.match_info["id"]], content_type="application/octet-stream"
            )
        kind, _, batch_id = request.match_info["id"].partition("-of-")
        batch = self.batches[batch_id]
        if kind == "out":  # no id at the top of a line
            lines = [
                {
                    "custom_id": one,
                    "error": None,
                    "response": {"status_code": 200, "request_id": "r", "body": completion(text)},
                }
                for one, text in batch.answers.items()
            ]
        else:
            lines = [
                {
                    "custom_id": one,
                    "error": None,
                    "response": {
                        "status_code": 400,
                        "request_id": "r",
                        "body": {"error": {"code": "content_filter", "message": why}},
                    },
                }
                for one, why in batch.errors.items()
            ]
        return web.Response(body=jsonl(lines), content_type="application/octet-stream")

    def _document(self, batch):
        over = batch.ending is not None
        status = batch.ending or ("cancelling" if batch.cancelling else "in_progress")
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": "/chat/completions",
            "completion_window": "24h",
            "input_file_id": batch.file,
            "status": status,
            "created_at": batch.created + 0.25,  # may be a float
            "expires_at": int(batch.created) + 86400,
            "metadata": batch.named,
            "output_file_id": f"out-of-{batch.id}"
            if over and batch.answers and batch.output_named
            else "",
            "error_file_id": f"err-of-{batch.id}"
            if over and batch.errors and batch.errors_named
            else "",
            "errors": {
                "object": "list",
                "data": [
                    {
                        "code": "invalid_request",
                        "message": batch.reason,
                        "line": line,
                        "param": None,
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
            **dict.fromkeys(
                (
                    "in_progress_at",
                    "finalizing_at",
                    "completed_at",
                    "failed_at",
                    "expired_at",
                    "cancelling_at",
                    "cancelled_at",
                )
            ),
        }
