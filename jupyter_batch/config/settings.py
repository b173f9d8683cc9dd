"""The checked options of a call, and their defaults: %config, the environment, our own."""

from __future__ import annotations

import difflib
import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_batch.config import types
from jupyter_batch.config.not_taken import NOT_TAKEN
from jupyter_batch.config.option import Col, Option
from jupyter_batch.config.options import CHAT_PARAMS, EVERY, OPTIONS
from jupyter_batch.core.errors import ModelError, OptionError
from jupyter_batch.core.secrets import UnusableKeyError, masked

CONFIGURABLE = "LLMBatch"
"""Our name in `%config`: that of the magics' class."""


class Settings(NamedTuple):
    """The settings for calls without explicit arguments.

    model: a litellm model id, or None. home: the ledger's folder (it may not exist yet). prices: as
    given, for models that are in no price list.
    """

    model: str | None
    home: Path
    prices: Mapping[str, Any] = {}


def read(
    environ: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None
) -> Settings:
    """Return the current settings. Raises OptionError for an invalid configured value."""
    environ = os.environ if environ is None else environ
    config = configured() if config is None else config
    model = config.get("model") or environ.get("JUPYTER_BATCH_MODEL") or None
    if model is not None and not isinstance(model, str):
        raise OptionError(f"%config {CONFIGURABLE}.model takes a litellm model id, not {model!r}")
    return Settings(model.strip() if model else None, home(environ), config.get("prices") or {})


def home(environ: Mapping[str, str] | None = None) -> Path:
    """Return the ledger's folder: $JUPYTER_BATCH_HOME, else jupyter_batch's user data folder."""
    named = (os.environ if environ is None else environ).get("JUPYTER_BATCH_HOME")
    if named:
        path = Path(named).expanduser()
        return path if path.is_absolute() else _from_here(path)
    import platformdirs

    return Path(platformdirs.user_data_dir("jupyter_batch", appauthor=False))


@functools.cache
def _from_here(path: Path) -> Path:
    """A relative folder as of its first use: `%cd` between two cells leads to no other ledger."""
    return path.absolute()


def configured() -> dict[str, Any]:
    """Return the values of `%config LLMBatch`; empty without IPython or before `%load_ext`."""
    ipython = sys.modules.get("IPython")  # not imported for this: a plain script has no %config
    shell = ipython.get_ipython() if ipython is not None else None
    for one in getattr(shell, "configurables", ()):
        if type(one).__name__ == CONFIGURABLE:
            return {"model": one.model, "prices": one.prices}
    return {}


_STORED = frozenset({"metadata", "name"})
_PARAMS = frozenset(option.name for option in CHAT_PARAMS)

if TYPE_CHECKING:

    class Options:
        """The checked options of a call: an attribute for each of OPTIONS.

        `params`: the chat parameters, including `Col`.
        """

        model: str
        params: dict[str, Any]

        def __init__(self, **values: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

else:
    Options = make_dataclass(
        "Options",
        [
            *(
                (option.name, Any, field(default=option.default, repr=not option.by_name))
                for option in OPTIONS
            ),
            ("params", dict[str, Any], field(default_factory=dict)),
        ],
        frozen=True,
        kw_only=True,
        slots=True,
    )


def resolve(given: Mapping[str, Any], settings: Settings) -> Options:
    """Combine the user's options with the configured ones and the defaults; None means not given.

    Raises OptionError for an unknown name (with the nearest) or a bad value, ModelError without a
    model.
    """
    known: dict[str, Any] = {}
    params: dict[str, Any] = {}
    for name, value in given.items():
        option = EVERY.get(name)
        if option is None:
            raise OptionError(unknown(name))
        if value is None:
            continue
        if name == "schema" and isinstance(value, Col):
            raise OptionError(
                "`schema` names the columns to fill, so that all rows have the same: response_format=col(...) takes "
                "each row's own, and its answer is JSON as a text"
            )
        if name == "images" and isinstance(value, Col):
            value = value.name  # noqa: PLW2901 - the column, as without col()
        if name in _PARAMS:
            params[name] = value if isinstance(value, Col) else checked(option, value)
        else:
            known[name] = checked(option, value)
    for name in _STORED & known.keys():
        _refuse_keys(name, known[name])
    if "schema" in known:
        known.setdefault("out", "")  # the columns are named as the fields
    model = known.setdefault("model", settings.model)
    if model is None:
        raise ModelError(
            'no model is named: give model="openai/gpt-4.1-mini" (or --model), or set it once with '
            '%config LLMBatch.model = "..." or $JUPYTER_BATCH_MODEL; "local/echo" runs here without a key'
        )
    if settings.prices:  # a price given with the call takes precedence, per model
        known["prices"] = checked(EVERY["prices"], settings.prices) | known.get("prices", {})
    return Options(**known, params=params)


def _refuse_keys(name: str, value: str | Mapping[str, str]) -> None:
    """Raise OptionError for a key in an option that the ledger stores; the value is not repeated."""
    texts = [value] if isinstance(value, str) else [*value, *value.values()]
    if any(masked(text) != text for text in texts):
        raise OptionError(
            f"`{name}` holds a key, and is stored with the job: leave it out; keys are given as api_key="
        )


def checked(option: Option, value: Any) -> Any:
    """Return the converted value. Raises OptionError, without repeating a secret's value."""
    try:
        return option.kind.check(value)
    except UnusableKeyError as e:
        raise OptionError(f"`{option.name}` {e}") from None
    except (AttributeError, TypeError, ValueError):
        secret = (
            option.by_name
            or option.kind is types.BODY
            or (option.kind is types.URL and set(str(value)) & set("?#@"))
        )
        shown = "what was given" if secret else _shown(value)
        if (
            option.kind is types.TAGS
            and isinstance(value, Mapping)
            and len(value) > types.MOST_TAGS
        ):
            shown = f"{len(value)} of them"
        raise OptionError(f"`{option.name}` takes {option.kind.says}, not {shown}") from None


def unknown(
    name: str, names: Iterable[str] = EVERY, mark: Callable[[str], str] = "`{}`".format
) -> str:
    """Return the sentence for an unknown option: with the nearest ones, else with all."""
    reason = NOT_TAKEN.get(name.lstrip("-").replace("-", "_"))
    if reason is not None:
        return f"unknown option {mark(name)}: {reason}"
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)
    if near:
        return f"unknown option {mark(name)}: did you mean {' or '.join(map(mark, near))}?"
    return f"unknown option {mark(name)}; the options are {', '.join(map(mark, names))}"


def _shown(value: Any) -> str:
    text = repr(value)
    is_short = len(text) <= 60 and "\n" not in text  # noqa: PLR2004
    return text if is_short else f"a {type(value).__name__}"
