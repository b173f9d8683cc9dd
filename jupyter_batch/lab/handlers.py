"""The routes /jupyter-batch/...: the list of jobs, cancellation, and the row view.

The ledger is read in a thread, so that a busy disk stops no kernel.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from jupyter_server.auth import decorator
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from jupyter_batch.core.errors import JobNotFoundError, LedgerError
from jupyter_batch.lab.listing import Listing, followed
from jupyter_batch.lab.rows import RowsServer
from jupyter_batch.lab.watch import Watch
from jupyter_batch.notices.webhooks import MOST_BYTES as MOST_BYTES_OF_WEBHOOK
from jupyter_batch.notices.webhooks import batch_of, is_signed, wake

# jupyter_server before 2.13 asks no handler for it.
allow_unauthenticated = getattr(decorator, "allow_unauthenticated", lambda method: method)

MOST_BYTES = 1 << 30
"""Of one answer of the row view, an export above all: it is in memory until it is passed on."""
MOST_BODY = 64_000
"""Bytes of a POST."""
PATIENCE = 600.0
"""Seconds for one answer of the row view."""
PASSED_ON = (
    "Content-Type",
    "Content-Disposition",
    "Content-Security-Policy",
    "X-Content-Type-Options",
    "Referrer-Policy",
    "Cache-Control",
    "Cross-Origin-Resource-Policy",
)


class JobsHandler(APIHandler):
    """GET: all jobs, with an ETag; 304 where the list is the one that the caller has."""

    auth_resource = "jupyter_batch"
    _track_activity = False  # a panel that looks must not keep an idle server alive

    def initialize(self, listing: Listing) -> None:
        """Keep what the routes give."""
        self.listing = listing

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """The list; tornado's own finish() makes the ETag of it and compares."""
        body = await asyncio.to_thread(self.listing.json)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-cache")
        self.finish(body)


class CancelHandler(APIHandler):
    """POST: have a job, or each of a group, cancelled. 202, or 404, or 409 with what is wrong with the ledger."""

    auth_resource = "jupyter_batch"

    def initialize(self, listing: Listing, watch: Watch) -> None:
        """Keep what the routes give."""
        self.listing, self.watch = listing, watch

    @web.authenticated
    @authorized
    async def post(self, name: str) -> None:
        """Note it in the ledger; where no process is there to tell the provider, start one."""
        try:
            alone = await asyncio.to_thread(self.listing.cancel, name)
        except JobNotFoundError as e:
            raise web.HTTPError(404, _literally(e)) from None
        except LedgerError as e:
            raise web.HTTPError(409, _literally(e)) from None
        for job in alone:
            await asyncio.to_thread(self.watch.fetch, job)
        self.set_status(202)
        self.finish({"id": name, "started": alone})


class WebhookHandler(APIHandler):
    """POST: a provider's webhook about a batch. 204, 401 without a valid signature, or 413.

    Its signature is its authentication: the provider has no token of this server.
    """

    _track_activity = False

    def initialize(self, listing: Listing, watch: Watch, key: bytes) -> None:
        """Keep what the routes give."""
        self.listing, self.watch, self.key = listing, watch, key

    def check_xsrf_cookie(self) -> None:
        """Nothing: no browser sends it, and no cookie counts."""

    @allow_unauthenticated  # type: ignore[untyped-decorator]  # of any version
    async def post(self) -> None:
        """Make the job's next poll due; where no process follows it, start one."""
        body = self.request.body
        if len(body) > MOST_BYTES_OF_WEBHOOK:
            raise web.HTTPError(413)
        if not is_signed(body, dict(self.request.headers.get_all()), self.key, time.time()):
            raise web.HTTPError(401)
        if (batch := batch_of(body)) is not None:
            await asyncio.to_thread(self._wake, batch)
        self.set_status(204)
        self.finish()

    def _wake(self, batch: str) -> None:
        try:
            job = wake(self.listing.ledger, batch)
            if job is not None and not followed(self.listing.ledger.job(job), time.time()):
                self.watch.fetch(job)
        except LedgerError as e:
            self.log.warning("jupyter_batch: %s", e)


class RowsHandler(JupyterHandler):
    """The row view of a job, passed on from the process that serves it. 404, or 503 where it does not start.

    POST: labels and actions; the Jupyter server checks its token against forged requests first.
    """

    auth_resource = "jupyter_batch"
    _track_activity = False

    def initialize(self, rows: RowsServer) -> None:
        """Keep what the routes give."""
        self.rows = rows

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """The same file or JSON, with the same headers, above all the page's policy."""
        await self._pass_on(path)

    @web.authenticated
    @authorized
    async def post(self, path: str) -> None:
        """The same answer to the same body."""
        if len(self.request.body) > MOST_BODY:
            raise web.HTTPError(413)
        kind = self.request.headers.get("Content-Type", "")
        await self._pass_on(
            path, method="POST", body=self.request.body, headers={"Content-Type": kind}
        )

    async def _pass_on(self, path: str, **more: Any) -> None:
        try:
            address = await asyncio.to_thread(self.rows.address)
        except OSError as e:
            raise web.HTTPError(503, _literally(e)) from None
        client = AsyncHTTPClient(force_instance=True, max_body_size=MOST_BYTES)
        try:
            answer = await client.fetch(
                f"{address}/{path}?{self.request.query}",
                request_timeout=PATIENCE,
                raise_error=False,
                decompress_response=False,
                **more,
            )
        except (HTTPClientError, OSError) as e:
            raise web.HTTPError(503, _literally(e)) from None
        finally:
            client.close()
        self.set_status(answer.code)
        for name in PASSED_ON:
            if (value := answer.headers.get(name)) is not None:
                self.set_header(name, value)
        self.finish(answer.body)


def routes(
    base_url: str, listing: Listing, watch: Watch, rows: RowsServer, webhook_key: bytes | None
) -> list[tuple[str, type[JupyterHandler], dict[str, Any]]]:
    """What the server's web application is given. webhook_key: None where no webhooks are taken."""

    def at(place: str) -> str:
        return str(url_path_join(base_url, "jupyter-batch", place))

    webhook: list[tuple[str, type[JupyterHandler], dict[str, Any]]] = []
    if webhook_key is not None:
        given = {"listing": listing, "watch": watch, "key": webhook_key}
        webhook = [(at("webhook"), WebhookHandler, given)]
    return [
        *webhook,
        (at("jobs"), JobsHandler, {"listing": listing}),
        (
            at("jobs/([A-Za-z0-9_-]{1,64})/cancel"),
            CancelHandler,
            {"listing": listing, "watch": watch},
        ),
        (at("rows/([A-Za-z0-9_-]{1,64}/[a-z.]{0,20})"), RowsHandler, {"rows": rows}),
    ]


def _literally(error: Exception) -> str:
    return str(error).replace("%", "%%")  # tornado formats it
