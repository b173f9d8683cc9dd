"""The live panel: what it draws, and what a click does."""

import threading

import pytest

from jupyter_batch.core.cost import Spend
from jupyter_batch.core.errors import InputError
from jupyter_batch.core.status import State
from jupyter_batch.monitor import html
from jupyter_batch.monitor.view import view
from jupyter_batch.monitor.widget import Panel

ALL = ("refresh", "retry", "merge", "finish", "cancel")


@pytest.fixture
def clicks():
    """The panel's calls."""
    return []


@pytest.fixture
def actions(clicks):
    """Each notes its name, and says that it was done."""
    return {name: (lambda name=name: clicks.append(name) or f"{name} is done") for name in ALL}


@pytest.fixture
def panel(shot, actions):
    """A running job's panel, whose actions run at once."""
    return Panel(view(shot()), actions, spawn=lambda work: work())


def click(panel, name):
    """As the page sends it."""
    panel.widget._handle_custom_msg({"click": name}, [])


def labels(panel):
    """The buttons on the screen: name and label."""
    return {name: label for name, label, _, shown, _ in panel.widget.buttons if shown}


def prices(panel):
    """The prices on the buttons that are shown."""
    return {name: price for name, _, _, shown, price in panel.widget.buttons if shown and price}


def message_html(panel):
    """The message line's HTML."""
    return html.markup(panel.widget.say)


def test_cancel_asks_once_more(panel, clicks):
    """The first click asks, only the second, on another button, cancels."""
    click(panel, "cancel")
    assert clicks == []
    assert "confirm" in labels(panel)
    assert "Cancel this batch?" in message_html(panel)
    click(panel, "confirm")
    assert clicks == ["cancel"]
    assert "confirm" not in labels(panel)


def test_a_button_that_spends_has_its_price(shot, actions):
    """Retry and Finish; while Finish asks, the price is on the button that spends, and on no other."""
    spends = (
        Spend(action="retry", rows=3, about=0.02, most=0.05),
        Spend(action="finish", rows=36, about=None, most=0.4, limited=False),
    )
    panel = Panel(view(shot(offers=("retry", "finish"), prices=spends)), actions)
    finish = "36 rows, at most $0.4000 without max_tokens"
    assert prices(panel) == {"retry": "3 rows, about $0.0200 (at most $0.0500)", "finish": finish}
    click(panel, "finish")
    assert prices(panel) == {"confirm": finish}


def test_a_double_click_cancels_nothing(panel, clicks):
    """The second click on the same place takes the question back."""
    click(panel, "cancel")
    assert labels(panel)["cancel"] == "Keep running"
    click(panel, "cancel")
    assert clicks == []
    assert "confirm" not in labels(panel)
    assert labels(panel)["cancel"] == "Cancel"


def test_an_update_does_not_take_the_question_away(panel, shot, clicks):
    """A poll between the question and the answer changes the numbers alone; a change of state ends the question."""
    click(panel, "cancel")
    panel.draw(view(shot(now=shot().now + 100)))
    assert "confirm" in labels(panel)
    assert "Cancel this batch?" in message_html(panel)
    panel.draw(view(shot(state=State.CANCELLING)))
    assert "confirm" not in labels(panel)
    assert "cancel" not in labels(panel)
    click(panel, "confirm")
    assert clicks == []


def test_refresh_calls_back(panel, clicks):
    """Refresh asks, and its result is shown."""
    click(panel, "refresh")
    assert clicks == ["refresh"]
    assert "refresh is done" in message_html(panel)


def test_a_click_that_fails_says_why(shot):
    """An exception in a click, which would be lost, is in the message line, escaped."""

    def broken():
        raise OSError("<no> ledger")

    panel = Panel(view(shot()), {"refresh": broken, "cancel": broken}, spawn=lambda work: work())
    click(panel, "refresh")
    assert "OSError: &lt;no&gt; ledger" in message_html(panel)
    click(panel, "cancel")
    click(panel, "confirm")
    assert "OSError" in message_html(panel)


