"""Labels, the models of a group side by side, and the actions with their prices: as values, and over HTTP."""

from __future__ import annotations

from html import escape

import httpx
import pandas as pd
import pytest

from jupyter_batch.core.errors import ColumnError, InputError
from jupyter_batch.results.rows import Rows
from jupyter_batch.results.rows.comparison import Comparison, rows_html
from jupyter_batch.results.rows.labels import agreement
from jupyter_batch.viewer.actions import Held
from jupyter_batch.viewer.server import Viewer
from tests.viewer.conftest import EVIL
from tests.viewer.finished_jobs import answer, failure, request, written


@pytest.fixture
def client(viewer):
    """A page of the job."""
    with httpx.Client(base_url=viewer.address("jbfew"), trust_env=False) as made:
        yield made


def label(client, row, text, column="sentiment", **more):
    """Store a label."""
    return client.post("label", json={"row": row, "column": column, "label": text}, **more)


def test_a_label_is_kept_counted_and_taken_back(client, few):
    """The last one of a row counts; agreement does not see case; a new reader finds the same."""
    assert label(client, 0, "Answer 0 ").status_code == 200
    assert label(client, 1, "wrong").status_code == 200
    assert label(client, 1, "right").json()["label"] == "right"
    found = client.get("labels").json()["sentiment"]
    assert (found["labelled"], found["agreed"]) == (2, 1)
    assert ["answer 1", "right", 1] in found["table"]
    assert client.get("page", params={"limit": 2}).json()["labels"]["sentiment"]["1"] == "right"
    assert label(client, 1, None).status_code == 200
    assert Rows(few, "jbfew").labels().read() == {"sentiment": {0: "Answer 0"}}


def test_what_a_label_refuses(client, few):
    """Unknown rows and columns, other types, forms of other pages, and other origins; nothing is stored."""
    assert label(client, 99, "x").status_code == 400
    assert label(client, 0, "x", column="other").status_code == 400
    assert label(client, 0, "x" * 1001).status_code == 400
    assert client.post("label", json={"row": "0"}).status_code == 400
    assert (
        client.post("label", content=b"{}", headers={"Content-Type": "text/plain"}).status_code
        == 415
    )
    assert label(client, 0, "x", headers={"Origin": "https://evil.example"}).status_code == 403
    assert label(client, 0, "x", headers={"Host": "evil.example"}).status_code == 403
    wrong = str(client.base_url).replace("/jbfew", "x/jbfew") + "label"
    assert (
        httpx.post(wrong, json={"row": 0, "column": "sentiment", "label": "x"}).status_code == 404
    )
    assert Rows(few, "jbfew").labels().read() == {"sentiment": {}}


def test_a_line_cut_by_a_kill_loses_no_other_label(few):
    """A half line at the end is left out."""
    labels = Rows(few, "jbfew").labels()
    labels.write(2, "sentiment", "two", 0.0)
    path = few.folders.of("jbfew").path / "labels.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("ab") as file:
        file.write(b'{"row":3,"col')
    assert labels.read() == {"sentiment": {2: "two"}}


def test_agreement_of_pairs():
    """The table has each pair with its rows, the most frequent first."""
    found = agreement([("a", "a"), ("a", "b"), ("a ", "b"), ("B", "b")])
    assert (found.labelled, found.agreed) == (4, 2)
    assert found.table[0] == ("a", "b", 2)


def test_labels_go_into_the_frame_and_become_examples(call, home):
    """`<out>_human` next to the answers, by the frame's index; examples have the prompt's columns and the labels."""
    df = pd.DataFrame({"text": ["one", "two", "three"], "more": [1, 2, 3]}, index=[30, 10, 20])
    job = df.llm.batch("{text}", out="said", **call).wait(60)
    with pytest.raises(InputError, match=r"no row of job .* is labelled yet"):
        job.examples()
    Rows(job._here.ledger, job.id).labels().write(1, "said", "deux", 0.0)
    assert job.labels().to_dict("index") == {10: {"said": "two", "said_human": "deux"}}
    job.merge_labels()
    assert df["said_human"].isna().tolist() == [True, False, True]
    assert df.loc[10, "said_human"] == "deux"
    assert job.examples().to_dict("index") == {10: {"text": "two", "said": "deux"}}
    again = df.llm.batch(
        "{text}!", out="other", examples=job.examples().rename(columns={"said": "other"}), **call
    )
    assert "deux" in str(again.wait(60).row(30).prompt)


