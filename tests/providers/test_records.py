"""The provider table: every fact from a source, none made up, shown as text and as HTML."""

from __future__ import annotations

import re
import subprocess
import sys

import msgspec
import pytest

from jupyter_batch.providers.record import RECORDS, load
from jupyter_batch.providers.shown import Providers, table


@pytest.mark.parametrize("record", RECORDS.values(), ids=list(RECORDS))
def test_a_record_is_whole(record):
    """It has a source; one that we send to has limits to pack by, and one that we don't says what to do instead."""
    assert record.source
    if record.batch:
        assert record.limits() is not None
        assert record.files in (1, 2)
        assert record.carried
        assert record.embedded or record.caveats
        assert all(record.proven)
        assert re.fullmatch(r"[A-Z][a-z]+ 20\d\d", record.proven.month)
        assert record.embedded or callable(load(record.connect))
    else:
        assert record.instead


@pytest.mark.parametrize("record", RECORDS.values(), ids=list(RECORDS))
def test_what_we_pack_is_within_what_is_documented(record):
    """No file of ours is larger than the provider takes."""
    limits = record.limits()
    if limits is not None:
        assert limits.requests <= (record.requests or limits.requests)
        assert limits.bytes <= (record.bytes or limits.bytes)


def test_a_price_is_a_number_only_where_it_is_sure():
    """Half where the words say half; where they say more than a number, there is none."""
    for record in RECORDS.values():
        if record.price is not None:
            assert str(record.discount).startswith(f"{1 - record.price:.0%}")
        assert record.discount is not None or record.price is None


def test_what_is_not_known_is_a_question_mark():
    """Not a zero, not a guess, not OpenAI's number."""
    row = next(
        line
        for line in table(list(RECORDS.values())).splitlines()
        if line.startswith("hosted_vllm")
    )
    assert row.split()[2:] == ["?"] * 8


def test_the_table_has_caveats_and_what_was_proven_against_what_and_when():
    """In the notes below the table: each provider that batches are sent to."""
    shown = table(list(Providers()))
    for record in Providers():
        if record.batch:
            proof = record.proven
            assert record.caveats in shown
            assert f"tested: {proof.part}, against {proof.against}, {proof.month}" in shown


def test_the_table_has_a_row_for_each():
    """In a terminal and in a notebook."""
    shown = Providers()
    names = [record.name for record in RECORDS.values() if record.shown]
    assert [line.split("  ")[0] for line in repr(shown).splitlines()[1 : len(names) + 1]] == names
    assert shown._repr_html_().count("<tr>") == len(names) + 1


@pytest.mark.parametrize("record", RECORDS.values(), ids=list(RECORDS))
def test_a_record_names_code_that_is_there(record):
    """Each field of the form "module:name" can be imported."""
    for value in msgspec.structs.asdict(record).values():
        if isinstance(value, str) and re.fullmatch(r"jupyter_batch[\w.]+:\w+", value):
            assert callable(load(value))


def test_html_is_escaped():
    """A record's text is a text."""
    nasty = msgspec.structs.replace(
        RECORDS["openai"], name="<script>", note="a & b", source='"<img>'
    )
    html = Providers([nasty])._repr_html_()
    assert "<script>" not in html
    assert "<img>" not in html
    assert "a &amp; b" in html


def test_the_table_is_read_without_anything_heavy():
    """No litellm, no openai, no pandas, no httpx: it is there at once."""
    code = (
        "import sys; import jupyter_batch.providers.shown as s; repr(s.Providers()); "
        "sys.exit(bool({'litellm', 'openai', 'pandas', 'httpx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