def test_the_end_leaves_no_button(panel, done):
    """A finished job has nothing to click."""
    panel.draw(view(done))
    assert labels(panel) == {}


def test_only_what_differs_is_sent(panel, shot):
    """New counts send a new body, and leave the title with its live region alone."""
    sent = []
    panel.widget.observe(lambda change: sent.append(change["name"]))
    panel.draw(view(shot(now=shot().now + 600)))
    assert sent == ["body"]


def test_where_no_widget_lives_the_panel_is_empty(panel):
    """The bundle's text and HTML are empty: the card above says it all there."""
    bundle, _ = panel.bundle()
    assert bundle["text/plain"] == bundle["text/html"] == ""
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_a_click_is_received_at_once_and_its_end_is_reported(shot, actions):
    """Before the action has done anything the line acknowledges the click; a second click in that time does nothing."""
    waiting = []
    panel = Panel(view(shot(offers=("merge",))), actions, spawn=waiting.append)
    click(panel, "merge")
    click(panel, "merge")
    assert "Merging, between two cells…" in message_html(panel)
    assert len(waiting) == 1
    panel.draw(view(shot(message="something else")))
    assert "Merging, between two cells…" in message_html(panel), (
        "news of the job do not take away what is still being done"
    )
    waiting[0]()
    assert "merge is done" in message_html(panel)


def test_a_refusal_is_reported_in_its_own_words(shot):
    """A refusal of the job is shown in the job's words, without a class's name."""

    def refuse():
        raise InputError("nothing is left to be sent")

    panel = Panel(view(shot(offers=("retry",))), {"retry": refuse}, spawn=lambda work: work())
    click(panel, "retry")
    assert ">nothing is left to be sent<" in message_html(panel)


def test_only_what_can_be_done_is_offered(shot, done, actions):
    """Retry, Finish and Merge are there when the job offers them; Refresh and Cancel while it is open."""

    def offered(snapshot):
        return set(labels(Panel(view(snapshot), actions)))

    assert offered(shot()) == {"refresh", "cancel"}
    assert offered(shot(offers=("finish", "merge"))) == {"refresh", "cancel", "finish", "merge"}
    assert offered(done) == set()


def test_finish_now_asks_once_more(shot, actions, clicks):
    """It costs the full price: the first click asks, and while it asks nothing else is there to be hit."""
    panel = Panel(view(shot(offers=("finish",))), actions, spawn=lambda work: work())
    click(panel, "finish")
    assert clicks == []
    assert "at its full price" in message_html(panel)
    assert set(labels(panel)) == {"confirm", "finish"}
    click(panel, "confirm")
    assert clicks == ["finish"]


def test_an_action_runs_next_to_the_click(shot):
    """A slow action does not hold the click: it runs in a thread of its own."""
    names, over = [], threading.Event()

    def slow():
        names.append(threading.current_thread().name)
        over.set()
        return "done"

    panel = Panel(view(shot()), {"refresh": slow})
    click(panel, "refresh")
    assert over.wait(60)
    assert names == ["jupyter-batch-click"]


def test_the_list_of_batches_is_sent_only_when_it_is_unfolded(shot, shards):
    """Folded it costs the page nothing; unfolded it has a row and an id for each batch, of very many the first 200."""
    panel = Panel(view(shot(shards=shards(20))), {})
    assert panel.widget.parts == []
    assert labels(panel)["unfold"] == "Show the 20 batches"
    click(panel, "unfold")
    assert html.markup(panel.widget.parts).count('role="listitem"') == 20
    assert "batch_19" in html.markup(panel.widget.parts)
    click(panel, "unfold")
    assert panel.widget.parts == []
    panel = Panel(view(shot(shards=shards(1000))), {})
    assert labels(panel)["unfold"] == "Show the 200 of 1,000 batches"
    click(panel, "unfold")
    assert "and 800 more" in html.markup(panel.widget.parts)
    assert "unfold" not in labels(Panel(view(shot()), {})), "one batch is shown already"
