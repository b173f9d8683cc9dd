"""OpenRouter's batches, after its Batch API guide, its API reference and its SDK."""

from __future__ import annotations

import itertools
import json
import uuid

from aiohttp import web

from tests.providers.fakes.host import Batch, Host, completion

PAGE = 3
"""Its pages hold this many at most, whatever was asked for."""


class OpenRouter(Host):
    """One workspace. Requests are in the create, and are never returned."""

    lacks = ("upload", "cancel")

    def __init__(self, clock):
        super().__init__(clock)
        self._numbers = itertools.count(1)

    def results_of(self, batch_id):
        """They have the batch's own id."""
        return batch_id

    def routes(self):
        """The verbs' paths."""
        return [
            web.post("/v1/batches", self.create),
            web.get("/v1/batches", self.list),
            web.get("/v1/batches/{id}/results", self.fetch),
            web.get("/v1/batches/{id}", self.poll),
        ]

    def refusal(self, status, message):
        """As OpenRouter says no."""
        return {"error": {"code": status, "message": message}}

    async def create(self, request):
        """POST batches: endpoint and model come before the requests, whose body is parsed as it arrives."""
        order = json.loads(await request.text())
        if list(order)[-1] != "requests" or not {"endpoint", "model"} <= set(order):
            raise ValueError("endpoint and model must come before requests")
        if not order["model"].endswith(":batch") or order["completion_window"] != "24h":
            raise ValueError(f"{order['model']} has no batch variant")
        if order["endpoint"] not in ("/v1/chat/completions", "/v1/embeddings"):
            raise ValueError(f"endpoint {order['endpoint']}")
        requests = order.pop("requests")
        for one in requests:
            if set(one) != {"custom_id", "body"}:
                raise ValueError(f"unknown fields in {sorted(one)}")
            if one["body"].get("model", order["model"]) != order["model"]:
                raise ValueError("a request's model differs from the batch's")
        batch = Batch(
            f"batch_{next(self._numbers)}_{uuid.uuid4().hex[:6]}",
            "",
            {one["custom_id"]: one["body"] for one in requests},
            None,
            self.clock(),
            order,
        )
        self.batches[batch.id] = batch
        document = {**self._document(batch), "status": "validating"}
        return web.json_response(document, status=202)

    async def list(self, request):
        """GET batches, newest first, without results."""
        if set(request.query) - {"limit", "after", "status", "created_after", "created_before"}:
            raise ValueError(f"unknown {sorted(request.query)}")
        newest = list(self.batches.values())[::-1]
        after = request.query.get("after")
        start = 1 + [batch.id for batch in newest].index(after) if after else 0
        page = newest[start : start + min(PAGE, int(request.query.get("limit", 20)))]
        return web.json_response(
            {
                "object": "list",
                "data": [{**self._document(batch), "results": None} for batch in page],
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "has_more": bool(newest[start + len(page) :]),
            }
        )

    async def poll(self, request):
        """GET a batch, with its results where it has ended."""
        batch = self.batches[request.match_info["id"]]
        results = self._results(batch) if batch.ending else None
        return web.json_response({**self._document(batch), "results": results})

    async def fetch(self, request):
        """GET results: answers and errors in one list of pages."""
        batch = self.batches[request.match_info["id"]]
        if not batch.ending:
            return self.no(409, "the batch has not ended")
        start = int(request.query.get("cursor", 0))
        size = min(PAGE, int(request.query.get("limit", 100)))
        results = self._results(batch)
        more = bool(results[start + size :])
        return web.json_response(
            {
                "object": "list",
                "data": results[start : start + size],
                "has_more": more,
                "next_cursor": str(start + size) if more else None,
            }
        )

    def _results(self, batch):
        answers = [
            {
                "id": f"line-{one}",
                "custom_id": one,
                "response": {"status_code": 200, "request_id": "r", "body": completion(text)},
                "error": None,
            }
            for one, text in batch.answers.items()
        ]
        return answers + [
            {
                "id": f"line-{one}",
                "custom_id": one,
                "response": None,
                "error": {"message": why, "param": None, "type": "provider_error"},
            }
            for one, why in batch.errors.items()
        ]

    def _document(self, batch):
        ended = batch.ending is not None
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.order["endpoint"],
            "model": batch.order["model"],
            "completion_window": "24h",
            "status": batch.ending or "in_progress",
            "created_at": int(batch.created),
            "expires_at": int(batch.created + 86400),
            "finalized_at": int(self.clock()) if ended else None,
            "provider": "some",
            "request_counts": {
                "total": len(batch.requests),
                "completed": len(batch.answers),
                "failed": len(batch.errors),
            },
            "error": {"message": batch.reason} if batch.reason else None,
            "usage": None,
        }
