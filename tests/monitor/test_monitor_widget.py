"""The live panel: what it draws, and what a click does."""

import pytest

from jupyter_batch.core.status import State
from jupyter_batch.monitor.view import view
from jupyter_batch.monitor.widget import Panel


@pytest.fixture
def clicks():
    """What the panel called."""
    return []


@pytest.fixture
def panel(shot, clicks):
    """A running job's panel."""
    return Panel(view(shot()), cancel=lambda: clicks.append("cancel"), refresh=lambda: clicks.append("refresh"))


def shown(button):
    """It is on the screen."""
    return button.layout.display != "none"


def said(panel):
    """The message line's HTML."""
    return panel._say.value


def test_cancel_asks_once_more(panel, clicks):
    """The first click asks, only the second, on another button, cancels."""
    panel.cancel_button.click()
    assert clicks == []
    assert shown(panel.confirm_button)
    assert "Cancel this batch?" in said(panel)
    panel.confirm_button.click()
    assert clicks == ["cancel"]
    assert not shown(panel.confirm_button)


def test_a_double_click_cancels_nothing(panel, clicks):
    """The second click on the same place takes the question back."""
    panel.cancel_button.click()
    assert panel.cancel_button.description == "Keep running"
    panel.cancel_button.click()
    assert clicks == []
    assert not shown(panel.confirm_button)
    assert panel.cancel_button.description == "Cancel"


def test_an_update_does_not_take_the_question_away(panel, shot, clicks):
    """A poll between the question and the answer changes the numbers alone; a change of state ends the question."""
    panel.cancel_button.click()
    panel.draw(view(shot(now=shot().now + 100)))
    assert shown(panel.confirm_button)
    assert "Cancel this batch?" in said(panel)
    panel.draw(view(shot(state=State.CANCELLING)))
    assert not shown(panel.confirm_button)
    assert not shown(panel.cancel_button)
    panel.confirm_button.click()
    assert clicks == []


def test_refresh_calls_back(panel, clicks):
    """Refresh asks at once and says so."""
    panel.refresh_button.click()
    assert clicks == ["refresh"]
    assert "Asking the provider" in said(panel)


def test_a_click_that_fails_says_why(shot):
    """An exception in a click, which nobody would see, stands in the message line, escaped."""
    def broken():
        raise OSError("<no> ledger")

    panel = Panel(view(shot()), cancel=broken, refresh=broken)
    panel.refresh_button.click()
    assert "OSError: &lt;no&gt; ledger" in said(panel)
    panel.cancel_button.click()
    panel.confirm_button.click()
    assert "OSError" in said(panel)


def test_the_end_leaves_no_button(panel, done):
    """A finished job has nothing to click."""
    panel.draw(view(done))
    assert not any(map(shown, (panel.refresh_button, panel.cancel_button, panel.confirm_button)))


def test_only_what_differs_is_sent(panel, shot):
    """New counts send a new body, and leave the title with its live region alone."""
    sent = []
    panel._top.observe(lambda change: sent.append("top"), "value")
    panel._body.observe(lambda change: sent.append("body"), "value")
    panel.draw(view(shot(now=shot().now + 600)))
    assert sent == ["body"]


def test_where_no_widget_lives_the_panel_is_empty(panel):
    """The bundle's text and HTML are empty: the card above says it all there."""
    bundle = panel.bundle()
    assert bundle["text/plain"] == bundle["text/html"] == ""
    assert "application/vnd.jupyter.widget-view+json" in bundle
