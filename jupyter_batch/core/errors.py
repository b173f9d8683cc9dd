"""Every error that jupyter_batch raises, in one tree; a message names what is there and what to do.

    JupyterBatchError
    ├── InputError (ValueError)     what the person gave can't be used; nothing was sent, nothing was left behind
    │   ├── TemplateError           a wrong column, an open brace, Jinja in a braces template
    │   ├── OptionError             an unknown option or a bad value
    │   ├── ColumnError             the column to fill is there already, or can't be told apart
    │   ├── ModelError              no model, no provider, or a provider without a batch API
    │   └── KeyMissingError         no API key for the provider
    ├── AlignmentError              the frame is not the one that was submitted: how many rows moved
    ├── JobNotFoundError (LookupError)
    ├── JobBlockedError (ValueError) nothing of the job can go on without the user; the job stays as it is
    ├── LedgerError                 the record on disk
    │   ├── LedgerNewerError        written by a newer jupyter_batch
    │   ├── LedgerCorruptError      not a database, or damaged
    │   ├── LedgerReadOnlyError     can't be written
    │   └── LedgerFullError         the disk is full
    └── ProviderError               what came back over the network; `.transient` says whether asking again can help
        ├── AuthenticationError     401 and 403: the job pauses
        ├── RateLimitError          429; `.retry_after` in seconds, where the provider said so
        ├── NotFoundError           404; just after a create it is transient
        │   └── NoBatchApiError     404, 405 or 501 for the path itself: the server has no such call
        ├── BadRequestError         any other 4xx: asking again can't help
        ├── ProviderDownError       5xx
        ├── ProviderTimeoutError    no answer in time
        ├── ConnectionFailedError   refused, reset, cut off, or no such host
        ├── FileNotReadyError       the uploaded file is not processed yet
        └── WarningRaisedError      a library's warning, which this process makes an error

It knows nothing of how an error is shown, but for one thing: in IPython each is one sentence, without a traceback.
"""

from __future__ import annotations

from jupyter_batch.core.refusals.input_file import InputFile
from jupyter_batch.core.refusals.stated_limit import StatedLimit
from jupyter_batch.core.secrets import masked


class JupyterBatchError(Exception):
    """The root of the tree. Its message is masked: texts from outside may hold a key (core/secrets.py)."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(masked(arg) if isinstance(arg, str) else arg for arg in args))

    def _render_traceback_(self) -> list[str]:
        """IPython's own hook: one line instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class InputError(JupyterBatchError, ValueError):
    """What the person gave can't be used. Nothing was sent, and nothing was left behind."""


class TemplateError(InputError):
    """The prompt's template can't be used with this frame."""


class OptionError(InputError):
    """An unknown option, or a value that an option does not take."""


class ColumnError(InputError):
    """The column to fill exists, or a column's name stands for several."""


class ModelError(InputError):
    """No model, a model without a provider, or a provider without a batch API."""


class KeyMissingError(InputError):
    """The provider's API key is not set."""


class AlignmentError(JupyterBatchError):
    """The frame's rows are not those that were submitted, so no answer was written."""


class JobNotFoundError(JupyterBatchError, LookupError):
    """No job of that id or name is in the ledger."""


class JobBlockedError(JupyterBatchError, ValueError):
    """No open batch of the job can go on without the user; raised by waiting, and the job stays as it is.

    job: its id. blocked: as `job.blocked`.
    """

    def __init__(self, message: str, *, job: str = "", blocked: str = "") -> None:
        super().__init__(message)
        self.job = job
        self.blocked = blocked


class LedgerError(JupyterBatchError):
    """The record on disk can't be used."""


class LedgerNewerError(LedgerError):
    """The ledger was written by a newer version of jupyter_batch."""


class LedgerCorruptError(LedgerError):
    """The ledger's database is damaged."""


class LedgerReadOnlyError(LedgerError):
    """The ledger's folder can't be written to."""


class LedgerFullError(LedgerError):
    """There is no space left for the ledger."""


class ProviderError(JupyterBatchError):
    """A provider's refusal or silence.

    status: the HTTP status, where there was an answer. retry_after: seconds. transient: asking again can help.
    bad_lines: lines of the request file, counted from 1, that it was refused for, each with the provider's reason.
    not_sent: there was no connection, so that nothing of the request can have had an effect. input_file: the refusal
    is about the uploaded file, which is not there (yet) or not processed yet. limit: on the size of a batch, or on all
    that is enqueued, which the refusal names.
    """

    transient = False
    not_sent = False
    input_file: InputFile | None = None
    limit: StatedLimit | None = None
    bad_lines: tuple[tuple[int, str], ...] = ()

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class AuthenticationError(ProviderError):
    """401 or 403: the key is wrong, or may not do this."""


class RateLimitError(ProviderError):
    """429: too much at once.

    queue: the limit is on what is under way (enqueued tokens, batches): it passes when batches end. spent: the
    account's quota, credit or budget is used up: it passes when the user does something about it.
    """

    transient = True
    queue = False
    spent = False


class NotFoundError(ProviderError):
    """404: the provider does not know it (yet: just after a create this passes)."""


class NoBatchApiError(NotFoundError):
    """404, 405 or 501 for the path itself: the server has no batch API there."""


class BadRequestError(ProviderError):
    """Any other 4xx: the request itself is at fault."""


class ProviderDownError(ProviderError):
    """5xx, or an answer that makes no sense."""

    transient = True


class ProviderTimeoutError(ProviderError):
    """No answer in time: whether it was done is not known."""

    transient = True


class ConnectionFailedError(ProviderError):
    """Refused, reset, cut off, or no such host."""

    transient = True


class FileNotReadyError(ProviderError):
    """The uploaded file is not processed yet, so that no create was sent."""

    transient = True
    not_sent = True
    input_file = InputFile.UNREADY


class WarningRaisedError(ProviderError):
    """A call that a library's warning ended: asked again, it would be raised again."""
