"""The static card and the table: escaped, whole without style, script or network."""

import re
from datetime import UTC
from html.parser import HTMLParser

import msgspec
import pytest

from jupyter_batch.core.cost import Bill
from jupyter_batch.core.status import Answer, Counts, ShardView, State, Step
from jupyter_batch.monitor import html, style, table
from jupyter_batch.monitor.view import view

EVIL = [
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onclick='x",
    "</style><img src=x onerror=alert(1)>",
    "\u202eevil\u2066",
    "\x1b[31mred",
    "&lt;b&gt;",
    "{{x}} ${y} `z`",
    "javascript:alert(1)",
]


class Reader(HTMLParser):
    """Tags, attributes and visible text, as a browser's parser would see them."""

    def __init__(self, markup):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "tags are nested"

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())


def everywhere(shot, text):
    """A snapshot with this text in each of its free texts."""
    shards = tuple(
        ShardView(number=n, step=Step.RUNNING, batch_id=f"{text}{n}", note=text) for n in range(4)
    )
    answer = Answer(row=1, asked=text, answer=text, of=text)
    return shot(
        answers=(answer,),
        examples=((text, answer),),
        again=(shot(id=text, state=State.RUNNING),),
        unbound=(text,),
        name=text,
        model=text,
        provider=text,
        out=text,
        message=text,
        merged=text,
        attach=text,
        notebook=text,
        reasons=((text, 3),),
        shards=shards,
    )


@pytest.mark.parametrize("evil", EVIL)
def test_nothing_a_person_or_provider_wrote_becomes_markup(evil, shot):
    """A name, a column, a model, a message or an id with markup comes out as text: no tag, no attribute more."""
    harmless = Reader(html.card(view(everywhere(shot, "plain")))["text/html"])
    card = html.card(view(everywhere(shot, evil)))
    reader = Reader(card["text/html"])
    assert reader.tags == harmless.tags
    assert [name for name, _ in reader.attributes] == [name for name, _ in harmless.attributes]
    assert view(everywhere(shot, evil)).title in reader.text
    listed = html.markup(html.parts(view(everywhere(shot, evil))))
    assert (
        Reader(listed).tags == Reader(html.markup(html.parts(view(everywhere(shot, "plain"))))).tags
    )
    for bad in ("\u202e", "\u2066", "\x1b"):
        assert bad not in card["text/html"] + card["text/plain"] + listed
    listing = table.html([everywhere(shot, evil)])
    shown = Reader(listing)
    assert shown.tags == Reader(table.html([everywhere(shot, "plain")])).tags
    assert [name for name, _ in shown.attributes] == [
        name for name, _ in Reader(table.html([everywhere(shot, "plain")])).attributes
    ]
    in_text = table.text([everywhere(shot, evil)])
    assert len(in_text.splitlines()) == 2
    for bad in ("\u202e", "\u2066", "\x1b"):
        assert bad not in listing + in_text


def test_the_card_reads_well_without_its_style(shot):
    """GitHub and untrusted notebooks strip the style: state, counts, times, batch and the way back are still text."""
    text = Reader(html.card(view(shot()))["text/html"]).text
    for part in (
        "running sentiment openai/gpt-4.1-mini",
        "412 of 1,000 rows (41%)",
        "400 succeeded, 10 reused, 2 failed, 588 running",
        "batch batch_68a1f",
        ", job jb3f9c2k7a1q",
        "2 rate limit reached",
        'Come back to it with job = jupyter_batch.open("jb3f9c2k7a1q")',
        "As of",
    ):
        assert part in text


def test_a_card_of_a_thousand_batches_stays_small(shot, done, shards):
    """It lists twenty, those that lost rows among them, says so, and is less than eleven kilobytes in the file."""
    whole = Counts(succeeded=9)
    many = [
        msgspec.structs.replace(one, step=Step.COLLECTED, ending=State.COMPLETED, counts=whole)
        for one in shards(1000)
    ]
    many[150] = msgspec.structs.replace(many[150], counts=Counts(succeeded=8, failed=1))
    card = html.card(view(msgspec.structs.replace(done, shards=tuple(many))), panel="a1")
    text = Reader(card["text/html"]).text
    assert "20 of 1,000 batches" in text
    assert "and 980 more" in text
    assert many[150].batch_id in text
    assert len(card["text/html"]) + len(card["text/plain"]) < 11_000


