"""Connections to servers: proxies, certificates and redirects.

- This machine is never reached through a proxy; other hosts are, according to the environment.
- Every client uses the first of SSL_CERT_FILE, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE that is set.
- A call that carries rows or a change is never redirected. A download may be (to a storage host),
  then without the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import fnmatch
import functools
import os
import re
import ssl
import urllib.request
import weakref
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import SplitResult, urlsplit

from jupyter_batch.core.errors import AuthenticationError
from jupyter_batch.http.address import host_of, is_near, is_this_machine, origin
from jupyter_batch.http.bodies import ask_for_bounded, bound
from jupyter_batch.http.environment_headers import strays

if TYPE_CHECKING:
    import httpx

BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables with the path of a certificate file."""
_SECRET = re.compile(
    r"(?i)auth|key|token|secret|cookie|signature|organization|project|^cf-|^helicone|^x-portkey"
)
"""Headers that are only for the first address."""
_BAD_GATEWAY = frozenset({407, 502, 503, 504})
"""Statuses of a proxy that does not let a call through."""


_ENTRY = re.compile(
    r"(?:https?://)?(?:\[(?P<number>[^]]+)\]|(?P<name>[^:]+|.*:.*:.*?))(?::(?P<port>\d+))?/?"
)
"""An entry of NO_PROXY."""
TO_PROXY = "; HTTP_PROXY and HTTPS_PROXY take its user and password before its host"
_PORTS = {"http": 80, "https": 443}


class SentOnError(ConnectionError):
    """A redirect to another server, which was not followed."""


# --- proxies --------------------------------------------------------------------------------------------------------


def proxy_for(base: str) -> str | None:
    """Return the environment's (or system's) proxy for an address; None for a direct connection."""
    url = urlsplit(base)
    host = url.hostname or ""
    if not host or is_this_machine(host):
        return None
    proxies = urllib.request.getproxies()
    if not proxies or urllib.request.proxy_bypass(host) or _is_listed(url, proxies.get("no", "")):
        return None
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_listed(url: SplitResult, no_proxy: str) -> bool:
    """Whether NO_PROXY has an address in a form that urllib does not read, but curl or others do.

    These are networks (10.0.0.0/8), patterns (*.example.com), hosts with a port, numbers in
    brackets, and names with a dot at the end.
    """
    host, port = (url.hostname or "").rstrip("."), url.port or _PORTS.get(url.scheme)
    for entry in no_proxy.lower().replace(",", " ").split():
        found = _ENTRY.fullmatch(entry)
        if found is None or (found["port"] and int(found["port"]) != port):
            continue
        name = (found["number"] or found["name"]).rstrip(".")
        try:
            if ip_address(host) in ip_network(name, strict=False):
                return True
        except ValueError:  # one of them is a name
            if fnmatch.fnmatchcase(host, name) or host.endswith(f".{name.lstrip('.')}"):
                return True
    return False


def http_only(proxy: str | None) -> str | None:
    """Return the proxy for a client without SOCKS. Raises ConnectionError for a SOCKS proxy."""
    if proxy is not None and proxy.startswith("socks"):
        raise ConnectionError(
            "real time takes no SOCKS proxy: set HTTPS_PROXY (HTTP_PROXY) to an HTTP proxy, or NO_PROXY"
        )
    return proxy


def through(base: str, status: int | None = None) -> str:
    """Return " through the proxy HOST" where a proxy may be the cause, without its password."""
    proxy = proxy_for(base) if "://" in base else None
    if proxy is None or (status is not None and status not in _BAD_GATEWAY):
        return ""
    return f" through the proxy {proxy.partition('://')[0]}://{host_of(proxy)}"


def opener(base: str) -> urllib.request.OpenerDirector:
    """Return a urllib opener for an address."""
    proxies: dict[str, str] | None = {} if is_near(base) else None
    return urllib.request.build_opener(urllib.request.ProxyHandler(proxies))


# --- certificates ---------------------------------------------------------------------------------------------------


def bundle() -> str | None:
    """Return the certificate file from the environment; None for the default ones."""
    paths = (os.environ[name].strip() for name in BUNDLES if name in os.environ)
    return next((path for path in paths if path and os.path.isfile(path)), None)  # noqa: PTH113 - as text


def trusted() -> ssl.SSLContext:
    """Return the SSL context, cached: else 20 to 80 ms of CPU per client, on the event loop."""
    return _trusted(bundle(), os.environ.get("SSL_CERT_DIR"))


