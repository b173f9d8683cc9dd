"""Anthropic's Message Batches API on this machine, written from its public reference alone; no code of ours is in it.

What it holds to: POST, GET, list (newest first, `limit` 1 to 1000, `after_id`), cancel and results below
/v1/messages/batches; `x-api-key` and `anthropic-version` on every call; custom_ids that are unique and of 1 to 64
letters, digits, - and _; errors as {"type": "error", "error": {"type", "message"}, "request_id"}; counts that stand at
`processing` until all is over and always add up; results as JSON lines in no order, for ended batches only.
"""

import json
import re
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from aiohttp import web

KEY = "sk-ant-test-0123456789"
BYTES = 256 * 1024 * 1024
REQUESTS = 100_000
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class RefusalError(Exception):
    """An HTTP error in Anthropic's shape."""

    def __init__(self, status, message, headers=None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}

    def answer(self):
        """As it is sent."""
        return web.json_response(
            {
                "type": "error",
                "error": {"type": _KINDS[self.status], "message": self.message},
                "request_id": "req_011",
            },
            status=self.status,
            headers=self.headers,
        )


class Fake:
    """The API's state, and the faults that are to come: each is used up by the next call that it is meant for.

    faults: (verb such as "create", what): a RefusalError; "reset" before anything is done; "lost": done, but the
    connection breaks before the answer arrives; "cut": results that break off; "junk": an answer that is no JSON.
    """

    def __init__(self):
        self.batches = {}
        self.faults = []
        self.calls = []
        self.headers = []
        self.largest = BYTES
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self.runner = None
        self.base = ""

    # --- what the provider does ---

    def add(self, requests):
        """A batch, as `create` makes it."""
        batch = {
            "id": f"msgbatch_{len(self.batches):04d}",
            "requests": requests,
            "created_at": self.now,
            "cancel_initiated_at": None,
            "ended_at": None,
            "results": None,
        }
        self.batches[batch["id"]] = batch
        return batch["id"]

    def end(self, batch_id, outcome=lambda n: "succeeded"):
        """Process a batch; `outcome` says how the request at a place ends."""
        batch = self.batches[batch_id]
        batch["results"] = [
            self.result(request, outcome(n)) for n, request in enumerate(batch["requests"])
        ][::-1]
        batch["ended_at"] = self.now + timedelta(minutes=10)

    def result(self, request, kind):
        """One request's result."""
        result = {"type": kind}
        if kind == "errored":
            result["error"] = {
                "type": "error",
                "error": {"type": "invalid_request_error", "message": "bad prompt"},
            }
        elif kind == "succeeded":
            messages = request["params"]["messages"][-1]["content"]
            messages = (
                messages
                if isinstance(messages, str)
                else "".join(part["text"] for part in messages)
            )
            result["message"] = {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": request["params"]["model"],
                "content": [{"type": "text", "text": messages.upper()}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {
                    "input_tokens": 10,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 2,
                    "output_tokens": 3,
                },
            }
        return {"custom_id": request["custom_id"], "result": result}

    def shown(self, batch):
        """The message_batch object."""

        def time(at):
            return at and at.isoformat().replace("+00:00", "Z")

        results = batch["results"]
        counts = Counter(line["result"]["type"] for line in results or ())
        kinds = ("succeeded", "errored", "canceled", "expired")
        ended = results is not None
        status = (
            "ended" if ended else "canceling" if batch["cancel_initiated_at"] else "in_progress"
        )
        return {
            "id": batch["id"],
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {
                "processing": 0 if ended else len(batch["requests"]),
                **{kind: counts[kind] for kind in kinds},
            },
            "created_at": time(batch["created_at"]),
            "ended_at": time(batch["ended_at"]),
            "expires_at": time(batch["created_at"] + timedelta(days=1)),
            "archived_at": None,
            "cancel_initiated_at": time(batch["cancel_initiated_at"]),
            # another host on purpose: who follows it leaves the address that was given
            "results_url": f"https://api.anthropic.invalid/v1/messages/batches/{batch['id']}/results"
            if ended
            else None,
        }

    # --- the calls ---

    async def create(self, request):
        """POST /v1/messages/batches."""
        if (request.content_length or 0) > self.largest:
            raise RefusalError(413, "Request exceeds the maximum size")
        requests = self.checked(json.loads(await request.read()))
        return web.json_response(self.shown(self.batches[self.add(requests)]))

    def checked(self, body):
        """The requests of a body that holds nothing else, each of them whole."""
        if not isinstance(body, dict) or set(body) != {"requests"} or not body["requests"]:
            raise RefusalError(400, "requests: Field required")
        seen = set()
        for n, each in enumerate(body["requests"]):
            if set(each) != {"custom_id", "params"} or not _ID.fullmatch(each["custom_id"]):
                raise RefusalError(400, f"requests.{n}.custom_id: String should match pattern")
            if each["custom_id"] in seen:
                raise RefusalError(400, f"requests.{n}.custom_id: duplicate")
            if not {"model", "messages", "max_tokens"} <= set(each["params"]):
                raise RefusalError(400, f"requests.{n}.params: Field required")
            seen.add(each["custom_id"])
        if len(seen) > REQUESTS:
            raise RefusalError(400, "too many requests in the batch")
        return body["requests"]

    async def list(self, request):
        """GET /v1/messages/batches."""
        limit = int(request.query.get("limit", 20))
        if not 1 <= limit <= 1000:
            raise RefusalError(400, "limit: out of range")
        ids = list(self.batches)[::-1]
        after = request.query.get("after_id")
        ids = ids[ids.index(after) + 1 :] if after else ids
        page = ids[:limit]
        return web.json_response(
            {
                "data": [self.shown(self.batches[i]) for i in page],
                "has_more": len(ids) > limit,
                "first_id": page[0] if page else None,
                "last_id": page[-1] if page else None,
            }
        )

    def known(self, request):
        """The batch of a path."""
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            raise RefusalError(404, "Batch not found")
        return batch

    async def retrieve(self, request):
        """GET /v1/messages/batches/{id}."""
        return web.json_response(self.shown(self.known(request)))

    async def cancel(self, request):
        """POST /v1/messages/batches/{id}/cancel."""
        batch = self.known(request)
        if batch["results"] is not None:
            raise RefusalError(400, "Batch has already ended")
        batch["cancel_initiated_at"] = self.now
        return web.json_response(self.shown(batch))

    async def results(self, request):
        """GET /v1/messages/batches/{id}/results."""
        batch = self.known(request)
        if batch["results"] is None:
            raise RefusalError(400, "Batch results are not available until processing has ended")
        data = "".join(
            json.dumps(line, ensure_ascii=False) + "\n" for line in batch["results"]
        ).encode()
        if not self.takes("cut"):
            return web.Response(body=data, content_type="application/x-jsonl")
        response = web.StreamResponse(headers={"content-type": "application/x-jsonl"})
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        request.transport.abort()
        return response

    # --- serving ---

    def takes(self, what):
        """Whether the next fault is this one; it is used up."""
        if self.faults and self.faults[0] == ("results", what):
            self.faults.pop(0)
            return True
        return False

    def call(self, verb):
        """A handler with the faults around it."""

        async def handle(request):
            self.calls.append(verb)
            self.headers.append(dict(request.headers))
            fault = None
            if self.faults and self.faults[0][0] == verb and self.faults[0][1] != "cut":
                fault = self.faults.pop(0)[1]
            try:
                if fault == "reset":
                    request.transport.abort()
                    return web.Response()
                if isinstance(fault, RefusalError):
                    raise fault
                if request.headers.get("x-api-key") != KEY:
                    raise RefusalError(401, f"invalid x-api-key {request.headers.get('x-api-key')}")
                if request.headers.get("anthropic-version") != "2023-06-01":
                    raise RefusalError(400, "anthropic-version: header is required")
                answer = await getattr(self, verb)(request)
            except RefusalError as refusal:
                return refusal.answer()
            if fault == "lost":
                request.transport.abort()
            return web.Response(text="<html>welcome</html>") if fault == "junk" else answer

        return handle

    @asynccontextmanager
    async def serving(self):
        """The API at `self.base`."""
        app = web.Application(client_max_size=0)
        root = "/v1/messages/batches"
        app.router.add_post(root, self.call("create"))
        app.router.add_get(root, self.call("list"))
        app.router.add_get(root + "/{id}", self.call("retrieve"))
        app.router.add_post(root + "/{id}/cancel", self.call("cancel"))
        app.router.add_get(root + "/{id}/results", self.call("results"))
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()
