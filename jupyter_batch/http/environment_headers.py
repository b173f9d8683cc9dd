"""Headers that the libraries below take from the environment, and the hosts that they are for. Pure.

The openai SDK sends OPENAI_CUSTOM_HEADERS, OPENAI_ORG_ID and OPENAI_PROJECT_ID to every address, and so does whatever
is built on it (about half of litellm's providers); some of litellm's providers prefer a token of the environment to
the key that they are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from jupyter_batch.core.secrets import clean, in_environment
from jupyter_batch.http.address import address, is_below

_OPENAI = r"https://([a-z]{2}\.)?api\.openai\.com:443(/.*)?"
_ANTHROPIC = r"https://api\.anthropic\.com:443(/.*)?"
_OPENAI_BASES = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
_AZURE_BASES = ("AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT")
_EVERY_BASE = "JUPYTER_BATCH_API_BASES"
_KEYS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})
"""The headers that carry a key."""


class _Extra(NamedTuple):
    """Headers of the environment.

    hosts: their provider's. bases: variables that name other addresses. keys: variables of the keys that they go with.
    header: the name of the one whose value the variable holds; "" for a variable of whole headers.
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


class Stray(NamedTuple):
    """A header that is not for the host it would be sent to. variable: where it is from."""

    header: str
    variable: str

    @property
    def is_key(self) -> bool:
        """Whether it stands where the call's key should."""
        return self.header in _KEYS


def strays(
    headers: Mapping[str, str], url: str, key: str | None, environ: Mapping[str, str]
) -> list[Stray]:
    """The headers of a request that the environment holds for other hosts.

    headers: by lower-case name. key: the one that was chosen for an address that was given; None where the library
    below looks for a key and an address itself.
    """
    found = [
        Stray(name, extra.variable)
        for extra in _EXTRAS
        for name, value in _held(extra, environ)
        if headers.get(name) == value and not _is_for(extra, url, key, environ)
    ]
    if key is None:
        return found
    secrets = {secret.strip(): name for name, secret in in_environment(environ)}
    for header, value in headers.items():
        said = value.rpartition(" ")[2]
        if said in secrets and said != key:
            found.append(Stray(header, secrets[said]))
    return found


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
    """Whether headers go to their own provider, to an address of the environment, or with the environment's key."""
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
