"""A process that may not pass over file modes: what each door says of a ledger, as JSON.

Arguments: a job's id, the server's address, its token.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys

import jupyter_batch
from jupyter_batch import jobs
from jupyter_batch.cli import main
from jupyter_batch.config import settings
from jupyter_batch.core.errors import JupyterBatchError
from jupyter_batch.lab.listing import Listing
from jupyter_batch.lab.watch import Watch
from jupyter_batch.ledger.store import Ledger
from tests.ledger.conftest import frame
from tests.ledger.unprivileged import become


def outcome_of(door) -> str:
    """The result of an entry point, or its error by kind; anything but an error of ours is not caught."""
    try:
        return str(door())
    except JupyterBatchError as error:
        return f"{type(error).__name__}: {error}"


def printed(*words: str) -> str:
    """A command's output."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        return f"{main(list(words))} {out.getvalue()}"


def loaded() -> str:
    """The output of `%load_ext`."""
    from IPython.core.interactiveshell import InteractiveShell

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        InteractiveShell.instance().run_cell("%load_ext jupyter_batch")
    return out.getvalue()


def doors(job: str, base: str, token: str) -> dict[str, str]:
    """Each door's words."""
    call = {"out": "answer", "model": "openai/echo", "api_base": base, "api_key": token}
    home = settings.home()
    logging.basicConfig(stream=io.StringIO())

    def statuses() -> object:
        return jobs.open_job(job).results()["_status"].tolist()

    def merged() -> object:
        rows = frame()
        jobs.open_job(job).merge(rows)
        return rows["answer"].notna().sum()

    def previewed() -> object:
        return frame(8).llm.preview("{text}", **call).requests

    def again() -> object:
        return frame().llm.batch("{text}", **call).wait(60).id

    return {
        "jobs": outcome_of(lambda: repr(jupyter_batch.jobs())),
        "results": outcome_of(statuses),
        "merge": outcome_of(merged),
        "preview": outcome_of(previewed),
        "again": outcome_of(again),
        "batch": outcome_of(lambda: frame(9).llm.batch("{text}", **call)),
        "sample": outcome_of(lambda: frame(9).llm.sample("and {text}", n=2, **call)),
        "list": printed("list"),
        "show": printed("show", job),
        "watch": printed("watch", "--timeout", "5"),
        "listing": Listing(Ledger(home, upgrade=False)).json().decode(),
        "lab": outcome_of(Watch(Ledger(home, upgrade=False), logging.getLogger("lab")).look),
        "load_ext": loaded(),
    }


if __name__ == "__main__":
    if not become():
        sys.exit(77)
    json.dump(doors(*sys.argv[1:]), sys.stdout)
