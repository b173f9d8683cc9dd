"""Beats to the pages that show jobs: who gets them, and when they end."""

import pytest

from jupyter_batch.notebook.pulse import LEASE, QUICK, SLOW, Pulse


class Clock:
    """Time that the test moves."""

    now = 0.0


@pytest.fixture
def clock():
    """Its own for each test."""
    return Clock()


@pytest.fixture
def kernel():
    """Whether it is busy with a cell."""
    return {"busy": False}


@pytest.fixture
def pulse(clock, kernel):
    """It starts no thread: the test calls beat()."""
    started = []
    made = Pulse(clock=lambda: clock.now, busy=lambda: kernel["busy"], start=started.append)
    made.started = started
    return made


def test_a_page_that_asks_gets_a_beat_at_once_and_more_until_its_lease_is_over(pulse, clock):
    """Then nothing more is sent: a server would store it for a page that is closed."""
    beats = []
    pulse.listen("a", beats.append)
    assert beats == [{"next": 4000, "busy": False}]
    while (pause := pulse.beat()) is not None:
        assert pause == QUICK
        clock.now += pause
    assert LEASE / QUICK <= len(beats) <= LEASE / QUICK + 2
    assert pulse.beat() is None


def test_there_is_one_thread_however_many_ask(pulse, clock):
    """Another is started only once the first has ended."""
    pulse.listen("a", lambda beat: None)
    pulse.listen("b", lambda beat: None)
    assert len(pulse.started) == 1
    clock.now = LEASE + 1
    assert pulse.beat() is None
    pulse.listen("a", lambda beat: None)
    assert len(pulse.started) == 2


def test_a_cell_that_outlasts_the_lease_keeps_the_beats_but_slower(pulse, clock, kernel):
    """A kernel without subshells reads no question while a cell runs; the page must not take it for dead."""
    beats = []
    pulse.listen("a", beats.append)
    kernel["busy"] = True
    clock.now = LEASE + 1
    assert pulse.beat() == SLOW
    assert beats[-1] == {"next": 15_000, "busy": True}
    kernel["busy"] = False
    assert pulse.beat() is None


def test_a_page_that_is_gone_does_not_stop_the_beats_of_another(pulse):
    """An error of one comm stays its own."""
    beats = []

    def broken(_):
        raise RuntimeError("closed")

    pulse.listen("a", broken)
    pulse.listen("b", beats.append)
    assert pulse.beat() == QUICK
    assert len(beats) == 2


def test_the_first_panel_on_display_gets_a_lease_unasked(pulse, clock, kernel):
    """Its page may be unable to ask, as a cell runs; a second panel of the same page needs none."""
    first, second = [], []
    kernel["busy"] = True
    pulse.begin("a", first.append)
    pulse.begin("b", second.append)
    assert first == [{"next": 4000, "busy": True}]
    assert second == []
    assert pulse.beat() == QUICK
    assert len(first) == 2
    clock.now = LEASE + 1
    pulse.begin("b", second.append)
    assert len(second) == 1
