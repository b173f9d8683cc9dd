"""Provider lookup: a model's full name and provider, its limits, and the address and key for calls.

Without litellm, so that a wrong model or a missing key is reported within a second.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping

import msgspec

from jupyter_batch.core.cost import FLEX
from jupyter_batch.core.errors import BadRequestError, KeyMissingError, ModelError, OptionError
from jupyter_batch.core.request import Limits
from jupyter_batch.core.secrets import masked
from jupyter_batch.http.address import check_base, host_name, is_near
from jupyter_batch.http.need_address import check_place, lacks_address
from jupyter_batch.providers.keys import NO_KEY, decide, is_named, key_names, keys_of
from jupyter_batch.providers.protocol import Access, Facts
from jupyter_batch.providers.record import CHAT, RECORDS, Record, is_cloud, is_embedded
from jupyter_batch.providers.windows import hours_of
from jupyter_batch.wire.dialects import OPENAI

DAY = 86400.0
FREE_BY_DEFAULT = "default"
BATCH, REALTIME = "batch", "realtime"

_NEAR = {"poll_first": 0.2, "poll_last": 5.0, "late_cancelled": 300.0, "cancelling": 60.0}
"""Polling a local server is free. Some never provide a cancelled batch's results (OGX 1.5.0)."""
_OURS = {**_NEAR, "settle": 1.0, "sure": True}
"""The embedded server lists a batch before it responds to the create. Any other server on this
machine may be a proxy or a tunnel to a remote one."""
_ANY = Limits(requests=50_000, bytes=200_000_000)
"""Request file limits where the provider sets none (real time, embedded server): OpenAI's."""


def split_model(model: str | None) -> tuple[str, str]:
    """("openai", "gpt-4.1-mini") of "openai/gpt-4.1-mini". Raises ModelError without a provider."""
    if not model:
        raise ModelError(
            'no model: give model="openai/gpt-4.1-mini" (--model in the magic), or set it once with '
            '%config LLMBatch.model = "openai/gpt-4.1-mini" or JUPYTER_BATCH_MODEL; "local/echo" needs no '
            "key"
        )
    check_model(model)
    model = full_name(model, api_base=None, environ=os.environ)
    provider, slash, name = model.partition("/")
    if not slash or not name or not provider:
        raise ModelError(
            f"the model {model!r} has no provider: write it as litellm does, PROVIDER/MODEL"
        )
    return provider, name


def check_model(model: str) -> None:
    """Reject a model name with a query or a key, without repeating it: the ledger stores names."""
    if "?" in model or "#" in model:
        raise ModelError(
            "model= holds a query (?...) or a fragment (#...), which no model's name has: give a key as "
            "api_key= and an address as api_base="
        )
    if masked(model) != model:
        raise ModelError("model= holds a key: give the model's name alone, and the key as api_key=")


def mode_of(model: str, mode: str, *, api_base: str | None) -> str:
    """Resolve `mode`: "auto" is real time only where that is free, else "batch".

    Raises ModelError, with the alternative and its price, if the provider has no usable batch API.
    """
    provider, name = split_model(model)
    record = RECORDS.get(provider)
    if mode in (REALTIME, FLEX):
        return mode
    if record is not None and record.batch:
        return BATCH
    if mode == "auto" and runs_here(provider, api_base):
        return REALTIME
    near = difflib.get_close_matches(provider.strip().lower(), RECORDS, n=1, cutoff=0.8)
    if record is None and near:
        raise ModelError(
            f"{provider!r} (of the model {model!r}) is no provider: did you mean {near[0]}/{name.strip()}?"
        )
    what = record.title if record is not None else repr(provider)
    raise ModelError(
        f"{what} (of the model {model!r}) has no batch API that jupyter_batch can use: "
        + _way_out(record, name)
    )


def runs_here(provider: str, api_base: str | None) -> bool:
    """Whether it is a local model server, where a request is free."""
    record = RECORDS.get(provider)
    if record is None or not record.free:
        return False
    return is_near(api_base) if api_base is not None else record.free == FREE_BY_DEFAULT


def _way_out(record: Record | None, name: str) -> str:
    if record is not None and record.instead and "realtime" not in record.instead:
        return f"give {record.instead.replace('<model>', name)}"
    return (
        'mode="realtime" asks at once, at the full price, without the discount of a batch; a server that speaks '
        f'OpenAI\'s batch API is model="openai/{name}" with api_base=; `jupyter batch providers` lists those that '
        "have one"
    )


