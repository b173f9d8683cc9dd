"""Refusal of web pages on a server without a token: foreign hosts, origins, form bodies."""

from __future__ import annotations

from aiohttp import hdrs, web

from jupyter_batch.http.address import LOOPBACK, host_name, is_same_host
from jupyter_batch.server.errors import ApiError

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})
_UPLOADS = "/v1/files"


def refuse_pages(request: web.Request) -> None:
    """Raise ApiError for what a page in the user's browser can send to this machine.

    A page of another site reaches loopback in two ways: under a host name of its own that resolves to 127.0.0.1, or by
    a request without CORS, which takes effect although the page can't read the answer. Such a request carries its
    origin, and no body of type application/json.
    """
    host = host_name(f"//{request.host}")
    if host not in LOOPBACK:
        raise _refused(
            f"This server has no token, so it answers on loopback names only, not as '{host}'."
        )
    origin = request.headers.get(hdrs.ORIGIN)
    site = request.headers.get("Sec-Fetch-Site", "none")
    if (origin is not None and not is_same_host(origin, request.host)) or site not in _OWN_SITES:
        raise _refused(
            "This server has no token, so it takes no requests from web pages "
            f"(Origin: {origin or site}). Start it with a token."
        )
    if request.method not in _SAFE:
        _check_type(request)


def _check_type(request: web.Request) -> None:
    """A body is JSON, which no page can send without asking first; an upload is a form, and carries no origin."""
    sent = request.headers.get(hdrs.CONTENT_TYPE)
    if sent is None and not request.body_exists:
        return
    wanted = "multipart/form-data" if request.path == _UPLOADS else "application/json"
    if sent is None or request.content_type != wanted:
        raise ApiError(
            415,
            f"Unsupported content type. This API method only accepts '{wanted}' requests, but you "
            f"specified the header 'Content-Type: {sent or ''}'. Please try again with a supported "
            "content type.",
            code="unsupported_content_type",
        )


def _refused(message: str) -> ApiError:
    return ApiError(403, message)