def test_answers_and_times_are_distinguished_without_the_style_too(shot):
    """An arrow stands between a row and its answer, a comma between two phrases; each text has its own direction."""
    answer = Answer(row=4, asked="זה טוב!", answer="positive", of="local/echo")
    seen = shot(answers=(answer,), examples=(("rate limit reached", answer),), expires_at=None)
    reader = Reader(html.card(view(seen))["text/html"])
    assert "row 4 זה טוב! → local/echo: positive" in reader.text
    assert re.search(r"min since [\d:]+, about .* left", reader.text) or re.search(
        r"since [\d:]+, as of", reader.text
    )
    assert '<span><span class="jb-sep">→' in html.markup(html.peek(view(seen))), (
        "still the third of three columns"
    )
    assert "rate limit reached such as row 4: “זה טוב!”" in reader.text
    assert reader.attributes.count(("dir", "auto")) == 5, (
        "the title, the row, the answer, the reason, its example"
    )


def test_an_id_is_selected_whole_by_a_click():
    """So that it can be copied: each of them, wherever it stands."""
    rule = re.search(r"\.jb-id\.jb-id\{[^}]*\}", html.STYLE.replace("\n", ""))
    assert "user-select:all" in rule[0]


def test_the_bar_keeps_its_colours_on_paper_and_with_forced_ones():
    """Browsers leave out backgrounds there: in Chromium's PDF, and under its forced colours, the bar was empty."""
    sheet = html.STYLE.replace("\n", "")
    assert re.search(r"\.jb\{[^}]*print-color-adjust:exact", sheet)
    assert re.search(
        r"@media \(forced-colors:active\)\{\.jb-bar,[^}]*forced-color-adjust:none", sheet
    )


def test_each_variable_of_jupyterlab_has_a_colour_behind_it():
    """VS Code and Colab have none of them."""
    names = re.findall(r"var\((--jp-[\w-]+)(.)", style.CARD + style.LIVE)
    assert len(names) > 9
    assert {after for _, after in names} == {","}


def test_the_plain_text_says_the_same(shot):
    """text/plain has the line, the reasons and the way back."""
    plain = html.card(view(shot()))["text/plain"]
    assert plain.startswith("sentiment: running, 412 of 1,000 rows (41%)")
    assert "2 x rate limit reached" in plain
    assert plain.endswith('job = jupyter_batch.open("jb3f9c2k7a1q")')


def test_nothing_is_fetched_and_nothing_runs(shot):
    """No script, no link, no image, no url() and no event handler."""
    markup = html.card(view(shot()))["text/html"] + table.html([shot()])
    assert not re.search(r"<(script|link|img|iframe|svg)|url\(|@import|https?:|\son\w+=", markup)


def test_the_bar_speaks_to_a_screen_reader(shot):
    """The bar is a progressbar with a name, a value and its range."""
    attributes = dict(Reader(html.markup(html.body(view(shot())))).attributes)
    assert attributes["role"] == "progressbar"
    assert (attributes["aria-valuenow"], attributes["aria-valuemax"]) == ("412", "1000")
    assert attributes["aria-valuetext"] == "412 of 1,000 rows"


def test_the_style_sheet_is_well_formed():
    """Braces balance, and no :has() stands inside a :has(), which would kill its rule."""
    for sheet in (html.STYLE, style.LIVE, html.STYLE_PAIRED, table.STYLE):
        assert sheet.count("{") == sheet.count("}")
        assert not re.search(r":has\([^()]*:has\(", sheet)


def test_no_jobs_is_a_sentence():
    """An empty table says that it is empty."""
    assert "No jobs." in table.html([])


def test_the_card_of_a_finished_job_says_all_that_is_left_to_know(shot, done, shards):
    """Final counts, cost, when, the batches to unfold without a kernel, and how to come back, with the year."""
    bill = Bill(known=0.25, standard=0.5)
    over = msgspec.structs.replace(done, bill=bill, shards=shards(3))
    reader = Reader(html.card(view(over, UTC))["text/html"])
    for part in (
        "998 of 1,000 rows answered",
        "998 succeeded, 2 failed",
        "cost $0.2500, saved $0.2500",
        "took 4 min",
        "ended 22:17",
        "As of 14 Nov 2023, 22:17.",
        "Come back to it with",
        "All 3 batches",
        "batch_2",
    ):
        assert part in reader.text
    assert {"details", "summary"} <= set(reader.tags)
