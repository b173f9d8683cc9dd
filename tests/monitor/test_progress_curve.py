"""The small curve next to a job's times: its shape, its text, and its form without a drawing."""

import re

import msgspec
import pytest

from jupyter_batch.core.status import Counts, State
from jupyter_batch.monitor import html
from jupyter_batch.monitor.view import view
from jupyter_batch.monitor.words import COLUMNS

START = 1_700_000_000.0  # the fixture's
HISTORY = (
    (START, 10),
    (START + 60, 10),
    (START + 120, 100),
    (START + 200, 300),
    (START + 240, 412),
)


def test_it_is_the_rows_done_at_moments_of_equal_distance(shot):
    """From the submission to now, in percent of all rows; what came since the last event is its end."""
    curve = view(shot(history=HISTORY)).curve
    assert len(curve) == COLUMNS
    assert (curve[0], curve[COLUMNS // 2], curve[-1]) == (1, 10, 41)
    assert list(curve) == sorted(curve)
    assert view(shot(history=HISTORY[:-1])).curve[-1] == 41, (
        "the count is newer than the last event"
    )


def test_it_is_reported_in_words(shot, done):
    """The times of a quarter, a half, three quarters, and the number of rows after a time."""
    assert (
        view(shot(history=HISTORY)).curve_words == "25% after 3 min, 412 of 1,000 rows after 4 min"
    )
    shown = view(shot(history=HISTORY, counts=Counts(succeeded=700, running=300))).curve_words
    assert shown == "25% after 3 min, 50% after 4 min, 700 of 1,000 rows after 4 min"
    over = view(msgspec.structs.replace(done, history=HISTORY)).curve_words
    assert over == "25% after 3 min, 75% after 4 min, 1,000 of 1,000 rows after 4 min"


@pytest.mark.parametrize(
    "history",
    [
        (),
        ((START, 10),),
        ((START, 10), (START + 200, 412)),
        ((START, 412),),
        ((START + 250, 412),),
    ],
)
def test_without_a_course_there_is_no_curve(shot, history):
    """No event yet, or all at one moment: what is no course is not drawn as one."""
    seen = view(shot(history=history))
    assert (seen.curve, seen.curve_words) == ((), "")
    assert "svg" not in html.markup(html.body(seen))
    assert view(shot(history=HISTORY, now=START)).curve == (), "it has just begun"
    assert view(shot(history=HISTORY, counts=Counts())).curve == (), "there are no rows"


def test_the_curve_speaks_to_a_screen_reader_and_without_a_drawing(shot):
    """It is an image with a name; where a sanitizer takes drawings out, that name is what is left of it."""
    body = html.markup(html.body(view(shot(history=HISTORY))))
    assert re.search(
        r'<svg role="img"[^>]*><title>25% after 3 min, 412 of 1,000 rows after 4 min</title>', body
    )
    bare = re.sub(r"<[^>]+>", " ", body)
    assert "25% after 3 min, 412 of 1,000 rows after 4 min" in bare


def test_the_line_goes_up_where_rows_were_done(shot):
    """The path begins left of the frame, ends right of it, and each step is at its column."""
    path = re.search(r' d="([^"]+)"', html.markup(html.body(view(shot(history=HISTORY)))))[1]
    assert re.fullmatch(r"M-2 99(H\d+V\d+)+H41V120H-2Z", path)
    heights = [int(height) for height in re.findall(r"V(\d+)", path)][:-1]
    assert heights == sorted(heights, reverse=True), "down is more, in a drawing"
    assert heights[-1] == 100 - 41


def test_the_card_keeps_the_course(shot):
    """The static card has it, too, in the state's colour."""
    card = html.card(
        view(shot(history=HISTORY, state=State.EXPIRED, collected=True, finished_at=START + 250))
    )
    assert '<div class="jb-curve" data-c="warn"><svg' in card["text/html"]
    assert "25% after 3 min, 412 of 1,000 rows after 4 min" in card["text/plain"].splitlines()
    assert not re.search(
        r"<(script|link|img|iframe|use|image)|url\(|https?:|\son\w+=", card["text/html"]
    )