@pytest.fixture
def group(home):
    """Two models over the same four rows: they differ in row 2; the second has no answer to row 3."""
    ledger = None
    for job, answers in (("jbone", "abcd"), ("jbtwo", "abX")):
        lines = [
            (request(job, row, f"Row {row}"), answer(job, row, content), False)
            for row, content in enumerate(answers)
        ]
        if len(answers) < len("abcd"):
            lines.append((request(job, 3, "Row 3"), failure(job, 3, "refused"), True))
        ledger = written(home, job, lines)
    ledger.keep_group("jgboth", ["jbone", "jbtwo"], 1.0)
    return ledger


def test_disagreements_come_first(group):
    """Rows that two models answered differently, then the others; a missing answer is no disagreement."""
    comparison = Comparison([Rows(group, "jbone"), Rows(group, "jbtwo")])
    page = comparison.page(0, 10)
    assert [row.position for row in page.rows] == [2, 0, 1, 3]
    assert [side.answer for side in page.rows[0].sides] == ["c", "X"]
    assert (page.total, page.differing) == (4, 1)
    assert [row.position for row in comparison.page(0, 10, only=True).rows] == [2]
    first, second = comparison.models()
    assert first.agreement == second.agreement == pytest.approx(2 / 3)
    assert (first.answered, second.answered) == (4, 3)
    assert first.cost > 0
    shown = rows_html(page, ["openai/one", EVIL])
    assert shown.index("Row 2") < shown.index("Row 0")
    assert "1 of 4 rows have different answers" in shown
    assert "refused" in shown
    assert escape(EVIL) in shown
    assert EVIL not in shown


def test_the_page_of_a_group_asks_for_its_models(group):
    """The comparison over HTTP, from the page of any of its jobs."""
    viewer = Viewer(group).start()
    try:
        with httpx.Client(base_url=viewer.address("jbtwo"), trust_env=False) as client:
            assert [one["job"] for one in client.get("models").json()] == ["jbone", "jbtwo"]
            assert client.get("compared", params={"only": "1"}).json()["differing"] == 1
            assert client.get("compare.html").status_code == 200
    finally:
        viewer.stop()


def test_the_winner_goes_into_a_column(call, home):
    """choose() copies one model's answers into the column without its name; what is there is not overwritten."""
    df = pd.DataFrame({"text": ["one", "two"]}, index=["a", "b"])
    given = {key: value for key, value in call.items() if key != "model"}
    group = df.llm.batch("{text}", out="said", model=["openai/echo", "openai/null"], **given)
    group.wait(60)
    group.choose("openai/echo")
    assert df["said"].tolist() == ["one", "two"]
    with pytest.raises(ColumnError, match="overwrite=True"):
        group.choose("openai/echo")
    with pytest.raises(InputError, match="expected one of openai/echo"):
        group.choose("openai/other")


def test_the_actions_have_their_prices_and_are_carried_out(client, few):
    """A complete job with a failed row offers its retry at a price, and to be forgotten; unknown names are refused."""
    offered = {one["name"]: one["price"] for one in client.get("actions").json()}
    assert set(offered) == {"retry", "forget"}
    assert offered["retry"].startswith("1 row, about $0.0000")
    assert client.post("action", json={"name": "explode"}).status_code == 400
    assert client.post("action", json={"name": "finish"}).status_code == 400
    done = client.post("action", json={"name": "forget"})
    assert done.json()["message"] == "jbfew is forgotten."
    assert client.get("state").status_code == 404


def test_the_kernels_own_object_acts_where_there_is_one(viewer, client):
    """A notebook's frame is filled: its actions are used in place of the ledger's."""
    viewer.hold("jbfew", Held(deeds={"retry": lambda: "The kernel retried."}))
    assert client.post("action", json={"name": "retry"}).json()["message"] == "The kernel retried."
