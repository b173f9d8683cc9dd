"""A client's steps with a server: the few verbs of the server's tests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import openai

from jupyter_batch.server.embedded import Embedded

ENDED = ("completed", "failed", "expired", "cancelled")


def line(
    custom_id: str = "r-0",
    text: str = "hello",
    *,
    model: str = "echo",
    url: str = "/v1/chat/completions",
    method: str = "POST",
    **body: Any,
) -> dict[str, Any]:
    """One line of an input file."""
    asked = (
        {"input": text}
        if url == "/v1/embeddings"
        else {"messages": [{"role": "user", "content": text}]}
    )
    return {
        "custom_id": custom_id,
        "method": method,
        "url": url,
        "body": {"model": model, **asked, **body},
    }


def jsonl(*lines: Any) -> bytes:
    """Lines of JSON; bytes are taken as they are."""
    return b"".join(
        (one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines
    )


def until(condition: Callable[[], Any], *, seconds: float = 60) -> Any:
    """Wait on a condition; its value when it holds."""
    end, never = time.monotonic() + seconds, threading.Event()
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError("the condition did not come to hold")
        never.wait(0.01)
    return value


class Asking:
    """A client's steps with a server."""

    def __init__(self, server: Embedded) -> None:
        self.server = server
        self.http = httpx.Client(headers={"Authorization": f"Bearer {server.token}"}, timeout=30)
        self.sdk = openai.OpenAI(base_url=server.base_url, api_key=server.token, max_retries=0)

    def close(self) -> None:
        self.http.close()
        self.sdk.close()

    def call(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        return self.http.request(method, self.server.base_url + path, **kwargs)

    def upload(
        self, data: bytes, name: str = "rows.jsonl", purpose: str = "batch", **form: str
    ) -> dict[str, Any]:
        answer = self.call(
            "POST", "/files", files={"file": (name, data)}, data={"purpose": purpose, **form}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create(
        self, data: bytes, endpoint: str = "/v1/chat/completions", **more: Any
    ) -> dict[str, Any]:
        body = {
            "input_file_id": self.upload(data)["id"],
            "endpoint": endpoint,
            "completion_window": "24h",
            **more,
        }
        answer = self.call("POST", "/batches", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def batch(self, batch_id: str) -> dict[str, Any]:
        return self.call("GET", f"/batches/{batch_id}").json()

    def ended(self, batch_id: str, *, seconds: float = 60) -> dict[str, Any]:
        return until(
            lambda: (found := self.batch(batch_id))["status"] in ENDED and found, seconds=seconds
        )

    def run(
        self, data: bytes, endpoint: str = "/v1/chat/completions", **more: Any
    ) -> dict[str, Any]:
        return self.ended(self.create(data, endpoint, **more)["id"])

    def lines(self, file_id: str | None) -> list[dict[str, Any]]:
        if file_id is None:
            return []
        return [
            json.loads(one)
            for one in self.call("GET", f"/files/{file_id}/content").content.splitlines()
        ]

    def results(self, batch: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return self.lines(batch["output_file_id"]), self.lines(batch["error_file_id"])
