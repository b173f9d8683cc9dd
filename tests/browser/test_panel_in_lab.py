"""JupyterLab's side: the panel of all jobs with the kernel shut, the notification at an end, the status bar's item."""

import json
from importlib import resources

import pytest
from lab import notebook_of
from written_jobs import TOAST, end, job_in, plan

from jupyter_batch.core.status import State
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.server.embedded import Embedded
from tests.viewer import finished_jobs as made

SUBMIT = """
import pandas as pd, jupyter_batch
df = pd.DataFrame({"feedback": [f"row {n} is great" for n in range(200)]})
job = df.llm.batch("Sentiment (positive/negative)? {feedback}", out="sentiment", model="openai/local/echo")
job
"""
HOSTILE = "<img src=x onerror=alert(1)><script>alert(1)</script> javascript:x \u202egpj.exe"
FAKE_DESKTOP = """() => {
  window.desktop = [];
  window.Notification = class { constructor(title, options) { window.desktop.push([title, options.body]); } };
  Notification.permission = 'default';
  Notification.requestPermission = async () => { Notification.permission = 'granted'; return 'granted'; };
  Document.prototype.hasFocus = () => false;
}"""
PAUSES = """async url => {
  const { Jobs } = await import(url);
  const job = { id: 'a', final: false }, answers = [];
  let hidden = false, awaited = false, watched = false;
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
  const request = async () => answers.shift();
  const jobs = new Jobs({ request, memory: new Map(), place: '', watched: () => watched, awaited: () => awaited });
  const found = {};
  const page = list => ({ status: 200, headers: new Map(), json: async () => ({ jobs: list, older: 0, problem: '' }) });
  const ask = async answer => { answers.push(answer); await jobs.ask(); };
  await ask(page([])); found.quiet = jobs.pause();
  await ask(page([job])); found.open = jobs.pause();
  watched = true; found.watched = jobs.pause();
  await ask(page([])); jobs.nudge(); found.nudged = jobs.pause(); await ask(page([job]));
  hidden = true; found.hidden = jobs.pause();
  awaited = true; found.awaited = jobs.pause();
  hidden = false; await ask({ status: 304 }); found.same = jobs.jobs.length;
  await ask({ status: 404 }); found.absent = jobs.pause(); found.problem = jobs.problem;
  await ask(page([job])); found.back = jobs.problem;
  delete document.hidden;
  return found;
}"""


def test_the_panel_lives_with_the_kernel_shut_and_its_end_is_reported(open_lab, tmp_path):
    """The kernel is shut in mid-job: the server's watch goes on, the panel moves, the end is reported with its counts.

    The notebook is opened and the re-attaching line copied from there; the status bar has what is running, until then.
    """
    with Embedded(tmp_path / "server", pace=25) as server:
        env = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.token}
        with open_lab(notebook_of(SUBMIT), env=env, config=("--JupyterBatch.watch=True",)) as lab:
            lab.command("jupyter_batch:show")
            lab.run_all()
            lab.wait_text("running", 0)
            lab.shutdown()
            job = job_in(lab, "sentiment")
            job.wait_for()
            lab.until(
                lambda: "sentiment" in lab.page.locator(".jb-status").inner_text(),
                "the status bar's item",
            )
            lab.page.locator(".jb-status").click()
            lab.until(
                lambda: int(job.get_by_role("progressbar").get_attribute("aria-valuenow")) > 0,
                "it to move",
            )
            lab.save()
            lab.command("application:close-all")
            job.get_by_role("button", name="notebook.ipynb").click()
            lab.page.wait_for_selector(".jp-Notebook .jp-Cell")
            lab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
            job.get_by_role("button", name="Copy the line").click()
            line = f'df.llm.attach("{job.get_attribute("data-id")}")'
            lab.until(
                lambda: lab.page.evaluate("navigator.clipboard.readText()") == line,
                "the line to be copied",
            )
            lab.shot("panel-running.png")
            lab.page.evaluate(
                "Document.prototype.hasFocus = () => false"
            )  # another window is in front
            toast = lab.page.locator(TOAST)
            toast.wait_for()
            lab.until(lambda: "200 succeeded" in toast.inner_text(), "the counts")
            assert "sentiment: completed" in toast.inner_text()
            lab.until(
                lambda: not lab.page.locator(".jb-status").is_visible(),
                "the status bar to be quiet",
            )
            ended = lab.page.locator("[aria-label='Ended LLM batches'] .jb-job")
            lab.until(lambda: ended.count() == 1, "the job among those that ended")
            lab.shot("panel-ended.png")
            assert lab.errors() == []


