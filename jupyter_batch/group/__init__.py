"""Several jobs of one call, held as one: a column for each model, or a model for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jupyter_batch.core.errors import JobNotFoundError
from jupyter_batch.group.models import Group, keep
from jupyter_batch.group.row_models import SplitJob
from jupyter_batch.job import Job
from jupyter_batch.runner.process import Session

__all__ = ["Group", "SplitJob", "group_of", "keep", "keep_group"]


def keep_group(here: Session, jobs: Sequence[Job], numbers: Any = None) -> Group:
    """Store the jobs of a call as a group. numbers: as for SplitJob; None for a column for each model."""
    return keep(here, jobs) if numbers is None else SplitJob.keep(here, jobs, numbers)


def group_of(here: Session, jobs: Sequence[Job], name: str) -> Group:
    """Open a stored group."""
    try:
        split = bool(jobs[0]._record().model_column)
    except JobNotFoundError:  # forgotten
        split = False
    return (SplitJob if split else Group)(here, jobs, name)
