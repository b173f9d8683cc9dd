"""Pages of a job's rows: filters, counts, search, order, for finished and open jobs, whatever the provider's order."""

from __future__ import annotations

import contextlib
import time

import pandas as pd
import psutil
import pytest

from jupyter_batch.core.status import Step
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.results.rows import Query, Rows, views
from tests.viewer.finished_jobs import answer, million, request, written


def whole(rows, query=None, seconds=30, **more):
    """The page once all of the job was read and searched."""
    rows.page(Query())
    assert rows.contents().ready.wait(seconds)
    for _ in range(100):
        page = rows.page(query or Query(), **more)
        if page.complete and page.ready:
            return page
    raise AssertionError(page)


def positions(page):
    """The rows on a page."""
    return [row.position for row in page.rows]


def test_the_first_page_needs_no_index(few):
    """Prompts, answers, reasons and costs of the first rows are there before any file is read whole."""
    page = Rows(few, "jbfew").page(Query())
    assert not page.ready
    assert [row.status for row in page.rows] == ["succeeded"] * 3 + ["failed"] + ["succeeded"] * 6
    assert page.rows[0].prompt == "Review 0 of the café", "without what is common to all rows"
    assert page.rows[0].answer == "answer 0"
    assert page.rows[3].error == "invalid_request_error: the content was refused"
    assert page.rows[5].finish == "length"
    assert page.rows[7].cost == pytest.approx(40 * 2e-7 + 500 * 8e-7)
    assert page.found == 10


def test_it_is_the_same_once_all_was_read(few):
    """The index changes no row that was shown without it, and the counts agree with the ledger's."""
    rows = Rows(few, "jbfew")
    first = rows.page(Query())
    later = whole(rows)
    assert later.rows == first.rows
    assert later.counts == {
        "all": 10,
        "answered": 9,
        "failed": 1,
        "reused": 0,
        "running": 0,
        "skipped": 0,
        "cut off": 1,
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query("failed"), [3]),
        (Query("cut off"), [5]),
        (Query("reused"), []),
        (Query(sort="cost", descending=True), [7, 9, 8, 6, 5, 4, 2, 1, 0, 3]),
        (Query(sort="tokens"), [0, 1, 2, 4, 5, 6, 8, 9, 7, 3]),
        (Query("answered", sort="row", descending=True), [9, 8, 7, 6, 5, 4, 2, 1, 0]),
        (Query(text="which is long"), [6]),
        (Query(text="CAFÉ"), list(range(10))),
        (Query(text="review 4"), [4]),
        (Query(text="content was REFUSED"), [3]),
        (Query(text="sentiment"), []),
        (Query(text="assistant"), []),
        (Query("failed", text="answer"), []),
        (Query(text='onerror="document'), [8]),
    ],
)
def test_a_selection(few, query, expected):
    """Filters, orders (unknown last) and search, which reads texts alone: no keys of JSON, no common beginning."""
    page = whole(Rows(few, "jbfew"), query)
    assert positions(page) == expected
    assert page.found == len(expected)


def test_the_longest_result_comes_first_by_size(few):
    """The size that is shown is the size that is sorted by."""
    page = whole(Rows(few, "jbfew"), Query(sort="size", descending=True))
    sizes = [row.size for row in page.rows]
    assert sizes == sorted(sizes, reverse=True)
    assert positions(page)[0] == 8


def test_pages_end_where_the_selection_ends(few):
    """Offset and limit."""
    rows = Rows(few, "jbfew")
    assert positions(rows.page(Query(), 8, 4)) == [8, 9]
    assert positions(rows.page(Query(), 20, 4)) == []
    assert positions(whole(rows, Query(sort="cost"), offset=9, limit=1)) == [7]


def test_a_row_whole(few):
    """The prompt as sent, with its system message, the raw line, the reason."""
    row = Rows(few, "jbfew").row(3)
    assert row.prompt[0] == {"role": "system", "content": "You are terse."}
    assert row.error == "invalid_request_error: the content was refused"
    assert row.raw["response"]["status_code"] == 400
    answered = Rows(few, "jbfew").row(7)
    assert (answered.answer, answered.label, answered.batch) == ("answer 7", 7, "batch_1")
    with pytest.raises(IndexError):
        Rows(few, "jbfew").row(10)


def test_an_id_inside_an_answer_is_no_id(home):
    """A line is its row's by its own id, not by one that a model wrote, whose row keeps its answer."""
    lines = [
        (request("jbx", 0, "a"), answer("jbx", 0, "own", extra={"custom_id": "jbx-1"}), False),
        (request("jbx", 1, "b"), answer("jbx", 1, '{"custom_id":"jbx-0"}'), False),
    ]
    page = whole(Rows(written(home, "jbx", lines), "jbx"))
    assert [row.answer for row in page.rows] == ["own", '{"custom_id":"jbx-0"}']


def test_search_finds_what_servers_escape(home):
    r"""`é` and `/` as they are, and as \u00e9 and \/."""
    ledger = written(home, "jbx", [(request("jbx", 0, "a"), answer("jbx", 0, "@"), False)])
    path = ledger.folders.of("jbx").output(0)
    path.write_bytes(path.read_bytes().replace(b"@", rb"caf\u00E9 and\/or"))
    assert positions(whole(Rows(ledger, "jbx"), Query(text="Café and/or"))) == [0]


