"""Bodies, lines and templates within their limits, and what becomes of those that are not."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from jupyter_batch.core.errors import TemplateError
from jupyter_batch.http.bodies import Decoder, TooLargeError
from jupyter_batch.http.streams import LineBound, custom_id_in
from jupyter_batch.templates import template
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.dialects import decode_lines

MIB = 1 << 20
TEXT = b"some text, some text\n" * 1000


def deflated(data: bytes) -> bytes:
    """`deflate` without zlib's header, as some servers send it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", deflated(TEXT)),
    ],
)
@pytest.mark.parametrize("block", [1, 7, 100_000])
def test_a_body_is_decoded(encoding, packed, block):
    """The body is as it was sent, for each encoding and block size."""
    decoder = Decoder(encoding, len(TEXT))
    blocks = [packed[at : at + block] for at in range(0, len(packed), block)]
    assert b"".join(piece for part in blocks for piece in decoder.decode(part)) == TEXT


def test_a_body_above_its_limit_is_not_read_on():
    """100 MiB in 100 KB of gzip end at the limit, a MiB at a time."""
    packed = gzip.compress(b"x" * (100 * MIB), 1)
    sizes = []
    with pytest.raises(TooLargeError, match="more than 2 MiB"):
        sizes.extend(len(piece) for piece in Decoder("gzip", 2 * MIB).decode(packed))
    assert max(sizes, default=0) <= MIB


def test_an_error_above_its_limit_is_read_to_the_limit():
    """A page of 10 MB with an error status keeps its status and sentence; the rest is not read."""
    decoder = Decoder("gzip", MIB, cut=True)
    pieces = list(decoder.decode(gzip.compress(b"x" * (10 * MIB))))
    assert (sum(map(len, pieces)), decoder.full) == (MIB, True)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "\x00" * 100])
def test_an_encoding_without_a_bound_is_refused(encoding):
    """Fields that were not asked for, or are nested, are not decoded."""
    with pytest.raises(TooLargeError, match="not asked for"):
        Decoder(encoding, MIB)


@pytest.mark.parametrize("block", [1, 3, 10, 64, 10_000])
def test_a_line_that_is_too_long_becomes_its_rows_error(block):
    """The lines around it are as they came; its row is named, in the words of each dialect."""
    short = [b'{"custom_id":"j-%d"}' % at for at in range(5)]
    long = b'{"id": "b", "custom_id": "j-9", "text": "' + b"x" * 500 + b'"}'
    file = b"\n".join([short[0], long, *short[1:], long[:300]])
    written: list[bytes] = []
    bound = LineBound(written.append, most=200, head=100)
    for at in range(0, len(file), block):
        bound.write(file[at : at + block])
    bound.close()
    lines = b"".join(written).split(b"\n")
    assert [line for line in lines if b"too_large" not in line] == short
    cut = [line for line in lines if b"too_large" in line]
    assert [json.loads(line)["custom_id"] for line in cut] == ["j-9", "j-9"]
    for dialect, endpoint in (("openai", "/v1/chat/completions"), ("anthropic", "/v1/messages")):
        (result,) = decode_lines(dialect, cut[0], endpoint, {})
        assert (result.custom_id, result.status) == ("j-9", "failed")
        assert "MiB" in result.error


def test_an_id_with_escapes_is_found():
    """The id is read as JSON."""
    assert custom_id_in(b'{"custom_id" : "a\\u00e9\\"", "x') == 'aé"'
    assert custom_id_in(b"{}") == ""


@pytest.mark.parametrize("field", ["{a:>999999999}", "{a:.999999999f}", "{a:0100001d}"])
def test_a_width_is_bounded(field):
    """A format of a gigabyte is refused before a row is rendered."""
    with pytest.raises(TemplateError, match="width or precision"):
        template.parse(field, ["a"])


@pytest.mark.parametrize(
    "text",
    [
        '{{ "x" * 10**9 }}',
        "{{ [1] * 10**9 }}",
        "{{ 7 ** (10 ** 9) }}",
        '{{ "%999999999d" % 3 }}',
        '{{ "%999999999d"|format(3) }}',
        '{{ "{:>999999999}".format(3) }}',
        '{{ "x".ljust(10**9) }}',
        '{{ "x"|center(10**9) }}',
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    ],
)
def test_a_jinja_template_without_a_bound_is_the_rows_reason(text):
    """Repetition, powers, padding, formats and loops end within their limits."""
    (row,) = template.parse(text, ["a"], "jinja").render([], 1)
    assert isinstance(row, RowError)


def test_an_ordinary_jinja_template_is_as_before():
    """Texts within the limits are rendered."""
    text = (
        '{{ "-" * 20 }}{{ a|round(1) }}{{ "%.2f"|format(a) }}{{ "{:>5}".format(a) }}{{ 2 ** 10 }}'
    )
    (row,) = template.parse(text, ["a"], "jinja").render([[1.25]], 1)
    assert row == "-" * 20 + "1.2" + "1.25" + " 1.25" + "1024"
