"""The clicks of the ten frequent actions in JupyterLab, as docs/actions.md counts them with the panel in sight."""

from __future__ import annotations

import re

from lab import notebook_of
from written_jobs import job_in

from jupyter_batch.server.embedded import Embedded

CELL = """
%load_ext jupyter_batch
import os
import pandas as pd
df = pd.DataFrame({"feedback": [f"row {n} is great" for n in range(60)]})
options = dict(model="openai/echo", max_tokens=9, prices={"openai/echo": {"input": 1.0, "output": 2.0}})
slow = dict(options, api_base=os.environ["SLOW_URL"], api_key=os.environ["OPENAI_API_KEY"])
job = df.llm.batch("Sentiment? {feedback}", out="sentiment", **options).wait()
few = df.head(3).copy()
group = few.llm.batch("{feedback}", out="models", model=["openai/echo", "openai/local/echo"]).wait()
for out in ("hurried", "stopped"):
    df.llm.batch(f"{out}: {{feedback}}", out=out, **slow)
"""


class Clicks:
    """A mouse that counts, in a JupyterLab with the panel."""

    def __init__(self, lab):
        self.lab, self.count = lab, 0

    def on(self, target):
        """Click on it."""
        target.click()
        self.count += 1

    def button(self, job, name, **more):
        """Click on a button of a job in the panel."""
        self.on(job_in(self.lab, job).get_by_role("button", name=name, **more))

    def page(self, job):
        """The row view of a job, in its tab."""
        return self.lab.page.frame_locator(f'iframe.jb-rows[title="Rows of {job}"]')

    def says(self, text):
        """Wait for a sentence at the head of the panel."""
        said = self.lab.page.locator(".jb-side-say")
        self.lab.until(lambda: text in said.inner_text(), text)


def failed_row(mouse):
    """A failed row with its text."""
    mouse.button("sentiment", "Look at")
    error = mouse.page("sentiment").locator("#detail .error")
    error.wait_for()
    assert "server_error" in error.inner_text()
    assert "is great" in mouse.page("sentiment").locator("#detail .message").last.inner_text()
    listed = mouse.page("sentiment").locator("tbody td.status")
    assert set(listed.all_inner_texts()) == {"failed"}
    mouse.lab.shot("actions-failed-row.png")


def whole_row(mouse):
    """One row whole: prompt as sent, answer, raw response, tokens, cost."""
    mouse.button("stopped", "Show the rows of stopped")
    mouse.on(mouse.page("stopped").locator("tbody tr").nth(1))
    mouse.page("stopped").get_by_role("heading", name=re.compile("Row ")).wait_for()


def export(mouse):
    """A file of answers."""
    mouse.button("sentiment", "sentiment", exact=True)
    with mouse.lab.page.expect_download() as download:
        mouse.button("sentiment", "Export CSV")
    assert download.value.suggested_filename.endswith(".csv")
    mouse.button("sentiment", "sentiment", exact=True)
    mouse.count -= 1  # folds the details again


def retry(mouse):
    """What failed is sent again, at the price on the button."""
    mouse.button("sentiment", "sentiment", exact=True)
    mouse.button("sentiment", re.compile(r"Retry: \d+ rows, about \$"))
    mouse.says("Sent again as jb")
    mouse.lab.shot("actions-panel.png")


def cancel(mouse):
    """The square, and the answer to its question."""
    mouse.button("stopped", "Cancel stopped")
    mouse.on(mouse.lab.page.get_by_role("button", name="Cancel the job"))
    job_in(mouse.lab, "stopped").get_by_text("cancel").first.wait_for()


def finish(mouse):
    """The rest in real time, at the price on the button."""
    mouse.button("hurried", "hurried", exact=True)
    mouse.button("hurried", re.compile(r"Finish now: \d+ rows, "))
    mouse.on(mouse.lab.page.locator(".jp-Dialog").get_by_role("button", name="Finish now"))
    mouse.says("asked in real time")


def fill_a_frame(mouse):
    """The line that fills a frame, to be pasted."""
    mouse.button("hurried", "Copy the line that fills a frame from hurried")
    mouse.says("Copied")


def compare(mouse):
    """Models side by side."""
    mouse.button("models", "Show the rows of models")
    page = mouse.page("models")
    page.locator("#sums tbody tr").nth(1).wait_for()
    rows = page.locator("#scroll tbody")
    assert rows.locator("tr").count() == 3
    assert rows.locator("th").first.inner_text().split() == ["0"]
    assert page.locator("#title").inner_text() == "models: models"
    mouse.lab.shot("actions-models.png")


def label(mouse):
    """A corrected label."""
    mouse.button("sentiment", "Show the rows of sentiment")
    page = mouse.page("sentiment")
    mouse.on(page.locator("tbody tr").nth(2))
    page.get_by_role("heading", name="Row 2").wait_for()
    page.locator("#detail input").fill("negative")
    mouse.on(page.get_by_role("button", name="Save"))
    page.get_by_text("Saved").wait_for()


ACTIONS = (
    (label, 3),
    (failed_row, 1),
    (whole_row, 2),
    (fill_a_frame, 1),
    (export, 2),
    (compare, 1),
    (cancel, 2),
    (finish, 3),
    (retry, 2),
)


def test_ten_frequent_actions(open_lab, tmp_path):
    """Each takes the clicks of the table in docs/actions.md; the first, how every job stands, none."""
    with (
        Embedded(tmp_path / "server", faults="row_errors=0.2,seed=5") as server,
        Embedded(tmp_path / "slow", pace=600, token=server.token) as slow,
    ):
        env = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.token}
        env["SLOW_URL"] = slow.base_url
        with open_lab(notebook_of(CELL), env=env, alone=True) as lab:
            lab.page.set_viewport_size({"width": 1700, "height": 900})
            lab.run_all()
            lab.command("jupyter_batch:show")
            for job, state in {
                "sentiment": "completed",
                "models": "completed",
                "hurried": "running",
                "stopped": "running",
            }.items():
                job_in(lab, job).get_by_text(state, exact=True).wait_for()
            server.set_faults("")
            for action, clicks in ACTIONS:
                mouse = Clicks(lab)
                action(mouse)
                assert mouse.count <= clicks, action.__doc__
            assert lab.errors() == []
