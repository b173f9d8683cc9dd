"""The import of litellm, and a filter of what it logs."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import threading
from pathlib import Path
from typing import Any

from jupyter_batch.http.network import bundle
from jupyter_batch.process.warnings_context import quiet

_LIST = "model_prices_and_context_window_backup.json"
_loading = threading.Lock()
_litellm: Any = None


def load_litellm() -> Any:
    """Import litellm once: about 5 s of CPU, so never in `import jupyter_batch` or `%load_ext`.

    It is prevented from fetching its price map and header list, and from printing.
    """
    global _litellm  # noqa: PLW0603 - one module, imported late
    with _loading, quiet():
        if _litellm is None:
            for name in ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"):
                os.environ.setdefault(name, "True")
            import litellm

            litellm.suppress_debug_info = True
            litellm.disable_hf_tokenizer_download = True
            if litellm.ssl_verify is True and not os.environ.get("SSL_CERT_FILE"):
                litellm.ssl_verify = bundle() or True  # litellm ignores the other variables
            _litellm = litellm
    return _litellm


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
