"""BatchView: a provider's batch object in one form for all providers."""

from __future__ import annotations

import msgspec

from jupyter_batch.core.refusals.input_file import InputFile
from jupyter_batch.core.refusals.stated_limit import StatedLimit
from jupyter_batch.core.request import Usage
from jupyter_batch.core.secrets import masked
from jupyter_batch.core.status import State


class BatchView(msgspec.Struct, frozen=True, kw_only=True):
    """A batch at the provider when it was polled. Times are seconds since the epoch.

    status: the provider's own word. ending: one of the four endings; None if open or unknown.
    bad_lines: failed lines of the request file, from 1, each with the reason; the first few
    hundred. output_file_id, error_file_id: None where there is no such file (yet). errors: why the
    whole batch failed, the first few and a count, or why an open one does not advance. quota:
    refused since too much is enqueued; a retry can work. spent: refused because the account's
    quota or credit is used up. input_file: refused because its request file is missing, or not
    processed yet. limit: the limit that its refusal states. shed: requests that wait for their
    service tier to have capacity. ended_at: when it ended, if the provider reports it. tag: the
    metadata that the batch was created with. endpoint: its requests' path, if reported.
    """

    id: str
    status: str
    bad_lines: tuple[tuple[int, str], ...] = ()
    ending: State | None = None
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    shed: int = 0
    created_at: float | None = None
    expires_at: float | None = None
    ended_at: float | None = None
    errors: str = ""
    quota: bool = False
    spent: bool = False
    input_file: InputFile | None = None
    limit: StatedLimit | None = None
    usage: Usage | None = None
    tag: dict[str, str] = {}
    endpoint: str | None = None

    def __post_init__(self) -> None:
        """Mask keys that a server repeats in its reasons."""
        if self.errors:
            msgspec.structs.force_setattr(self, "errors", masked(self.errors))
        if self.bad_lines:
            lines = tuple((line, masked(why)) for line, why in self.bad_lines)
            msgspec.structs.force_setattr(self, "bad_lines", lines)
