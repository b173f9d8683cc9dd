"""Without a token, what a web page in the user's browser can send does not take effect."""

from __future__ import annotations

import json

import httpx
import pytest
from server_asking import jsonl, line

CHAT = json.dumps(line()["body"]).encode()
FORM = (
    b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--B\r\n'
    b'Content-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    + jsonl(line())
    + b"\r\n--B--\r\n"
)
JSON = "application/json"
MULTIPART = "multipart/form-data; boundary=B"


@pytest.fixture
def open_server(started):
    """A server without a token."""
    return started(token=None)


def send(ask, method: str, path: str, **headers: str) -> httpx.Response:
    """A request as a page would send it."""
    content = FORM if path == "/v1/files" else CHAT if method == "POST" else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(
        method, ask.server.base_url.removesuffix("/v1") + path, content=content, headers=named
    )


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "https://[", ""],
)
@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/v1/chat/completions", JSON),
        ("POST", "/v1/responses", JSON),
        ("POST", "/v1/embeddings", JSON),
        ("POST", "/v1/batches", JSON),
        ("POST", "/v1/batches/batch_x/cancel", JSON),
        ("POST", "/v1/files", MULTIPART),
        ("DELETE", "/v1/files/file-x", JSON),
        ("PUT", "/jupyter_batch/faults", JSON),
        ("GET", "/v1/files", JSON),
    ],
)
def test_a_foreign_origin_is_refused_on_every_route(open_server, origin, method, path, kind):
    """403, whatever the body's type; nothing takes effect."""
    answer = send(open_server, method, path, origin=origin, content_type=kind)
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "invalid_request_error")
    assert open_server.server.stats()["batches_created"] == 0
    assert open_server.call("GET", "/files").json()["data"] == []


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_browsers_own_word_counts(open_server, site):
    """`Sec-Fetch-Site` says that a page of another site asks, where no origin is sent."""
    assert send(open_server, "GET", "/v1/models", sec_fetch_site=site).status_code == 403
    assert send(open_server, "GET", "/v1/models", sec_fetch_site="none").status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/batches"]
)
def test_a_body_that_any_page_can_send_is_refused(open_server, kind, path):
    """The three types that need no CORS are 415 without a token, and so is a body without a type."""
    assert send(open_server, "POST", path, content_type=kind).status_code == 415
    assert send(open_server, "POST", path).status_code == 415


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_foreign_host_is_refused(open_server, host):
    """A name that was made to point at loopback (DNS rebinding) is a 403."""
    assert send(open_server, "GET", "/v1/models", host=host).status_code == 403


@pytest.mark.parametrize("host", ["localhost:99", "LOCALHOST", "127.0.0.1", "[::1]:80", "[::1]"])
def test_loopback_names_are_served(open_server, host):
    """Every name of loopback is ours."""
    assert send(open_server, "GET", "/v1/models", host=host).status_code == 200


def test_clients_are_served_without_a_token(open_server):
    """The SDK's own requests, a page of this server's own origin, and requests without a body go through."""
    assert open_server.run(jsonl(line()))["status"] == "completed"
    assert open_server.sdk.chat.completions.create(
        model="echo", messages=[{"role": "user", "content": "hi"}]
    )
    own = open_server.server.base_url.removesuffix("/v1")
    assert (
        send(open_server, "POST", "/v1/chat/completions", origin=own, content_type=JSON).status_code
        == 200
    )
    uploaded = open_server.upload(jsonl(line()))
    assert open_server.call("DELETE", f"/files/{uploaded['id']}").status_code == 200
    batch = open_server.create(jsonl(line()))
    assert open_server.call("POST", f"/batches/{batch['id']}/cancel").status_code in (200, 409)


def test_with_a_token_a_page_can_do_nothing_without_it(started):
    """With a token, an origin and another type change nothing: the token is what counts."""
    ask = started(token="k")
    assert send(ask, "POST", "/v1/chat/completions", content_type="text/plain").status_code == 401
    answer = send(
        ask,
        "POST",
        "/v1/chat/completions",
        content_type=JSON,
        origin="http://localhost:8888",
        authorization="Bearer k",
    )
    assert answer.status_code == 200
