"""The terminal's table of all jobs: bars, colours, one line a job on a wide terminal and two on a narrow one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from jupyter_batch.cli.screen import Lines, LiveTable, bar, print_list
from jupyter_batch.core.cost import Bill
from jupyter_batch.core.status import Counts, State
from jupyter_batch.monitor.text import BAR, Progress, line
from jupyter_batch.monitor.view import view


def shown(seen, width, **more):
    """The table as a terminal of that width gets it."""
    out = io.StringIO()
    print_list(seen, Console(file=out, width=width, force_terminal=True, **more))
    return out.getvalue()


@pytest.fixture
def jobs(shot):
    """Two jobs: one runs, one has failed rows."""
    return [
        view(shot(id="jbone", name="first", counts=Counts(succeeded=410, failed=2, running=588))),
        view(shot(id="jbtwo", name="second", state=State.FAILED, collected=True, finished_at=1e9)),
    ]


@pytest.mark.parametrize(("width", "lines"), [(140, 1), (80, 2)])
def test_a_job_has_one_line_or_two_and_a_bar_of_20_columns(jobs, width, lines):
    """Each line fits the terminal; the id is there, and the bar is not squeezed."""
    text = shown(jobs[:1], width, no_color=True, color_system=None)
    table = [line for line in text.splitlines() if line.strip() and "[jbone]" not in line]
    assert len(table) == (lines + 1 if width == 140 else lines), "a heading on the wide one"
    assert all(len(line) <= width for line in table)
    assert "jbone" in text
    assert "first" in text
    assert sum(text.count(char) for char in "━─") == BAR


def test_colours_are_the_states(jobs):
    """A terminal with colours gets them; one without gets the same words."""
    coloured = shown(jobs, 140, color_system="standard")
    plain = shown(jobs, 140, color_system=None)
    assert "\x1b[31m" in coloured, "failed rows are red"
    assert "\x1b[" not in plain
    assert "failed" in plain


def test_the_bar_is_empty_at_0_percent_and_full_at_the_end(shot):
    """Open rows are the empty part; a single failed row is visible among many."""
    assert bar(view(shot(counts=Counts(running=1000))), BAR).plain == "─" * BAR
    assert bar(view(shot(counts=Counts(succeeded=1000))), BAR).plain == "━" * BAR
    few = bar(view(shot(counts=Counts(failed=1, running=9999))), BAR, ascii_only=True)
    assert few.plain == "#" + "-" * (BAR - 1)


def test_the_live_table_shows_every_job_and_their_messages(jobs):
    """Both jobs are in one table, redrawn only for a change."""
    out = io.StringIO()
    screen = LiveTable(Console(file=out, width=100, force_terminal=True, color_system=None))
    screen.update(jobs)
    once = len(out.getvalue())
    screen.update(jobs)
    assert len(out.getvalue()) == once
    screen.close()
    assert "first" in out.getvalue()
    assert "second" in out.getvalue()


def test_more_jobs_than_lines(shot):
    """On a low terminal open jobs have a line each, the others a count; at the end all are listed, in two lines."""
    old = [
        view(shot(id=f"jbo{n}", state=State.COMPLETED, collected=True, finished_at=1e9))
        for n in range(5)
    ]
    open_now = [view(shot(id=f"jbr{n}", name=f"run {n}")) for n in range(12)]
    out = io.StringIO()
    console = Console(file=out, width=80, height=14, force_terminal=True, color_system=None)
    screen = LiveTable(console)
    screen.update([*old, *open_now])
    frame = out.getvalue()
    assert [f"run {n}  " in frame for n in range(12)] == [True] * 12
    assert "and 5 more: 5 completed" in frame
    assert len(frame.splitlines()) < 14
    screen.close()
    assert [f"  jb{kind}4, " in out.getvalue() for kind in "or"] == [True, True]


def test_a_running_job_shows_its_cost_so_far_expected_and_at_most(shot):
    """Below 100 columns the second line has them, and a line of a script, too."""
    bill = Bill(known=0.0123, standard=0.0246)
    seen = view(shot(id="jbone", bill=bill, expected=0.12, most=0.4))
    costs = "$0.0123 so far, about $0.1200, at most $0.4000 in all"
    assert costs in shown([seen], 99, color_system=None)
    assert "$0.0123 so far, saved $0.0123, about $0.1200, at most $0.4000 in all" in line(seen)


def test_without_a_terminal_each_job_has_its_lines(jobs):
    """Two jobs, a line for the state of each; nothing new, nothing printed."""
    out = io.StringIO()
    screen = Lines(out)
    screen.update(jobs)
    screen.update(jobs)
    heads = [line for line in out.getvalue().splitlines() if not line.startswith(" ")]
    assert [head.partition(":")[0] for head in heads] == ["first", "second"]


def test_a_single_bar_has_20_columns_at_80(shot):
    """Phrases that do not fit next to the bar are left out, the last ones first."""
    out = io.StringIO()
    with Progress(out, tty=True) as progress:
        progress.update(shot(name="a name of some length", counts=Counts(failed=7, running=993)))
        line = out.getvalue().split("\r")[-1]
    inside = line.split("|")[1]
    assert len(inside) >= BAR
    assert len(line.rstrip("\n")) <= 80
