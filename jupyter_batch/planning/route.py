"""The route of a job's requests, by which their parameters are mapped (wire/openai_requests.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.providers.registry import RECORDS, is_embedded, load
from jupyter_batch.providers.table import REALTIME
from jupyter_batch.wire.openai_requests import Route

if TYPE_CHECKING:
    from jupyter_batch.planning.ask import Ask


def route_of(job: Ask | JobRecord) -> Route | None:
    """The route of a job's requests; None for the local server, which maps them itself."""
    if is_embedded(job.provider):
        return None
    return route_to(
        job.provider,
        job.body_model,
        job.api_base,
        job.api_version,
        as_given=job.mode == REALTIME,
    )


def route_to(
    provider: str,
    model: str,
    api_base: str | None = None,
    api_version: str | None = None,
    *,
    as_given: bool = False,
) -> Route:
    """The route to a model, with what its provider's record says about parameters. See Route."""
    record = RECORDS.get(provider)
    return Route(
        provider if record is None else record.litellm or provider,
        model,
        api_base,
        api_version,
        as_given=as_given,
        plain=record is not None and record.plain_params,
        checked=record is not None and record.openai_rules,
        translation=load(record.checked_by) if record is not None and record.checked_by else None,
    )
