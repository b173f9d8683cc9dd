"""Policy for keys: which key of this process may be sent to which address. Pure, no network.

A key from the environment is sent to its provider's own hosts, or to an address named by this
user: in a call of this kernel, or in the same environment (OPENAI_BASE_URL,
JUPYTER_BATCH_API_BASES). An address in the ledger is not enough: a ledger can be someone else's.
A key given in a call is sent to the address of that call's job.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from jupyter_batch.core.errors import KeyMissingError, OptionError
from jupyter_batch.core.secrets import clean, remember
from jupyter_batch.http.address import address, host_of, is_https_at, is_near
from jupyter_batch.providers.record import RECORDS, Record

NO_KEY = "no-key"
"""The key for a server that was named without one: the SDKs require a value."""
NAMED_VARIABLE = "JUPYTER_BATCH_API_BASES"
"""Addresses, separated by spaces or commas, to which the environment's keys may be sent."""


class Source(StrEnum):
    """The origin of a key."""

    CALL = "call"
    ENVIRONMENT = "environment"
    NOWHERE = "nowhere"


class Key(NamedTuple):
    """A key of this process. name: the variable that holds it. provider: the key's provider."""

    text: str
    source: Source
    name: str = ""
    provider: str = ""

    def __repr__(self) -> str:
        return f"Key({self.source.value}, {self.name!r})"


class Decision(NamedTuple):
    """key: the key to send; None where the job is blocked. reason: why, and the remedy."""

    key: str | None
    reason: str = ""

    def __repr__(self) -> str:
        return f"Decision({'blocked' if self.key is None else 'send'}, {self.reason!r})"


def decide(
    provider: str,
    api_base: str | None,
    keys: Collection[Key],
    *,
    environ: Mapping[str, str],
    named: Collection[str] | None,
    keyless: bool = False,
) -> Decision:
    """Return the first of `keys` that may be sent to `api_base` (None: where the SDK sends it).

    named: the addresses that this kernel named without a key, as `address` writes them; None where
    `api_base` itself was just named. keyless: the job was submitted without a key.
    """
    by_user = is_named(provider, api_base, environ=environ, named=named)
    for key in keys:
        if key.source is Source.CALL or by_user or _owns(key, api_base):
            return Decision(key.text)
    if api_base is not None and is_near(api_base) and (keyless or (by_user and not keys)):
        return Decision(NO_KEY)
    return Decision(None, _reason(provider, api_base, keys))


def is_named(
    provider: str,
    api_base: str | None,
    *,
    environ: Mapping[str, str],
    named: Collection[str] | None,
) -> bool:
    """Whether this process's user named an address."""
    if api_base is None or named is None:
        return True
    return address(api_base) in {*named, *named_by_environment(provider, environ)}


def _owns(key: Key, api_base: str | None) -> bool:
    record = RECORDS.get(key.provider)
    return record is not None and api_base is not None and is_own_host(record, api_base)


def is_own_host(record: Record, api_base: str) -> bool:
    """Whether an address is one of the provider's own, over TLS and at the usual port."""
    return is_https_at(api_base, record.hosts)


def owner_of(api_base: str | None) -> Record | None:
    """The provider whose own host an address is."""
    if api_base is None:
        return None
    return next((record for record in RECORDS.values() if is_own_host(record, api_base)), None)


def named_by_environment(provider: str, environ: Mapping[str, str]) -> set[str]:
    """The addresses that the environment names for a provider's key."""
    record = RECORDS.get(provider)
    upper = provider.upper()
    names = {*(record.base if record is not None else ()), f"{upper}_API_BASE", f"{upper}_BASE_URL"}
    found = [environ[name] for name in names if environ.get(name)]
    found += re.split(r"[\s,]+", environ.get(NAMED_VARIABLE, ""))
    return {address(base) for base in found if base}


def keys_of(
    provider: str,
    api_base: str | None,
    api_key: str | None,
    environ: Mapping[str, str],
    module: object = None,
) -> list[Key]:
    """Return the candidate keys for a provider at an address, the first choice first.

    module: litellm, if it is imported: a key set on it by the user counts. Raises KeyMissingError
    for a variable that holds no key, and OptionError for an argument that is not a key.
    """
    if api_key is not None:
        return [Key(_cleaned(api_key, "api_key", OptionError), Source.CALL, "api_key", provider)]
    return list(_set_here(provider, api_base, environ, module))


def _set_here(
    provider: str, api_base: str | None, environ: Mapping[str, str], module: object
) -> Iterator[Key]:
    owner = owner_of(api_base)
    if owner is not None and owner.name != provider and owner.compatible:
        for name in owner.key:  # such as Groq's, called in OpenAI's dialect
            if environ.get(name, "").strip():
                yield Key(_cleaned(environ[name], name), Source.ENVIRONMENT, name, owner.name)
    record = RECORDS.get(provider)
    attributes = None if record is None else record.litellm_keys
    for attribute in attributes or (f"{provider}_key",):
        value = getattr(module, attribute, None)
        if isinstance(value, str) and value.strip():
            name = f"litellm.{attribute}"
            yield Key(_cleaned(value, name), Source.ENVIRONMENT, name, provider)
    for name in key_names(provider):
        if environ.get(name, "").strip():
            yield Key(_cleaned(environ[name], name), Source.ENVIRONMENT, name, provider)


def key_names(provider: str) -> tuple[str, ...]:
    """The environment variables searched for a provider's key."""
    record = RECORDS.get(provider)
    if record is None:
        return (f"{provider.upper()}_API_KEY",)
    return record.key


def _cleaned(
    text: str, name: str, error: type[KeyMissingError | OptionError] = KeyMissingError
) -> str:
    remember(text)
    try:
        key = clean(text)
    except ValueError as e:
        raise error(f"{name} {e}: copy the key again") from None
    remember(key)
    return key


def _reason(provider: str, api_base: str | None, keys: Collection[Key]) -> str:
    """Why no key is sent, and the remedy."""
    names = key_names(provider)
    variable = names[0] if names else "the provider's key"
    if not keys:
        owner = owner_of(api_base)
        if owner is not None and owner.key and owner.name != provider:
            variable = owner.key[0]
        if api_base is None or owner is not None:
            return (
                f"no API key for {provider}: set {variable} in the environment before Jupyter starts (or "
                "os.environ in a cell), or give api_key= for this call; it is kept in memory alone"
            )
        return (
            f"no API key for {provider} at {host_of(api_base)}: give api_key= (in the cell, or "
            f"job.resume(api_key=...)), or set {variable} and {_naming(provider)}={api_base}"
        )
    return (
        f"{keys_named(keys)} was not sent to {host_of(api_base or '')}, which this kernel did not name: run the job's "
        "cell again, or job.resume(api_key=...) with a key for that host; in a terminal set "
        f"{_naming(provider)}={api_base}"
    )


def _naming(provider: str) -> str:
    record = RECORDS.get(provider)
    return record.base[0] if record is not None and record.base else NAMED_VARIABLE


def keys_named(keys: Collection[Key]) -> str:
    """Describe the variables that hold keys."""
    names = dict.fromkeys(key.name for key in keys if key.name)
    return " and ".join(names) or "the key of this machine"
