"""Rows that the user filtered: price and retry, the source's columns, disagreeing ones of a group."""

from __future__ import annotations

import json
import re

import httpx
import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.lab.listing import Listing
from jupyter_batch.notebook import kernel
from jupyter_batch.viewer import opened
from jupyter_batch.viewer.server import Viewer
from tests.answers.test_retry_params import bodies

PRICE = {"input": 1.0, "output": 2.0}


@pytest.fixture
def failed(server, call, home):
    """A job whose six rows failed, and the frame, which has columns that the prompt does not use."""
    server.set_faults("row_errors=1")
    df = pd.DataFrame(
        {"text": [f"row {n}" for n in range(6)], "id": range(100, 106), "note": list("abcdef")},
        index=list("uvwxyz"),
    )
    job = df.llm.batch(
        "{text}", out="said", max_tokens=9, prices={call["model"]: PRICE}, **call
    ).wait(60)
    server.set_faults("")
    yield df, job
    opened.close_all()


def page_of(job, monkeypatch):
    """A client of the page of `job.view()`."""
    monkeypatch.setattr(kernel, "has_frontend", lambda: True)
    return httpx.Client(base_url=job.view().url, trust_env=False, timeout=30)


def prompts(job):
    """The texts that a job's own requests have."""
    return [body["messages"][-1]["content"] for body in bodies(job)]


def test_the_price_and_the_retry_of_a_selection(failed, monkeypatch):
    """Only the filtered rows are counted, priced and sent; the kernel's frame has their answers."""
    df, job = failed
    with page_of(job, monkeypatch) as client:
        found = client.get("price", params={"chip": "failed", "text": "row 2"}).json()
        assert (found["rows"], found["cut"]) == (1, False)
        assert found["price"].startswith("1 row, about $0.0")
        every = client.get("price", params={"chip": "failed"}).json()
        assert every["price"].startswith("6 rows, ")
        sent = client.post("retry", json={"chip": "failed", "text": "row 2"}).json()
        again = jupyter_batch.open(sent["job"]).wait(60)
        assert prompts(again) == ["row 2"]
        assert again.id in sent["message"]
        job.wait(60)
        assert df["said"].dropna().to_dict() == {"w": "row 2"}
        left = client.get("price", params={"chip": "failed"}).json()
        assert left["rows"] == 5, "those that are still without an answer"


def test_without_a_kernel_the_ledger_has_the_retry(failed):
    """The page of `jupyter batch view` retries a selection, too; of a job that is open it sends nothing."""
    _, job = failed
    viewer = Viewer(job._here.ledger).start()
    try:
        with httpx.Client(base_url=viewer.address(job.id), trust_env=False, timeout=30) as client:
            assert client.get("page").json()["cells"] == {}
            sent = client.post("retry", json={"chip": "failed", "text": "row 4"}).json()
            again = jupyter_batch.open(sent["job"]).wait(60)
            assert prompts(again) == ["row 4"]
            refused = client.post("retry", json={"chip": "answered"})
            assert refused.status_code == 400
            assert "no row" in refused.json()["problem"]
    finally:
        viewer.stop()


def test_cut_off_answers_are_retried_with_a_larger_limit(call, home):
    """The price is that of the new limit; without one nothing is sent."""
    long = "a text of more words than three tokens can hold"
    df = pd.DataFrame({"text": [f"{n} {long}" for n in range(3)]})
    prices = {call["model"]: PRICE}
    job = df.llm.batch("{text}", out="said", max_tokens=3, prices=prices, **call).wait(60)
    viewer = Viewer(job._here.ledger).start()
    try:
        with httpx.Client(base_url=viewer.address(job.id), trust_env=False, timeout=30) as client:
            asked = {"chip": "cut off", "text": f"1 {long[:6]}"}
            assert client.get("price", params=asked).json() == {"rows": 1, "price": "", "cut": True}
            found = client.get("price", params={**asked, "max_tokens": 500}).json()
            assert found["price"].startswith("1 row, at most $0.001")
            assert client.post("retry", json=asked).status_code == 400
            assert client.post("retry", json={"chip": "failed", "max_tokens": 5}).status_code == 400
            assert client.post("retry", json={**asked, "max_tokens": 0}).status_code == 400
            sent = client.post("retry", json={**asked, "max_tokens": 500}).json()
            again = jupyter_batch.open(sent["job"]).wait(60)
            assert [body["max_tokens"] for body in bodies(again)] == [500]
            assert again.cut_off == 2
    finally:
        viewer.stop()


def test_the_sources_columns_are_next_to_the_rows(failed, monkeypatch):
    """All but the filled one, found by row also after the rows moved; a row that is gone has none."""
    df, job = failed
    with page_of(job, monkeypatch) as client:
        state = client.get("state").json()
        assert (state["source"], state["asked"]) == (["text", "id", "note"], ["text"])
        cells = client.get("page").json()["cells"]
        assert cells["2"] == {"text": "row 2", "id": "102", "note": "c"}
        df.iloc[:, :] = df.iloc[::-1].to_numpy()
        assert client.get("page").json()["cells"]["2"]["note"] == "c"
        df.loc[df["note"] == "c", "text"] = "another row"
        assert "2" not in client.get("page").json()["cells"]
        assert client.get("row", params={"position": 3}).json()["cells"]["id"] == "103"


