"""The view: the words and numbers behind every screen."""

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_batch.core.group_snapshot import group_snapshot
from jupyter_batch.core.status import Answer, Counts, ShardView, State, Step
from jupyter_batch.monitor.view import view
from jupyter_batch.monitor.words import clean, clock, roughly, span

START = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def test_a_running_job_in_words(shot):
    """State, counts, times and ids of a running job read as a person would say them."""
    seen = view(shot(), UTC)
    assert (seen.title, seen.state, seen.colour) == ("sentiment", "running", "busy")
    assert seen.progress == "412 of 1,000 rows"
    assert seen.counts == "400 succeeded, 10 reused, 2 failed, 588 running"
    assert seen.times == (
        "4 min since 22:13",
        "about 6 min left (5 to 7 min)",
        "expires 15 Nov 22:13",
    )
    assert seen.batches == ("batch_68a1f",)
    assert seen.can_cancel
    assert not seen.is_final


def test_a_finished_job_says_how_long_it_took(done):
    """At the end there is no eta, no expiry and nothing to cancel; failures are not hidden behind green."""
    seen = view(done, UTC)
    assert seen.times == ("took 4 min", "ended 22:17")
    assert (seen.state, seen.colour, seen.percent, seen.eta) == ("completed", "warn", 100, "")
    assert seen.is_final
    assert not seen.can_cancel


def test_one_row_is_a_row(shot):
    """Of one row, and of several."""
    assert view(shot(counts=Counts(failed=1))).share == "0 of 1 row answered"
    assert view(shot(counts=Counts(failed=2))).share == "0 of 2 rows answered"
    assert view(shot(counts=Counts(succeeded=1))).share == "1 of 1 row (100%)"


def test_an_ending_without_its_answers_is_not_the_end(shot):
    """A batch that ended at the provider, but whose answers are not here yet, is being collected."""
    seen = view(shot(state=State.COMPLETED, collected=False))
    assert (seen.state, seen.is_final, seen.can_cancel) == ("collecting", False, False)


@given(st.builds(Counts, **{name: st.integers(0, 10**6) for name in Counts.__struct_fields__}))
def test_the_bar_holds_every_row_once(shot, counts):
    """The bar's segments add up to all rows, and 100% is shown only when none is open."""
    seen = view(shot(counts=counts))
    assert sum(part.count for part in seen.segments) == counts.total == seen.total
    assert (seen.percent == 100) == (counts.running == 0)
    assert 0 <= seen.fraction <= 1


def test_no_eta_from_a_handful_of_rows(shot):
    """One answer of 50,000 is no ground for an eta; and a job that waits for quota has none."""
    assert view(shot(counts=Counts(succeeded=1, running=49_999))).eta == ""
    assert view(shot(counts=Counts(running=1000))).eta == ""
    assert view(shot(state=State.WAITING)).eta == ""


def test_an_eta_behind_the_expiry_is_not_kept_back(shot):
    """Where the pace is too slow for the batch's life, the eta says so."""
    slow = shot(counts=Counts(succeeded=100, running=10_000), expires_at=START + 3600)
    assert view(slow).eta == "about 7 h left (6 to 9 h) at this pace, which is after it expires"


def test_what_is_asked_in_real_time_says_so_and_names_no_batch(shot):
    """Our own name for it is no id that a provider could be asked about."""
    shards = tuple(
        ShardView(number=n, step=Step.RUNNING, batch_id=f"realtime-jb1-{n}", realtime=True)
        for n in (0, 1)
    )
    seen = view(shot(shards=shards))
    assert (seen.model, seen.batches) == ("openai/gpt-4.1-mini, in real time", ())
    assert [part.batch for part in seen.parts] == ["", ""]
    mixed = view(shot(shards=(*shards, ShardView(number=2, step=Step.RUNNING, batch_id="batch_1"))))
    assert (mixed.model, mixed.batches) == ("openai/gpt-4.1-mini", ("batch_1",))


def test_a_batch_that_has_outlived_its_expiry_is_not_reported_to_expire_in_the_past(shot):
    """Providers go on after it at times: the moment is shown as past, and is no measure of the eta any more."""
    late = shot(counts=Counts(succeeded=100, running=900), expires_at=START + 200)
    assert "was to expire 22:16" in view(late, UTC).times
    assert view(late).eta.endswith("min)")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86_400, "1 day"),
        (180_000, "2 days 2 h"),
        (-5, "0 s"),
    ],
)
def test_durations(seconds, words):
    """A duration has at most two units."""
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "under a minute"),
        (89, "about 1 min"),
        (352, "about 6 min"),
        (1000, "about 15 min"),
        (3500, "about 1 h"),
        (5400, "about 1.5 h"),
        (20_000, "about 6 h"),
        (100_000, "about 1 day"),
        (200_000, "about 2 days"),
    ],
)
def test_guesses_are_coarse(seconds, words):
    """An eta is no finer than it can be known."""
    assert roughly(seconds) == words


@given(st.floats(0, 10**7))
def test_a_guess_is_near_the_truth(seconds):
    """Every guess is a phrase with one number in it, never `60 min` or `24 h`."""
    assert roughly(seconds) not in {"about 60 min", "about 0 min", "about 0 h"}


def test_a_clock_time_has_its_day_where_that_is_not_today():
    """`22:13` today, `15 Nov 22:13` tomorrow; what is saved has its year too."""
    assert clock(START, START + 60, UTC) == "22:13"
    assert clock(START + 86_400, START, UTC) == "15 Nov 22:13"
    assert clock(START, START, UTC, year=True) == "14 Nov 2023, 22:13"


