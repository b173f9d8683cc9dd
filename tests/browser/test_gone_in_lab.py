"""A panel whose kernel is gone says so within seconds, and has no button; it lives again when the job is taken up."""

import os
import signal

import pytest
from cells import START, answered, moves
from lab import NOTEBOOK, notebook_of

SOON = 20
SESSION = f"{NOTEBOOK}.context.sessionContext"
KERNEL = f"{SESSION}.session.kernel"
WAYS = {
    "restarted": lambda lab: lab.page.evaluate(f"() => {KERNEL}.restart()"),
    "killed": lambda lab: os.kill(pid(lab), signal.SIGKILL),
    "shut down": lambda lab: lab.shutdown(),
    "shut down elsewhere": lambda lab: lab.served.end_kernels(lab.path.parent),
}


def pid(lab):
    """The kernel's process."""
    return int(lab.output(1))


def is_gone(lab):
    """The panel says it, and its buttons are off."""
    return (
        lab.visible(".jb-live.jb-gone") == 1 and lab.visible(".jb-live button:not(.jb-copy)") == 0
    )


@pytest.mark.matrix
def test_a_kernel_that_went_is_noticed_in_each_way(open_lab):
    """The figures stay, with the way back to the job; the card is not shown as well. A new kernel has a new panel."""
    with open_lab(notebook_of(START, "import os; print(os.getpid())")) as lab:
        for way, end in WAYS.items():
            lab.until(lambda: (lab.state() or {}).get("kernel") == "idle", "a kernel")
            lab.run_all()
            lab.until(lambda: lab.visible(".jb-live:not(.jb-gone) .jb-pill") == 1, "a live panel")
            lab.wait_idle()
            moves(lab)
            end(lab)
            lab.until(lambda: is_gone(lab), "the panel to notice", SOON)
            text = lab.output(0)
            assert "As its kernel left it. To follow the job, run the cell again." in text, way
            assert 'jupyter_batch.open("jb3f9c2k7a1q")' in text, way
            assert answered(lab) > 0
            assert lab.visible(".jb-pill") == 1, way
            lab.shot(f"gone-{way.replace(' ', '-')}.png", 0)
            if way == "shut down":
                lab.page.evaluate(
                    f"() => {SESSION}.changeKernel({{name: 'python3'}}).then(() => null)"
                )


def test_a_kernel_that_is_silent_is_noticed_and_so_is_its_return(open_lab):
    """A hung process, of which the server says nothing; then the same panel moves, and can be clicked."""
    with open_lab(notebook_of(START, "import os; print(os.getpid())")) as lab:
        lab.run_all()
        lab.wait_text("of 1,000 rows", 0)
        lab.wait_idle()
        kernel = pid(lab)
        os.kill(kernel, signal.SIGSTOP)
        try:
            lab.until(lambda: is_gone(lab), "the panel to notice", SOON)
        finally:
            os.kill(kernel, signal.SIGCONT)
        lab.until(lambda: not is_gone(lab), "the panel to wake", SOON)
        moves(lab)
        lab.click("Refresh")
        lab.wait_text("Asked, 1.", 0)
        assert lab.errors() == []


def test_the_panel_of_a_restarted_kernel_wakes_with_its_job(open_lab):
    """The new kernel opens the job in another cell: both panels show it, and both can be clicked."""
    with open_lab(notebook_of(START, START)) as lab:
        lab.run_cell(0)
        lab.wait_text("of 1,000 rows", 0)
        lab.wait_idle()
        lab.page.evaluate(f"() => {KERNEL}.restart()")
        lab.until(lambda: is_gone(lab), "the panel to notice", SOON)
        lab.wait_idle()
        lab.run_cell(1)
        lab.until(lambda: lab.visible(".jb-live:not(.jb-gone)") == 2, "both to live")
        moves(lab)
        lab.page.locator(".jb-live").first.get_by_role("button", name="Refresh").click()
        lab.wait_text("Asked, 1.", 0)
        lab.wait_text("Asked, 1.", 1)
        assert lab.errors() == []
