"""A day of a job, by a clock of the test's own: how much it sends to the page."""

import contextvars
import json

import comm
import msgspec
import pytest

from jupyter_batch.core.cost import Bill
from jupyter_batch.core.request import Limits
from jupyter_batch.core.status import Answer, Counts, ShardView, State, Step
from jupyter_batch.monitor import html
from jupyter_batch.monitor.live import LiveMonitor
from jupyter_batch.providers.backoff import poll_pause
from jupyter_batch.providers.protocol import Facts

START = 1_700_000_000.0  # the fixture's
DAY = 86_400
SHARDS, ROWS = 20, 50_000
FACTS = Facts(
    name="openai", dialect="openai", key="", limits=Limits(requests=50_000, bytes=200 * 10**6)
)
ENVELOPE = 900
"""Jupyter's envelope of each message: its header and its parent's, ids, a signature."""


@pytest.fixture
def sent(monkeypatch):
    """The size of each message that reached the server, of widgets and of displays."""
    import IPython.display

    sizes = []

    class Handle:
        def update(self, bundle, raw):
            sizes.append(len(json.dumps(bundle)) + ENVELOPE)

    def display(bundle, *, raw, display_id=None, metadata=None):
        Handle().update(bundle, raw)
        return Handle() if display_id else None

    def publish(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        sizes.append(len(json.dumps([data, metadata, keys])) + ENVELOPE)

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(comm.DummyComm, "publish_msg", publish)
    return sizes


class Clock:
    """Time that the test moves; what was to be called back later is called when its time has come."""

    def __init__(self):
        self.now, self._later = START, []

    def delay(self, seconds, work):
        self._later.append((self.now + seconds, work))

    def to(self, now):
        while self._later and min(self._later, key=lambda one: one[0])[0] <= now:
            due = min(self._later, key=lambda one: one[0])
            self._later.remove(due)
            self.now = due[0]
            due[1]()
        self.now = now


def polls():
    """(when, which batch): each batch is asked for as the engine does it, a day long, each at times of its own."""
    times = []
    for number in range(SHARDS):
        age = number * 2.0
        while age < DAY:
            times.append((age, number))
            age += poll_pause(FACTS, age, (number * 0.37 + age * 0.013) % 1)
    return sorted(times)


@pytest.fixture
def at(shot):
    """`at(age, done)`: the job at that age, with so many rows of each batch done."""
    return lambda age, done: job(shot, age, done)


def job(make, age, done):
    """The job at that age: 20 batches of 50,000 rows, each with so many that are done; one is over now and then."""
    shards = tuple(
        ShardView(
            number=n,
            step=Step.COLLECTED if rows == ROWS else Step.RUNNING,
            batch_id=f"batch_68a1f0c2d4b8{n:04}",
            ending=State.COMPLETED if rows == ROWS else None,
            counts=Counts(succeeded=rows - rows // 100, failed=rows // 100, running=ROWS - rows),
        )
        for n, rows in enumerate(done)
    )
    counts = sum((shard.counts for shard in shards), Counts())
    over = sum(rows == ROWS for rows in done)
    example = Answer(row=7, asked="the screen broke after a week " * 4, answer="negative " * 9)
    return make(
        now=START + age,
        counts=counts,
        shards=shards,
        most=12.5,
        deadline=START + DAY,
        offers=("finish", "merge"),
        expires_at=START + DAY,
        bill=Bill(known=0.5 * over, standard=float(over)) if over else None,
        input_tokens=9_000_000 * over,
        output_tokens=100_000 * over,
        answers=(example,) * 3 if over else (),
        reasons=(("rate limit reached, gave up after 5 tries", 500 * over),) if over else (),
        examples=(("rate limit reached, gave up after 5 tries", example),),
        history=(
            (START, 0),
            (START + 60, 0),
            *((START + age * n / 60, counts.done * n // 60) for n in range(1, 61)),
        ),
    )


@pytest.mark.parametrize("unfolded", [False, True])
def test_a_day_of_a_million_rows_is_fewer_than_2000_messages_and_a_megabyte(sent, at, unfolded):
    """Polled by the engine's own pauses for 24 hours, whether the list of batches is folded or not."""
    clock, done = Clock(), [0] * SHARDS
    monitor = LiveMonitor(at(0, done), {}, context=contextvars.copy_context(), delay=clock.delay)
    monitor.show("cell")
    if unfolded:
        monitor._panel.widget._handle_custom_msg({"click": "unfold"}, [])
        monitor._clicked = -100.0  # long ago
    seen = 0
    for age, number in polls():
        clock.to(START + age)
        pace = DAY * (0.4 + 0.6 * number / SHARDS)  # they end one after the other
        done[number] = min(ROWS, int(ROWS * age / pace))
        monitor.update(at(age, done))
        seen += 1
    done = [ROWS] * SHARDS
    monitor.update(
        msgspec.structs.replace(
            at(DAY, done), state=State.COMPLETED, collected=True, finished_at=START + DAY
        )
    )
    assert seen > 5_000
    assert len(sent) < 2_000
    assert sum(sent) < 1_000_000
    assert "completed" in html.markup(monitor._panel.widget.top)
    assert len(sent) > 180, "and it is not so rare that it looks dead: each drawing is one message"


def test_what_was_held_back_is_drawn_when_the_pause_is_over(sent, at):
    """Though no further news come, the page shows the newest figures after the pause, once."""
    clock, done = Clock(), [0] * SHARDS
    monitor = LiveMonitor(at(0, done), {}, context=contextvars.copy_context(), delay=clock.delay)
    monitor.show("cell")
    for rows in (100, 200, 300):
        clock.to(START + 3600 + rows / 1000)
        monitor.update(at(3600 + rows / 1000, [rows] * SHARDS))
    assert "2,000 of 1,000,000" in html.markup(monitor._panel.widget.body)
    before = len(sent)
    clock.to(START + 3600 + 600)
    assert "6,000 of 1,000,000" in html.markup(monitor._panel.widget.body)
    assert len(sent) > before


def test_a_state_and_an_end_wait_for_nothing(sent, at):
    """A pause holds figures back, never a change of state."""
    clock, done = Clock(), [0] * SHARDS
    monitor = LiveMonitor(at(3600, done), {}, context=contextvars.copy_context(), delay=clock.delay)
    monitor.update(at(3600.1, [1] * SHARDS))
    monitor.update(msgspec.structs.replace(at(3600.2, [2] * SHARDS), state=State.CANCELLING))
    assert "cancelling" in html.markup(monitor._panel.widget.top)


def test_thirty_jobs_of_one_notebook_are_under_300_messages_a_minute(sent, at):
    """Young ones, which are drawn most often, polled twice a second; the last of them ends as the minute does."""
    clock = Clock()

    def monitor(number):
        seen = msgspec.structs.replace(at(0, [0] * SHARDS), id=f"jb{number}")
        made = LiveMonitor(seen, {}, context=contextvars.copy_context(), delay=clock.delay)
        made.show(number)
        return made

    monitors = [monitor(number) for number in range(30)]
    # A model, its state, a card, a panel for each; a beat for all, unless that of an earlier test's panel goes on.
    assert len(sent) - 30 * 4 in (0, 1)
    for begin in (0, 60, 120):
        before = len(sent)
        for tick in range(120):
            age = begin + tick / 2
            clock.to(START + age)
            for number, one in enumerate(monitors):
                rows = [int(age * 100)] * SHARDS
                over = begin == 120 and tick >= 4 * number
                state = State.COMPLETED if over else State.RUNNING
                one.update(
                    msgspec.structs.replace(
                        at(age, rows), state=state, collected=over, id=f"jb{number}"
                    )
                )
        assert 60 < len(sent) - before < 300
    assert all("completed" in html.markup(one._panel.widget.top) for one in monitors)
