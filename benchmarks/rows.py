"""What a row costs on its way out and in, in microseconds, next to the loop that one would write.

`python benchmarks/rows.py [ROWS]`, in CPU time, so that a busy machine tells nearly the same as an idle one.
Out: frame -> request bytes, with fingerprints. In: result lines -> the column. Read the ratios: machines differ.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import tracemalloc
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.answers import result_line
from jupyter_batch.core.request import Limits, position_of
from jupyter_batch.frames.frame import Keys, align, blocks, fill
from jupyter_batch.row_files.request_files import pack
from jupyter_batch.templates.template import parse
from jupyter_batch.wire.openai import CHAT, Encoder, Hole, decode_lines, whole_lines

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
RUNS = 3
JOB = "jb3f9c2k7a1q"
LIMITS = Limits(requests=50_000, bytes=200 * 10**6)
PROMPT = 'Classify the sentiment (positive/negative/neutral) as {"label": ...}: {feedback}'


def source() -> pd.DataFrame:
    """Rows of about 300 characters of varied Unicode."""
    words = [
        "très",
        "good",
        "naïve",
        "product",
        "“quoted”",
        "漢字",
        "слово",
        "emoji😀",
        "back\\slash",
        "tab\tnew\nline",
        "and",
        "some",
        "more",
        "plain",
        "words",
    ]
    random = np.random.default_rng(0)
    picks = random.integers(0, len(words), (ROWS, 45))
    return pd.DataFrame(
        {"feedback": [" ".join(words[word] for word in row) for row in picks], "n": np.arange(ROWS)}
    )


def answers() -> bytes:
    """Result lines of about 1 kB, shuffled, two in a hundred of them errors."""
    positions = np.random.default_rng(1).permutation(ROWS)
    return b"".join(result_line(JOB, position, 300) + b"\n" for position in positions.tolist())


def out(frame: pd.DataFrame) -> tuple[int, bytearray]:
    """Ours: how many bytes of requests, and the fingerprints."""
    template = parse(PROMPT, frame.columns)
    encoder = Encoder(
        CHAT,
        {
            "model": "gpt-4.1-mini",
            "messages": [{"role": "user", "content": Hole("user")}],
            "temperature": 0,
            "max_tokens": 50,
        },
    )
    fingerprints = bytearray()

    def lines():
        for block in blocks(frame, template.columns):
            fingerprints.extend(b"".join(block.fingerprints))
            ids = [f"{JOB}-{position}" for position in range(block.start, block.start + block.rows)]
            yield from enumerate(
                encoder.encode(ids, {"user": template.render(block.values, block.rows)}),
                block.start,
            )

    return sum(len(part.data) for part in pack(lines(), LIMITS)), fingerprints


def naive_out(frame: pd.DataFrame) -> int:
    """What one would write."""
    size = 0
    for position, row in enumerate(frame.to_dict("records")):
        text = PROMPT.replace("{feedback}", str(row["feedback"]))
        size += (
            len(
                json.dumps(
                    {
                        "custom_id": f"{JOB}-{position}",
                        "method": "POST",
                        "url": CHAT,
                        "body": {
                            "model": "gpt-4.1-mini",
                            "messages": [{"role": "user", "content": text}],
                            "temperature": 0,
                            "max_tokens": 50,
                        },
                    }
                ).encode()
            )
            + 1
        )
    return size


def chunks(data: bytes):
    """As a file is read."""
    view = memoryview(data)
    return (bytes(view[at : at + (1 << 18)]) for at in range(0, len(data), 1 << 18))


def into(data: bytes, frame: pd.DataFrame, positions: np.ndarray) -> None:
    """Ours: the values, the reasons, the tokens, then the column."""
    values, reasons = [None] * len(frame), {}
    sent, written = array("i", [-1]) * len(frame), array("i", [-1]) * len(frame)
    for block in whole_lines(chunks(data)):
        for result in decode_lines(block, CHAT):
            position = position_of(JOB, result.custom_id)
            if result.error is None:
                values[position] = result.value
            else:
                reasons[position] = result.error
            if result.usage is not None:
                sent[position] = result.usage.input_tokens
                written[position] = result.usage.output_tokens
    fill(frame, "out", values, positions)


def naive_into(data: bytes, frame: pd.DataFrame) -> None:
    """What one would write."""
    found = {}
    for line in data.decode().split("\n"):
        if line:
            record = json.loads(line)
            body = record["response"]["body"]
            found[record["custom_id"]] = (
                body["choices"][0]["message"]["content"] if "choices" in body else None
            )
    frame["naive"] = [found.get(f"{JOB}-{position}") for position in range(len(frame))]


def timed(ours: Callable[[], object], naive: Callable[[], object]) -> tuple[float, float]:
    """Medians of interleaved runs, microseconds a row."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(RUNS):
        for times, run in zip(took, (ours, naive), strict=True):
            start = time.process_time()
            run()
            times.append((time.process_time() - start) / ROWS * 1e6)
    return statistics.median(took[0]), statistics.median(took[1])


def main() -> None:
    """Measure, check that both ways say the same, print."""
    frame, data = source(), answers()
    size, fingerprints = out(frame)
    keys = Keys.of(frame.index, fingerprints)
    print(
        f"{ROWS:,} rows, {size / ROWS:.0f} bytes a request, {len(data) / ROWS:.0f} bytes a result; us a row"
    )
    ours, naive = timed(lambda: out(frame), lambda: naive_out(frame))
    print(
        f"  out: frame -> requests   ours {ours:5.2f}   naive {naive:5.2f}   {naive / ours:4.1f} times faster"
    )
    positions = np.arange(ROWS)
    ours, naive = timed(lambda: into(data, frame, positions), lambda: naive_into(data, frame))
    print(
        f"  in:  results -> column   ours {ours:5.2f}   naive {naive:5.2f}   {naive / ours:4.1f} times faster"
    )
    assert frame["out"].equals(frame["naive"]), "both ways fill the same column"
    start = time.process_time()
    assert (align(frame.iloc[::-1], ["feedback"], keys) == np.arange(ROWS)[::-1]).all()
    print(f"  align a reversed frame   {(time.process_time() - start) / ROWS * 1e6:5.2f}")
    tracemalloc.start()
    out(frame)
    print(f"  peak of Python memory out: {tracemalloc.get_traced_memory()[1] / 2**20:.1f} MB")


if __name__ == "__main__":
    main()
