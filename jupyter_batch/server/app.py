"""The HTTP application: admission, faults on request, the shape of errors."""

from __future__ import annotations

import asyncio
import time
import uuid
from base64 import b64decode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_urldispatcher import SystemRoute

from jupyter_batch.process.log import logger
from jupyter_batch.server.checks.guard import refuse_pages
from jupyter_batch.server.errors import (
    ApiError,
    bad_request,
    no_key,
    server_error,
    unreadable,
    wrong_key,
)
from jupyter_batch.server.faults import Faults, parse_faults
from jupyter_batch.server.messages import routes as messages
from jupyter_batch.server.protocol import Connection
from jupyter_batch.server.routes import batches, files, realtime
from jupyter_batch.server.service import SERVICE, Service, json_body, reply, service
from jupyter_batch.server.storage.store import is_full, no_room
from jupyter_batch.server.translate.message_objects import envelope, has_v1_twice, speaks

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ADMIN = "/jupyter_batch/"
OPENAI_VERSION = "2020-10-01"
ORGANIZATION = "org-local"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_UNREAD = frozenset({408, 413})
"""Refusals that leave the rest of a body unread: the connection can't be used again."""
_BEGAN: ContextVar[float] = ContextVar("_BEGAN")
_REQUEST_ID: ContextVar[str] = ContextVar("_REQUEST_ID")
_LOG = logger(__name__)

routes = web.RouteTableDef()


@routes.get("/jupyter_batch/stats")
async def stats(request: web.Request) -> web.Response:
    """What was asked since the start."""
    return reply(service(request).stats.as_json())


@routes.get("/jupyter_batch/faults")
async def faults(request: web.Request) -> web.Response:
    """The faults in force."""
    return reply(service(request).faults.now)


@routes.put("/jupyter_batch/faults")
async def set_faults(request: web.Request) -> web.Response:
    """Other faults, from here on; for batches: those created from here on. `{"spec": "..."}`, or the faults by name."""
    body = await json_body(request)
    try:
        new = parse_faults(body["spec"] if set(body) == {"spec"} else body)
    except ValueError as error:
        raise bad_request(str(error)) from error
    service(request).faults.set(new)
    return reply(new)


def build(serving: Service) -> web.Application:
    """The application of one server."""
    app = web.Application(middlewares=[_shape, _guard, _break], client_max_size=0)
    app[SERVICE] = serving
    app.on_response_prepare.append(_sign)
    for table in (routes, files.routes, batches.routes, realtime.routes, messages.routes):
        app.add_routes(_with_expect(table))
    return app


def _with_expect(table: web.RouteTableDef) -> list[web.RouteDef]:
    """The routes of a table, each of which answers a header `Expect` in OpenAI's shape."""
    return [
        web.RouteDef(
            route.method, route.path, route.handler, {**route.kwargs, "expect_handler": _expect}
        )
        for route in table
        if isinstance(route, web.RouteDef)
    ]


async def _expect(request: web.Request) -> web.StreamResponse | None:
    _BEGAN.set(time.perf_counter())
    _REQUEST_ID.set(f"req_{uuid.uuid4().hex}")
    wanted = request.headers.get(hdrs.EXPECT, "")
    if wanted.lower() != "100-continue":
        return _refused(request, ApiError(417, f"Unknown expectation: '{wanted}'."))
    if request.version >= HttpVersion11:
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0  # the answer itself did not begin
    return None


def _route(request: web.Request) -> str:
    """A route's name in the counters: `POST /v1/batches/{batch_id}/cancel`."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else request.path}"


@web.middleware
async def _shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error in the shape of the API that was called, every request counted."""
    began, serving = time.perf_counter(), service(request)
    serving.touched = time.monotonic()
    _BEGAN.set(began)
    _REQUEST_ID.set(f"req_{uuid.uuid4().hex}")
    if isinstance(request.protocol, Connection):
        request.protocol.headers_arrived()
    if not isinstance(request.match_info.route, SystemRoute):
        serving.stats.received[_route(request)] += 1
    try:
        response = await handler(request)
    except ApiError as error:
        response = _refused(request, error)
        if error.status in _UNREAD:
            response.force_close()
    except web.HTTPException as error:
        response = _http_error(request, error)
    except UnicodeError:
        response = _refused(request, bad_request("The request holds text that is not valid UTF-8."))
    except (HttpProcessingError, web.RequestPayloadError) as error:
        response = _refused(request, unreadable(error))
        response.force_close()
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:
        if is_full(error):
            response = _refused(request, no_room())
        else:
            _LOG.exception("%s %s", request.method, request.path)
            response = _refused(request, server_error())
    serving.stats.answered[response.status] += 1
    return response


