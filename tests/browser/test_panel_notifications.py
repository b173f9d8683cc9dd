"""JupyterLab's panel by itself: jobs that ended, the ledger that it reads, and new jobs soon."""

from lab import notebook_of
from written_jobs import TOAST, end, job_in, plan

from jupyter_batch.ledger.store import Ledger

HEIGHTS = "() => [...document.querySelectorAll('.jb-side-section')].map(one => one.getBoundingClientRect().height)"


def test_many_ends_are_one_notification(open_lab):
    """Jobs that end together are in one notification; none is for the notebook in front.

    A cell that may send a job has the list asked soon, not half a minute later, when a short job is over. The panel
    names the ledger that it reads.
    """
    with open_lab(notebook_of("job = 1 + 1"), alone=True) as lab:
        ledger = Ledger(lab.home)
        names = [f"jb{number}" for number in range(7)]
        for name in names:
            plan(ledger, name, done=10, notebook=str(lab.path))
        lab.command("jupyter_batch:show")
        job_in(lab, "jb5").wait_for()
        lab.until(
            lambda: (high := lab.page.evaluate(HEIGHTS))[0] > 2 * high[1],
            "an empty list to have little room",
        )
        toast = lab.page.locator(TOAST)
        end(ledger, "jb6", failed=0)
        ended = lab.page.locator("[aria-label='Ended LLM batches'] .jb-job")
        lab.until(lambda: ended.count() == 1, "its end to be listed")
        assert toast.count() == 0, "its notebook is in front"
        lab.page.evaluate("Document.prototype.hasFocus = () => false")  # another window is

        for name in names[:4]:
            end(ledger, name, failed=3)
        lab.until(lambda: "and 3 more" in toast.inner_text(), "those that ended with it")
        assert "997 succeeded, 3 failed" in toast.inner_text()
        end(ledger, "jb4", failed=0)
        lab.until(lambda: "jb4: completed" in toast.inner_text(), "the newest")
        assert "1,000 succeeded" in toast.inner_text()
        assert "and 4 more" in toast.inner_text()
        assert toast.count() == 1
        lab.shot("panel-many-notified.png")

        toast.get_by_role("button", name="Hide notification").or_(
            toast.locator(".jp-Notification-Toast-Close")
        ).first.click()
        toast.wait_for(state="detached")
        end(ledger, "jb5", failed=0)
        toast.wait_for()
        assert "jb5: completed" in toast.inner_text()
        assert "more" not in toast.inner_text()
        check_the_list_is_asked_soon(lab)
        assert lab.errors() == []
        ledger.close()


def check_the_list_is_asked_soon(lab):
    """A cell is run, and the list is asked within seconds."""
    place = lab.page.locator(".jb-side-place")
    lab.until(lambda: str(lab.home) in place.inner_text(), "the ledger's folder")
    asked = []
    with lab.page.expect_response(lambda answer: "jupyter-batch/jobs" in answer.url):
        lab.command("jupyter_batch:refresh")  # the next one by the clock is half a minute away
    lab.page.on(
        "request",
        lambda request: asked.append(request.url) if "jupyter-batch/jobs" in request.url else 0,
    )
    lab.run_all()
    lab.until(lambda: asked, "the list to be asked", 15)
