"""The policy for keys: which key of this process may be sent to which address. Pure; it opens no connection.

A key from the environment goes to its provider's own hosts, or to an address that this user named: in a call of this
kernel, or through the same environment (OPENAI_BASE_URL, JUPYTER_BATCH_API_BASES). What the ledger says is not a name:
a ledger can be someone else's. A key that a call was given goes to the address of that call's job.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from jupyter_batch.core.errors import KeyMissingError, OptionError
from jupyter_batch.core.secrets import clean, remember
from jupyter_batch.http.address import address, host_of, is_https_at, is_near
from jupyter_batch.providers.records import RECORDS, Record

NO_KEY = "no-key"
"""What a server is called with that was named without any key: the SDKs want one."""
NAMED_VARIABLE = "JUPYTER_BATCH_API_BASES"
"""Addresses, separated by spaces or commas, that the environment's keys may go to."""


class Source(StrEnum):
    """Where a key is from."""

    CALL = "call"
    ENVIRONMENT = "environment"
    NOWHERE = "nowhere"


class Key(NamedTuple):
    """A key of this process. name: the variable that holds it. provider: whose key it is."""

    text: str
    source: Source
    name: str = ""
    provider: str = ""

    def __repr__(self) -> str:
        return f"Key({self.source.value}, {self.name!r})"


class Decision(NamedTuple):
    """key: what to send; None where the job is blocked for its key. reason: why it is, and the way out."""

    key: str | None
    reason: str = ""

    def __repr__(self) -> str:
        return f"Decision({'blocked' if self.key is None else 'send'}, {self.reason!r})"


def decide(
    provider: str,
    base: str | None,
    keys: Collection[Key],
    *,
    environ: Mapping[str, str],
    named: Collection[str] | None,
    keyless: bool = False,
) -> Decision:
    """The first of `keys` that may go to `base` (None: where the provider's own library sends it).

    named: the addresses that this kernel named without a key, as `address` writes them; None where `base` itself was
    named just now. keyless: the job was submitted without a key.
    """
    by_user = is_named(provider, base, environ=environ, named=named)
    for key in keys:
        if key.source is Source.CALL or by_user or _owns(key, base):
            return Decision(key.text)
    if base is not None and is_near(base) and (keyless or (by_user and not keys)):
        return Decision(NO_KEY)
    return Decision(None, _reason(provider, base, keys))


def is_named(
    provider: str,
    base: str | None,
    *,
    environ: Mapping[str, str],
    named: Collection[str] | None,
) -> bool:
    """Whether the user of this process named an address."""
    if base is None or named is None:
        return True
    return address(base) in {*named, *named_by_environment(provider, environ)}


def _owns(key: Key, base: str | None) -> bool:
    record = RECORDS.get(key.provider)
    return record is not None and base is not None and is_own_host(record, base)


def is_own_host(record: Record, base: str) -> bool:
    """Whether an address is one of the provider's own, over TLS and at the usual port."""
    return is_https_at(base, record.hosts)


def owner_of(base: str | None) -> Record | None:
    """The provider whose own host an address is."""
    if base is None:
        return None
    return next((record for record in RECORDS.values() if is_own_host(record, base)), None)


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
    base: str | None,
    given: str | None,
    environ: Mapping[str, str],
    module: object = None,
) -> list[Key]:
    """The keys that may be meant for a provider at an address, the first choice first.

    module: litellm, where it is imported: what a user set on it counts. Raises KeyMissingError for a variable that
    holds no key, and OptionError for an argument that is none.
    """
    if given is not None:
        return [Key(_cleaned(given, "api_key", OptionError), Source.CALL, "api_key", provider)]
    return list(_set_here(provider, base, environ, module))


def _set_here(
    provider: str, base: str | None, environ: Mapping[str, str], module: object
) -> Iterator[Key]:
    owner = owner_of(base)
    if owner is not None and owner.name != provider and owner.litellm == RECORDS["openai"].litellm:
        for name in owner.key:  # such as Groq's, called in OpenAI's dialect
            if environ.get(name, "").strip():
                yield Key(_cleaned(environ[name], name), Source.ENVIRONMENT, name, owner.name)
    attributes = ("api_key", "openai_key") if provider == "openai" else (f"{provider}_key",)
    for attribute in attributes:
        value = getattr(module, attribute, None)
        if isinstance(value, str) and value.strip():
            name = f"litellm.{attribute}"
            yield Key(_cleaned(value, name), Source.ENVIRONMENT, name, provider)
    for name in key_names(provider):
        if environ.get(name, "").strip():
            yield Key(_cleaned(environ[name], name), Source.ENVIRONMENT, name, provider)


def key_names(provider: str) -> tuple[str, ...]:
    """The environment variables that a provider's key is looked for in."""
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


def _reason(provider: str, base: str | None, keys: Collection[Key]) -> str:
    """Why no key is sent, and the way out."""
    names = key_names(provider)
    variable = names[0] if names else "the provider's key"
    if not keys:
        owner = owner_of(base)
        if owner is not None and owner.key and owner.name != provider:
            variable = owner.key[0]
        if base is None or owner is not None:
            return (
                f"no API key for {provider}: set {variable} in the environment before Jupyter starts (or "
                "os.environ in a cell), or give api_key= for this call; it is kept in memory alone"
            )
        return (
            f"no API key for {provider} at {host_of(base)}: give api_key= (in the cell, or "
            f"job.resume(api_key=...)), or set {variable} and {_naming(provider)}={base}"
        )
    return (
        f"{keys_named(keys)} was not sent to {host_of(base or '')}, which this kernel did not name: run the job's "
        "cell again, or job.resume(api_key=...) with a key for that host; in a terminal set "
        f"{_naming(provider)}={base}"
    )


def _naming(provider: str) -> str:
    record = RECORDS.get(provider)
    return record.base[0] if record is not None and record.base else NAMED_VARIABLE


def keys_named(keys: Collection[Key]) -> str:
    """The variables that hold keys, in words."""
    names = dict.fromkeys(key.name for key in keys if key.name)
    return " and ".join(names) or "the key of this machine"
