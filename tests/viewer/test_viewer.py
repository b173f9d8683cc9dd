"""The row view's server over real HTTP: who may ask, what it answers, what it writes."""

from __future__ import annotations

import csv
import io
import json
import re
import webbrowser

import httpx
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

import jupyter_batch
from jupyter_batch import cli
from jupyter_batch.magics import LLMBatch
from jupyter_batch.notebook import kernel
from jupyter_batch.viewer import opened
from tests.viewer.conftest import EVIL
from tests.viewer.finished_jobs import answer, request, written


@pytest.fixture
def ask(viewer):
    """GET below the job's address, by this server's own name."""
    with httpx.Client(base_url=viewer.address("jbfew"), trust_env=False) as client:
        yield client.get


def page(ask, **query):
    """A page once all was read."""
    for _ in range(1000):
        found = ask("page", params=query).json()
        if found["ready"] and found["complete"]:
            return found
    raise AssertionError(found)


PLACES = [
    "viewer.js",
    "viewer.css",
    "page.js",
    "compare.html",
    "compare.js",
    "state",
    "page",
    "row",
    "export",
]
PLACES += ["labels", "actions", "models", "compared"]


@pytest.mark.parametrize("place", ["", *PLACES])
def test_nothing_without_the_token(viewer, place):
    """A wrong token, or none, is not found, and gives no reason to guess on."""
    for token in ("x", viewer.access.token[:-1], "%00", "é"):
        url = f"http://127.0.0.1:{viewer.port}/{token}/jbfew/{place}"
        assert httpx.get(url, trust_env=False).status_code == 404
    assert httpx.get(f"http://127.0.0.1:{viewer.port}/", trust_env=False).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[::1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_other_names_and_other_pages_are_refused(ask, headers):
    """Not with the right token either: DNS rebinding, and requests of pages of other origins."""
    answer = ask("page", headers=headers)
    assert answer.status_code == 403
    assert "review" not in answer.text.lower()


def test_the_page_itself_may_ask(viewer, ask):
    """Its own origin; and a browser may open or frame it from elsewhere."""
    own = {"Origin": f"http://127.0.0.1:{viewer.port}", "Sec-Fetch-Site": "same-origin"}
    assert ask("page", headers=own).status_code == 200
    framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask("", headers=framed).status_code == 200


@pytest.mark.parametrize("place", ["", "viewer.js", "state", "page", "row?position=99", "nothing"])
def test_each_answer_has_the_policy(ask, place):
    """Errors too: nothing is loaded but the page's own two files, nothing is cached, no address is sent on."""
    headers = ask(place).headers
    policy = dict(
        part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; ") if " " in part
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "data:"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("place", "loads"),
    [
        ("", ["viewer.css", "viewer.js", "compare.html"]),
        ("compare.html", ["viewer.css", "compare.js", "./"]),
    ],
)
def test_the_page_has_no_inline_script_and_loads_nothing_from_elsewhere(ask, place, loads):
    """Two pages, with a script each, one that they share, and one style sheet."""
    text = ask(place).text
    assert re.findall(r'(?:src|href)="([^"]+)"', text) == loads
    assert not re.search(r"<script[^>]*>[^<]|\son\w+=|style=|javascript:|https?:", text)
    script = ask(loads[1]).text + ask("page.js").text
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|import\(|https?:", script
    )
    assert "url(" not in ask("viewer.css").text


def test_an_entry_is_valid_once(viewer):
    """The address that is visible in a process list is of no use afterwards."""
    entry = viewer.entry("jbfew")
    first = httpx.get(entry, trust_env=False, follow_redirects=True)
    assert first.status_code == 200
    assert str(first.url) == viewer.address("jbfew")
    assert httpx.get(entry, trust_env=False).status_code == 404


def test_what_the_page_asks(ask):
    """Head, filters, search, order and pages."""
    seen = ask("state").json()
    assert (seen["id"], seen["answer"], seen["final"]) == ("jbfew", "sentiment", True)
    assert page(ask)["counts"]["cut off"] == 1
    assert [row["position"] for row in page(ask, chip="failed")["rows"]] == [3]
    assert [row["position"] for row in page(ask, text="review 8")["rows"]] == [8]
    costly = page(ask, sort="cost", descending="1", limit="2", offset="0")
    assert [row["position"] for row in costly["rows"]] == [7, 9]
    assert costly["found"] == 10


def test_a_group_has_a_page_for_each_model(few, viewer):
    """The group's id opens its first job, whose page names the others."""
    written(
        few.home,
        "jbtwo",
        [(request("jbtwo", 0, "a"), answer("jbtwo", 0, "b"), False)],
        model="openai/other",
    )
    few.keep_group("jgboth", ["jbfew", "jbtwo"], 0.0)
    seen = httpx.get(f"{viewer.address('jgboth')}state", trust_env=False).json()
    assert seen["id"] == "jbfew"
    assert seen["group"] == [
        {"id": "jbfew", "model": "openai/gpt-4.1-mini"},
        {"id": "jbtwo", "model": "openai/other"},
    ]
    assert httpx.get(f"{viewer.address('jgboth')}page", trust_env=False).json()["found"] == 10


def test_a_row(ask):
    """Messages as sent, answer, usage, raw line; hostile text comes as it was."""
    row = ask("row", params={"position": 8}).json()
    assert row["prompt"][0] == {"role": "system", "content": "You are terse."}
    assert row["answer"] == EVIL
    assert row["tokens"]["output_tokens"] == 11
    assert row["raw"]["custom_id"] == row["custom_id"] == "jbfew-8"


@pytest.mark.parametrize(
    ("place", "status"),
    [
        ("page?chip=x", 400),
        ("page?sort=x", 400),
        ("page?offset=-1", 400),
        ("page?limit=1e9", 400),
        (f"page?text={'x' * 501}", 400),
        ("row?position=10", 404),
        ("row?position=x", 400),
        ("export?format=exe", 400),
        ("../jbnone/page", 404),
        ("../../../etc/passwd", 404),
        ("%2e%2e%2fserver.py", 404),
    ],
)
def test_what_it_refuses(ask, place, status):
    """No such selection, row, format, job or file."""
    assert ask(place).status_code == status


def test_export_of_a_selection(ask, few):
    """The filtered rows, in their order, with whole texts: CSV, JSONL and Parquet agree."""
    pytest.importorskip("pyarrow")
    query = {"chip": "answered", "sort": "cost", "descending": "1"}
    files = {
        form: ask("export", params={**query, "format": form})
        for form in ("csv", "jsonl", "parquet")
    }
    assert files["csv"].headers["Content-Disposition"] == 'attachment; filename="jbfew.csv"'
    rows = list(csv.DictReader(io.StringIO(files["csv"].text)))
    lines = [json.loads(line) for line in files["jsonl"].text.splitlines()]
    table = pd.read_parquet(io.BytesIO(files["parquet"].content))
    assert [row["row"] for row in rows] == [line["row"] for line in lines] == table["row"].tolist()
    assert rows[0]["row"] == "7"
    assert rows[0]["sentiment"] == lines[0]["sentiment"] == table["sentiment"][0] == "answer 7"
    assert lines[0]["_cost"] == pytest.approx(table["_cost"][0])
    assert list(table.columns) == list(rows[0])
    assert {line["sentiment"] for line in lines} >= {EVIL}


def test_export_of_failures_has_the_reasons(ask):
    """A failed row has no answer."""
    lines = ask("export", params={"chip": "failed", "format": "jsonl"}).text.splitlines()
    assert json.loads(lines[0])["_error"] == "invalid_request_error: the content was refused"
    assert json.loads(lines[0])["sentiment"] is None


def test_a_port_that_is_taken(viewer, capsys, few):
    """The command says so, with exit 2; an unknown job is named."""
    assert cli.main(["view", "jbfew", "--no-browser", "--port", str(viewer.port)]) == 2
    assert f"port {viewer.port} can't be used" in capsys.readouterr().err
    assert cli.main(["view", "jbnone", "--no-browser"]) == 2
    assert "jbnone" in capsys.readouterr().err


def test_a_job_shows_its_rows_in_a_notebook(few, monkeypatch):
    """`job.view()`: a frame with the page of a server in this process, and its address; the same server each time."""
    job = jupyter_batch.open("jbfew")
    monkeypatch.setattr(kernel, "has_frontend", lambda: True)
    seen = job.view()
    assert f'<iframe src="{seen.url}"' in seen._repr_html_()
    assert httpx.get(seen.url, trust_env=False).status_code == 200
    assert job.view().url == seen.url
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/x/")
    assert '<iframe src="/user/x/jupyter-batch/rows/jbfew/"' in seen._repr_html_()
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX")
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    assert "iframe" not in seen._repr_html_(), "it would be empty"
    assert "jupyter batch view jbfew" in seen._repr_html_()
    opened.close_all()


def test_a_job_opens_its_rows_from_a_terminal(few, monkeypatch):
    """Without a notebook the browser is opened, with an address that is valid once; the magic does the same."""
    shown = []
    monkeypatch.setattr(webbrowser, "open", shown.append)
    seen = LLMBatch(InteractiveShell())._line("view jbfew", {})
    assert repr(seen) == f"Rows of jbfew: {seen.url}"
    assert httpx.get(shown[0], trust_env=False).status_code == 303
    assert httpx.get(shown[0], trust_env=False).status_code == 404
    opened.close_all()
