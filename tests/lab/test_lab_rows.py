"""The row view behind a Jupyter server's own login: the same page and the same policy, from a process of its own."""

from __future__ import annotations

import json

import psutil

from tests.viewer.finished_jobs import answer, request, written

from .conftest import Server


def test_the_rows_behind_a_login(tmp_path):
    """The server's login guards page, rows and files; unknown places are 404; no process outlives the server."""
    lines = [(request("jbx", n, f"{n}"), answer("jbx", n, f"said {n}"), False) for n in range(3)]
    written(tmp_path / "home", "jbx", lines).close()
    server = Server(tmp_path / "server", tmp_path / "home")
    try:
        check_login(server)
        check_unknown_places(server)
        mine = psutil.Process(server.process.pid).children(recursive=True)
        children = [one for one in mine if "jupyter_batch.viewer" in one.cmdline()]
        assert len(children) == 1
    finally:
        server.close()
    assert psutil.wait_procs(children, 30)[1] == []


def check_login(server):
    """The login page without a token; a user who has signed in sees page, rows and files, as they are elsewhere."""
    for place in ("", "viewer.js", "state", "page", "export"):
        stranger = server.ask("GET", f"jupyter-batch/rows/jbx/{place}", token=False)
        assert b"login" in stranger.body
        assert b"said 0" not in stranger.body
        assert b"viewer.css" not in stranger.body
    opener, _ = server.signed_in()
    assert b"viewer.js" in server.get("jupyter-batch/rows/jbx/", opener=opener, token=False).body
    page = server.get("jupyter-batch/rows/jbx/")
    assert 'src="viewer.js"' in page.body.decode()
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    rows = json.loads(server.get("jupyter-batch/rows/jbx/page?limit=2").body)
    assert [row["answer"] for row in rows["rows"]] == ["said 0", "said 1"]
    exported = server.get("jupyter-batch/rows/jbx/export?format=jsonl")
    assert len(exported.body.splitlines()) == 3
    assert exported.headers["Content-Disposition"] == 'attachment; filename="jbx.jsonl"'


def check_unknown_places(server):
    """An unknown job, a path out of the page's folder: 404, and no word of the inner address."""
    for place in ("jbnone/state", "jbx/../../etc/passwd", "jbx/secret.py", "jbx/a/b"):
        found = server.ask("GET", f"jupyter-batch/rows/{place}")
        assert found.status == 404
        assert b"127.0.0.1" not in found.body
