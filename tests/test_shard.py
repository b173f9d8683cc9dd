"""Lines into shards: as full as they may be, and never a byte more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_batch.core.errors import InputError
from jupyter_batch.core.request import Limits
from jupyter_batch.row_files.request_files import pack


def shards_of(parts):
    """The whole shards: number -> (data, requests, first, last)."""
    whole = {}
    for part in parts:
        data, requests, first, _ = whole.get(part.shard, (b"", 0, part.first, 0))
        whole[part.shard] = (data + part.data, requests + part.requests, first, part.last)
    return whole


@given(
    st.lists(st.tuples(st.integers(1, 5), st.binary(max_size=30)), max_size=60),
    st.integers(1, 9),
    st.integers(31, 90),
    st.integers(1, 64),
)
def test_every_line_is_in_one_shard_in_order_and_within_the_limits(steps, requests, size, part):
    """No line is lost, none is doubled; a shard ends only where the next line does not fit."""
    position, lines = -1, []
    for step, text in steps:
        position += step
        lines.append((position, text.replace(b"\n", b"") + b"\n"))
    limits = Limits(requests=requests, bytes=size)
    parts = list(pack(iter(lines), limits, part_bytes=part))
    assert all(len(p.data) <= part or p.requests == 1 for p in parts)
    assert [p.shard for p in parts] == sorted(p.shard for p in parts)
    whole = shards_of(parts)
    assert b"".join(data for data, *_ in whole.values()) == b"".join(line for _, line in lines)
    assert list(whole) == list(range(len(whole)))
    seen = 0
    for number, (data, count, first, last) in whole.items():
        assert len(data) <= size
        assert count <= requests
        assert data.count(b"\n") == count
        assert (first, last) == (lines[seen][0], lines[seen + count - 1][0])
        seen += count
        if number + 1 in whole:
            assert count == requests or len(data) + len(lines[seen][1]) > size, (
                "a shard is as full as it may be"
            )


def test_a_shard_is_filled_to_its_last_byte_and_request():
    """Exactly the limit is within it."""
    lines = [(n, b"123456789\n") for n in range(7)]
    for part in (1, 10, 15, 1000):
        by_bytes = shards_of(pack(lines, Limits(requests=100, bytes=30), part_bytes=part))
        assert [requests for _, requests, *_ in by_bytes.values()] == [3, 3, 1]
        by_requests = shards_of(pack(lines, Limits(requests=3, bytes=1000), part_bytes=part))
        assert [requests for _, requests, *_ in by_requests.values()] == [3, 3, 1]


def test_one_part_at_a_time_is_in_memory():
    """Lines are taken as parts are asked for."""
    taken = []

    def lines():
        for position in range(1000):
            taken.append(position)
            yield position, b"x" * 99 + b"\n"

    parts = pack(lines(), Limits(requests=50_000, bytes=10**9), part_bytes=1000)
    first = next(parts)
    assert (first.requests, len(first.data)) == (10, 1000)
    assert len(taken) == 11


def test_a_line_that_no_shard_can_hold_names_its_row():
    """Before anything of it is written."""
    lines = [(4, b"ok\n"), (17, b"x" * 101 + b"\n")]
    with pytest.raises(
        InputError, match=r"row 17 \(counted from 0\) alone .* 102 bytes.*may hold 100"
    ):
        list(pack(lines, Limits(requests=10, bytes=100)))


def test_limits_that_hold_nothing_are_refused():
    """Zero is no limit."""
    with pytest.raises(InputError, match="at least one request"):
        list(pack([], Limits(requests=0, bytes=10)))
    assert list(pack([], Limits(requests=1, bytes=1))) == []