def access_for(
    provider: str,
    *,
    api_base: str | None,
    api_key: str | None,
    environ: Mapping[str, str],
    named: Collection[str] | None = None,
    keyless: bool = False,
) -> Access:
    """Return address and key: from the call, else as litellm. Raises KeyMissingError, OptionError.

    named, keyless: see `keys.decide`; named is None where the user gives `api_base` in this call.
    """
    record = RECORDS[provider]
    if lacks_address(provider, api_base):
        raise OptionError(
            f"{provider}/... needs api_base= (the server's address, such as http://localhost:8000/v1): "
            "without it litellm would send the rows to OpenAI"
        )
    # A key set on litellm by the user counts, but litellm isn't imported for it.
    litellm = sys.modules.get("litellm")
    base = (
        api_base
        or (getattr(litellm, "api_base", None) if record.litellm_base else None)
        or _first(record.base, environ)
        or record.default_base
    )
    if not base:
        raise OptionError(
            f"{record.title} needs api_base=, or {' or '.join(record.base)} in the environment"
        )
    check_base(base, "api_base" if api_base else _name_of(base, record, environ))
    chosen = decide(
        provider,
        base,
        keys_of(provider, base, api_key, environ, litellm),
        environ=environ,
        named=named if api_base else None,
        keyless=keyless,
    )
    if chosen.key is None:
        raise KeyMissingError(chosen.reason)
    return Access(api_base=base.rstrip("/"), api_key=chosen.key, keyless=chosen.key == NO_KEY)


def check_deadline(model: str, provider: str, api_base: str | None, api_key: str | None) -> None:
    """Check that a late batch can be cancelled, and finished in real time. Raises as check_live."""
    record = RECORDS.get(provider)
    if record is not None and record.cancel is False:
        raise OptionError(
            f"deadline= can't be kept: {record.title} has no call that cancels a batch; leave it out, or give "
            'mode="realtime"'
        )
    check_live(model, provider, api_base, api_key)


def check_live(model: str, provider: str, api_base: str | None, api_key: str | None) -> None:
    """Reject a model that can't be called in real time. Raises OptionError, KeyMissingError."""
    if not is_embedded(provider):
        check_place(model, api_base)
        if api_base is None or not is_near(api_base):
            realtime_key(provider, api_key, os.environ, api_base=api_base)


def address_of(provider: str, api_base: str | None, environ: Mapping[str, str]) -> str | None:
    """Where a provider's requests are sent, in a batch or in real time; None if unknown here."""
    record = RECORDS.get(provider)
    base = api_base or (
        _first(record.base, environ) or record.default_base if record is not None else None
    )
    return base.rstrip("/") if base else None


def version_for(provider: str, api_version: str | None, environ: Mapping[str, str]) -> str | None:
    """The API's version, if it has to be chosen. Raises OptionError where it is missing."""
    record = RECORDS.get(provider)
    version = api_version or (_first(record.version, environ) if record is not None else None)
    if record is not None and record.version and not version:
        raise OptionError(
            f'{record.title} needs api_version= (such as "2024-10-21"), or {record.version[0]} in the '
            "environment"
        )
    if version in ("v1", "preview", "latest"):
        raise OptionError(f'api_version={version!r}: give a dated one, such as "2024-10-21"')
    return version


def check_window(provider: str, completion_window: str) -> None:
    """Check that the provider supports a completion window. Raises OptionError."""
    record = RECORDS[provider]
    if record.window_hours is not None:
        try:
            hours_of(completion_window, record)
        except BadRequestError as e:
            raise OptionError(str(e)) from None
    elif record.windows and not record.any_window and completion_window not in record.windows:
        raise OptionError(
            f"completion_window={completion_window!r}: {record.title} has {', '.join(record.windows)}"
        )


def check_output_life(provider: str, output_expires_after: float | None) -> None:
    """Check that the provider can keep result files for so long. Raises OptionError."""
    record = RECORDS[provider]
    if output_expires_after is None or (
        record.output_life
        and record.output_life[0] <= output_expires_after <= record.output_life[1]
    ):
        return
    if record.output_life is None:
        raise OptionError(
            f"output_expires_after: {record.title} is not known to keep result files for a time of "
            "your choice; leave it out"
        )
    least, most = record.output_life
    raise OptionError(
        f"output_expires_after: {record.title} keeps result files from {least // 3600}h to "
        f"{most // 86400}d, not for {output_expires_after:,.0f} seconds"
    )


def is_keyless(
    provider: str, api_base: str | None, api_key: str | None, environ: Mapping[str, str]
) -> bool:
    """Whether a local server is called without a key, since this process has none for it."""
    if is_embedded(provider) or is_cloud(provider) or api_base is None or not is_near(api_base):
        return False
    return not keys_of(provider, api_base, api_key, environ, sys.modules.get("litellm"))


def realtime_key(
    provider: str,
    api_key: str | None,
    environ: Mapping[str, str],
    *,
    api_base: str | None = None,
    named: Collection[str] | None = None,
    keyless: bool = False,
) -> str | None:
    """The key for real time; None where litellm has to find it. Raises KeyMissingError.

    named, keyless: see `keys.decide`. Without an address litellm calls the provider itself.
    """
    record = RECORDS.get(provider)
    litellm = sys.modules.get("litellm")
    for name in record.base if record is not None and api_base is None else ():
        if environ.get(name):
            check_base(environ[name], name)
    keys = keys_of(provider, api_base, api_key, environ, litellm)
    chosen = decide(provider, api_base, keys, environ=environ, named=named, keyless=keyless)
    if chosen.key is not None:
        return chosen.key
    optional = record is None or not record.key
    if optional and is_named(provider, api_base, environ=environ, named=named):
        return None
    if not keys and api_base is None and getattr(litellm, "api_key", None):
        return None
    raise KeyMissingError(chosen.reason)


