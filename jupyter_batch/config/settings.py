"""Where defaults come from: arguments over %config over the environment over our own, read into one frozen record.

It knows the names of the settings, not what they are used for; a call's own arguments are laid over it in
options.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_batch.core.errors import OptionError

CONFIGURABLE = "LLMBatch"
"""The name under which `%config` knows us: that of the magics' class."""


class Settings(NamedTuple):
    """What holds when a call does not say otherwise.

    model: a litellm model id, or None. home: the ledger's folder (it may not exist yet). prices: of models that no
    price list knows, as they were given.
    """

    model: str | None
    home: Path
    prices: Mapping[str, Any] = {}


def read(
    environ: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None
) -> Settings:
    """The settings at this moment. Raises OptionError for a configured value that can't be used."""
    environ = os.environ if environ is None else environ
    config = configured() if config is None else config
    model = config.get("model") or environ.get("JUPYTER_BATCH_MODEL") or None
    if model is not None and not isinstance(model, str):
        raise OptionError(f"%config {CONFIGURABLE}.model takes a litellm model id, not {model!r}")
    return Settings(model.strip() if model else None, home(environ), config.get("prices") or {})


def home(environ: Mapping[str, str] | None = None) -> Path:
    """The ledger's folder: $JUPYTER_BATCH_HOME, else the platform's user data folder for jupyter_batch."""
    named = (os.environ if environ is None else environ).get("JUPYTER_BATCH_HOME")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("jupyter_batch", appauthor=False))


def configured() -> dict[str, Any]:
    """What `%config LLMBatch` holds in this process's IPython; empty without IPython or before `%load_ext`."""
    ipython = sys.modules.get("IPython")  # never imported for this: a plain script has no %config
    shell = ipython.get_ipython() if ipython is not None else None
    for one in getattr(shell, "configurables", ()):
        if type(one).__name__ == CONFIGURABLE:
            return {"model": one.model, "prices": one.prices}
    return {}
