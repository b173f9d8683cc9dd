"""The server's parts by themselves: the order of lines, the pace, the file lock."""

from __future__ import annotations

import pytest

from jupyter_batch.process.locks import FileLock
from jupyter_batch.server.checks.validation import BLOCK, lines
from jupyter_batch.server.run import allowed, shuffled


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 12, 30, 97, 100, 1000, 50_000])
def test_the_order_is_a_permutation_and_never_the_inputs(count):
    """Each row once; the same for the same batch; another for another; never rising."""
    order = list(shuffled(count, "batch_a", None))
    assert sorted(order) == list(range(count))
    assert order == list(shuffled(count, "batch_a", None))
    assert count < 2 or order != list(range(count))
    assert count < 12 or len({tuple(shuffled(count, "batch_a", seed)) for seed in range(8)}) > 4


def test_the_pace_lets_rows_through_evenly():
    """None at the start, all at the end, all at once without a pace."""
    assert [allowed(100, since, 2.0) for since in (0, 0.5, 1, 2, 3)] == [0, 25, 50, 100, 100]
    assert allowed(100, 0, 0) == 100


def test_a_lock_is_held_by_one(tmp_path):
    """The second who tries does not get it until the first lets go."""
    with FileLock(tmp_path / "lock") as first, FileLock(tmp_path / "lock") as second:
        assert first.take()
        assert not second.take()
        first.release()
        assert second.take()


def test_lines_know_their_place(tmp_path):
    """Each line's number and offset lead back to it, across blocks and blank lines."""
    data = b"a\n\n" + b"b" * (3 * BLOCK) + b"\r\nc\n  \nd"
    path = tmp_path / "lines"
    path.write_bytes(data)
    with path.open("rb") as handle:
        found = list(lines(handle))
    assert [(text[:1], number) for text, number, _ in found] == [
        (b"a", 1),
        (b"b", 3),
        (b"c", 4),
        (b"d", 6),
    ]
    assert all(data[offset : offset + len(text)] == text for text, _, offset in found)