@functools.lru_cache(maxsize=4)
def _trusted(file: str | None, folder: str | None) -> ssl.SSLContext:
    import httpx

    if file is None:
        context = httpx.create_ssl_context()
        context.load_default_certs()  # this system's store: a company's network may sign what it reads
        return context
    try:
        return ssl.create_default_context(cafile=file, capath=folder)
    except OSError as e:
        name = next(name for name in BUNDLES if os.environ.get(name, "").strip() == file)
        why = f"{name} names {file}, which can't be read as certificates ({e})"
        raise ConnectionError(why) from None


def certificate_words(cause: str) -> str:
    """Return advice for an untrusted certificate; "" for other failures."""
    if "CERTIFICATE_VERIFY_FAILED" not in cause and "certificate verify failed" not in cause:
        return ""
    given = {name: os.environ.get(name, "").strip() for name in BUNDLES}
    named = bundle()
    by = next((name for name, path in given.items() if path and path == named), "")
    lost = "".join(
        f"; {name} names {path}, which is no file"
        for name, path in given.items()
        if path and not os.path.isfile(path)  # noqa: PTH113 - as `bundle`
    )
    what = (
        f"it is not signed by one in {named} ({by})"
        if named
        else "nobody whom Python trusts signed it"
    )
    return f"{lost}; {what}: set SSL_CERT_FILE to the file of your network's certificates"


def proxy_words(base: str, cause: str) -> str:
    """Return advice for an answer of the proxy itself; "" for other failures."""
    if not through(base):
        return ""
    if cause.startswith("407"):
        return TO_PROXY
    if cause.startswith("403"):
        return (
            "; the proxy refuses this host: ask whoever runs it to allow it, or add it to NO_PROXY"
        )
    return ""


# --- clients --------------------------------------------------------------------------------------------------------


def client_for(base: str, **more: Any) -> httpx.AsyncClient:
    """Return an HTTP client for an address. more: httpx arguments."""
    import httpx

    with socks():
        return httpx.AsyncClient(**rules(base), **more)


def sdk_client_for(base: str, **more: Any) -> Any:
    """Return the openai SDK's HTTP client, with its timeouts: httpx, or httpx2 in openai 3."""
    from openai import DefaultAsyncHttpxClient

    with socks():
        return DefaultAsyncHttpxClient(**rules(base), **more)


@contextlib.contextmanager
def socks() -> Iterator[None]:
    """Raise a helpful error for the environment's proxy: SOCKS without its package, or no address."""
    try:
        yield
    except ImportError:
        why = "a SOCKS proxy needs the package socksio: pip install socksio"
        raise ConnectionError(why) from None
    except Exception as e:
        if (
            not isinstance(e, ValueError) and type(e).__name__ != "InvalidURL"
        ):  # httpx's, or httpx2's
            raise
        why = f"HTTP_PROXY, HTTPS_PROXY or ALL_PROXY is no proxy's address: {e}"
        raise ConnectionError(why) from None


def rules(base: str) -> dict[str, Any]:
    """The arguments of an HTTP client for an address."""
    return {
        "trust_env": not is_near(base),
        "verify": trusted(),
        "event_hooks": _hooks(),
    }


def _hooks() -> dict[str, list[Any]]:
    """Return the hooks on requests and responses, for our clients and litellm's."""
    return {"request": [ask_for_bounded, without_key, without_strays], "response": [stay, bound]}


_key: contextvars.ContextVar[str | None] = contextvars.ContextVar("jupyter_batch_key", default=None)


@contextlib.contextmanager
def with_key(key: str | None) -> Iterator[None]:
    """Use this key in calls inside, chosen for an explicit address, not the environment's."""
    mark = _key.set(key or None)
    try:
        yield
    finally:
        _key.reset(mark)


async def without_strays(request: httpx.Request) -> None:
    """Request hook: remove the environment's headers for other hosts (http/environment_headers.py).

    Raises AuthenticationError where a library has replaced the key with one.
    """
    given = dict(request.headers.items())
    for name in given.keys() - own_headers(given, str(request.url)).keys():
        del request.headers[name]


def own_headers(headers: Mapping[str, str], url: str) -> dict[str, str]:
    """The headers of a request without the environment's for other hosts. See `without_strays`."""
    kept = dict(headers)
    for stray in strays(headers, url, _key.get(), os.environ):
        if stray.is_key:
            raise AuthenticationError(
                f"{stray.variable} of the environment would be sent to {host_of(url)} in the place "
                "of this job's key, so that nothing was sent: unset it, or name the address in "
                "JUPYTER_BATCH_API_BASES if it is meant for it"
            )
        kept.pop(stray.header, None)
    return kept


