"""Checked orders: the options and the order of each model of a call, before anything is stored."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from jupyter_batch.config import settings
from jupyter_batch.config.option import Col, declared
from jupyter_batch.config.options import EVERY, FileOptions
from jupyter_batch.config.settings import Options, checked, resolve, unknown
from jupyter_batch.core.errors import ColumnError, KeyMissingError, ModelError, OptionError
from jupyter_batch.core.schema import all_columns, suffixed
from jupyter_batch.notebook import kernel
from jupyter_batch.planning.target import check_one_place
from jupyter_batch.prompts.column_names import hints_at_index
from jupyter_batch.prompts.embeddings import OUT, Embed, take, without_text_options
from jupyter_batch.providers.endpoints import for_responses, makes_vectors
from jupyter_batch.providers.keys import NO_KEY
from jupyter_batch.providers.prices import price_of
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.providers.table import BATCH, full_name
from jupyter_batch.row_files.row_sources import space_of
from jupyter_batch.runner.process import Session, session
from jupyter_batch.schema import read as read_schema

if TYPE_CHECKING:
    import numpy as np

    from jupyter_batch.ledger.records import JobRecord
    from jupyter_batch.planning.ask import Ask
    from jupyter_batch.planning.escalation import Destination
    from jupyter_batch.planning.files.requests import RequestFile
    from jupyter_batch.planning.resolve import Order
    from jupyter_batch.prompts.rows_by_model import ModelRows


class Checked(NamedTuple):
    """A checked call: the options and the order of each model. api_key: of the call, if any.

    numbers: for each row of the frame the number of its order, where a column names the models.
    """

    here: Session
    several: bool
    orders: list[tuple[Options, Order]]
    api_key: str | None
    numbers: np.ndarray[Any, Any] | None = None


class _Part(NamedTuple):
    """The options of one model, and the rows that it is asked; None for all."""

    given: dict[str, Any]
    rows: ModelRows | None = None


def orders_of(
    source: Any, prompt: Any, given: dict[str, Any], door: str, *, needs_key: bool = True
) -> Checked:
    """Check a call with all its models before anything is stored. Raises an InputError."""
    for name in ("model", "api_key"):
        if not isinstance(given.get(name), str | list | tuple | Col | None):
            checked(EVERY[name], given[name])
    with hints_at_index(source):
        return _checked_orders(source, prompt, given, door, needs_key=needs_key)


def _checked_orders(
    source: Any, prompt: Any, given: dict[str, Any], door: str, *, needs_key: bool
) -> Checked:
    from jupyter_batch.planning.resolve import filled_by, order

    configured = settings.read()
    source, prompt, given = _spelled_out(source, prompt, given)
    called = given.get("model") or configured.model
    given = full_names(given, configured.model)
    given, split = _with_endpoint(given)
    api_key = given.get("api_key")
    parts = _by_row(source, prompt, given) if split else _by_model(given)
    names = _names(given.get("model"), called)
    here = session(configured.home)
    asks = []
    for one in parts or [_Part(given)]:
        form, rest = _at_endpoint(prompt, one.given, one.given.get("model") or configured.model)
        opts = resolve(rest if needs_key else {**rest, "api_key": api_key or NO_KEY}, configured)
        asks.append((form, opts, one.rows))
    filled = filled_by([opts for _, opts, _ in asks]) if parts and not split else ()

    def made(prompt: Any, opts: Options, rows: ModelRows | None) -> Order:
        return _for_rows(
            rows,
            lambda source: order(
                here.ledger,
                source,
                prompt,
                opts,
                door=door,
                notebook=kernel.notebook_path(),
                versions=_versions(),
                others=filled,
            ),
            source,
        )

    orders = _each(asks, made) if parts else [(asks[0][1], made(*asks[0]))]
    orders = [(opts, _called(order, names)) for opts, order in orders]
    check_one_place(api_key, [order.ask for _, order in orders])
    return Checked(here, bool(parts), orders, api_key, _numbers([rows for *_, rows in asks]))


def _spelled_out(
    source: Any, prompt: Any, given: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """The frame, the prompt and the options that are meant by dspy's Examples, a signature or a dspy module."""
    from jupyter_batch.prompts.dspy_module import frame_of
    from jupyter_batch.prompts.signature import ARROW, spelled_out

    if isinstance(source, list | tuple):
        source = frame_of(source, prompt)
    if isinstance(prompt, str) and ARROW not in prompt:
        return source, prompt, given
    return source, *spelled_out(source, prompt, given)