def _refused(request: web.Request, error: ApiError) -> web.Response:
    """An error's response; Anthropic's envelope on its paths."""
    body = (
        envelope(error.status, error.message, _REQUEST_ID.get())
        if speaks(request.path)
        else error.body()
    )
    response = reply(body, error.status)
    response.headers.update(error.headers)
    return response


async def _sign(request: web.Request, response: web.StreamResponse) -> None:
    """The headers that every answer has, a streamed one too."""
    if speaks(request.path):
        response.headers["request-id"] = _REQUEST_ID.get()
        response.headers["anthropic-organization-id"] = ORGANIZATION
        return
    response.headers["x-request-id"] = _REQUEST_ID.get()
    response.headers["openai-version"] = OPENAI_VERSION
    response.headers["openai-organization"] = ORGANIZATION
    response.headers["openai-processing-ms"] = str(
        round((time.perf_counter() - _BEGAN.get()) * 1000)
    )


def _hint(path: str) -> str:
    """The remedy for an address with `/v1` in a client that appends `/v1` itself."""
    if not has_v1_twice(path):
        return ""
    return "; this client appends /v1 itself: give it the server's address without /v1"


def _http_error(request: web.Request, error: web.HTTPException) -> web.Response:
    if isinstance(error, web.HTTPMethodNotAllowed):
        wrong = ApiError(
            405,
            f"Not allowed to {request.method} on {request.path}. (HINT: Perhaps you meant to use a "
            "different HTTP method?)",
            code="method_not_supported",
            headers={hdrs.ALLOW: ", ".join(sorted(error.allowed_methods))},
        )
    elif isinstance(error, web.HTTPNotFound):
        wrong = ApiError(404, f"Invalid URL ({request.method} {request.path}){_hint(request.path)}")
    else:
        wrong = ApiError(error.status, error.text or error.reason)
    return _refused(request, wrong)


def _key(request: web.Request) -> str:
    """The key that was sent: Bearer, Basic's password with a blank username (as at OpenAI), or a header of its own."""
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    key = ""
    if scheme.lower() == "bearer":
        key = given.strip()
    elif scheme.lower() == "basic":
        with suppress(ValueError):
            user, _, password = b64decode(given.strip(), validate=True).decode().partition(":")
            key = "" if user else password
    return key or request.headers.get("api-key") or request.headers.get("x-api-key") or ""


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check the token (see `_key`); an unknown URL is a 404 without one."""
    serving = service(request)
    if isinstance(request.match_info.route, SystemRoute):
        return await handler(request)
    if serving.is_open_to_all:
        refuse_pages(request)
        return await handler(request)
    key = _key(request)
    if not key:
        raise no_key()
    if not serving.admits(key):
        raise wrong_key(key)
    return await handler(request)


@web.middleware
async def _break(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The faults that can befall any request, before and after it takes effect."""
    serving, route = service(request), _route(request)
    if isinstance(request.match_info.route, SystemRoute) or request.path.startswith(ADMIN):
        return await handler(request)
    box = serving.faults
    now: Faults = box.now
    if now.latency:
        await asyncio.sleep(now.latency)
    if box.draw(now.reset, "reset", route):
        raise _cut(request)
    if box.draw(now.rate_limit, "429", route):
        raise ApiError(
            429,
            "Rate limit reached for requests. Please try again later.",
            type_="requests",
            code="rate_limit_exceeded",
            headers={hdrs.RETRY_AFTER: f"{now.retry_after:g}"},
        )
    if box.draw(now.server_error, "500", route):
        raise server_error()
    response = await handler(request)
    if response.status < 400:  # noqa: PLR2004 - HTTP errors begin there
        serving.stats.took_effect[route] += 1
    if box.draw(now.reset_after, "reset_after", route):
        raise _cut(request)
    return response


def _cut(request: web.Request) -> ConnectionResetError:
    """Cut the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError("cut by request (--faults)")
