"""One job in several places: two notebooks on one ledger, and a notebook that is not trusted."""

import json
import re

from cells import FRAME, LOST, START, SUBMIT, static
from lab import notebook_of

from jupyter_batch.server.embedded import Embedded

SECOND = """
import os
os.environ["OPENAI_BASE_URL"] = %r
second = df.llm.batch("Topic? {feedback}", out="topic", model="openai/local/echo")
second
"""
HOSTILE = (
    '<script>document.title = "owned"</script><img src="x" onerror="document.title = \'owned\'">'
)


def test_two_notebooks_on_one_ledger_have_one_job(open_lab, tmp_path):
    """The same cell in two notebooks is one job: both show it live, and Cancel in one is seen in the other.

    A job that completes fills each notebook's frame once; the server was asked once for each job.
    """
    with (
        Embedded(tmp_path / "slow", pace=600) as slow,
        Embedded(tmp_path / "quick", pace=6) as quick,
    ):
        env = {"OPENAI_BASE_URL": slow.base_url, "OPENAI_API_KEY": slow.token}
        cells = (
            FRAME,
            SUBMIT,
            "print('waited', job.wait().id)",
            SECOND % quick.base_url,
            "print(second.wait().id, df['topic'].notna().sum(), second.counts.reused, list(df.columns))",
        )
        with open_lab(notebook_of(*cells), env=env) as lab:
            both = lab, lab.second_notebook(notebook_of(*cells))
            for one in both:
                for cell in range(3):
                    one.run_cell(cell)
                one.wait_text("running", 1)
            both[1].click("Cancel")
            both[1].click("Yes, cancel")
            for one in both:
                one.wait_text("waited", 2)
                one.wait_text("cancelled", 1)
                one.wait_idle()
                one.run_cell(3)
                one.run_cell(4)
                one.wait_text("topic", 3)
            for one in both:
                one.wait_text("['feedback', 'sentiment', 'topic']", 4)
                one.wait_text("completed", 3)
                assert re.search(r"(?m)^jb\w+ 200 0 ", one.output(4))
                assert one.errors() == []
            for cell in (2, 4):
                first, second = (one.output(cell).splitlines()[-1] for one in both)
                assert first == second
        for server in (slow, quick):
            assert server.stats()["batches_created"] == 1
        assert quick.stats()["downloads"] == 1


def test_an_untrusted_notebook_shows_the_card_and_runs_nothing(open_lab):
    """A file that came from elsewhere, with hostile markup put into its card: the card reads well, and nothing runs."""
    with open_lab(notebook_of(START, "job.finish()")) as lab:
        lab.run_all()
        lab.wait_text("completed", 0)
        lab.until(lambda: "completed" in static(lab), "the card behind the panel")
        lab.wait_idle()
        saved = lab.save()
        lab.shutdown()
        [card, live] = saved["cells"][0]["outputs"]
        assert "application/vnd.jupyter.widget-view+json" in live["data"]
        card["data"]["text/html"] = [*card["data"]["text/html"], HOSTILE]
        lab.path.write_text(json.dumps(saved), "utf-8")
        for kernel in (False, True):
            lab.open(kernel=kernel)
            lab.until(lambda: lab.visible(".jb-static") == 1, "the card")
            assert not lab.trusted()
            text = lab.output(0)
            for words in (
                "completed",
                "openai/gpt-4.1-mini",
                "980 of 1,000 rows answered",
                "980 succeeded, 20 failed",
                'job = jupyter_batch.open("jb3f9c2k7a1q")',
                "20 rate limit reached",
            ):
                assert words in text, f"{words!r} is not in {text!r}"
            assert LOST not in (lab.page.text_content(".jp-Notebook") or "")
            assert "Loading widget" not in text
            assert lab.page.locator(".jp-OutputArea script").count() == 0
            assert lab.page.title() != "owned"
            assert lab.errors() == []
            lab.shot(f"untrusted-{kernel}.png", 0)
