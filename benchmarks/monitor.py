"""What one update of the panel costs, in milliseconds of CPU time: a job of 1,000,000 rows in 20 batches.

`python benchmarks/monitor.py [UPDATES]`. Every update is drawn, with the list of batches unfolded, and a static card
with every tenth; a real panel draws a few hundred in a day (jupyter_batch/monitor/pace.py).
"""

from __future__ import annotations

import contextvars
import statistics
import sys
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from jupyter_batch.core.cost import Bill
from jupyter_batch.core.status import Answer, Counts, ShardView, Snapshot, State, Step
from jupyter_batch.monitor import html, pace
from jupyter_batch.monitor.live import LiveMonitor
from jupyter_batch.monitor.view import view

UPDATES = int(sys.argv[1]) if len(sys.argv) > 1 else 500
SHARDS, ROWS = 20, 50_000
START = 1_700_000_000.0


def job(age: float) -> Snapshot:
    """The job at an age of some seconds: each batch has answered so many rows more than the one after it."""
    shards = []
    for number in range(SHARDS):
        done = min(ROWS - 1, int(age) * 10 + SHARDS - number)
        shards.append(
            ShardView(
                number=number,
                step=Step.RUNNING,
                batch_id=f"batch_68a1f0c2d4b881908e{number:04}",
                note="waiting for quota (2,000,000 tokens may be enqueued)"
                if number > SHARDS // 2
                else "",
                counts=Counts(
                    succeeded=done - done // 100, failed=done // 100, running=ROWS - done
                ),
            )
        )
    answer = Answer(row=7, asked="the screen broke after a week " * 13, answer="negative " * 44)
    return Snapshot(
        id="jb3f9c2k7a1q",
        name=None,
        state=State.RUNNING,
        counts=sum((s.counts for s in shards), Counts()),
        model="openai/gpt-4.1-mini",
        provider="openai",
        out="sentiment",
        created_at=START,
        now=START + age,
        expires_at=START + 86_400,
        deadline=START + 80_000,
        shards=tuple(shards),
        most=12.5,
        input_tokens=9_000_000,
        output_tokens=400_000,
        bill=Bill(known=1.25, standard=2.5),
        answers=(answer,) * 3,
        offers=("finish", "merge"),
        reasons=tuple((f"reason {n}: {'x' * 200}", 10 + n) for n in range(5)),
        examples=tuple((f"reason {n}: {'x' * 200}", answer) for n in range(5)),
        history=tuple((START + age * n / 64, int(age * n / 64) * 10 * SHARDS) for n in range(65)),
    )


def main() -> None:
    """Say it."""
    pace.SHORTEST, pace.LONGEST = 0.0, 0.0  # nothing is held back
    shots = [job(float(age)) for age in range(UPDATES + 1)]
    monitor = LiveMonitor(shots[0], {}, context=contextvars.copy_context())
    monitor._panel.unfold_button.click()  # noqa: SLF001 - as a person does it
    took = []
    for number, shot in enumerate(shots[1:]):
        begun = time.process_time()
        monitor.update(shot)
        if number % 10 == 0:
            html.card(view(msgspec.structs.replace(shot, collected=True)), paired=True)
        took.append((time.process_time() - begun) * 1000)
    took.sort()
    print(
        f"{UPDATES:,} updates of a panel of {SHARDS * ROWS:,} rows in {SHARDS} batches: "
        f"{statistics.median(took):.2f} ms each (the slowest of a hundred: {took[int(len(took) * 0.99)]:.2f} ms)"
    )


if __name__ == "__main__":
    main()