def facts_of(provider: str, api_base: str | None) -> Facts:
    """The facts about a provider at an address: a local one is polled more often."""
    record = RECORDS.get(provider)
    if record is None:
        facts = Facts(name=provider, dialect=OPENAI, key=key_names(provider)[0], limits=_ANY)
    else:
        facts = _facts(record, api_base)
    if record is not None and record.embedded:
        return msgspec.structs.replace(facts, **_OURS)
    return msgspec.structs.replace(facts, **_NEAR) if api_base and is_near(api_base) else facts


def _facts(record: Record, api_base: str | None) -> Facts:
    names = record.key or (record.login,)
    keeps = record.keeps_days if _is_its_own(record, api_base) else None
    return Facts(
        name=record.name,
        dialect=record.dialect or OPENAI,
        key=names[0],
        tells_all=record.tells_all,
        limits=record.limits() or _ANY,
        one_file=record.files == 1,
        checks_file=record.checks_file,
        idempotent=record.idempotent,
        cancels=record.cancel is not False,
        keeps=None if keeps is None else keeps * DAY,
        keeps_from=record.keeps_from,
    )


def _is_its_own(record: Record, api_base: str | None) -> bool:
    """Whether an address is the provider's own, not another server of its dialect."""
    return api_base is None or host_name(api_base) == host_name(record.default_base or "")


def chat_path(provider: str) -> str:
    """The url in a provider's request lines."""
    record = RECORDS.get(provider)
    return record.chat if record is not None else CHAT


def _name_of(api_base: str, record: Record, environ: Mapping[str, str]) -> str:
    """The source of an address that the call did not give."""
    return next((name for name in record.base if environ.get(name) == api_base), "litellm.api_base")


def _first(names: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)


def full_name(model: str, *, api_base: str | None, environ: Mapping[str, str]) -> str:
    """Return `openai/gpt-4o-mini` for `gpt-4o-mini` or `openai:gpt-4o-mini`; full names unchanged.

    api_base: with an explicit address a bare name is `openai/NAME`, as for every compatible server.
    Raises ModelError where several hosts serve the model, or none is known.
    """
    name = model.strip()
    if not name or "?" in name or "#" in name:
        return model
    prefix, _, rest = name.partition(":")
    provider = _named(prefix.strip()) if rest else None
    if provider is not None:
        return f"{provider}/{rest.strip()}"
    if "/" in name:
        return model
    if api_base is not None:
        return f"openai/{name}"
    low = name.lower()
    makers = [record for record in RECORDS.values() if record.bare and re.match(record.bare, low)]
    if makers:
        makers.sort(key=lambda record: bool(record.settings))  # Google: its API, then its cloud
        made = next((record for record in makers if is_set_up(record, environ)), makers[0])
        return f"{made.name}/{name}"
    raise ModelError(_refusal(name, low, environ))


def _named(prefix: str) -> str | None:
    """The provider that libraries with "name:model" call so."""
    if prefix in RECORDS:
        return prefix
    return next((record.name for record in RECORDS.values() if prefix in record.also), None)


def is_set_up(record: Record, environ: Mapping[str, str]) -> bool:
    """Whether the environment has the provider's key, or the first setting of a cloud."""
    names = record.settings[0].environ if record.settings else record.key
    return any(environ.get(name) for name in names)


def _refusal(name: str, low: str, environ: Mapping[str, str]) -> str:
    hosts = [record for record in RECORDS.values() if low.startswith(record.serves or ("/",))]
    if not hosts:
        return (
            f"the model {name!r} has no provider, and which one is meant is not known: write it as "
            f'litellm does, PROVIDER/{name} (such as "openai/...", "anthropic/...", "mistral/..."), or '
            "give api_base= for a server of OpenAI's API"
        )
    here = [record for record in hosts if is_set_up(record, environ)]
    named = " or ".join(f'"{record.name}/{name}"' for record in here or hosts)
    keys = "the hosts whose keys are here" if here else "such as"
    return f"the model {name!r} is served by several hosts: name the one that is meant, {keys}: {named}"


def common_models() -> list[str]:
    """Return common models, those of providers with a key in the environment first."""
    order = sorted(
        RECORDS.items(), key=lambda item: not any(key in os.environ for key in item[1].key)
    )
    return [f"{provider}/{name}" for provider, record in order for name in record.models]


def listed_models() -> Iterator[str]:
    """Yield the models of batch providers in litellm's list; none before litellm is imported."""
    listed = getattr(sys.modules.get("litellm"), "models_by_provider", {})
    for provider, record in RECORDS.items():
        for name in sorted(listed.get(provider, ()) if record.batch else ()):
            yield name if name.startswith(f"{provider}/") else f"{provider}/{name}"
