"""The import of litellm, and a filter of what it logs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib.util
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import orjson

from jupyter_batch.http.network import bundle
from jupyter_batch.notebook import kernel
from jupyter_batch.notebook.progress import progress
from jupyter_batch.process.warnings_context import quiet

_LIST = "model_prices_and_context_window_backup.json"
_SLICE = 0.1
_starting = threading.Lock()
_litellm: Any = None
_import: tuple[int, Future[Any]] | None = None
"""The import in progress: (the process that began it, its module)."""


def load_litellm() -> Any:
    """Import litellm once: about 5 s of CPU, so never in `import jupyter_batch` or `%load_ext`.

    A thread of its own imports it: an interrupt of the main thread ends the wait and leaves no module
    half imported. litellm is prevented from fetching its price map and header list, and from printing.
    """
    if _litellm is not None:
        return _litellm
    if not kernel.is_main_thread():
        return _begun().result()
    with progress("Importing litellm, once in each kernel (about 5 s)", after=0):
        coming = _begun()
        while True:
            with contextlib.suppress(TimeoutError):
                return coming.result(_SLICE)


def _begun() -> Future[Any]:
    """The import, which is begun unless it is in progress."""
    global _import  # noqa: PLW0603 - one module, imported late
    with _starting:
        if _import is not None and _import[0] == os.getpid():  # a fork has no thread
            coming = _import[1]
            if not coming.done() or coming.exception() is None:
                return coming
        coming = Future()
        _import = (os.getpid(), coming)
        threading.Thread(
            target=_run, args=(coming,), daemon=True, name="jupyter_batch litellm"
        ).start()
        return coming


def _run(coming: Future[Any]) -> None:
    try:
        coming.set_result(_imported())
    except BaseException as e:
        coming.set_exception(e)


def _imported() -> Any:
    global _litellm  # noqa: PLW0603 - one module, imported late
    with _no_collections(), _quick_parses(), quiet():
        for name in ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"):
            os.environ.setdefault(name, "True")
        import litellm

        litellm.suppress_debug_info = True
        litellm.disable_hf_tokenizer_download = True
        if litellm.ssl_verify is True and not os.environ.get("SSL_CERT_FILE"):
            litellm.ssl_verify = bundle() or True  # litellm ignores the other variables
        _litellm = litellm
    return litellm


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Keep the cycle collector from stopping all threads during the import, and later for it.

    The import makes 360,000 objects that live as long as the process: each full collection takes 0.3
    to 0.7 s with them, in which no thread runs. Frozen, they are never traversed; the collection
    before keeps the user's garbage from being frozen with them.
    """
    if not gc.isenabled() or "litellm" in sys.modules:
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _quick_parses() -> Iterator[None]:
    """Have the JSON files that the import loads parsed by orjson, and only those.

    One has 1.8 MB in 130,000 pieces; no other thread runs while it is parsed, and json takes twice as long.
    """
    is_importing, thread = True, threading.get_ident()
    module: Any = json
    plain = module.load

    @functools.wraps(plain)
    def load(file: Any, **options: Any) -> Any:
        if not is_importing or options or threading.get_ident() != thread:
            return plain(file, **options)
        text = file.read()
        try:
            return orjson.loads(text)
        except ValueError:  # it may still be what json reads: NaN
            return json.loads(text)

    module.load = load
    try:
        yield
    finally:
        is_importing = False
        if module.load is load:
            module.load = plain


def price_list() -> Path | None:
    """The file with the models and prices in litellm's package, which is not imported."""
    spec = importlib.util.find_spec("litellm")
    path = Path(str(spec.origin)).parent / _LIST if spec is not None else None
    return path if path is not None and path.exists() else None


class OursAreRaised(logging.Filter):
    """Filter of litellm's log lines about our calls: their errors are raised as well."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - logging's own name
        """Whether a record is shown: not if it is from one of our tasks."""
        task = None
        with contextlib.suppress(RuntimeError):
            task = asyncio.current_task()
        return not (task is not None and task.get_name().startswith("jupyter_batch"))
