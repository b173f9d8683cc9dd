"""Headers that third-party libraries read from the environment, and the hosts they are for.

The openai SDK sends OPENAI_CUSTOM_HEADERS, OPENAI_ORG_ID and OPENAI_PROJECT_ID to every address, as
do libraries built on it (about half of litellm's providers); some of litellm's providers prefer a
token from the environment to the key they are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from jupyter_batch.core.secrets import clean, in_environment, is_secret
from jupyter_batch.http.address import address, is_below

_OPENAI = r"https://([a-z]{2}\.)?api\.openai\.com:443(/.*)?"
_ANTHROPIC = r"https://api\.anthropic\.com:443(/.*)?"
_OPENAI_BASES = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
_AZURE_BASES = ("AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT")
_EVERY_BASE = "JUPYTER_BATCH_API_BASES"
_KEYS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})
"""Headers that carry a key."""


class _Extra(NamedTuple):
    """A source of headers in the environment.

    hosts: their provider's. bases: variables with other addresses. keys: variables of the matching
    keys. header: the header whose value the variable holds; "" for a variable of whole headers.
    """

    variable: str
    hosts: str
    bases: tuple[str, ...]
    keys: tuple[str, ...]
    header: str = ""


_OF_OPENAI = (_OPENAI, (*_OPENAI_BASES, *_AZURE_BASES), ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"))
_EXTRAS = (
    _Extra("OPENAI_CUSTOM_HEADERS", *_OF_OPENAI),
    _Extra("OPENAI_ORG_ID", *_OF_OPENAI, header="openai-organization"),
    _Extra("OPENAI_ORGANIZATION", *_OF_OPENAI, header="openai-organization"),
    _Extra("OPENAI_PROJECT_ID", *_OF_OPENAI, header="openai-project"),
    _Extra(
        "ANTHROPIC_CUSTOM_HEADERS",
        _ANTHROPIC,
        ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
        ("ANTHROPIC_API_KEY",),
    ),
)


def openai_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """The headers that the openai SDK takes from the environment."""
    extras = [extra for extra in _present(environ) if extra.hosts == _OPENAI]
    return {name: value for extra in extras for name, value in _held(extra, environ)}


def _present(environ: Mapping[str, str]) -> list[_Extra]:
    """The sources that are set."""
    return [extra for extra in _EXTRAS if extra.variable in environ]


class Stray(NamedTuple):
    """A header for another host than the request's. variable: its source."""

    header: str
    variable: str

    @property
    def is_key(self) -> bool:
        """Whether it replaces the call's key."""
        return self.header in _KEYS


def strays(
    headers: Mapping[str, str], url: str, key: str | None, environ: Mapping[str, str]
) -> list[Stray]:
    """Return the headers of a request that the environment holds for other hosts.

    headers: by lower-case name. key: the one for an explicit address; None where the library looks
    up key and address itself.
    """
    found = [
        Stray(name, extra.variable)
        for extra in _present(environ)
        for name, value in _held(extra, environ)
        if headers.get(name) == value and not _is_for(extra, url, key, environ)
    ]
    if key is None:
        return found
    credentials = {name: value.rpartition(" ")[2] for name, value in headers.items()}
    others = {name: text for name, text in credentials.items() if text != key and is_secret(text)}
    secrets = {secret.strip(): name for name, secret in in_environment(environ)} if others else {}
    return found + [Stray(name, secrets[text]) for name, text in others.items() if text in secrets]


def _held(extra: _Extra, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    text = environ.get(extra.variable, "")
    if extra.header:
        if text:
            yield extra.header, text
        return
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip().lower(), value.strip()


def _is_for(extra: _Extra, url: str, key: str | None, environ: Mapping[str, str]) -> bool:
    """Whether the URL is the provider's own or from the environment, or the key is from there."""
    if re.fullmatch(extra.hosts, address(url)):
        return True
    named = [environ.get(name, "") for name in extra.bases]
    named += re.split(r"[\s,]+", environ.get(_EVERY_BASE, ""))
    if any(is_below(url, base) for base in named if base):
        return True
    return key is not None and any(_same(environ.get(name, ""), key) for name in extra.keys)


def _same(held: str, key: str) -> bool:
    try:
        return clean(held) == key
    except ValueError:
        return False
