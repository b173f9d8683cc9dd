"""Checked orders: the options and the order of each model of a call, before anything is stored."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_batch.config import settings
from jupyter_batch.config.option import declared
from jupyter_batch.config.options import EVERY, FileOptions
from jupyter_batch.config.resolved import Options, checked, resolve, unknown
from jupyter_batch.core.errors import KeyMissingError, OptionError
from jupyter_batch.core.schema import suffixed
from jupyter_batch.notebook import kernel
from jupyter_batch.planning.one_key import check_one_place
from jupyter_batch.providers.keys import NO_KEY
from jupyter_batch.providers.model_names import full_name
from jupyter_batch.providers.prices import price_of
from jupyter_batch.providers.registry import RECORDS
from jupyter_batch.providers.table import REALTIME
from jupyter_batch.row_files.row_sources import space_of
from jupyter_batch.runner.process import Session, session
from jupyter_batch.schema import read as read_schema

if TYPE_CHECKING:
    from jupyter_batch.ledger.records import JobRecord
    from jupyter_batch.planning.ask import Ask
    from jupyter_batch.planning.escalation import Destination
    from jupyter_batch.planning.files.requests import RequestFile
    from jupyter_batch.planning.resolve import Order


class Checked(NamedTuple):
    """A checked call: the options and the order of each model. key: of the call, if any."""

    here: Session
    several: bool
    orders: list[tuple[Options, Order]]
    key: str | None


def orders_of(
    source: Any, prompt: Any, given: dict[str, Any], door: str, *, needs_key: bool = True
) -> Checked:
    """Check a call with all its models before anything is stored. Raises an InputError."""
    from jupyter_batch.planning.resolve import filled_by, order
    from jupyter_batch.prompts.dspy_module import frame_of
    from jupyter_batch.prompts.embeddings import by_model
    from jupyter_batch.prompts.short_forms import spelled_out

    configured = settings.read()
    source = frame_of(source, prompt)
    prompt, given = spelled_out(source, prompt, given)
    given = full_names(given, configured.model)
    several, key = _by_model(given), given.get("api_key")
    here = session(configured.home)
    asks = []
    for one in several or [given]:
        asked, rest = by_model(prompt, one, one.get("model") or configured.model)
        opts = resolve(rest if needs_key else {**rest, "api_key": key or NO_KEY}, configured)
        asks.append((asked, opts))
    filled = filled_by([opts for _, opts in asks]) if several else ()

    def made(asked: Any, opts: Options) -> Order:
        return order(
            here.ledger,
            source,
            asked,
            opts,
            door=door,
            notebook=kernel.notebook_path(),
            versions=_versions(),
            beside=filled,
        )

    orders: list[tuple[Options, Order]] = []
    refused: list[KeyMissingError] = []
    for asked, opts in asks:
        try:
            orders.append((opts, made(asked, opts)))
        except KeyMissingError as e:
            if not several:
                raise
            refused.append(e)
            # The job waits for its key, and the others run.
            orders.append((opts, made(asked, replace(opts, api_key=NO_KEY))))  # type: ignore[type-var]  # a dataclass at run time
    if refused and len(refused) == len(asks):
        raise refused[0]
    check_one_place(key, [order.ask for _, order in orders])
    return Checked(here, bool(several), orders, key)


def file_order(path: Path, given: dict[str, Any]) -> tuple[Session, Options, RequestFile, Ask]:
    """Check the call for a file of requests before anything is stored. Raises an InputError.

    Without a model, it is that of the file's first request.
    """
    from jupyter_batch.planning.files.requests import RequestFile, ask_of

    names = [option.name for option in declared(FileOptions)]
    if wrong := next((name for name in given if name not in (*names, "model")), None):
        raise OptionError(f"submit_file: {unknown(wrong, names)}")
    configured = settings.read()
    file = RequestFile(path)
    model = given.get("model") or _model_of(file, configured.model, given.get("api_base"))
    opts = resolve(full_names({**given, "model": model}, configured.model), configured)
    asked = ask_of(file, opts, notebook=kernel.notebook_path(), versions=_versions())
    return session(configured.home), opts, file, asked


def destination_of(job: JobRecord, given: dict[str, Any]) -> Destination:
    """The place of a retry at another model: the job's own where the provider is the same.

    given: model, and api_key, api_base, where the call has them. Raises an InputError.
    """
    from jupyter_batch.planning.escalation import Destination
    from jupyter_batch.planning.resolve import target_of

    configured = settings.read()
    given = full_names({name: value for name, value in given.items() if value is not None}, None)
    if str(given["model"]).partition("/")[0] == job.provider:
        own = {"api_base": job.api_base, "api_version": job.api_version, **job.cloud}
        given = {**{name: value for name, value in own.items() if value is not None}, **given}
    if job.mode == REALTIME:
        given["mode"] = REALTIME
    opts = resolve(given, configured)
    target = target_of(opts, None)
    limits = target.limits.at_most(job.shard_size)
    return Destination(
        model=opts.model,
        space=space_of(target.place, target.provider, target.endpoint),
        price=price_of(opts.model, mode=target.mode, api_base=target.api_base, given=opts.prices),
        **{**target._asdict(), "limits": limits},
    )


def _model_of(file: RequestFile, configured: str | None, api_base: str | None) -> str | None:
    """The model that a file names, in full; the configured one where that is meant, or none is named."""
    name = file.first.body.get("model")
    if not isinstance(name, str) or (configured or "").partition("/")[2] == name:
        return configured
    prefix = name.partition("/")[0]
    return f"openai/{name}" if api_base is not None and prefix not in RECORDS else name


def _by_model(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options for each model of a list, each with columns that end with its name; [] for a single model.

    Raises OptionError for a list that is empty or names a model twice.
    """
    models = given.get("model")
    if not isinstance(models, list | tuple):
        return []
    if not models or len(set(map(str, models))) != len(models):
        raise OptionError(f"`model` takes a model, or a list of different ones, not {models!r}")
    out, schema = given.get("out"), given.get("schema")
    if schema is None:
        base = EVERY["out"].default if out is None else out
        return [{**given, "model": model, "out": f"{base}_{model}"} for model in models]
    read, keep = read_schema(schema), given.get("keep")
    kept = {} if keep is None else checked(EVERY["keep"], keep)
    return [
        {
            **given,
            "model": model,
            "schema": suffixed(read, str(model)),
            "keep": {f"{end}_{model}": name for end, name in kept.items()},
        }
        for model in models
    ]


def full_names(given: dict[str, Any], configured: str | None) -> dict[str, Any]:
    """The options with each model's full name. Raises ModelError for a bare name that fits several providers."""
    model = given.get("model") or configured

    def full(name: Any) -> Any:
        if not isinstance(name, str):
            return name
        return full_name(name, api_base=given.get("api_base"), environ=os.environ)

    if isinstance(model, list | tuple):
        return {**given, "model": [full(one) for one in model]}
    return {**given, "model": full(model)} if isinstance(model, str) else given


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("jupyter_batch", "litellm", "pandas"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