@pytest.mark.matrix
def test_the_panel_shows_text_and_cancels_after_asking(open_lab):
    """Hostile names are text in panel, dialog, notification and status bar; Cancel asks; the bell is a switch."""
    with open_lab(notebook_of("1 + 1"), alone=True) as lab:
        ledger = Ledger(lab.home)
        seen = []
        lab.page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
        lab.page.evaluate(FAKE_DESKTOP)
        shown = HOSTILE.replace("\u202e", "")
        plan(ledger, "jbhostile", done=412, name=HOSTILE, out="x", notebook="javascript:alert(1)")
        plan(ledger, "jbother", done=120, notebook=str(lab.path), followed=False)
        plan(ledger, "jbold", done=1000, ended=State.COMPLETED, notebook=str(lab.path))
        lab.command("jupyter_batch:show")
        hostile, other = job_in(lab, shown), job_in(lab, "jbother")
        hostile.wait_for()
        lab.until(
            lambda: lab.page.locator(".jb-job").count() == 3, "all of them"
        )  # it may have asked in between
        assert lab.page.locator(".jb-side img, .jb-side script, .jb-side a").count() == 0
        assert hostile.get_by_role("button", name="javascript:alert(1)").first.is_disabled()
        assert "No kernel follows it" in other.inner_text()
        for theme in ("Dark", "Light"):
            lab.theme(f"JupyterLab {theme}")
            lab.shot(f"panel-{theme.lower()}.png")

        lab.page.get_by_role("button", name="Notify me on the desktop").click()
        lab.until(lambda: lab.page.locator(".jb-bell-on").count(), "the bell to be on")
        hostile.get_by_role("button", name="Cancel").click()
        dialog = lab.page.locator(".jp-Dialog")
        assert shown in dialog.inner_text()
        dialog.get_by_role("button", name="Keep it").click()
        assert ledger.job("jbhostile").cancel_at == 0
        hostile.get_by_role("button", name="Cancel").click()
        dialog.get_by_role("button", name="Cancel the job").click()
        lab.until(lambda: "cancelling" in hostile.inner_text(), "the cancel to be seen")
        assert ledger.job("jbhostile").cancel_at > 0
        plan(
            ledger,
            "jbkey",
            done=0,
            batch_id="",
            blocked_by="key",
            message=f"no key: {'why, ' * 60}",
        )
        waiting = job_in(lab, "jbkey")
        waiting.get_by_text("Waits for a key.").wait_for()
        assert waiting.locator("details > summary").inner_text().endswith("…"), (
            "long text is folded"
        )
        waiting.locator(".jb-job-act", has_text="Cancel").click()
        lab.until(
            lambda: ledger.job("jbkey").cancel_at > 0, "one click to cancel what was not sent"
        )
        say = lab.page.locator(".jb-side-say")
        lab.until(lambda: "is being cancelled" in say.inner_text(), "the panel to say so")

        end(ledger, "jbhostile", failed=3)
        toast = lab.page.locator(TOAST)
        toast.wait_for()
        lab.until(lambda: "997 succeeded, 3 failed" in toast.inner_text(), "the counts")
        assert "<img src=x onerror=alert(1)>" in toast.inner_text()
        lab.until(lambda: lab.page.evaluate("window.desktop.length"), "the desktop notification")
        [[title, body]] = lab.page.evaluate("window.desktop")
        assert title.startswith("<img src=x onerror=alert(1)>")
        assert "997 succeeded, 3 failed" in body
        lab.shot("panel-notified.png")
        assert seen == []
        assert lab.errors() == []
        ledger.close()


def test_it_asks_politely_and_an_end_in_between_is_reported(open_lab):
    """The pauses; a job that ended while no page was open is reported at the next visit; keyboard alone; axe-core."""
    with open_lab(notebook_of("1 + 1"), alone=True) as lab:
        ledger = Ledger(lab.home)
        other = lab.path.with_name("other.ipynb")  # not the one in front
        other.write_bytes(lab.path.read_bytes())
        plan(ledger, "jbaaa", done=10, notebook=str(other))
        lab.command("jupyter_batch:show")
        job_in(lab, "jbaaa").wait_for()
        pauses = lab.page.evaluate(PAUSES, lab.served.extension("page/jobs.js"))
        problem = pauses.pop("problem")
        assert pauses == {
            "quiet": 30_000,
            "open": 10_000,
            "watched": 3_000,
            "nudged": 3_000,
            "hidden": 0,
            "awaited": 60_000,
            "same": 1,
            "absent": 300_000,
            "back": "",
        }
        assert "install it in the server's environment" in problem

        lab.page.locator(".jb-job-notebook").focus()
        lab.page.keyboard.press("Tab")
        assert lab.page.evaluate("document.activeElement.title") == "Show the rows"
        lab.page.keyboard.press("Tab")
        line = 'df.llm.attach("jbaaa")'
        assert lab.page.evaluate("document.activeElement.title") == f"Copy: {line}"
        lab.page.keyboard.press("Enter")
        lab.until(
            lambda: lab.page.locator(".jb-side-say").inner_text() == f"Copied: {line}",
            "the line to be copied",
        )

        lab.page.goto("about:blank")
        end(ledger, "jbaaa", failed=0)
        lab.open(kernel=False)
        lab.until(
            lambda: "1,000 succeeded" in lab.page.locator(TOAST).inner_text(),
            "the end to be reported",
        )
        lab.open(kernel=False)
        lab.command("jupyter_batch:show")
        job_in(lab, "jbaaa").wait_for()
        assert lab.page.locator(TOAST).count() == 0, "once"
        plan(ledger, "jbaab", done=10, followed=False, name="a" * 70)
        plan(ledger, "jbaac", done=900, ended=State.EXPIRED)
        plan(ledger, "jbaad", done=10, notebook=str(lab.path))
        lab.command("jupyter_batch:refresh")
        job_in(lab, "jbaad").wait_for()
        check_panel_with_axe(lab)
        ledger.close()


