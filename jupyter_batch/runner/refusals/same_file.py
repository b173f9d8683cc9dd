"""Refusals for an uploaded file that is not visible or processed yet: retry, or upload again."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import (
    BadRequestError,
    NoBatchApiError,
    NotFoundError,
    ProviderError,
)
from jupyter_batch.core.refusals.input_file import InputFile
from jupyter_batch.core.status import Step
from jupyter_batch.ledger.records import ShardRecord

if TYPE_CHECKING:
    from jupyter_batch.runner.context import ShardContext

ABSENT_SECONDS = 300.0
"""The time after its upload for which a file may be unknown to the rest of the provider."""
UNREADY_SECONDS = 3600.0
"""The time that a provider may take to process a file."""
UPLOADS = 3
"""The most uploads of a file that is repeatedly not found."""


class Next(StrEnum):
    """The reaction to a refusal that is about the uploaded file."""

    SAME = "the same file"
    UPLOAD = "upload again"
    GIVE_UP = "give up"


def about_file(error: ProviderError) -> InputFile | None:
    """The file's state from a refused create. A 404 without a reason counts as an absent file."""
    of_an_object = isinstance(error, NotFoundError) and not isinstance(error, NoBatchApiError)
    return InputFile.ABSENT if error.input_file is None and of_an_object else error.input_file


def next_try(state: InputFile, shard: ShardRecord, now: float) -> Next:
    """Decide whether the same file is tried again; bounded in time and in uploads."""
    patience = UNREADY_SECONDS if state is InputFile.UNREADY else ABSENT_SECONDS
    if now - shard.uploaded_at < patience:
        return Next.SAME
    if state is InputFile.UNREADY or shard.uploads >= UPLOADS:
        return Next.GIVE_UP
    return Next.UPLOAD


def send_again(context: ShardContext, shard: ShardRecord, view: BatchView) -> ShardRecord:
    """Send a shard again, from the same uploaded file, whose batch failed for that file."""
    return _resend(context, shard, view, shard.file_id)


def upload_again(context: ShardContext, shard: ShardRecord, view: BatchView) -> ShardRecord:
    """Upload the file of a shard again, and send it."""
    return _resend(context, shard, view, None)


def _resend(
    context: ShardContext, shard: ShardRecord, view: BatchView, file_id: str | None
) -> ShardRecord:
    return context.later(
        shard,
        BadRequestError(view.errors),
        to=Step.WAITING,
        file_id=file_id,
        batch_id=None,
        provider_status=view.status,
        refused=(*shard.refused, view.id),
    )
