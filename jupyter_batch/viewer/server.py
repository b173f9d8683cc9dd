"""The row view's server: JSON and the page, on loopback, for the jobs of one ledger."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

import msgspec
from aiohttp import web

from jupyter_batch.core.errors import InputError, JobNotFoundError, JupyterBatchError
from jupyter_batch.core.schema import columns
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor.view import view
from jupyter_batch.results.rows import CUT_OFF, Query, Rows
from jupyter_batch.results.rows.comparison import Comparison
from jupyter_batch.results.rows.lines import Array
from jupyter_batch.viewer.access import HEADERS, Access
from jupyter_batch.viewer.actions import NAMES, Held, JobActions
from jupyter_batch.viewer.export import FORMATS, chunks, formats, selected
from jupyter_batch.viewer.requests import (
    MOST_BODY,
    Action,
    Choice,
    Labelled,
    Selection,
    answer,
    body,
    number_in,
    query_of,
    whole,
)

HOST = "127.0.0.1"
MOST_ROWS = 1000
"""Of a page."""
_MOST_JOBS = 8
_JOB = "/{token}/{job:[A-Za-z0-9_-]{1,64}}"
_FILES = {
    "": ("index.html", "text/html"),
    "viewer.js": ("viewer.js", "text/javascript"),
    "viewer.css": ("viewer.css", "text/css"),
    "compare.html": ("compare.html", "text/html"),
    "compare.js": ("compare.js", "text/javascript"),
    "page.js": ("page.js", "text/javascript"),
    "chosen.js": ("chosen.js", "text/javascript"),
}


class Viewer:
    """The server, in a thread of its own once started. access: who may ask."""

    def __init__(self, ledger: Ledger) -> None:
        self.access = Access()
        self.port = 0
        self._ledger = ledger
        self._open: OrderedDict[str, Rows] = OrderedDict()
        self._compared: dict[tuple[str, ...], Comparison] = {}
        self._actions: dict[str, JobActions] = {}
        self._held: dict[str, Held] = {}
        self._lock, self._compare_lock = threading.Lock(), threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # -- as a thread ------------------------------------------------------------------------------

    def start(self, port: int = 0) -> Viewer:
        """Listen, on any free port by default. Raises OSError where the port is taken."""
        begun = threading.Event()
        failed: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(self._serve(port, begun))
            except BaseException as error:  # raised in the caller's thread
                failed.append(error)
            finally:
                begun.set()

        self._thread = threading.Thread(target=run, name="jupyter_batch-viewer", daemon=True)
        self._thread.start()
        begun.wait()
        if failed:
            raise failed[0]
        return self

    def stop(self) -> None:
        """Close the server and what it reads."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(10)
        with self._lock:
            for rows in self._open.values():
                rows.close()
            self._open.clear()

    def wait(self) -> None:
        """Block until the server has ended."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(0.5)

    def address(self, job: str) -> str:
        """The page of a job."""
        return f"http://{HOST}:{self.port}/{self.access.token}/{job}/"

    def entry(self, job: str) -> str:
        """An address that is valid once, for a command line."""
        return f"http://{HOST}:{self.port}/{self.access.entry()}/{job}/"

    async def _serve(self, port: int, begun: threading.Event) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, port)
            await site.start()
            self.port = runner.addresses[0][1]
            begun.set()
            await self._over.wait()
        finally:
            await runner.cleanup()

    def hold(self, name: str, held: Held) -> None:
        """Let the page's actions on a job or a group be those of the kernel's object."""
        self._held[name] = held
        self._actions[name] = JobActions(self._ledger, name, held)

    # -- over HTTP --------------------------------------------------------------------------------

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=MOST_BODY)
        app.router.add_get(_JOB + "/state", self._state)
        app.router.add_get(_JOB + "/page", self._page)
        app.router.add_get(_JOB + "/row", self._row)
        app.router.add_get(_JOB + "/export", self._export)
        app.router.add_get(_JOB + "/labels", self._labels)
        app.router.add_post(_JOB + "/label", self._label)
        app.router.add_get(_JOB + "/actions", self._offered)
        app.router.add_post(_JOB + "/action", self._act)
        app.router.add_get(_JOB + "/price", self._price)
        app.router.add_post(_JOB + "/retry", self._retry)
        app.router.add_post(_JOB + "/choose", self._choose)
        app.router.add_get(_JOB + "/models", self._models)
        app.router.add_get(_JOB + "/compared", self._compare)
        for name in _FILES:
            app.router.add_get(f"{_JOB}/{name}", self._file)
        app.router.add_get("/{token}/{tail:.*}", self._nothing)
        return app

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        try:
            self.access.check(request)
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        except JobNotFoundError as error:
            response = answer({"problem": str(error)}, 404)
        except InputError as error:
            response = answer({"problem": str(error)}, 400)
        except (JupyterBatchError, OSError, TimeoutError) as error:
            response = answer({"problem": str(error)}, 500)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def _nothing(self, _request: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound(text="there is nothing here")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name, kind = _FILES[request.path.rpartition("/")[2]]
        data = resources.files("jupyter_batch").joinpath("viewer", "page", name).read_bytes()
        return web.Response(body=data, content_type=kind, charset="utf-8")

    async def _state(self, request: web.Request) -> web.StreamResponse:
        return answer(await asyncio.to_thread(self._described, request.match_info["job"]))

    async def _page(self, request: web.Request) -> web.StreamResponse:
        rows, query = self._rows(request), query_of(request)
        offset = number_in(request, "offset", 0)
        limit = min(MOST_ROWS, number_in(request, "limit", 100))
        page = await asyncio.to_thread(rows.page, query, offset, limit)
        labels = await asyncio.to_thread(rows.labels().read)
        shown = {row.position for row in page.rows}
        found = {
            name: {at: label for at, label in held.items() if at in shown}
            for name, held in labels.items()
        }
        cells = await asyncio.to_thread(self._cells, request, sorted(shown))
        return answer({**msgspec.to_builtins(page), "labels": found, "cells": cells})

    def _cells(self, request: web.Request, positions: list[int]) -> dict[int, dict[str, str]]:
        held = self._held.get(request.match_info["job"])
        return {} if held is None or held.cells is None else held.cells.at(positions)

    async def _row(self, request: web.Request) -> web.StreamResponse:
        rows, position = self._rows(request), number_in(request, "position", 0)
        try:
            row = await asyncio.to_thread(rows.row, position)
        except IndexError:
            return answer({"problem": "this job has no such row"}, 404)
        cells = await asyncio.to_thread(self._cells, request, [position])
        return answer({**whole(row), "cells": cells.get(position, {})})

    async def _export(self, request: web.Request) -> web.StreamResponse:
        rows, query = self._rows(request), query_of(request)
        form = request.query.get("format", "csv")
        if form not in formats():
            return answer({"problem": f"expected one of {', '.join(formats())}; got {form!r}"}, 400)
        chosen = await asyncio.to_thread(selected, rows, query)
        if chosen is None:
            return answer({"problem": "the job's files could not be read in time; try again"}, 503)
        contents, positions = chosen
        response = web.StreamResponse(
            headers={
                **HEADERS,
                "Content-Type": FORMATS[form],
                "Content-Disposition": f'attachment; filename="{contents.job.id}.{form}"',
            }
        )
        await response.prepare(request)
        pieces = chunks(contents, positions, form)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            await response.write(piece)
        await response.write_eof()
        return response

    # -- labels, actions, models ------------------------------------------------------------------

    async def _labels(self, request: web.Request) -> web.StreamResponse:
        """The agreement of labels and answers, by column."""
        rows = self._rows(request)
        return answer(msgspec.to_builtins(await asyncio.to_thread(rows.agreements)))

    async def _label(self, request: web.Request) -> web.StreamResponse:
        given = await body(request, Labelled)
        label = given.label.strip() if given.label is not None else None
        labels = self._rows(request).labels()
        await asyncio.to_thread(labels.write, given.row, given.column, label or None, time.time())
        return answer({"row": given.row, "column": given.column, "label": label or None})

    async def _offered(self, request: web.Request) -> web.StreamResponse:
        return answer(await asyncio.to_thread(self._acting(request).offered))

    async def _act(self, request: web.Request) -> web.StreamResponse:
        given = await body(request, Action)
        if given.name not in NAMES:
            return answer(
                {"problem": f"expected one of {', '.join(NAMES)}; got {given.name!r}"}, 400
            )
        acting = self._acting(request)
        message = await asyncio.to_thread(acting.do, given.name)
        return await self._done(request, message)

    async def _price(self, request: web.Request) -> web.StreamResponse:
        """The price of a retry of a selection."""
        most = number_in(request, "max_tokens", 0) or None
        query = query_of(request)
        found = await asyncio.to_thread(self._selected, request, query)
        chosen = self._acting(request).chosen
        made = await asyncio.to_thread(chosen, found, most, cut=query.chip == CUT_OFF)
        return answer(msgspec.to_builtins(made))

    async def _retry(self, request: web.Request) -> web.StreamResponse:
        given = await body(request, Selection)
        if (given.chip == CUT_OFF) != (given.max_tokens is not None):
            raise web.HTTPBadRequest(text="max_tokens goes with the rows that were cut off")
        found = await asyncio.to_thread(self._selected, request, given.query)
        acting = self._acting(request)
        message = await asyncio.to_thread(acting.retry, found, given.max_tokens)
        return await self._done(request, message)

    async def _done(self, request: web.Request, message: str) -> web.StreamResponse:
        """The message, and the job that continues this one; what retries this one retries that, too."""
        name = request.match_info["job"]
        last = await asyncio.to_thread(self._acting(request).latest)
        if (held := self._held.get(name)) and last not in {"", *self._held}:
            self.hold(last, held.for_retry())
        return answer({"message": message, "job": last})

    async def _choose(self, request: web.Request) -> web.StreamResponse:
        given = await body(request, Choice)
        name, _ = group_of(self._ledger, request.match_info["job"])
        acting = JobActions(self._ledger, name, self._held.get(name))
        return answer({"message": await asyncio.to_thread(acting.choose, given.model)})

    def _selected(self, request: web.Request, query: Query) -> list[int]:
        """The positions of a selection. Raises TimeoutError."""
        found = selected(self._rows(request), query)
        if found is None:
            raise TimeoutError("the job's files could not be read in time; try again")
        return [int(at) for at in found[1]]

    def _acting(self, request: web.Request) -> JobActions:
        name = request.match_info["job"]
        with self._lock:
            if name not in self._actions:
                self._actions[name] = JobActions(self._ledger, name)
            return self._actions[name]

    async def _models(self, request: web.Request) -> web.StreamResponse:
        models = await asyncio.to_thread(self._comparison(request).models)
        return answer(msgspec.to_builtins(models))

    async def _compare(self, request: web.Request) -> web.StreamResponse:
        offset = number_in(request, "offset", 0)
        limit = min(MOST_ROWS, number_in(request, "limit", 100))
        only = request.query.get("only") == "1"
        comparison = self._comparison(request)
        page = await asyncio.to_thread(comparison.page, offset, limit, only=only)
        return answer(msgspec.to_builtins(page))

    def _comparison(self, request: web.Request) -> Comparison:
        return self._compared_with(self._rows(request).standing()[0].id)

    def _compared_with(self, job: str) -> Comparison:
        jobs = tuple(group_of(self._ledger, job)[1]) or (job,)
        with self._compare_lock:
            if jobs not in self._compared:
                self._compared = {jobs: Comparison([Rows(self._ledger, one) for one in jobs])}
            return self._compared[jobs]

    def _differing(self, rows: Rows) -> Callable[[], Array] | None:
        """The rows of a job that other models of its group answered differently; None without a group."""
        record, _ = rows.standing()
        if record.model_column or len(group_of(self._ledger, record.id)[1]) < 2:  # noqa: PLR2004
            return None
        return lambda: self._compared_with(record.id).differing()

    # -- jobs -------------------------------------------------------------------------------------

    def _rows(self, request: web.Request) -> Rows:
        job = request.match_info["job"]
        with self._lock:
            if job not in self._open:
                while len(self._open) >= _MOST_JOBS:
                    self._open.popitem(last=False)[1].close()
                made = Rows(self._ledger, job_named(self._ledger, job))
                made.differing = self._differing(made)
                self._open[job] = made
            self._open.move_to_end(job)
            return self._open[job]

    def _described(self, job: str) -> dict[str, Any]:
        """The page's head."""
        with self._lock:
            rows = self._open.get(job) or Rows(self._ledger, job_named(self._ledger, job))
        record, shards = rows.standing()
        seen = view(snapshot_of(record, shards, time.time()))
        name, group = group_of(self._ledger, record.id)
        return {
            "id": record.id,
            "title": seen.title,
            "state": seen.state,
            "colour": seen.colour,
            "final": seen.is_final,
            "facts": [seen.model, *seen.times, seen.tokens, seen.cost],
            "lines": [*seen.blocked, *seen.lines],
            "fields": [] if record.schema is None else [f.name for f in record.schema.fields],
            "answer": next(iter(columns(record.out, record.schema))) or "answer",
            "columns": list(record.fills),
            "source": self._source(job),
            "asked": record.columns,
            "samples": record.samples,
            "formats": formats(),
            "stamp": [str(record.id), *(f"{one.number} {one.step}" for one in shards)],
            "group_id": name,
            "group": [{"id": one, "model": self._ledger.job(one).model} for one in group],
            "compared": len(group) > 1 and not record.model_column,
            "choosing": bool((held := self._held.get(name)) and held.choose),
        }

    def _source(self, job: str) -> list[str]:
        """The columns of the kernel's frame."""
        held = self._held.get(job)
        return [] if held is None or held.cells is None else held.cells.names()


def job_named(ledger: Ledger, name: str) -> str:
    """The id of a job, or of the first of a group, by its id, its beginning, or its name."""
    group = ledger.groups().get(name)
    return ledger.job(group[0] if group else name).id


def group_of(ledger: Ledger, job: str) -> tuple[str, list[str]]:
    """The group that a job belongs to, and its jobs; ("", []) without one."""
    groups = ledger.groups().items()
    return next(((name, jobs) for name, jobs in groups if job in jobs), ("", []))