def test_disagreeing_rows_of_a_group(server, home):
    """A chip of the row view of each model; its number is known once it was used."""
    given = {"api_base": server.base_url, "api_key": server.token}
    df = pd.DataFrame({"text": ["same", "null", "same too"]})
    group = df.llm.batch("{text}", out="said", model=["openai/echo", "openai/local/echo"], **given)
    group.wait(60)
    viewer = Viewer(group._here.ledger).start()
    try:
        with httpx.Client(
            base_url=viewer.address(group.jobs[1].id), trust_env=False, timeout=30
        ) as client:
            assert client.get("page").json()["counts"]["disagreeing"] is None
            page = client.get("page", params={"chip": "disagreeing"}).json()
            assert (page["found"], page["counts"]["disagreeing"]) == (0, 0)
    finally:
        viewer.stop()


def test_a_click_puts_the_winner_into_the_frame(server, home, monkeypatch):
    """With the kernel's frame the comparison fills the column; without it the page says how."""
    given = {"api_base": server.base_url, "api_key": server.token}
    df = pd.DataFrame({"text": ["one", "two"]})
    models = ["openai/echo", "openai/local/echo"]
    group = df.llm.batch("{text}", out="said", model=models, **given).wait(60)
    monkeypatch.setattr(kernel, "has_frontend", lambda: True)
    url = group.view().url.removesuffix("compare.html")
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        assert client.get("state").json()["choosing"] is True
        assert client.post("choose", json={"model": "openai/other"}).status_code == 400
        assert models[0] in client.post("choose", json={"model": models[0]}).json()["message"]
    assert df["said"].tolist() == ["one", "two"]
    opened.close_all()
    viewer = Viewer(group._here.ledger).start()
    try:
        address = viewer.address(group.jobs[0].id)
        refused = httpx.post(f"{address}choose", json={"model": models[0]}, trust_env=False)
        assert (refused.status_code, "copy the code" in refused.json()["problem"]) == (400, True)
    finally:
        viewer.stop()


def test_reused_and_left_rows_have_their_prompts(failed):
    """A retry shows the prompts of rows that other jobs sent, and finds them by a text of the prompt."""
    _, job = failed
    again = job._retried(None, rows=[2]).wait(60)
    last = again._retried(None, rows=[4]).wait(60)
    viewer = Viewer(job._here.ledger).start()
    try:
        with httpx.Client(base_url=viewer.address(last.id), trust_env=False, timeout=30) as client:
            client.get("row", params={"position": 0})  # all of the job was read then
            rows = client.get("page").json()["rows"]
            assert [row["prompt"] for row in rows] == [f"row {n}" for n in range(6)]
            found = client.get("page", params={"text": "row 2"}).json()["rows"]
            assert [row["position"] for row in found] == [2]
            found = client.get("page", params={"text": "row 5", "chip": "failed"}).json()["rows"]
            assert [row["position"] for row in found] == [5]
    finally:
        viewer.stop()


def test_the_list_of_jobs_leads_to_their_rows(failed, monkeypatch):
    """In a notebook each id of `jobs()` is a link to the page of its rows; elsewhere it is none; limit= holds."""
    _, job = failed
    again = job._retried(None, rows=[2]).wait(60)
    assert "<a " not in jupyter_batch.jobs()._repr_html_()
    monkeypatch.setattr(kernel, "has_frontend", lambda: True)
    listed = jupyter_batch.jobs(limit=1)._repr_html_()
    (href,) = re.findall(r'<a href="([^"]+)"', listed)
    assert httpx.get(href, trust_env=False).status_code == 200
    assert httpx.get(f"{href}state", trust_env=False).json()["id"] in (job.id, again.id)
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/x/")
    assert '<a href="/user/x/jupyter-batch/rows/jb' in jupyter_batch.jobs()._repr_html_()
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX")
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    assert "<a " not in jupyter_batch.jobs()._repr_html_()


def test_rows_that_name_their_models_are_not_compared(server, call, home):
    """Their page is the rows of each model; only models over the same rows have a comparison."""
    given = {"api_base": server.base_url, "api_key": server.token}
    df = pd.DataFrame({"text": ["one", "two"], "m": ["openai/echo", "hosted_vllm/echo"]})
    split = df.llm.batch("{text}", out="said", model=jupyter_batch.col("m"), **given).wait(60)
    both = df.llm.batch("{text}", out="both", model=df["m"].tolist(), **given).wait(60)
    ledger = split._here.ledger
    assert opened.page_of(ledger, split.id) == ""
    assert opened.page_of(ledger, both.id) == "compare.html"
    listed = {job["id"]: job["page"] for job in json.loads(Listing(ledger).json())["jobs"]}
    assert listed == {split.id: "", both.id: "compare.html"}
    viewer = Viewer(ledger).start()
    try:
        state = httpx.get(f"{viewer.address(split.id)}state", trust_env=False).json()
        assert (len(state["group"]), state["compared"]) == (2, False)
        counts = httpx.get(f"{viewer.address(split.id)}page", trust_env=False).json()["counts"]
        assert "disagreeing" not in counts
    finally:
        viewer.stop()
