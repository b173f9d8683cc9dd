"""Connections kept open between calls: one pool for each proxy and event loop, for all providers.

A client for each call costs 35 ms and a TLS handshake; on a kept connection a poll costs neither.
"""

from __future__ import annotations

import asyncio
import ssl
import weakref
from typing import TYPE_CHECKING, Any, Self, cast

from jupyter_batch.http.network import proxy_for, rules, socks, trusted

if TYPE_CHECKING:
    import httpx

    from jupyter_batch.http.direct_transport import DirectTransport

KEPT_SECONDS = 20.0
"""How long a connection is kept without use; servers close theirs after a minute or more."""


class _Pools:
    """A transport of httpx, whose connections outlive the clients that use it."""

    def __init__(self) -> None:
        self._by_proxy: dict[tuple[str | None, int], httpx.AsyncBaseTransport] = {}
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        """Do nothing: a client closes its transport, and this one is shared. See `close`."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.pool(str(request.url)).handle_async_request(request)

    def pool(self, url: str) -> httpx.AsyncBaseTransport:
        context = trusted()  # another one where the environment names other certificates
        key = (proxy_for("/".join(url.split("/", 3)[:3])), id(context))  # parsed once for a host
        if key not in self._by_proxy:
            self._by_proxy[key] = _transport(key[0], context)
        return self._by_proxy[key]

    async def aclose(self) -> None:
        """Do nothing, as at the end of a client."""

    async def close(self) -> None:
        """Close all connections."""
        pools, self._by_proxy = list(self._by_proxy.values()), {}
        for pool in pools:
            await pool.aclose()


def _transport(proxy: str | None, context: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    """A transport through a proxy, or without one, which costs a fifth of the time."""
    if proxy is None:
        from jupyter_batch.http.direct_transport import DirectTransport

        return DirectTransport(context, KEPT_SECONDS)
    import httpx

    limits = httpx.Limits(max_connections=None, keepalive_expiry=KEPT_SECONDS)
    with socks():
        return httpx.AsyncHTTPTransport(verify=context, proxy=proxy, limits=limits)


_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Pools] = weakref.WeakKeyDictionary()


class _After:
    """Pools whose first response is here already."""

    def __init__(self, pools: _Pools, first: httpx.Response) -> None:
        self._pools = pools
        self._first: httpx.Response | None = first

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        """Do nothing, as the pools."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        first, self._first = self._first, None
        return first or await self._pools.handle_async_request(request)

    async def aclose(self) -> None:
        """Do nothing, as the pools."""


def client_on_kept(
    user: object, base: str, *, first: httpx.Response | None = None, **more: Any
) -> httpx.AsyncClient:
    """Return a client for an address, on connections that are open until `user` is let go.

    more: httpx's arguments. first: the response to its first request, which is not sent again.
    To be called on the event loop that uses it.
    """
    import httpx

    pools = _of_loop(user)
    transport = pools if first is None else _After(pools, first)
    return httpx.AsyncClient(transport=cast("Any", transport), **rules(base), **more)


def direct_to(user: object, url: str) -> DirectTransport | None:
    """This loop's connections to an address; None where a proxy is used. See `client_on_kept`."""
    pool = _of_loop(user).pool(url)
    return cast("DirectTransport", pool) if hasattr(pool, "send") else None


def _of_loop(user: object) -> _Pools:
    loop = asyncio.get_running_loop()
    pools = _pools.get(loop)
    if pools is None:
        pools = _pools[loop] = _Pools()
    pools.users.add(user)
    return pools


async def let_go(user: object) -> None:
    """Close this loop's connections if no other user is left."""
    pools = _pools.get(asyncio.get_running_loop())
    if pools is None or user not in pools.users:
        return
    pools.users.discard(user)
    if not pools.users:
        await pools.close()
