"""The row view's server: JSON and the page, on loopback, for the jobs of one ledger."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from typing import Any, TypeVar

import msgspec
import orjson
from aiohttp import web

from jupyter_batch.core.errors import InputError, JobNotFoundError, JupyterBatchError
from jupyter_batch.core.schema import columns
from jupyter_batch.ledger.snapshots import snapshot_of
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor.view import view
from jupyter_batch.results.row import Row
from jupyter_batch.results.rows import ALL, CHIPS, CUT_OFF, SORTS, Query, Rows
from jupyter_batch.results.rows.comparison import Comparison
from jupyter_batch.viewer.access import HEADERS, Access
from jupyter_batch.viewer.actions import NAMES, Deed, JobActions
from jupyter_batch.viewer.export import FORMATS, chunks, formats, selected

_T = TypeVar("_T")
HOST = "127.0.0.1"
MOST_ROWS = 1000
"""Of a page."""
LONGEST_SEARCH = 500
_MOST_JOBS = 8
_JOB = "/{token}/{job:[A-Za-z0-9_-]{1,64}}"
_FILES = {
    "": ("index.html", "text/html"),
    "viewer.js": ("viewer.js", "text/javascript"),
    "viewer.css": ("viewer.css", "text/css"),
    "compare.html": ("compare.html", "text/html"),
    "compare.js": ("compare.js", "text/javascript"),
    "page.js": ("page.js", "text/javascript"),
}
MOST_BODY = 64_000
"""Bytes of a POST."""


class Viewer:
    """The server, in a thread of its own once started. access: who may ask."""

    def __init__(self, ledger: Ledger) -> None:
        self.access = Access()
        self.port = 0
        self._ledger = ledger
        self._open: OrderedDict[str, Rows] = OrderedDict()
        self._compared: dict[tuple[str, ...], Comparison] = {}
        self._actions: dict[str, JobActions] = {}
        self._lock = threading.Lock()
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

    def hold(self, job: str, held: Mapping[str, Deed]) -> None:
        """Let the page's actions on a job be those of the kernel's object, which fill its frames."""
        self._actions[job] = JobActions(self._ledger, job, held)

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
            response = _json({"problem": str(error)}, 404)
        except InputError as error:
            response = _json({"problem": str(error)}, 400)
        except (JupyterBatchError, OSError, TimeoutError) as error:
            response = _json({"problem": str(error)}, 500)
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
        return _json(await asyncio.to_thread(self._described, request.match_info["job"]))

    async def _page(self, request: web.Request) -> web.StreamResponse:
        rows, query = self._rows(request), _query(request)
        offset = _number(request, "offset", 0)
        limit = min(MOST_ROWS, _number(request, "limit", 100))
        page = await asyncio.to_thread(rows.page, query, offset, limit)
        labels = await asyncio.to_thread(rows.labels().read)
        shown = {row.position for row in page.rows}
        found = {
            name: {at: label for at, label in held.items() if at in shown}
            for name, held in labels.items()
        }
        return _json({**msgspec.to_builtins(page), "labels": found})

    async def _row(self, request: web.Request) -> web.StreamResponse:
        rows, position = self._rows(request), _number(request, "position", 0)
        try:
            row = await asyncio.to_thread(rows.row, position)
        except IndexError:
            return _json({"problem": "this job has no such row"}, 404)
        return _json(_whole(row))

    async def _export(self, request: web.Request) -> web.StreamResponse:
        rows, query = self._rows(request), _query(request)
        form = request.query.get("format", "csv")
        if form not in formats():
            return _json({"problem": f"expected one of {', '.join(formats())}; got {form!r}"}, 400)
        chosen = await asyncio.to_thread(selected, rows, query)
        if chosen is None:
            return _json({"problem": "the job's files could not be read in time; try again"}, 503)
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
        return _json(msgspec.to_builtins(await asyncio.to_thread(rows.agreements)))

    async def _label(self, request: web.Request) -> web.StreamResponse:
        given = await _body(request, _Labelled)
        label = given.label.strip() if given.label is not None else None
        labels = self._rows(request).labels()
        await asyncio.to_thread(labels.write, given.row, given.column, label or None, time.time())
        return _json({"row": given.row, "column": given.column, "label": label or None})

    async def _offered(self, request: web.Request) -> web.StreamResponse:
        return _json(await asyncio.to_thread(self._acting(request).offered))

    async def _act(self, request: web.Request) -> web.StreamResponse:
        given = await _body(request, _Asked)
        if given.name not in NAMES:
            return _json(
                {"problem": f"expected one of {', '.join(NAMES)}; got {given.name!r}"}, 400
            )
        return _json({"message": await asyncio.to_thread(self._acting(request).do, given.name)})

    def _acting(self, request: web.Request) -> JobActions:
        name = request.match_info["job"]
        with self._lock:
            if name not in self._actions:
                self._actions[name] = JobActions(self._ledger, name)
            return self._actions[name]

    async def _models(self, request: web.Request) -> web.StreamResponse:
        models = await asyncio.to_thread(self._comparison(request).models)
        return _json(msgspec.to_builtins(models))

    async def _compare(self, request: web.Request) -> web.StreamResponse:
        offset = _number(request, "offset", 0)
        limit = min(MOST_ROWS, _number(request, "limit", 100))
        only = request.query.get("only") == "1"
        comparison = self._comparison(request)
        page = await asyncio.to_thread(comparison.page, offset, limit, only=only)
        return _json(msgspec.to_builtins(page))

    def _comparison(self, request: web.Request) -> Comparison:
        record = self._rows(request).standing()[0]
        jobs = tuple(group_of(self._ledger, record.id)[1]) or (record.id,)
        with self._lock:
            if jobs not in self._compared:
                self._compared = {jobs: Comparison([Rows(self._ledger, job) for job in jobs])}
            return self._compared[jobs]

    # -- jobs -------------------------------------------------------------------------------------

    def _rows(self, request: web.Request) -> Rows:
        job = request.match_info["job"]
        with self._lock:
            if job not in self._open:
                while len(self._open) >= _MOST_JOBS:
                    self._open.popitem(last=False)[1].close()
                self._open[job] = Rows(self._ledger, job_named(self._ledger, job))
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
            "samples": record.samples,
            "formats": formats(),
            "stamp": [str(record.id), *(f"{one.number} {one.step}" for one in shards)],
            "group_id": name,
            "group": [{"id": one, "model": self._ledger.job(one).model} for one in group],
        }


def job_named(ledger: Ledger, name: str) -> str:
    """The id of a job, or of the first of a group, by its id, its beginning, or its name."""
    group = ledger.groups().get(name)
    return ledger.job(group[0] if group else name).id


def group_of(ledger: Ledger, job: str) -> tuple[str, list[str]]:
    """The group that a job belongs to, and its jobs; ("", []) without one."""
    groups = ledger.groups().items()
    return next(((name, jobs) for name, jobs in groups if job in jobs), ("", []))


class _Labelled(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a label: None takes it back."""

    row: int
    column: str
    label: str | None


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an action."""

    name: str


async def _body(request: web.Request, kind: type[_T]) -> _T:
    """A JSON body. Its content type is one that pages of other origins can't send without being asked."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="expected application/json")
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.MsgspecError as error:
        raise web.HTTPBadRequest(text=f"this is no such request: {error}") from None


def _query(request: web.Request) -> Query:
    given = request.query
    chip, sort = given.get("chip", ALL), given.get("sort", "row")
    text = given.get("text", "").strip()
    if chip not in {ALL, CUT_OFF, *CHIPS} or sort not in SORTS or len(text) > LONGEST_SEARCH:
        raise web.HTTPBadRequest(text="this is no selection of rows")
    return Query(chip, text, sort, given.get("descending") == "1")


def _number(request: web.Request, name: str, default: int) -> int:
    given = request.query.get(name, str(default))
    if not (given.isascii() and given.isdecimal() and len(given) < 12):  # noqa: PLR2004 - digits
        raise web.HTTPBadRequest(text=f"{name} takes a whole number")
    return int(given)


def _whole(row: Row) -> dict[str, Any]:
    """A row's fields for JSON; what is no JSON becomes a text."""
    return {**dict(row), "label": str(row.label), "tokens": msgspec.to_builtins(row.tokens)}


def _json(value: Any, status: int = 200) -> web.Response:
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    body = orjson.dumps(value, option=option, default=str)
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")
