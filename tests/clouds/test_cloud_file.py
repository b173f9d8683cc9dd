"""Uploads to a bucket and downloads from it: line by line, for each block size, with little in memory."""

from __future__ import annotations

import tracemalloc

from jupyter_batch.providers.cloud_file import BLOCK, Lines, as_sent


def test_lines_are_whole_whatever_the_blocks():
    """Blocks of any size, empty lines, two files: each line once, the last one of a file too."""
    text = b"one\n\ntwo\n  \nthree"
    for size in range(1, len(text) + 1):
        got = []
        lines = Lines(lambda line: line.upper() + b"\n", got.append)
        for _ in range(2):
            for at in range(0, len(text), size):
                lines.take(text[at : at + size])
            lines.end()
        assert b"".join(got) == b"ONE\nTWO\nTHREE\n" * 2


def test_a_large_file_is_not_held_in_memory(tmp_path):
    """40 MB out and in again: a few blocks are held at a time, and no file is left behind."""
    requests = tmp_path / "requests.jsonl"
    line = b'{"custom_id":"jb-1","x":"' + b"y" * 1000 + b'"}\n'
    with requests.open("wb") as file:
        for _ in range(40_000):
            file.write(line)
    size = 0

    def write(data):
        nonlocal size
        size += len(data)

    tracemalloc.start()
    with as_sent(requests, lambda one: one) as made:
        lines = Lines(lambda one: one + b"\n", write)
        while block := made.read(BLOCK):
            lines.take(block)
        lines.end()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == requests.stat().st_size
    assert peak < 10 * BLOCK
    assert [path.name for path in tmp_path.iterdir()] == ["requests.jsonl"]