async def stay(answer: httpx.Response) -> None:
    """Response hook: refuse redirects to other addresses for everything we send."""
    if not answer.has_redirect_location:
        return
    to = answer.url.join(answer.headers["location"])
    if _same(answer.url, to):
        return
    request = answer.request
    if request.method not in ("GET", "HEAD"):
        raise SentOnError(
            f"it sends us on to {to.scheme}://{to.netloc.decode()}, where nothing was sent: if that "
            "is the right address, give it as api_base"
        )
    request.extensions.setdefault("jupyter_batch_first", str(request.url))


def sent_on_to(request: httpx.Request) -> str:
    """Return the origin of a request that was redirected to another server; "" for others."""
    first, here = request.extensions.get("jupyter_batch_first"), origin(str(request.url))
    return "" if first is None or origin(first) == here else here


async def without_key(request: httpx.Request) -> None:
    """Request hook: remove the key from a request redirected to another host (a download)."""
    if not sent_on_to(request):
        return
    for name in list(request.headers):
        if _SECRET.search(name):
            del request.headers[name]


def _same(here: httpx.URL, to: httpx.URL) -> bool:
    """Whether a redirect stays at the server, possibly with an upgrade to TLS."""
    if to.host != here.host or (here.scheme == "https" and to.scheme != "https"):
        return False
    return to.scheme != here.scheme or to.port == here.port


# --- litellm's own clients ------------------------------------------------------------------------------------------


class _Transport:
    """A litellm transport with `near` for calls to this machine. known: `near`'s proxies."""

    def __init__(self, far: Any, near: Any, known: dict[str, str | None] | None) -> None:
        self._far = far
        self._near = near
        self._known = known

    async def handle_async_request(self, request: Any) -> Any:
        if not is_this_machine(request.url.host):
            return await self._far.handle_async_request(request)
        if self._known is not None:
            self._known[request.url.host] = None
        return await self._near.handle_async_request(request)

    async def aclose(self) -> None:
        await self._far.aclose()

    async def __aenter__(self) -> Self:
        await self._far.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._far.__aexit__(*error)


def guard(holder: Any) -> None:
    """Apply the rules of this module to a client made by litellm.

    holder: litellm's handler or an SDK's client, which holds one of httpx (httpx2 in openai 3).
    Private names are read, since neither has public ones; a client without them is unchanged.
    """
    held = (holder, getattr(holder, "_client", None), getattr(holder, "client", None))
    client = next(
        (one for one in held if hasattr(one, "_transport") and hasattr(one, "_mounts")), None
    )
    if client is None or isinstance(client._transport, _Transport):  # noqa: SLF001 - see above
        return
    hooks = client.event_hooks
    if "request" not in hooks or not hasattr(client._transport, "handle_async_request"):  # noqa: SLF001
        return
    ours = _hooks()
    client.event_hooks = {
        "request": [*hooks["request"], *ours["request"]],
        "response": [*ours["response"], *hooks.get("response", ())],
    }
    near = client._transport  # noqa: SLF001
    known = getattr(near, "proxy_cache", None)  # of litellm's aiohttp transport
    known = known if isinstance(known, dict) else None
    client._transport = _Transport(near, near, known)  # noqa: SLF001
    client._mounts = {  # noqa: SLF001
        pattern: mount if mount is None else _Transport(mount, near, known)
        for pattern, mount in client._mounts.items()  # noqa: SLF001
    }


def guard_all(litellm: Any) -> None:
    """Apply the rules to each client that litellm caches for the running loop from now on.

    The loop is ours alone, so the user's own calls to litellm are unaffected.
    """
    cache = getattr(litellm, "in_memory_llm_clients_cache", None)
    if cache is None or not hasattr(cache, "set_cache"):
        return
    loop = asyncio.get_running_loop()
    if not hasattr(cache.set_cache, "jupyter_batch_loops"):
        cache.set_cache = _guarding(cache.set_cache)
    cache.set_cache.jupyter_batch_loops.add(loop)


def _guarding(set_cache: Any) -> Any:
    loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    @functools.wraps(set_cache)
    def guarded(key: Any, value: Any, *args: Any, **more: Any) -> Any:
        with contextlib.suppress(RuntimeError):  # no running loop
            if asyncio.get_running_loop() in loops:
                guard(value)
        return set_cache(key, value, *args, **more)

    guarded.jupyter_batch_loops = loops  # type: ignore[attr-defined]
    return guarded