def _names(model: Any, called: Any) -> dict[Any, str]:
    """The models' names as the user gave them, by their full names."""
    if isinstance(model, list | tuple):
        return dict(zip(model, map(str, called), strict=True))
    return {model: called} if isinstance(model, str) and isinstance(called, str) else {}


def _called(order: Order, names: Mapping[Any, str]) -> Order:
    name = names.get(order.ask.model, "")
    return order._replace(ask=msgspec.structs.replace(order.ask, called=name)) if name else order


def _each(
    asks: list[tuple[Any, Options, ModelRows | None]],
    make: Callable[[Any, Options, ModelRows | None], Order],
) -> list[tuple[Options, Order]]:
    """The order of each model. A job whose key is missing waits for it; raises where all keys are."""
    orders: list[tuple[Options, Order]] = []
    refused: list[KeyMissingError] = []
    for prompt, opts, rows in asks:
        try:
            orders.append((opts, make(prompt, opts, rows)))
        except KeyMissingError as e:
            refused.append(e)
            orders.append((opts, make(prompt, replace(opts, api_key=NO_KEY), rows)))  # type: ignore[type-var]  # a dataclass at run time
    if len(refused) == len(asks):
        raise refused[0]
    return orders


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
    ask = ask_of(file, opts, notebook=kernel.notebook_path(), versions=_versions())
    return session(configured.home), opts, file, ask


def destination_of(job: JobRecord, given: dict[str, Any]) -> Destination:
    """The place of a retry at another model: the job's own where the provider is the same.

    given: model, and api_key, api_base, where the call has them. Raises an InputError.
    """
    from jupyter_batch.planning.escalation import Destination
    from jupyter_batch.planning.target import target_of

    configured = settings.read()
    given = full_names({name: value for name, value in given.items() if value is not None}, None)
    if str(given["model"]).partition("/")[0] == job.provider:
        own = {"api_base": job.api_base, "api_version": job.api_version, **job.cloud}
        given = {**{name: value for name, value in own.items() if value is not None}, **given}
    if job.mode != BATCH:
        given["mode"] = job.mode
    opts = resolve(given, configured)
    target = target_of(opts, None)
    limits = target.limits.at_most(job.shard_size)
    return Destination(
        model=opts.model,
        space=space_of(target.place, target.provider, target.endpoint),
        price=price_of(
            opts.model,
            mode=target.mode,
            api_base=target.api_base,
            prices=opts.prices,
            service_tier=job.tier,
        ),
        **{**target._asdict(), "limits": limits, "rush_to": job.rush_to},
    )


def _model_of(file: RequestFile, configured: str | None, api_base: str | None) -> str | None:
    """The model that a file names, in full; the configured one where that is meant, or none is named."""
    name = file.first.body.get("model")
    if not isinstance(name, str) or (configured or "").partition("/")[2] == name:
        return configured
    prefix = name.partition("/")[0]
    return f"openai/{name}" if api_base is not None and prefix not in RECORDS else name


def _for_rows(rows: ModelRows | None, make: Callable[[Any], Order], source: Any) -> Order:
    """The order of these rows of the source; of all for None. An error about their model names them."""
    if rows is None:
        return make(source)
    from jupyter_batch.frames.adapter import taken

    try:
        made = make(taken(source, rows.rows))
    except ModelError as e:
        raise ModelError(f"{rows.labels}: {e}") from None
    ask = msgspec.structs.replace(made.ask, models_from=rows.columns, model_names=rows.values)
    filled = all_columns(ask.out, ask.schema, ask.keep)
    if own := [column for column in rows.columns if str(column) in filled]:
        raise ColumnError(
            f"the column {own[0]!r} names the rows' models or endpoints, and the answers would replace "
            "it: give out= another name"
        )
    return made._replace(ask=ask)


