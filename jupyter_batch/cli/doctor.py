"""`jupyter batch doctor`: what a submission needs on this machine, checked; nothing is sent that costs."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("pandas", "litellm", "ipython", "ipywidgets", "anywidget", "jupyterlab", "notebook")
LEAST_FREE = 2**30
"""Bytes of free disk below which a large job may not fit."""


class Check(NamedTuple):
    """A check. ok: None where there is nothing to judge. words: the finding, and what to do."""

    name: str
    ok: bool | None
    words: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="check the provider of this model (default: that of $JUPYTER_BATCH_MODEL, else each with a key here)",
    )
    parser.add_argument("--api-base", metavar="URL", help="its address, if not the provider's own")


def run(asked: argparse.Namespace) -> int:
    """Print each check. Returns 1 where one has failed."""
    failed = False
    for check in checks(asked.model, asked.api_base):
        mark = {True: "ok", False: "FAILED", None: "-"}[check.ok]
        print(f"{check.name:<14}{mark:<8}{check.words}", flush=True)
        failed = failed or check.ok is False
    return int(failed)


def checks(model: str | None, api_base: str | None) -> Iterator[Check]:
    """Yield the checks, those of the network last."""
    yield _versions()
    yield _ledger()
    yield _front_end()
    providers, found = _providers(model, api_base)
    yield found
    for name in providers:
        yield _reached(name, api_base)


def _versions() -> Check:
    from jupyter_batch import __version__

    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    listed = ", ".join(f"{name} {number}" for name, number in found.items())
    here = f"Python {platform.python_version()} on {platform.system()}"
    return Check("versions", None, f"jupyter_batch {__version__}, {here}; {listed}")


def _ledger() -> Check:
    """Whether the ledger's folder can be read and written, and has room."""
    from jupyter_batch import jobs
    from jupyter_batch.config import settings
    from jupyter_batch.core.errors import JupyterBatchError

    home = settings.home()
    try:
        seen = jobs.list_jobs()
        counted = f"{len(seen):,} {'job' if len(seen) == 1 else 'jobs'}"
        damaged = seen.damaged()
    except JupyterBatchError as error:
        return Check("ledger", False, str(error))
    there = next(path for path in (home, *home.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        words = f"{there} can't be written ({error.strerror}): set JUPYTER_BATCH_HOME to a folder that can"
        return Check("ledger", False, words)
    free = shutil.disk_usage(there).free
    words = f"{home}: {counted}; {free / 2**30:,.1f} GiB of disk are free"
    if damaged:
        return Check("ledger", False, f"{words}; {damaged[0]}")
    if free < LEAST_FREE:
        return Check(
            "ledger", False, f"{words}: make room, or set JUPYTER_BATCH_HOME to another disk"
        )
    return Check("ledger", True, words)


def _front_end() -> Check:
    """Whether JupyterLab's side panel is installed where this Python's Jupyter looks."""
    try:
        from jupyter_core.paths import jupyter_path
    except ImportError:  # a terminal or a script alone
        return Check("notebook", None, "Jupyter is not installed in this environment")
    places = [Path(folder, "jupyter_batch") for folder in jupyter_path("labextensions")]
    panel = next((place for place in places if (place / "package.json").exists()), None)
    if panel is None:
        return Check(
            "notebook",
            False,
            f"JupyterLab's side panel is not installed for {sys.executable}: reinstall jupyter_batch "
            "in the environment of the Jupyter server, too",
        )
    return Check("notebook", True, f"the side panel is at {panel}")


def _providers(model: str | None, api_base: str | None) -> tuple[list[str], Check]:
    """The providers to call, and the keys that are here; values are not shown."""
    from jupyter_batch.config import settings
    from jupyter_batch.core.errors import JupyterBatchError
    from jupyter_batch.providers.record import RECORDS
    from jupyter_batch.providers.table import full_name, is_set_up, split_model

    usable = {name: record for name, record in RECORDS.items() if record.batch and " " not in name}
    keys = [name for name, record in usable.items() if is_set_up(record, os.environ)]
    named = ", ".join(keys) or "none in the environment"
    wanted = model or settings.read().model
    if wanted is None:
        words = f"keys of: {named}; no default model (JUPYTER_BATCH_MODEL)"
        return keys, Check("keys", bool(keys) or None, words)
    try:
        full = full_name(wanted, api_base=api_base, environ=os.environ)
        provider = split_model(full)[0]
    except JupyterBatchError as error:
        return [], Check("keys", False, str(error))
    return [provider], Check("keys", None, f"keys of: {named}; model: {full}")


def _reached(provider: str, api_base: str | None) -> Check:
    """Whether the provider lists its batches, with the key and the proxies of this environment."""
    from jupyter_batch.core.errors import JupyterBatchError
    from jupyter_batch.http.network import bundle, through
    from jupyter_batch.job_list import others
    from jupyter_batch.providers.record import RECORDS, is_embedded
    from jupyter_batch.providers.table import address_of

    if is_embedded(provider):
        return Check(provider, True, "a server on this machine, which the first job starts")
    record = RECORDS.get(provider)
    if record is None or not (record.batch and record.listed):
        return Check(provider, None, "it can't be tried: its batches can't be listed")
    where = {"provider": provider, "api_base": api_base, "days": 1}
    began = time.monotonic()
    try:
        others(1, **{name: value for name, value in where.items() if value is not None})
    except (JupyterBatchError, OSError) as error:
        return Check(provider, False, str(error))
    base = api_base or address_of(provider, None, os.environ) or ""
    certificates = f", certificates of {bundle()}" if bundle() else ""
    took = time.monotonic() - began
    return Check(
        provider, True, f"it answered in {took:.1f} s{through(base) if base else ''}{certificates}"
    )
