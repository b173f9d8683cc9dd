"""Every exception that jupyter_batch raises; messages state the problem and the remedy.

    JupyterBatchError
    ├── InputError (ValueError)     invalid user input; nothing was sent, nothing was left behind
    │   ├── TemplateError           a wrong column, an open brace, Jinja in a braces template
    │   ├── OptionError             an unknown option or a bad value
    │   ├── ColumnError             the column to fill exists already, or is ambiguous
    │   ├── ModelError              no model, no provider, or a provider without a batch API
    │   ├── KeyMissingError         no API key for the provider
    │   └── NothingToRetryError     no row of the job can be sent again (now)
    ├── AlignmentError              the frame's rows differ from those submitted; with their number
    ├── JobNotFoundError (LookupError)
    ├── JobBlockedError (ValueError) the job needs the user to continue; its state is unchanged
    ├── JobFailedError              rows of a job that was waited for have no answer, with raise_on_failure=True
    ├── LedgerError                 the record on disk
    │   ├── LedgerNewerError        written by a newer jupyter_batch
    │   ├── LedgerCorruptError      not a database, or damaged
    │   ├── LedgerReadOnlyError     can't be written
    │   └── LedgerFullError         the disk is full
    └── ProviderError               a failed request; `.transient`: whether a retry can help
        ├── AuthenticationError     401 and 403: the job is blocked
        ├── RateLimitError          429; `.retry_after` in seconds, where the provider sent it
        ├── NotFoundError           404; just after a create it is transient
        │   └── NoBatchApiError     404, 405 or 501 for the path itself: no such endpoint
        ├── BadRequestError         any other 4xx: a retry can't help
        ├── ProviderDownError       5xx
        ├── ProviderTimeoutError    no answer in time
        ├── ConnectionFailedError   refused, reset, cut off, or no such host
        ├── FileNotReadyError       the uploaded file is not processed yet
        └── WarningRaisedError      a library's warning that the filters raise as an error

In IPython each is shown as one sentence, without a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_batch.core.refusals.input_file import InputFile
from jupyter_batch.core.refusals.stated_limit import StatedLimit
from jupyter_batch.core.secrets import masked

if TYPE_CHECKING:
    from jupyter_batch.core.status import Counts


class JupyterBatchError(Exception):
    """The base class. Its message is masked, as it may quote a key (core/secrets.py)."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(masked(arg) if isinstance(arg, str) else arg for arg in args))

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: one line instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class InputError(JupyterBatchError, ValueError):
    """Invalid user input. Nothing was sent, and nothing was left behind.

    column: the name in it that is no column of the frame, if that is the cause.
    """

    def __init__(self, *args: object, column: object = None) -> None:
        super().__init__(*args)
        self.column = column


class TemplateError(InputError):
    """The prompt's template can't be used with this frame."""


class OptionError(InputError):
    """An unknown option, or a value that an option does not accept."""


class ColumnError(InputError):
    """The column to fill exists, or a column's name is ambiguous."""


class ModelError(InputError):
    """No model, a model without a provider, or a provider without a batch API."""


class KeyMissingError(InputError):
    """The provider's API key is not set."""


class NothingToRetryError(InputError):
    """No row of the job can be sent again, or none yet."""


class AlignmentError(JupyterBatchError):
    """The frame's rows are not those that were submitted, so no answer was written."""


class JobNotFoundError(JupyterBatchError, LookupError):
    """No job with that id or name is in the ledger."""


class JobBlockedError(JupyterBatchError, ValueError):
    """No open batch of the job can continue without the user; raised by waiting.

    job: the job's id. blocked: as `job.blocked`.
    """

    def __init__(self, message: str, *, job: str = "", blocked: str = "") -> None:
        super().__init__(message)
        self.job = job
        self.blocked = blocked


class JobFailedError(JupyterBatchError):
    """Rows of a complete job have no answer; raised by waiting, with raise_on_failure=True.

    job: the job's id. counts: its rows by status.
    """

    def __init__(self, message: str, *, job: str, counts: Counts) -> None:
        super().__init__(message)
        self.job = job
        self.counts = counts


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
    """A provider's refusal or a failed request.

    status: the HTTP status, if there was a response. retry_after: seconds. transient: a retry can
    help. bad_lines: the refused lines of the request file, counted from 1, each with the provider's
    reason. not_sent: there was no connection, so the request had no effect. input_file: the refusal
    concerns the uploaded file, which is missing or not processed (yet). capacity: the service tier has
    no room now. limit: the one that the
    refusal states, on a batch's size or on all that is enqueued.
    """

    transient = False
    not_sent = False
    capacity = False
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
    """401 or 403: the key is wrong, or lacks the permission."""


class RateLimitError(ProviderError):
    """429: too many requests.

    queue: the limit is on open work (enqueued tokens, batches) and passes when batches end.
    spent: the account's quota, credit or budget is used up, until the user acts.
    """

    transient = True
    queue = False
    spent = False


class NotFoundError(ProviderError):
    """404: the provider does not know the object (transient just after a create)."""


class NoBatchApiError(NotFoundError):
    """404, 405 or 501 for the path itself: the server has no batch API there."""


class BadRequestError(ProviderError):
    """Any other 4xx: the request itself is invalid."""


class ProviderDownError(ProviderError):
    """5xx, or a response that can't be interpreted."""

    transient = True


class ProviderTimeoutError(ProviderError):
    """No response in time; whether the request took effect is unknown."""

    transient = True


class ConnectionFailedError(ProviderError):
    """Refused, reset, cut off, or no such host."""

    transient = True


class FileNotReadyError(ProviderError):
    """The uploaded file is not processed yet, so no create was sent."""

    transient = True
    not_sent = True
    input_file = InputFile.UNREADY


class WarningRaisedError(ProviderError):
    """A call ended by a library's warning, which a retry would raise again."""
