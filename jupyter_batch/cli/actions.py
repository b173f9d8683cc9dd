"""The actions of the commands of `jupyter batch`. Each returns the exit code, and imports its own modules."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from jupyter_batch.core.status import Step
    from jupyter_batch.group import Group
    from jupyter_batch.jobs import Job

PATIENCE = 60.0
"""Seconds for which `cancel` and `retry` try to reach the provider before they leave that to `watch`."""


def run_list(_asked: argparse.Namespace) -> int:
    """Print the ledger's jobs."""
    from jupyter_batch import jobs

    listed = jobs.list_jobs()
    if not listed or not sys.stdout.isatty():
        print(listed)
        return 0
    from jupyter_batch.cli.screen import print_list
    from jupyter_batch.monitor.view import view

    print_list([view(snapshot) for snapshot in listed.snapshots()])
    print(*listed.damaged(), sep="\n", end="")
    return 0


def run_show(asked: argparse.Namespace) -> int:
    """Print one job."""
    from jupyter_batch import jobs

    print_job(jobs.open_job(asked.id, follow=False))
    return 0


def run_view(asked: argparse.Namespace) -> int:
    """Serve a job's rows to the browser until Ctrl-C."""
    from jupyter_batch.viewer.opened import serve

    return serve(asked.id, port=asked.port, browser=not asked.no_browser)


def print_job(job: Job) -> None:
    """Print a job: its line, its batches, and why rows failed."""
    from jupyter_batch.monitor import text, view

    seen = view.view(job.snapshot())
    course = [seen.curve_words] if seen.curve_words else []
    print(
        text.line(seen),
        f"  model: {seen.model}",
        *(f"  batch: {batch}" for batch in seen.batches),
        *(f"  {line}" for line in [*course, *text.details(seen), *text.actions(seen)]),
        sep="\n",
    )


def run_cancel(asked: argparse.Namespace) -> int:
    """Cancel, and wait until the provider has the request for each batch."""
    from jupyter_batch import jobs
    from jupyter_batch.core.status import Step

    jobs.name_address(asked.api_base)
    job = jobs.open_job(asked.id, follow=False)  # unsent batches are never sent
    job.cancel()
    reached = _until(lambda: _steps(job) <= {Step.CANCELLING, Step.ENDED, Step.COLLECTED})
    print_job(job)
    if not reached:
        print(
            "The provider could not be reached yet: `jupyter batch watch` tries again.",
            file=sys.stderr,
        )
    return 0 if reached else 1


def run_finish(asked: argparse.Namespace) -> int:
    """Have what is open asked at once; `watch`, or this command until the batches are cancelled, does it."""
    from jupyter_batch import jobs
    from jupyter_batch.config.line_values import values
    from jupyter_batch.config.options import FINISH

    jobs.name_address(asked.api_base)
    job = jobs.open_job(asked.id, follow=False)
    job.finish(**values(asked, FINISH, {}))
    print_job(job)
    print("`jupyter batch watch` asks the rest, and fetches the answers.", file=sys.stderr)
    return 0


def run_retry(asked: argparse.Namespace) -> int:
    """Retry, and wait until each of the new batches was sent, or waits for quota or the provider."""
    from jupyter_batch import jobs
    from jupyter_batch.config.line_values import values
    from jupyter_batch.config.magic_line import retry_options
    from jupyter_batch.core.status import Step

    jobs.name_address(asked.api_base)
    given = values(asked, retry_options(), {})
    if "model" in given and asked.api_base is not None:
        given["api_base"] = asked.api_base
    if asked.invalid:
        given["invalid"] = True
    job = jobs.open_job(asked.id, follow=False).retry(**given)
    unsent = {Step.PLANNED, Step.SUBMITTING}
    _until(lambda: not _steps(job) & unsent)
    sent = not _steps(job) & {*unsent, Step.WAITING}
    print_job(job)
    print(
        "`jupyter batch watch` fetches the answers."
        if sent
        else "Not all batches could be sent yet: `jupyter batch watch` tries again.",
        file=sys.stderr,
    )
    return 0 if sent else 1


def _steps(job: Job | Group) -> set[Step]:
    return {shard.step for shard in job.snapshot().shards}


def _until(done: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def run_adopt(asked: argparse.Namespace) -> int:
    """List batches that are in no ledger here, or adopt them."""
    from jupyter_batch import jobs
    from jupyter_batch.adoption.commands import where_of
    from jupyter_batch.core.errors import ProviderError

    where = where_of(asked)
    try:
        if not (asked.all or asked.id):
            found = jobs.orphans(**where)
            print(found)
            if found:
                print(
                    "`jupyter batch adopt ID`, with the same options, adopts a job; --all adopts each.",
                    file=sys.stderr,
                )
            return 0
        taken = jobs.adopt(asked.id, **where)
    except ProviderError as error:
        print(f"jupyter batch: {error}", file=sys.stderr)
        return 1
    print(taken)
    print("`jupyter batch watch` fetches the answers.", file=sys.stderr)
    return 0


def run_forget(asked: argparse.Namespace) -> int:
    """Remove jobs from the ledger."""
    from jupyter_batch import jobs

    for name in asked.id:
        print(f"{jobs.forget(name)} is forgotten")
    return 0


def run_providers(_asked: argparse.Namespace) -> int:
    """Print the providers' limits and costs."""
    from jupyter_batch.providers.shown import Providers

    print(Providers())
    return 0


def run_export(asked: argparse.Namespace) -> int:
    """Write a job's results to a file."""
    from jupyter_batch import jobs
    from jupyter_batch.frames.table_file import check_path, write

    check_path(asked.path)
    frame = jobs.open_job(asked.id, follow=False).results()
    write(frame, asked.path)
    print(f"{len(frame):,} {'row' if len(frame) == 1 else 'rows'} in {asked.path}")
    return 0
