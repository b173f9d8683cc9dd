"""Server addresses: validation, normalization for comparison and display, and local hosts."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from jupyter_batch.core.errors import OptionError

_CALLS = (
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/responses",
    "/files",
    "/models",
)
"""Paths of endpoints, which are not base addresses."""
_PORTS = {"http": 80, "https": 443}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""The names and numbers that a server on this machine answers to."""


def check_base(base: str, name: str = "api_base", key: str = "api_key=") -> None:
    """Check that an address can be called and stored. Raises OptionError without repeating it.

    name: the setting that it was given as. key: how that setting's key is given.
    """
    url = _split(base)
    if url is None or not is_address(base):
        raise OptionError(f"{name} is no address: it looks like https://host/v1")
    if url.username is not None or url.password is not None:
        raise OptionError(
            f"{name} holds a user name or a password: give the key as {key} instead, since the "
            "address is written to disk and shown"
        )
    call = next((path for path in _CALLS if url.path.rstrip("/").endswith(path)), None)
    if call is not None:
        raise OptionError(
            f"{name} ends with {call}, which is a call and no base: give what stands before it, such as "
            "https://host/v1"
        )
    if "?" in base or "#" in base:
        part = "a query (?...)" if "?" in base else "a fragment (#...)"
        raise OptionError(
            f"{name} holds {part}: leave it out, and give a key as {key}, since the address is "
            "written to disk and shown"
        )


def is_address(base: str) -> bool:
    """Whether this is an address that can be called."""
    url = _split(base)
    return url is not None and url.scheme in _PORTS and bool(url.hostname)


def host_name(base: str) -> str:
    """Return an address's host without the port; "" without one."""
    url = _split(base)
    return "" if url is None else url.hostname or ""


def _split(base: str) -> SplitResult | None:
    try:
        url = urlsplit(base)
        _ = url.port
    except ValueError:
        return None
    return url


def address(base: str) -> str:
    """Return the normalized address with its path, by which some hosts separate users."""
    url = _split(base.strip())
    if url is None:
        return base
    port = url.port or _PORTS.get(url.scheme, 0)
    return f"{url.scheme}://{(url.hostname or '').lower()}:{port}{url.path.rstrip('/')}"


def origin(base: str) -> str:
    """Return the scheme, host and port of an address."""
    url = _split(base)
    if url is None:
        return base
    return f"{url.scheme}://{(url.hostname or '').lower()}:{url.port or _PORTS.get(url.scheme, 0)}"


def is_below(url: str, base: str) -> bool:
    """Whether a URL is at an address, or at a path below it."""
    at, root = address(url), address(base)
    return at == root or at.startswith(f"{root}/")


def host_of(base: str) -> str:
    """Return a host with its port, for display."""
    url = _split(base)
    return "an address that can't be read" if url is None else url.netloc.rpartition("@")[2]


def is_own_server(base: str) -> bool:
    """Whether an address can be an embedded server's: HTTP, on this machine, with a port."""
    url = _split(base)
    return url is not None and url.scheme == "http" and bool(url.port) and is_near(base)


def is_https_at(base: str, hosts: Iterable[str]) -> bool:
    """Whether an address uses TLS at the default port, and its whole host matches a pattern."""
    url = _split(base)
    if url is None or url.scheme != "https" or url.port not in (None, 443):
        return False
    host = (url.hostname or "").lower()
    return any(re.fullmatch(pattern, host) for pattern in hosts)


def is_near(base: str) -> bool:
    """Whether an address is on this machine."""
    url = _split(base)
    return url is not None and is_this_machine(url.hostname or "")


@functools.lru_cache(maxsize=1024)
def is_this_machine(host: str) -> bool:
    """Whether a host name or number is this machine's. Names are not resolved."""
    host = host.lower().strip("[]").rstrip(".")
    try:
        number = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    if isinstance(number, IPv6Address) and number.ipv4_mapped is not None:
        number = number.ipv4_mapped
    return number.is_loopback or number.is_unspecified


def is_same_host(origin: str, host: str) -> bool:
    """Whether a page's origin is HTTP at this Host header: the server's own page."""
    url = _split(origin)
    return url is not None and url.scheme == "http" and url.netloc.lower() == host.lower()