@pytest.mark.parametrize(
    "text",
    [
        "red \x1b[31mtext\x1b[0m",
        "title \x1b]0;pwned\x07",
        "a\u202egnp.exe",
        "\u2066x\u2069",
        "a\nb\r\nc",
        "\x00\x08\x7f",
        "\ud800 half",
        "\u200b\ufeff",
    ],
)
def test_no_control_reaches_a_screen(text, shot):
    """ANSI, bidi and other controls in names, models, messages and reasons are gone from every word of the view."""
    seen = view(
        shot(
            name=text,
            model=text,
            message=text,
            merged=text,
            reasons=((text, 1),),
            attach=text,
            shards=(ShardView(number=0, step=Step.RUNNING, batch_id=text, note=text),),
        )
    )
    words = repr(seen)
    for bad in (
        "\\x1b",
        "[31m",
        "]0;",
        "\\u202e",
        "\\u2066",
        "\\n",
        "\\r",
        "\\x00",
        "\\x08",
        "\\ud800",
        "\\ufeff",
    ):
        assert bad not in words


def test_text_is_cut_but_emoji_are_whole():
    """Long text ends in an ellipsis; a family emoji keeps the joiners that it is made of."""
    assert clean("x" * 500, 10) == "x" * 9 + "…"
    assert clean("👨\u200d👩\u200d👧 ok") == "👨\u200d👩\u200d👧 ok"


def test_only_the_first_reasons_are_named(shot):
    """Of many reasons the first five are shown, and how many more there are."""
    seen = view(shot(reasons=tuple((f"why {n}", n) for n in range(9, 0, -1))))
    assert len(seen.reasons) == 5
    assert seen.more_reasons == 4


def test_each_message_is_reported_once(shot):
    """Seven shards with the same note, which is also the job's message, make one line."""
    shards = tuple(ShardView(number=n, step=Step.WAITING, held="queue", note="") for n in range(7))
    seen = view(
        shot(message="waiting for quota", shards=shards, merged="`df` is another frame now")
    )
    assert seen.lines == ("waiting for quota", "`df` is another frame now")


def test_what_is_a_reason_is_no_message_too(shot):
    """A shard's note that is part of a reason is shown once, as the reason."""
    shards = (ShardView(number=0, step=Step.ENDED, note="model_not_found: no such model"),)
    seen = view(
        shot(shards=shards, reasons=(("the batch failed: model_not_found: no such model", 20),))
    )
    assert seen.lines == ()


def test_an_eta_tells_how_sure_it_is(shot):
    """From few answers the range is wide, from many it is narrow, and it is never narrower than a tenth."""
    few = shot(counts=Counts(succeeded=25, running=975), expires_at=None)
    many = shot(counts=Counts(succeeded=25_000, running=975_000), expires_at=None)
    assert view(few).eta == "about 2.5 h left (1.5 to 5 h)"
    assert view(many).eta == "about 2.5 h left (2.5 to 3 h)"


def test_the_deadline_and_the_most_it_can_cost_are_reported(shot):
    """A deadline is among the times, the estimate's upper end with the cost; both are gone at the end."""
    seen = view(shot(deadline=START + 3600, most=1.25), UTC)
    assert "the rest in real time from 23:13 on" in seen.times
    assert seen.estimate == "at most $1.25 in all"
    assert (
        view(shot(state=State.COMPLETED, collected=True, most=1.25, finished_at=START + 9)).estimate
        == ""
    )


def test_each_batch_is_a_part(shot):
    """A batch that waits for quota says so; one that ended and is not here yet is being collected."""
    shards = (
        ShardView(
            number=0,
            step=Step.COLLECTED,
            ending=State.COMPLETED,
            batch_id="batch_1",
            counts=Counts(succeeded=40, failed=2),
        ),
        ShardView(
            number=1,
            step=Step.ENDED,
            ending=State.COMPLETED,
            batch_id="batch_2",
            counts=Counts(succeeded=42),
        ),
        ShardView(
            number=2,
            step=Step.WAITING,
            held="queue",
            note="2M tokens",
            counts=Counts(running=42),
        ),
    )
    parts = view(shot(shards=shards)).parts
    assert [
        (part.state, part.colour, part.progress, part.failed, part.note, part.batch)
        for part in parts
    ] == [
        ("completed", "good", "42 of 42", 2, "", "batch_1"),
        ("collecting", "busy", "42 of 42", 0, "", "batch_2"),
        ("waiting", "warn", "0 of 42", 0, "waiting for quota: 2M tokens", ""),
    ]


def test_answers_and_examples_are_cut_and_clean(shot):
    """A model's text is one line of visible text, of some 80 characters, next to its row."""
    answer = Answer(
        row=7, asked="the\nscreen " + "broke " * 99, answer="\x1b[31mred\x1b[0m \u202egnp"
    )
    seen = view(
        shot(answers=(answer,), reasons=(("why", 2), ("none", 1)), examples=(("why", answer),))
    )
    assert seen.answers[0].asked.startswith("the screen broke")
    assert len(seen.answers[0].asked) == 80
    assert (
        len(
            view(shot(answers=(Answer(row=1, asked="", answer="why: it broke, " * 20),)))
            .answers[0]
            .answer
        )
        == 160
    )
    assert seen.answers[0].answer == "red gnp"
    assert seen.examples[0].words.startswith("row 7: “the screen")
    assert seen.examples[1] is None


def test_a_reason_of_several_models_is_shown_once(shot):
    """The rows of equal reasons are added up over a group's jobs."""
    shots = [shot(reasons=(("busy", 2),)), shot(reasons=(("long", 4), ("busy", 3)))]
    assert view(group_snapshot("jg1", shots)).reasons == (("busy", 5), ("long", 4))
