"""The package's loggers, which mask records: tracebacks may quote the key's header."""

from __future__ import annotations

import logging

from jupyter_batch.core.secrets import masked


class _Masking(logging.Filter):
    """Replace a record's message and traceback by the masked text."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = masked(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = masked(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True


def logger(name: str = "jupyter_batch") -> logging.Logger:
    """Return the logger of that name, with the filter added once."""
    found = logging.getLogger(name)
    if not any(isinstance(one, _Masking) for one in found.filters):
        found.addFilter(_Masking())
    return found
