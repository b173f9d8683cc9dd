"""The terminal's line and bar."""

import io

from jupyter_batch.core.status import Counts, State
from jupyter_batch.monitor.text import Progress, line
from jupyter_batch.monitor.view import view


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_one_line_says_it_all(shot):
    """The line has name, state, rows, failures, times and id."""
    text = line(shot())
    assert text.startswith(
        "sentiment: running, 412 of 1,000 rows (41%), 10 reused, 2 failed, 4 min since "
    )
    assert "about 6 min left" in text
    assert text.endswith("[jb3f9c2k7a1q]")
    assert line(view(shot())) == text


def test_without_a_terminal_a_line_for_each_change(shot, done):
    """New counts alone print nothing; a new state, a new message and the end do."""
    out = io.StringIO()
    with Progress(out) as progress:
        progress.update(shot(state=State.SUBMITTING, reasons=()))
        progress.update(shot(reasons=()))
        for n in range(50):
            progress.update(shot(counts=Counts(succeeded=n, running=1000 - n), reasons=()))
        progress.update(shot(message="HTTP 429, next look in 30 s", reasons=()))
        progress.update(done)
    lines = out.getvalue().splitlines()
    assert [text.split(",")[0] for text in lines if not text.startswith("  ")] == [
        "sentiment: submitting",
        "sentiment: running",
        "sentiment: HTTP 429",
        "sentiment: completed",
    ]
    assert "  2 x rate limit reached" in lines


def test_on_a_terminal_a_bar(shot, done):
    """A terminal gets one bar that is redrawn in place, and is left standing at the end."""
    out = Terminal()
    with Progress(out) as progress:
        progress.update(shot())
        progress.update(done)
    frames = out.getvalue().split("\r")
    assert any("sentiment: running  41%" in frame and "412/1000" in frame for frame in frames)
    assert "sentiment: completed 100%" in frames[-1]
    assert out.getvalue().endswith("\n")
    assert "2 x rate limit reached" in out.getvalue()


def test_a_long_name_leaves_the_bar_its_figures(shot):
    """In 80 columns: what it is, how far it is, and how long it takes; a name of a whole line is cut."""
    out = Terminal()
    with Progress(out) as progress:
        progress.update(
            shot(name="Feedback of the third quarter, all regions and all languages, twice")
        )
    bar = next(line for line in out.getvalue().replace("\n", "\r").split("\r") if "%|" in line)
    assert bar.startswith("Feedback of…: running")
    assert "412/1000, 2 failed, 6 min left" in bar
    assert len(bar) <= 80


def test_equal_frames_draw_nothing(shot):
    """The same snapshot twice writes nothing the second time."""
    out = Terminal()
    progress = Progress(out)
    progress.update(shot())
    size = len(out.getvalue())
    progress.update(shot())
    assert len(out.getvalue()) == size
    progress.close()


def test_a_job_that_is_over_is_a_line_on_a_terminal_too(done):
    """A job that was done before anybody looked needs no bar."""
    out = Terminal()
    Progress(out).update(done)
    assert out.getvalue().startswith("sentiment: completed, 998 of 1,000 rows answered")
