"""The clicks of frequent actions in JupyterLab, as docs/actions.md counts them with the panel in sight."""

from __future__ import annotations

import re

from lab import notebook_of
from written_jobs import job_in

from jupyter_batch.server.embedded import Embedded

CELL = """
%load_ext jupyter_batch
import pandas as pd
df = pd.DataFrame({"feedback": [f"row {n} is great" for n in range(60)]})
job = df.llm.batch("Sentiment? {feedback}", out="sentiment", model="openai/echo", max_tokens=9,
                   prices={"openai/echo": {"input": 1.0, "output": 2.0}}).wait()
"""


class Clicks:
    """A mouse that counts."""

    def __init__(self):
        self.count = 0

    def on(self, target):
        """Click on it."""
        target.click()
        self.count += 1


def rows_page(lab):
    """The row view in its tab."""
    return lab.page.frame_locator("iframe.jb-rows")


def test_two_clicks_at_the_most(open_lab, tmp_path):
    """A failed row with its text, one row whole, the retry with its price, an export: two clicks at most."""
    with Embedded(tmp_path / "server", faults="row_errors=0.2,seed=5") as server:
        env = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.token}
        with open_lab(notebook_of(CELL), env=env, alone=True) as lab:
            lab.page.set_viewport_size({"width": 1700, "height": 900})
            lab.run_all()
            lab.command("jupyter_batch:show")
            job_in(lab, "sentiment").get_by_role("button", name="Look at").wait_for()
            server.set_faults("")
            each_action(lab)
            assert lab.errors() == []


def each_action(lab):
    """Each action from the panel, with its clicks counted."""
    job = job_in(lab, "sentiment")
    clicks = Clicks()
    clicks.on(job.get_by_role("button", name="Look at"))
    page = rows_page(lab)
    page.locator("#detail .error").wait_for()
    assert "server_error" in page.locator("#detail .error").inner_text()
    assert "is great" in page.locator("#detail .message").last.inner_text()
    assert page.locator("tbody tr").count() == page.locator("tbody [data-status=failed]").count()
    assert clicks.count <= 2
    lab.shot("actions-failed-row.png")
    clicks = Clicks()
    clicks.on(page.locator("tbody tr").nth(1))
    page.get_by_role("heading", name=re.compile("Row ")).wait_for()
    assert clicks.count <= 2, "one row whole, from the table"
    clicks = Clicks()
    clicks.on(job.get_by_role("button", name="sentiment", exact=True))
    retry = job.get_by_role("button", name=re.compile(r"Retry: \d+ rows, about \$"))
    retry.wait_for()
    lab.shot("actions-panel.png")
    with lab.page.expect_download() as download:
        clicks.on(job.get_by_role("button", name="Export CSV"))
    assert download.value.suggested_filename.endswith(".csv")
    assert clicks.count <= 2, "an export"
    clicks = Clicks()
    clicks.on(retry)
    shown = lab.page.locator(".jb-side-say")
    lab.until(lambda: "Sent again as" in shown.inner_text(), "the retry")
    assert clicks.count + 1 <= 2, "with the click on the title"
    found = re.search(r"Sent again as (jb\w+)", shown.inner_text())
    assert found