def _by_row(source: Any, prompt: Any, given: dict[str, Any]) -> list[_Part]:
    """The options and the rows of each model and endpoint that columns name.

    Where some of the rows are asked for vectors and some for texts, the options of texts are for the latter.
    """
    from jupyter_batch.prompts.rows_by_model import rows_by_model

    found = rows_by_model(
        source,
        given["model"],
        given.get("endpoint"),
        api_base=given.get("api_base"),
        environ=os.environ,
    )
    vectors = [_is_for_vectors(prompt, rows.model, rows.endpoint) for rows in found]
    if all(vectors):
        given = {**given, "out": given.get("out") or OUT}
    elif any(vectors) and given.get("schema") is not None and given.get("out") is None:
        raise OptionError(
            "some rows are asked for vectors, which have no fields of the schema: give out=, the column "
            "that they fill"
        )
    elif any(vectors):
        given = {**given, "out": given.get("out") or EVERY["out"].default}
    return [
        _Part(
            {
                **(without_text_options(given) if is_vector and not all(vectors) else given),
                "model": rows.model,
                "endpoint": rows.endpoint,
            },
            rows,
        )
        for rows, is_vector in zip(found, vectors, strict=True)
    ]


def _with_endpoint(given: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """(the options with the endpoint's name, whether columns name the rows' models or endpoints).

    Raises OptionError.
    """
    model, endpoint = given.get("model"), given.get("endpoint")
    if isinstance(endpoint, Col):
        if isinstance(model, list | tuple):
            raise OptionError(
                "`endpoint` of a column is for one model, or for a column of them, not for a list of models"
            )
        return given, model is not None  # without one, `resolve` refuses
    if endpoint is not None:
        given = {**given, "endpoint": checked(EVERY["endpoint"], endpoint)}
    return given, isinstance(model, Col)


def _at_endpoint(prompt: Any, given: dict[str, Any], model: Any) -> tuple[Any, dict[str, Any]]:
    """(the prompt, the options) for the model's endpoint, or the given one.

    Raises OptionError, InputError, and ModelError for an invalid model id.
    """
    endpoint, given = given.get("endpoint"), {**given, "endpoint": None}
    if isinstance(prompt, Embed) or not isinstance(model, str):
        return prompt, given
    if _is_for_vectors(prompt, model, endpoint):
        return take(prompt, given)
    return prompt, {**given, "model": for_responses(model)} if endpoint == "responses" else given


def _is_for_vectors(prompt: Any, model: str, endpoint: str | None) -> bool:
    if endpoint is None:
        return isinstance(prompt, Embed) or makes_vectors(model)
    return endpoint == "embeddings"


def _numbers(parts: list[ModelRows | None]) -> np.ndarray[Any, Any] | None:
    """The number of each row's part; None where a part has all rows."""
    import numpy as np

    rows = [part.rows for part in parts if part is not None]
    if not rows:
        return None
    numbers = np.empty(sum(map(len, rows)), dtype=np.int64)
    for number, places in enumerate(rows):
        numbers[places] = number
    return numbers


def _by_model(given: Mapping[str, Any]) -> list[_Part]:
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
        return [_Part({**given, "model": model, "out": f"{base}_{model}"}) for model in models]
    read, keep = read_schema(schema), given.get("keep")
    kept = {} if keep is None else checked(EVERY["keep"], keep)
    return [
        _Part(
            {
                **given,
                "model": model,
                "schema": suffixed(read, str(model)),
                "keep": {f"{end}_{model}": name for end, name in kept.items()},
            }
        )
        for model in models
    ]


def full_names(given: dict[str, Any], configured: str | None) -> dict[str, Any]:
    """The options with each model's full name. Raises ModelError for a bare name that fits several providers."""
    model = given.get("model")
    model = configured if model is None else model

    def full(name: Any) -> Any:
        if not isinstance(name, str):
            return name
        return full_name(name, api_base=given.get("api_base"), environ=os.environ)

    if isinstance(model, list | tuple):
        return {**given, "model": [full(one) for one in model]}
    return {**given, "model": full(model)} if isinstance(model, str) else given


@functools.cache
def _versions() -> dict[str, str]:
    """The versions that a job's record names; those of packages take milliseconds to read."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("jupyter_batch", "litellm", "pandas"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
