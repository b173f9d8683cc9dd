"""The package's loggers, each of whose records is masked: a traceback from below may quote a header with the key."""

from __future__ import annotations

import logging

from jupyter_batch.core.secrets import masked


class _Masking(logging.Filter):
    """Put the masked text in the place of a record's message and traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = masked(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = masked(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True


def logger(name: str = "jupyter_batch") -> logging.Logger:
    """The logger of that name, with the filter, once."""
    found = logging.getLogger(name)
    if not any(isinstance(one, _Masking) for one in found.filters):
        found.addFilter(_Masking())
    return found
