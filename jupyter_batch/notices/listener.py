"""Listener for webhooks: a small HTTP server in a thread, for `jupyter batch watch --webhook`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from jupyter_batch.core.errors import OptionError
from jupyter_batch.notices.webhooks import MOST_BYTES, batch_of, is_signed

SECONDS = 10.0
"""The time that a caller has for its request."""
HOST = "127.0.0.1"
MOST_PORT = 65_535


def place_of(text: str) -> tuple[str, int]:
    """The host and port of `[HOST:]PORT`. Raises OptionError."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > MOST_PORT:
        raise OptionError(f"--webhook takes [HOST:]PORT; got {text!r}")
    return host or HOST, int(port)


class Listener:
    """Calls `on_batch(batch id)` for each signed event of a batch, until it is closed.

    Raises OptionError where the port can't be used. clock: seconds since the epoch.
    """

    def __init__(
        self,
        place: tuple[str, int],
        key: bytes,
        on_batch: Callable[[str], object],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = SECONDS

            def do_POST(self) -> None:
                """204 for a signed event, 401 for any other, 413 for a large one."""
                length = self.headers.get("Content-Length", "")
                if not (length.isascii() and length.isdigit()) or int(length) > MOST_BYTES:
                    self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                    return
                body = self.rfile.read(int(length))
                if not is_signed(body, dict(self.headers.items()), key, clock()):
                    self._answer(HTTPStatus.UNAUTHORIZED)
                    return
                if (batch := batch_of(body)) is not None:
                    on_batch(batch)
                self._answer(HTTPStatus.NO_CONTENT)

            def _answer(self, status: HTTPStatus) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silence: callers from outside must not fill the terminal."""

        try:
            self._server = ThreadingHTTPServer(place, Handler)
        except OSError as e:
            raise OptionError(f"--webhook {place[0]}:{place[1]}: {e.strerror or e}") from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="jupyter-batch-webhook", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
