"""A real jupyter_server: whom it answers, what it costs to ask again, and that a closed kernel loses nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_batch.ledger.store import Ledger
from jupyter_batch.server.embedded import Embedded
from tests.prepared import python

from .conftest import PATIENCE, Server, planned

SUBMIT = """
import os, sys, pandas as pd
df = pd.DataFrame({"text": ["good", "bad", "ugly"]})
import jupyter_batch
print(df.llm.batch("Echo {text}", model="openai/local/echo").id, flush=True)
os._exit(0)  # the kernel is killed before anything was sent
"""
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """(a server that is as it comes, its ledger): one for all who change nothing that others look at."""
    place = tmp_path_factory.mktemp("plain")
    ledger = Ledger(place / "home")
    server = Server(place / "server", ledger.home)
    yield server, ledger
    server.close()
    ledger.close()


def test_it_asks_who_is_there(plain):
    """403 without a token, a foreign page or a form gets nothing; with a cookie Cancel needs the XSRF token."""
    server, ledger = plain
    planned(ledger, "jbaaa", done=3)
    planned(ledger, "jbaab", name="<script>alert(1)</script>")
    listed, cancel = "jupyter-batch/jobs", "jupyter-batch/jobs/jbaaa/cancel"
    assert server.ask("GET", listed, token=False).status == 403
    assert server.ask("POST", cancel, token=False).status == 403
    opener, xsrf = server.signed_in()
    assert server.ask("GET", listed, token=False, opener=opener).status == 200
    assert server.ask("POST", cancel, token=False, opener=opener).status == 403
    assert (
        server.ask(
            "GET", listed, token=False, opener=opener, Origin="http://elsewhere.example"
        ).status
        == 404
    )
    assert server.ask("GET", cancel).status == 405
    assert ledger.job("jbaaa").cancel_at == 0, "so far nothing was cancelled"

    found = server.get(listed)
    assert found.headers["Content-Type"].startswith("application/json")
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert {job["title"] for job in json.loads(found.body)["jobs"]} == {
        "out",
        "<script>alert(1)</script>",
    }
    again = server.ask("GET", listed, **{"If-None-Match": found.headers["Etag"]})
    assert (again.status, again.body) == (304, b"")

    assert (
        server.ask("POST", cancel, token=False, opener=opener, **{"X-XSRFToken": xsrf}).status
        == 202
    )
    assert ledger.job("jbaaa").cancel_at > 0
    changed = server.ask("GET", listed, **{"If-None-Match": found.headers["Etag"]})
    assert changed.status == 200
    assert {job["id"]: job["state"] for job in json.loads(changed.body)["jobs"]}[
        "jbaaa"
    ] == "cancelling"
    refused = server.ask("POST", "jupyter-batch/jobs/jbzzz/cancel")
    assert (refused.status, json.loads(refused.body)["message"]) == (404, "there is no job 'jbzzz'")


def test_a_person_may_look_and_not_cancel(serve, ledger, tmp_path):
    """The server's own authorizer decides, by the resource `jupyter_batch`."""
    (tmp_path / "looking.py").write_text(
        "from jupyter_server.auth.authorizer import Authorizer\n"
        "class Looking(Authorizer):\n"
        "    def is_authorized(self, handler, user, action, resource):\n"
        "        return resource != 'jupyter_batch' or action == 'read'\n"
    )
    planned(ledger, "jbaaa")
    from .conftest import REPO

    server = serve(
        ledger.home, "--ServerApp.authorizer_class=looking.Looking", PYTHONPATH=f"{REPO}:{tmp_path}"
    )
    assert server.get("jupyter-batch/jobs").status == 200
    assert server.ask("POST", "jupyter-batch/jobs/jbaaa/cancel").status == 403
    assert ledger.job("jbaaa").cancel_at == 0


@pytest.fixture
def provider(tmp_path):
    """OpenAI's API on this machine, as environment variables."""
    with Embedded(tmp_path / "provider", pace=0.2) as running:
        yield {"OPENAI_BASE_URL": running.base_url, "OPENAI_API_KEY": running.token}


def submitted(server):
    """The id of a job whose process is gone."""
    done = subprocess.run(
        [*python(), "-c", SUBMIT],
        env=server.env,
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def test_with_watch_a_closed_kernel_loses_nothing(serve, tmp_path, provider):
    """The kernel is killed before it has sent anything; the server has it sent, fetched, and loads no litellm."""
    server = serve(tmp_path / "home", "--JupyterBatch.watch=True", **provider)
    job = submitted(server)
    [seen] = server.jobs()
    assert (seen["id"], seen["final"]) == (job, False)
    server.until(lambda: server.jobs()[0]["final"])
    [seen] = server.jobs()
    assert (seen["state"], seen["share"]) == ("completed", "3 of 3 rows (100%)")
    maps = Path(f"/proc/{server.process.pid}/maps")
    if maps.exists():
        assert not [
            name
            for name in ("pandas", "numpy", "tokenizers")
            if f"/{name}/" in maps.read_text("utf-8")
        ]


def test_cancel_with_the_kernel_shut_reaches_the_provider(serve, tmp_path, provider):
    """Without `watch` a job whose kernel is gone is not followed; Cancel alone starts a process that ends it."""
    server = serve(tmp_path / "home", **provider)
    job = submitted(server)
    assert not server.jobs()[0]["followed"]
    asked = server.ask("POST", f"jupyter-batch/jobs/{job}/cancel")
    assert (asked.status, json.loads(asked.body)) == (202, {"id": job, "started": [job]})
    assert server.jobs()[0]["state"] in {"cancelling", "cancelled"}  # the process may be quick
    server.until(lambda: server.jobs()[0]["state"] == "cancelled")


def test_the_server_lists_it_as_enabled(plain):
    """`jupyter server extension list` says enabled and OK, and the log has no complaint."""
    server, _ = plain
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_server.extension.serverextension", "list"],
        env=server.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    output = ANSI.sub("", done.stdout + done.stderr)
    assert re.search(r"jupyter_batch\s+enabled", output), output
    assert re.search(r"jupyter_batch [0-9.]+\S* +.*OK", output), output
    log = ANSI.sub("", server.log.read_text("utf-8"))
    assert "jupyter_batch | extension was successfully loaded" in log
    assert not [line for line in log.splitlines() if "jupyter_batch" in line and "[W" in line]