def test_a_common_word_is_found_where_each_text_has_it(home):
    r"""As in decoded texts, where many lines match: not in `\n`, other fields, or lines of another shape."""
    texts = [
        "Zip",
        "zip*",
        "a\nzip",
        "CAFÉ",
        '\\"zip"\\',
        "\\nzip",
        "`é`",
        "{|}",
        "\x01@",
        "abcaba",
    ]
    texts = [f"{row % 3} {texts[row * row % 10]} {texts[row % 10]}" for row in range(200)]
    asked = [request("jbx", row, one, system='"zip" n') for row, one in enumerate(texts)]
    for row in range(105, 200, 5):
        more = {"role": ("assistant", "user")[row % 2], "content": "a `zip`, n"}
        asked[row]["body"]["messages"].append(more)
        texts[row] = more["content"] if row % 2 else texts[row]
    lines = [(one, answer("jbx", row, "@"), False) for row, one in enumerate(asked)]
    rows = Rows(written(home, "jbx", lines), "jbx")
    for text in ("*", "ZIP", "café", "n", "nzip", '"zip"', "|", "u00e9", "content", "aba"):
        found = [row for row, one in enumerate(texts) if text.casefold() in one.casefold()]
        assert positions(whole(rows, Query(text=text), limit=200)) == found, text


def test_duplicates_reused_and_skipped_rows(home, call):
    """A duplicate has its original's answer for nothing; a reused row its own; a skipped one its reason."""
    first = pd.DataFrame({"t": ["one", "two"]})
    first.llm.batch("Say {t}", out="o", **call).wait(60)
    frame = pd.DataFrame({"t": ["one", "three", "three", None]}, index=list("abcd"))
    job = frame.llm.batch("Say {t}", out="o", **call).wait(60)
    rows = Rows(Ledger(home), job.id)
    page = whole(rows)
    assert [row.label for row in page.rows] == list("abcd")
    assert [str(row.status) for row in page.rows] == job.results()["_status"].tolist()
    assert [row.answer for row in page.rows][:3] == job.results()["o"].tolist()[:3]
    assert page.rows[2].cost == 0
    assert page.rows[3].error == job.results()["_error"].iloc[3]
    assert page.counts["reused"] == 2
    assert positions(whole(rows, Query(text="three"))) == [1, 2]


def test_an_open_job_shows_what_has_come(home):
    """Rows of a batch that is not collected are running; they are read again once it is."""
    lines = [(request("jbx", row, f"{row}"), answer("jbx", row, "yes"), False) for row in range(4)]
    ledger = written(home, "jbx", lines, shards=2, finished_at=0.0)
    output = ledger.folders.of("jbx").output(1)
    held = output.read_bytes()
    output.unlink()
    last = ledger.shards("jbx")[1]
    import msgspec

    records = {shard.number: shard for shard in ledger.shards("jbx")}
    records[1] = msgspec.structs.replace(last, step=Step.RUNNING, ending=None, counts=None)
    ledger.shards = lambda _job: list(records.values())
    rows = Rows(ledger, "jbx")
    assert [str(row.status) for row in whole(rows).rows] == ["succeeded"] * 2 + ["running"] * 2
    output.write_bytes(held)
    records[1] = last
    assert [str(row.status) for row in whole(rows).rows] == ["succeeded"] * 4


@contextlib.contextmanager
def within(seconds):
    """The CPU time of all threads is below this."""
    began = time.process_time()
    yield
    assert time.process_time() - began < seconds


@pytest.mark.heavy
def test_a_million_rows(tmp_path):
    """The first page reads under 1 % of the files, filters and orders their page alone; memory is below 100 MB.

    A first page takes under 0.3 s of CPU time, filters, orders and the search of a rare word under 1 s, of one in
    every prompt under 2 s.
    """
    rows = Rows(million(tmp_path / "home"), "jbmillion")
    me = psutil.Process()

    def read():
        return me.io_counters().read_chars

    memory, start = me.memory_info().rss, read()
    with within(0.3):
        first = views(rows.contents(), list(range(100)))
    assert read() - start < 6_000_000
    assert [row.status != "" for row in first] == [True] * 100
    whole(rows, seconds=300)
    start = read()
    with within(1.0):
        assert whole(rows, Query("failed")).found == 1000
    with within(1.0):
        assert whole(rows, Query("cut off")).found == 1002
    with within(1.0):
        assert whole(rows, Query(sort="cost", descending=True)).rows[0].output_tokens == 501
    assert read() - start < 40_000_000
    with within(1.0):
        assert whole(rows, Query(text="zebra")).found == 1002
    assert read() - start < 400_000_000, "of answers their texts alone"
    with within(2.0):
        early = rows.page(Query(text="ZIP"))
        assert (positions(early), early.complete) == (list(range(100)), False), "before all is read"
        assert whole(rows, Query(text="ZIP")).found == 1_000_000, "in every prompt"
    assert me.memory_info().rss - memory < 100_000_000
