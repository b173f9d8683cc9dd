"""The model on the screens is called as the user called it."""

from __future__ import annotations

import pandas as pd

import jupyter_batch
from jupyter_batch.lab.listing import Listing
from jupyter_batch.monitor.view import view
from jupyter_batch.viewer.server import Viewer
from tests.engine.conftest import call, server

__all__ = ["call", "server"]


def test_the_name_of_the_call(server, home):
    """A bare name stays bare in each list and on each page, also for another process; the record has the full one."""
    given = {"api_base": server.base_url, "api_key": server.token}
    df = pd.DataFrame({"text": ["one"]})
    job = df.llm.batch("{text}", out="said", model="gpt-4o-mini", **given)
    job.cancel().wait(60)
    assert job._record().model == "openai/gpt-4o-mini"
    ledger = job._here.ledger
    assert view(job.snapshot()).model == "gpt-4o-mini"
    assert "gpt-4o-mini" in repr(jupyter_batch.jobs())
    assert "openai/gpt-4o-mini" not in repr(jupyter_batch.jobs())
    assert b'"model":"gpt-4o-mini"' in Listing(ledger).json()
    assert Viewer(ledger)._described(job.id)["facts"][0] == "gpt-4o-mini"


def test_the_names_of_a_group(server, home):
    """Each as in the call, in its order."""
    given = {"api_base": server.base_url, "api_key": server.token}
    df = pd.DataFrame({"text": ["one"]})
    group = df.llm.batch("{text}", out="said", model=["gpt-4o-mini", "openai/gpt-4o"], **given)
    group.cancel().wait(60)
    assert view(group.snapshot()).model == "gpt-4o-mini, openai/gpt-4o"
