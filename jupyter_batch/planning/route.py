"""The route of a job's requests, by which their parameters are mapped (wire/openai_requests.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.providers.table import LOCAL, REALTIME
from jupyter_batch.wire.openai_requests import Route

if TYPE_CHECKING:
    from jupyter_batch.planning.ask import Ask


def route_of(job: Ask | JobRecord) -> Route | None:
    """The route of a job's requests; None for the local server, which maps them itself."""
    if job.provider == LOCAL:
        return None
    return Route(
        job.provider, job.body_model, job.api_base, job.api_version, as_given=job.mode == REALTIME
    )
