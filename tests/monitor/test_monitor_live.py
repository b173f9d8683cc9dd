"""Which screen is opened, and when it is drawn."""

import contextvars
import io
import sys
import threading
import types

import pytest

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.status import Counts, State
from jupyter_batch.monitor import html, live, widget
from jupyter_batch.monitor.view import view


@pytest.fixture
def displayed(monkeypatch):
    """The page's messages: bundles, and updates of them."""
    import IPython.display

    calls = []

    class Handle:
        def update(self, bundle, raw):
            calls.append(("update", bundle, threading.current_thread().name))

    def display(bundle, *, raw, display_id=None, metadata=None):
        calls.append(("display", bundle, None))
        return Handle() if display_id else None

    monkeypatch.setattr(IPython.display, "display", display)
    return calls


def open_live(snapshot, **more):
    """A monitor in a notebook that a person looks at."""
    return live.open_monitor(snapshot, actions={}, frontend=True, **more)


def open_text(snapshot, out):
    """A monitor of a notebook without a page."""
    return live.open_monitor(snapshot, actions={}, frontend=False, stream=lambda: out)


def test_a_front_end_gets_card_and_panel(shot, displayed):
    """The static card comes first, the panel right below it: the style rules count on that order."""
    open_live(shot()).show()
    (_, card, _), (_, panel, _) = displayed
    assert "jb-static" in card["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in panel


def test_a_cell_shows_it_once(shot, displayed):
    """`df.llm.batch(...)` as a cell's last expression is displayed once, and in another cell again."""
    monitor = open_live(shot())
    for cell in ("a", "a", "b"):
        monitor.show(cell)
    assert len(displayed) == 4


def test_a_job_that_is_displayed_in_a_loop_updates_the_last_cards_alone(shot, done, displayed):
    """A thousand displays are not a thousand messages at each change of state."""
    monitor = open_live(shot())
    for n in range(1000):
        monitor.show(f"cell {n}")
    displayed.clear()
    monitor.update(done)
    assert 1 <= len(displayed) <= live.CARDS


def test_the_card_changes_at_milestones_alone(shot, done, displayed):
    """A tenth of the rows, a state, a message: not each poll; and in every cell that shows it."""
    monitor = open_live(shot())
    monitor.show("a")
    monitor.show("b")
    for n in range(400, 410):
        monitor.update(shot(counts=Counts(succeeded=n, running=1000 - n)))
    before = len(displayed)
    monitor.update(shot(counts=Counts(succeeded=420, running=580)))
    assert len(displayed) == before
    monitor.update(done)
    assert [kind for kind, *_ in displayed[before:]] == ["update", "update"]
    assert "completed" in displayed[-1][1]["text/html"]
    assert displayed[-1][1]["text/plain"] == monitor.bundle()["text/plain"]
    assert "jb-paired" in displayed[-1][1]["text/html"]
    assert 'jb-paired"' not in monitor.bundle()["text/html"], (
        "alone it must not hide what is displayed below it"
    )


def test_equal_snapshots_draw_nothing(shot, displayed, monkeypatch):
    """A poll that brought nothing new sends nothing to the page, for as long as the words are the same."""
    monitor = open_live(shot())
    draws = []
    monkeypatch.setattr(monitor._panel, "draw", lambda seen, parts: draws.append(seen) or (0, 0))
    monitor.update(shot())
    assert draws == []
    monitor.update(shot(now=shot().now + 100))
    assert len(draws) == 1


def test_an_update_never_raises(shot, displayed, monkeypatch):
    """A screen that breaks does not stop the job."""
    monitor = open_live(shot())

    def broken(_):
        raise RuntimeError("the page is gone")

    monkeypatch.setattr(monitor._panel, "draw", broken)
    monitor.update(shot(message="new"))


def test_widget_work_is_done_in_the_given_context(shot, displayed, monkeypatch):
    """From whatever thread an update comes, it runs in a copy of the context that came from the submitting cell."""
    variable = contextvars.ContextVar("cell", default="none")
    context = contextvars.copy_context()
    context.run(variable.set, "submitting")
    monitor = open_live(shot(), context=context)
    seen = []
    monkeypatch.setattr(
        monitor._panel, "draw", lambda _, parts: seen.append(variable.get()) or (0, 0)
    )
    thread = threading.Thread(target=monitor.update, args=(shot(message="new"),))
    thread.start()
    thread.join()
    assert seen == ["submitting"]
    assert variable.get() == "none"


def test_without_ipywidgets_there_are_lines(shot, monkeypatch):
    """No ipywidgets, no panel: text."""
    widget._widget_class.cache_clear()
    monkeypatch.setitem(sys.modules, "anywidget", None)
    out = io.StringIO()
    open_live(shot(), stream=lambda: out).show()
    assert out.getvalue().startswith("sentiment: running")


def test_lines_at_the_submission_at_each_state_and_at_the_end(shot, done):
    """Under nbclient nothing is printed for a poll."""
    out = io.StringIO()
    monitor = open_text(shot(state=State.SUBMITTING, reasons=()), out)
    monitor.update(shot(state=State.SUBMITTING, reasons=(), now=shot().now + 100))
    assert out.getvalue() == "", "nothing before it is shown"
    monitor.show()
    for n in range(5):
        monitor.update(shot(counts=Counts(succeeded=n, running=100 - n), reasons=()))
    monitor.update(done)
    states = [
        text.split(",")[0] for text in out.getvalue().splitlines() if not text.startswith(" ")
    ]
    assert states == ["sentiment: submitting", "sentiment: running", "sentiment: completed"]


def test_each_cell_that_shows_a_job_says_all_of_it_once(shot):
    """Where nothing has changed since another cell, too, with the time that has passed; a wait's own line is enough."""
    out = io.StringIO()
    monitor = open_text(shot(), out)

    def content():
        text = out.getvalue()
        out.seek(out.truncate(0))
        return [line.split(",")[0].strip() for line in text.splitlines()]

    monitor.show("a")
    assert (first := content())[0] == "sentiment: running"
    monitor.show("a")
    assert content() == []
    monitor.show("b", shot(now=shot().now + 3600))
    assert "1 h" in out.getvalue()
    assert content() == first
    with monitor.attended("c"):
        monitor.update(shot(state=State.CANCELLING))
    assert "sentiment: cancelling" in content()
    monitor.show("c")
    assert content() == []
    with monitor.attended("d"):
        pass
    monitor.show("d")
    assert content()[0] == "sentiment: cancelling", (
        "nothing new in the wait: what it gives is shown all the same"
    )


def test_a_panel_in_another_cell_shows_the_job_as_it_is_then(shot, displayed):
    """Not as it was when it was last polled."""
    monitor = open_live(shot())
    monitor.show("a")
    monitor.show("b", shot(now=shot().now + 3600))
    assert "1 h" in displayed[-2][1]["text/plain"]


def test_a_waiting_cell_prints_for_the_worker(shot, done):
    """While a cell waits, the worker's news are printed by the waiting thread, so that they land in that cell."""
    out = io.StringIO()
    monitor = open_text(shot(), out)
    with monitor.attended():
        thread = threading.Thread(target=monitor.update, args=(shot(state=State.CANCELLING),))
        thread.start()
        thread.join()
        assert "cancelling" not in out.getvalue()
        monitor.flush()
        assert "cancelling" in out.getvalue()
        thread = threading.Thread(target=monitor.update, args=(done,))
        thread.start()
        thread.join()
    assert "completed" in out.getvalue(), "the end is said at the latest when the wait ends"


def test_a_terminal_has_a_bar_only_while_someone_waits(shot, done):
    """At a prompt there are lines; a wait draws a bar, which any thread moves."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    monitor = open_text(shot(), out)
    monitor.show()
    assert "\r" not in out.getvalue()
    with monitor.attended():
        thread = threading.Thread(target=monitor.update, args=(done,))
        thread.start()
        thread.join()
        assert "completed 100%" in out.getvalue()


def test_the_bundle_is_the_card(shot):
    """A text screen's job, shown as a last expression, is the static card as well."""
    assert "jb-static" in open_text(shot(), io.StringIO()).bundle()["text/html"]


def test_a_waiting_cell_shows_the_panel_from_the_first_moment(shot, done, displayed):
    """Once, though it shows the job again when it ends; a job that is over is not shown by a wait."""
    monitor = open_live(shot())
    monitor.show("a")
    displayed.clear()
    with monitor.attended("b"):
        assert len(displayed) == 2
    monitor.show("b")
    assert len(displayed) == 2
    monitor.update(done)
    displayed.clear()
    with monitor.attended("c"):
        pass
    assert displayed == []


def test_an_overtaken_snapshot_is_not_drawn(shot, done, displayed):
    """The worker's snapshot, taken before the newest, but brought after it, changes no screen."""
    newest, late = done, shot(now=done.now - 0.01)
    out = io.StringIO()
    for monitor in (open_live(shot()), open_text(shot(), out)):
        monitor.show()
        monitor.update(newest)
        monitor.update(late)
        assert "completed" in monitor.bundle()["text/plain"]
    assert [
        text.split(",")[0] for text in out.getvalue().splitlines() if not text.startswith(" ")
    ] == ["sentiment: running", "sentiment: completed"]


def test_a_clock_that_was_set_back_does_not_freeze_the_screen(shot, displayed):
    """An hour earlier is another clock, not a late snapshot."""
    monitor = open_live(shot())
    monitor.update(shot(message="before"))
    monitor.update(shot(message="after", now=shot().now - 3600))
    assert "after" in monitor.bundle()["text/plain"]


def test_the_panel_can_be_laid_out_by_its_user(shot, done, displayed):
    """`widget()` displays nothing, gives one model, which is kept up to date; a text screen refuses."""
    monitor = open_live(shot())
    made = monitor.widget(shot())
    assert monitor.widget() is made
    assert displayed == []
    monitor.update(done)
    assert made.top == html.top(view(done))
    with pytest.raises(OptionError, match="pip install ipywidgets"):
        open_text(shot(), io.StringIO()).widget()


class Marimo(types.ModuleType):
    """Stands in for marimo: its cells run in this thread; it closes what a cell made when that runs again."""

    def __init__(self):
        super().__init__("marimo")
        self.shown = []
        self.output = types.SimpleNamespace(append=self.shown.append)
        self.ui = types.SimpleNamespace(anywidget=lambda made: made)

    def running_in_notebook(self):
        return True


def test_in_marimo_each_cell_has_a_panel_of_its_own(shot, done, displayed, monkeypatch):
    """All are kept up to date but those that marimo has closed; there is no card."""
    marimo = Marimo()
    monkeypatch.setitem(sys.modules, "marimo", marimo)
    monitor = open_live(shot())
    for cell in ("a", "b", "c"):
        monitor.show(cell)
    first, second, third = marimo.shown
    assert displayed == []
    second.comm._closed = True
    monitor.update(done)
    assert first.top == third.top == html.top(view(done))
    assert second.top != first.top


def test_a_page_of_a_bokeh_server_is_drawn_in_its_document_alone(shot, done, monkeypatch):
    """Elsewhere the messages would go to no page. What was sent while it loaded comes once more when it is there."""

    class Document:
        session_context, callbacks = "a page", []

        def add_next_tick_callback(self, callback):
            self.callbacks.append(callback)

        def run(self):
            here.append(self)
            while self.callbacks:
                assert self.callbacks.pop(0)() is None, "Bokeh awaits what a callback returns"
            here.pop()

    page, nowhere = Document(), types.SimpleNamespace(session_context=None)
    here = [nowhere, page]
    io_ = types.SimpleNamespace(curdoc=lambda: here[-1])
    monkeypatch.setitem(sys.modules, "bokeh.io", io_)
    monitor = open_live(shot())
    shown = monitor.widget()
    here.pop()
    sent = []
    monkeypatch.setattr(
        type(shown), "send_state", lambda _, names=None: names is None and sent.append(here[-1])
    )
    before = shown.top
    monitor.update(done)
    assert shown.top == before
    page.run()
    assert "completed" in html.markup(shown.top)
    for _ in range(2):
        shown._handle_custom_msg({"here": True}, [])
    page.run()
    assert sent == [page]
