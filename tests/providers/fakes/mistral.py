"""Mistral's files and batch jobs, after docs.mistral.ai: batch inference and the API reference."""

from __future__ import annotations

import uuid

from aiohttp import web

from tests.providers.fakes.host import Batch, Host, completion, jsonl

_STATES = {
    "completed": "SUCCESS",
    "failed": "FAILED",
    "expired": "TIMEOUT_EXCEEDED",
    "cancelled": "CANCELLED",
}


class Mistral(Host):
    """One workspace."""

    def routes(self):
        """The verbs' paths."""
        return [
            web.post("/v1/files", self.upload),
            web.get("/v1/files/{id}/content", self.fetch),
            web.post("/v1/batch/jobs", self.create),
            web.get("/v1/batch/jobs", self.list),
            web.get("/v1/batch/jobs/{id}", self.poll),
            web.post("/v1/batch/jobs/{id}/cancel", self.cancel),
        ]

    def refusal(self, status, message):
        """As Mistral says no."""
        if status == 401:
            return {"detail": "Unauthorized"}
        return {
            "object": "error",
            "message": message,
            "type": "invalid_request",
            "param": None,
            "code": None,
        }

    async def upload(self, request):
        """POST files: a line is {custom_id, body}."""
        file, size, name = await self.keep_file(request, str(uuid.uuid4()))
        return web.json_response(
            {
                "id": file,
                "object": "file",
                "bytes": size,
                "created_at": int(self.clock()),
                "filename": name,
                "purpose": "batch",
                "sample_type": "batch_request",
                "source": "upload",
                "num_lines": len(self.lines(file)),
            }
        )

    async def create(self, request):
        """POST batch/jobs: one model, which is the job's."""
        order = await request.json()
        (file,) = order["input_files"]
        lines = self.lines(file)
        if any(set(line) != {"custom_id", "body"} for line in lines) or not order["model"]:
            return self.no(422, f"a line of {sorted(lines[0])}")
        if not 1 <= order.get("timeout_hours", 24) <= 168:
            return self.no(422, "timeout_hours")
        batch = Batch(
            str(uuid.uuid4()),
            file,
            {line["custom_id"]: line["body"] for line in lines},
            order.get("metadata"),
            self.clock(),
            order,
        )
        self.batches[batch.id] = batch
        return web.json_response(self._document(batch))

    async def list(self, request):
        """GET batch/jobs, newest first; pages count from 0."""
        size, number = int(request.query.get("page_size", 100)), int(request.query.get("page", 0))
        newest = sorted(self.batches.values(), key=lambda batch: -batch.created)
        return web.json_response(
            {
                "object": "list",
                "total": len(newest),
                "data": [
                    self._document(job) for job in newest[number * size : (number + 1) * size]
                ],
            }
        )

    async def poll(self, request):
        """GET a job."""
        return web.json_response(self._document(self.batches[request.match_info["id"]]))

    async def cancel(self, request):
        """POST cancel."""
        batch = self.batches[request.match_info["id"]]
        if batch.ending:
            return self.no(400, f"the job is {batch.ending}")
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
        if kind == "out":
            lines = [
                {
                    "id": "b1",
                    "custom_id": one,
                    "error": None,
                    "response": {"status_code": 200, "body": completion(text)},
                }
                for one, text in batch.answers.items()
            ]
        else:
            lines = [
                {
                    "id": "b1",
                    "custom_id": one,
                    "error": None,
                    "response": {"status_code": 422, "body": self.refusal(422, why)},
                }
                for one, why in batch.errors.items()
            ]
        return web.Response(body=jsonl(lines), content_type="application/octet-stream")

    def _document(self, batch):
        over = batch.ending is not None
        status = _STATES.get(batch.ending) or (
            "CANCELLATION_REQUESTED" if batch.cancelling else "RUNNING"
        )
        return {
            "id": batch.id,
            "object": "batch",
            "input_files": [batch.file],
            "metadata": batch.named,
            "endpoint": batch.order["endpoint"],
            "model": batch.order["model"],
            "agent_id": None,
            "status": status,
            "created_at": int(batch.created),
            "started_at": None,
            "completed_at": None,
            "output_file": f"out-of-{batch.id}"
            if over and batch.answers and batch.output_named
            else None,
            "error_file": f"err-of-{batch.id}"
            if over and batch.errors and batch.errors_named
            else None,
            "errors": [{"message": batch.reason, "count": 3}] if batch.reason else [],
            "total_requests": len(batch.requests),
            "completed_requests": len(batch.answers) + len(batch.errors),
            "succeeded_requests": len(batch.answers),
            "failed_requests": len(batch.errors),
        }
