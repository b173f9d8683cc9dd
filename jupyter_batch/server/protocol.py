"""An HTTP connection: errors below HTTP as JSON, and a limit on the time for headers."""

from __future__ import annotations

import asyncio
import logging
import uuid

from aiohttp import web

from jupyter_batch.process.log import logger
from jupyter_batch.server.errors import ApiError, server_error
from jupyter_batch.server.service import reply

HEADER_TIMEOUT = 30.0
"""Seconds for the headers of a connection's first request."""
KEEP_ALIVE = 75.0
"""Seconds that an idle connection is kept; the headers of its next request must be there by then."""
_SERVER_FAULTS = 500
_LOG = logger(__name__)
_HTTP_LOG = logging.getLogger("jupyter_batch.server.http")
_HTTP_LOG.setLevel(logging.CRITICAL)  # clients that go away are not logged; errors of ours are


class Connection(web.RequestHandler):
    """aiohttp's connection, which answers broken HTTP in OpenAI's shape."""

    def __init__(self, manager: web.Server, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # documented: no access log
            keepalive_timeout=KEEP_ALIVE,
            logger=_HTTP_LOG,
        )
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock for the first request's headers."""
        super().connection_made(transport)
        self._deadline = asyncio.get_running_loop().call_later(HEADER_TIMEOUT, self._give_up)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the clock."""
        self.headers_arrived()
        super().connection_lost(exc)

    def headers_arrived(self) -> None:
        """Stop the clock: a request was read."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.transport is None:
            return
        late = ApiError(408, f"The request's headers took longer than {HEADER_TIMEOUT:g} seconds.")
        body = reply(late.body()).body
        text = bytes(body) if isinstance(body, bytes | bytearray) else b""
        self.transport.write(
            b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
        )
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no HTTP request, or to an error outside the application."""
        self.headers_arrived()
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was under way already")
        if status >= _SERVER_FAULTS:
            _LOG.error("%s", request.path, exc_info=exc)
            wrong = server_error()
        else:
            cause = " ".join((message or "").split())
            wrong = ApiError(
                status, f"The HTTP request can't be read: {cause}" if cause else "Bad request."
            )
        response = reply(wrong.body(), status)
        response.headers["x-request-id"] = f"req_{uuid.uuid4().hex}"
        response.force_close()
        return response