def test_the_panel_is_a_workplace(open_lab):
    """A title opens details with prices; search, order and totals; a retry names its price; long errors fold.

    The rows of a job open in a tab.
    """
    with open_lab(notebook_of("1 + 1"), alone=True) as lab:
        why = "the content was refused because " + "it is long, " * 30
        lines = [
            (made.request("jbx", n, f"{n}"), made.answer("jbx", n, f"said {n}"), False)
            for n in range(3)
        ]
        lines.append((made.request("jbx", 3, "3"), made.failure("jbx", 3, why), True))
        ledger = made.written(lab.home, "jbx", lines, name="four rows")
        lines = [(made.request("jby", 0, "0"), made.answer("jby", 0, "yes"), False)]
        made.written(lab.home, "jby", lines, name="another")
        lab.command("jupyter_batch:show")
        job = job_in(lab, "four rows")
        job.wait_for()
        lab.page.get_by_label("Search jobs").fill("four")
        lab.until(lambda: lab.page.locator(".jb-job").count() == 1, "the one that fits")
        lab.page.get_by_label("Search jobs").fill("")
        lab.page.get_by_label("Order").select_option("title")
        lab.until(
            lambda: lab.page.locator(".jb-job-title").first.inner_text() == "another", "by name"
        )
        lab.page.get_by_label("Which jobs").select_option("lost")
        lab.until(lambda: lab.page.locator(".jb-job").count() == 1, "the one that lost a row")
        sums = lab.page.locator(".jb-side-sums")
        sums.locator("summary").click()
        assert "in all" in sums.inner_text()
        assert "By day" in sums.inner_text()
        assert "By notebook" in sums.inner_text()
        title = job.get_by_role("button", name="four rows", exact=True)
        title.focus()
        lab.page.keyboard.press("Enter")
        assert title.get_attribute("aria-expanded") == "true"
        retry = job.get_by_role("button", name="Retry: 1 row, about $")
        retry.wait_for()
        lab.shot("panel-workplace.png")
        check_panel_with_axe(lab)
        check_rows_tab(lab, job)
        dialog = lab.page.locator(".jp-Dialog")
        with lab.page.expect_download() as download:
            job.get_by_role("button", name="Export CSV").click()
        assert download.value.suggested_filename == "jbx.csv"
        job.get_by_role("button", name="Forget").click()
        dialog.get_by_role("button", name="Forget").click()
        lab.until(
            lambda: lab.page.locator(".jb-side-say").inner_text() == "jbx is forgotten.", "its end"
        )
        lab.until(lambda: lab.page.locator(".jb-job").count() == 0, "the list without it")
        empty = lab.page.locator(".jb-side-empty").filter(visible=True)
        assert "No job fits the search." in empty.all_inner_texts()
        assert lab.errors() == []
        ledger.close()


def check_rows_tab(lab, job):
    """One click opens the rows in a tab, a second one opens no other; the page is the server's, behind its login."""
    show = job.get_by_role("button", name="Show the rows")
    show.click()
    page = lab.page.frame_locator("iframe.jb-rows")
    page.get_by_text("said 2").wait_for()
    page.get_by_role("button", name="1", exact=True).click()
    page.get_by_role("heading", name="Row 1").wait_for()
    lab.shot("rows-tab.png")
    show.click()
    assert lab.page.locator("iframe.jb-rows").count() == 1


def check_panel_with_axe(lab):
    """No violation in the panel's own parts and the status bar's item, in both themes."""
    pytest.importorskip("axe_playwright_python", reason="axe-core is not here")
    lab.page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    for theme in ("Light", "Dark"):
        lab.theme(f"JupyterLab {theme}")
        found = lab.page.evaluate("""() => axe.run({include: [['.jb-side-section'], ['.jb-side-line'],
          ['.jb-status'], ['.jb-bell']]})""")
        reported = [
            (one["id"], node["target"], node["any"][0]["message"] if node["any"] else "")
            for one in found["violations"]
            for node in one["nodes"]
        ]
        assert reported == [], json.dumps(reported, indent=1)
