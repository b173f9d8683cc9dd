"""Requests that are no proper HTTP, and uploads in the forms that clients send: JSON errors, no 500, no hang."""

from __future__ import annotations

import gzip
import io
import json
import socket

import pytest
from server_asking import jsonl, line

DATA = jsonl(line())


def exchange(ask, data: bytes, *more: bytes) -> tuple[int, dict]:
    """Status and JSON of the answer to raw bytes, after which the server closes the connection."""
    with socket.create_connection(("127.0.0.1", int(ask.server.base_url.split(":")[2][:-3]))) as to:
        to.settimeout(20)
        for one in (data, *more):
            to.sendall(one)
        got = b"".join(iter(lambda: to.recv(65536), b""))
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"application/json" in head.lower()
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "data",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /v1/models HTTP/9.9\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nA\0: b\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n",
        b"POST /v1/batches HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/batches HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_broken_http_is_a_json_error(ask, data):
    """Errors below HTTP are refused in OpenAI's shape, as a 400, and the connection ends."""
    status, body = exchange(ask, data)
    assert status == 400
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"].startswith("The HTTP request can't be read: ")


def test_an_unknown_expectation_is_a_json_error(ask):
    """`Expect: banana` is a 417 in OpenAI's shape; `100-continue` is served."""
    asked = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: %b\r\n\r\n"
    assert exchange(ask, asked % b"banana")[0] == 417
    form = ask.call("POST", "/batches", json={}, headers={"expect": "100-continue"})
    assert form.status_code == 400


def test_headers_that_do_not_come_end_the_connection(ask, monkeypatch):
    """Half a request's headers and then nothing: 408 in OpenAI's shape, on a connection of its own."""
    monkeypatch.setattr("jupyter_batch.server.protocol.HEADER_TIMEOUT", 0.05)
    status, body = exchange(ask, b"GET /v1/models HTTP/1.1\r\nHost: local")
    assert (status, body["error"]["type"]) == (408, "invalid_request_error")


def test_headers_of_a_later_request_have_a_limit_too(ask, monkeypatch):
    """A kept connection on which half a request comes is closed after the time for idle connections."""
    monkeypatch.setattr("jupyter_batch.server.protocol.KEEP_ALIVE", 0.1)
    status, _ = exchange(
        ask, b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /y HTTP/1.1\r\nH"
    )
    assert status == 404


@pytest.mark.parametrize("path", ["/files", "/batches", "/chat/completions"])
def test_a_body_that_does_not_come_is_given_up(ask, monkeypatch, path):
    """A body that stalls is a 408, for JSON and for uploads."""
    monkeypatch.setattr("jupyter_batch.server.service.BODY_TIMEOUT", 0.05)
    kind = "multipart/form-data; boundary=B" if path == "/files" else "application/json"
    head = (
        f"POST /v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ask.server.token}\r\n"
        f"Connection: close\r\nContent-Type: {kind}\r\nContent-Length: 500\r\n\r\n--B\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(ask.server.base_url.split(":")[2][:-3]))) as to:
        to.settimeout(20)
        to.sendall(head.encode())
        assert to.recv(65536).startswith(b"HTTP/1.1 408 ")


def form(head: bytes, more: bytes = b"") -> bytes:
    """A form with a purpose, and a file part that begins with this header."""
    return (
        b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b"--B\r\n" + head + b"\r\n" + more + b"\r\n" + DATA + b"\r\n--B--\r\n"
    )


FILE = b'Content-Disposition: form-data; name="file"; filename="a.jsonl"'


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (FILE.replace(b"a.jsonl", b"a\0.jsonl"), b""),
        (FILE.replace(b"a.jsonl", b"a\x01.jsonl"), b""),
        (FILE.replace(b"a.jsonl", b"a\x7f.jsonl"), b""),
        (FILE.replace(b'"file"', b'"fi\0le"'), b""),
        (FILE, b"X\0: a\r\n"),
        (FILE, b"X: a\0\r\n"),
        (FILE, b"no colon\r\n"),
        (FILE, b"X: " + b"a" * 20_000 + b"\r\n"),
        (FILE, b"X: a\r\n" * 200),
        (FILE, b"Content-Type: multipart/mixed\r\n"),
        (FILE, b"Content-Length: abc\r\n"),
    ],
)
def test_an_odd_part_header_is_never_a_500(ask, head, more, tmp_path):
    """A control character or another oddity in a part's header is a 400, or the upload is taken."""
    answer = ask.call(
        "POST",
        "/files",
        content=form(head, more),
        headers={"content-type": "multipart/form-data; boundary=B"},
    )
    assert answer.status_code in (200, 400)
    stored = ask.call("GET", "/files").json()["data"]
    assert len(stored) == len(list((tmp_path / "state" / "files").iterdir()))
    assert all(file["filename"].isprintable() for file in stored)


@pytest.mark.parametrize("path", ["/files", "/batches", "/chat/completions", "/embeddings"])
def test_a_broken_encoding_is_a_json_error(ask, path):
    """A body that says gzip and is not is a 400; real gzip is read."""
    kind = "multipart/form-data; boundary=B" if path == "/files" else "application/json"
    headers = {"content-encoding": "gzip", "content-type": kind}
    broken = ask.call("POST", path, content=b"no gzip at all", headers=headers)
    assert broken.status_code == 400
    assert "can't be read" in broken.json()["error"]["message"]
    whole = form(FILE) if path == "/files" else json.dumps(line()["body"] | {"input": "x"}).encode()
    assert ask.call("POST", path, content=gzip.compress(whole), headers=headers).status_code == (
        400 if path == "/batches" else 200
    )


@pytest.mark.parametrize(
    "file",
    [
        DATA,
        io.BytesIO(DATA),
        ("rows", DATA),
        ("", DATA),
        (None, DATA),
        ("rows.JSONL", DATA),
        ("folder/upload", DATA),
    ],
)
def test_an_upload_needs_no_file_name(ask, file):
    """Bytes, a BytesIO and a part without a name are taken as the SDK sends them, and run as a batch."""
    if isinstance(file, io.BytesIO):
        file.seek(0)
    uploaded = ask.sdk.files.create(file=file, purpose="batch")
    assert uploaded.filename
    assert "/" not in uploaded.filename
    batch = ask.sdk.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert ask.ended(batch.id)["request_counts"]["completed"] == 1


@pytest.mark.parametrize("name", ["rows.txt", "rows.csv", "rows.json", "rows.jsonl.gz"])
def test_a_name_of_another_kind_is_still_refused(ask, name):
    """A name that says it is no JSONL is a 400, as at OpenAI."""
    answer = ask.call("POST", "/files", files={"file": (name, DATA)}, data={"purpose": "batch"})
    assert answer.status_code == 400
