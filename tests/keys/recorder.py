"""A foreign server of OpenAI's batch API: it records its requests, and never ends a batch."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.keys.waiting import notify

FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 1,
    "created_at": 1,
    "filename": "f",
    "purpose": "batch",
    "status": "processed",
}
BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "status": "in_progress",
    "completion_window": "24h",
    "created_at": 1,
    "input_file_id": "file-1",
}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Recorder:
    """url: its address. calls: (method, path, headers by lower-case name, body) of each call, in order."""

    def __init__(self):
        self.calls = []
        self.answer = self._usual
        self.url = ""

    @property
    def headers(self):
        """All header values that were ever sent, in one text."""
        return "\n".join(
            f"{name}: {value}" for call in self.calls for name, value in call[2].items()
        )

    @property
    def paths(self):
        """Method and path of each call."""
        return [f"{method} {path}" for method, path, _, _ in self.calls]

    def _usual(self, method, path, headers, body):
        """(status, headers, body) of an answer."""
        if path.endswith("/chat/completions"):
            return 200, {}, CHAT
        if method == "GET" and path.split("?")[0].endswith("/batches"):
            return 200, {}, {"object": "list", "data": [], "has_more": False}
        return 200, {}, FILE if "/files" in path else BATCH


@contextmanager
def recording():
    """A recorder that listens on this machine."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def _take(self):
            if self.headers.get("transfer-encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline().strip() or b"0", 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            recorder.calls.append((self.command, self.path, headers, body))
            notify()
            status, more, answer = recorder.answer(self.command, self.path, headers, body)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", **more}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = do_CONNECT = _take  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    recorder.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
