"""Defaults from arguments, %config, the environment and our own, in that order, in a frozen record.

A call's own arguments are applied in options.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_batch.core.errors import OptionError

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
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("jupyter_batch", appauthor=False))


def configured() -> dict[str, Any]:
    """Return the values of `%config LLMBatch`; empty without IPython or before `%load_ext`."""
    ipython = sys.modules.get("IPython")  # not imported for this: a plain script has no %config
    shell = ipython.get_ipython() if ipython is not None else None
    for one in getattr(shell, "configurables", ()):
        if type(one).__name__ == CONFIGURABLE:
            return {"model": one.model, "prices": one.prices}
    return {}
