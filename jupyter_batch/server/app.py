"""The HTTP application: who may enter, what goes wrong on request, how errors look; it knows not what a route does."""

from __future__ import annotations

import asyncio
import time
import uuid
from base64 import b64decode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar

from aiohttp import hdrs, web
from aiohttp.web_urldispatcher import SystemRoute

from jupyter_batch.log import logger
from jupyter_batch.server import batches, files, realtime
from jupyter_batch.server.errors import ApiError, no_key, server_error, wrong_key
from jupyter_batch.server.faults import Faults, parse_faults
from jupyter_batch.server.service import SERVICE, Service, json_body, reply, service

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ADMIN = "/jupyter_batch/"
OPENAI_VERSION = "2020-10-01"
ORGANIZATION = "org-local"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_BEGAN: ContextVar[float] = ContextVar("_BEGAN")
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
        raise ApiError(400, str(error)) from error
    service(request).faults.set(new)
    return reply(new)


def build(serving: Service) -> web.Application:
    """The application of one server."""
    app = web.Application(middlewares=[_shape, _guard, _break], client_max_size=0)
    app[SERVICE] = serving
    app.on_response_prepare.append(_sign)
    for table in (routes, files.routes, batches.routes, realtime.routes):
        app.add_routes(table)
    return app


def _route(request: web.Request) -> str:
    """A route's name in the counters: `POST /v1/batches/{batch_id}/cancel`."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else request.path}"


@web.middleware
async def _shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error in OpenAI's shape, every request counted."""
    began, serving = time.perf_counter(), service(request)
    serving.touched = time.monotonic()
    _BEGAN.set(began)
    if not isinstance(request.match_info.route, SystemRoute):
        serving.stats.received[_route(request)] += 1
    try:
        response = await handler(request)
    except ApiError as error:
        response = reply(error.body(), error.status)
        response.headers.update(error.headers)
    except web.HTTPException as error:
        response = _http_error(request, error)
    except UnicodeError:
        response = reply(
            ApiError(400, "The request holds text that is not valid UTF-8.").body(), 400
        )
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception:
        _LOG.exception("%s %s", request.method, request.path)
        response = reply(server_error().body(), 500)
    serving.stats.answered[response.status] += 1
    return response


async def _sign(_request: web.Request, response: web.StreamResponse) -> None:
    """The headers that every answer has, a streamed one too."""
    response.headers["x-request-id"] = f"req_{uuid.uuid4().hex}"
    response.headers["openai-version"] = OPENAI_VERSION
    response.headers["openai-organization"] = ORGANIZATION
    response.headers["openai-processing-ms"] = str(
        round((time.perf_counter() - _BEGAN.get()) * 1000)
    )


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
        wrong = ApiError(404, f"Invalid URL ({request.method} {request.path})")
    else:
        wrong = ApiError(error.status, error.text or error.reason)
    response = reply(wrong.body(), wrong.status)
    response.headers.update(wrong.headers)
    return response


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
    """The token (`_key` says how it is sent); an unknown URL needs none to be told so."""
    serving = service(request)
    if isinstance(request.match_info.route, SystemRoute):
        return await handler(request)
    if serving.is_open_to_all:
        host = request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host
        if host not in _LOOPBACK:  # a web page could reach us under a name of its own
            raise ApiError(
                403,
                f"This server has no token, so it answers on loopback names only, not as '{host}'.",
            )
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
