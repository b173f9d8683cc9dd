"""The log of calls: what it keeps after a process died in the midst, and what becomes of a call of unknown outcome."""

from __future__ import annotations

import stat
import threading

import pandas as pd
import pytest

from jupyter_batch.core.errors import LedgerError
from jupyter_batch.tool_calls.call_log import CallLog, Entry, entries, entry_at
from jupyter_batch.tool_calls.execute import INTERRUPTED


def test_a_line_that_was_cut_off_is_passed_over(tmp_path):
    """Text before it counts, and text after it begins on a line of its own."""
    path = tmp_path / "calls.jsonl"
    with CallLog(path) as log:
        log.put(Entry(0, 0, "a"))
        log.put(Entry(0, 0, "a", "told"))
    with path.open("ab") as file:
        file.write(b'{"row":1,"ca')
    with CallLog(path) as log:
        log.put(Entry(2, 0, None, "später\n", failed=True))
    found = list(entries(path))
    assert [entry for _, entry in found] == [
        Entry(0, 0, "a"),
        Entry(0, 0, "a", "told"),
        Entry(2, 0, None, "später\n", failed=True),
    ]
    with path.open("rb") as file:
        assert [entry_at(file, start) for start, _ in found] == [entry for _, entry in found]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(entries(tmp_path / "none")) == []


def test_threads_write_whole_lines(tmp_path):
    """Each of them is on the disk when `put` returns; a closed log takes none."""
    path = tmp_path / "calls.jsonl"
    with CallLog(path) as log:
        threads = [
            threading.Thread(
                target=lambda row=row: [log.put(Entry(row, call, "x" * 200)) for call in range(50)]
            )
            for row in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted((entry.row, entry.call) for _, entry in entries(path)) == [
        (row, call) for row in range(8) for call in range(50)
    ]
    with pytest.raises(LedgerError, match="closed"):
        log.put(Entry(0, 0))


@pytest.mark.parametrize("rerun", [False, True])
def test_a_call_of_unknown_outcome_is_run_again_only_if_the_person_says_so(call, home, rerun):
    """It was begun, and its process died."""
    ran = []

    def effect(n: int) -> str:
        """Have an effect."""
        ran.append(n)
        return f"effect {n}"

    df = pd.DataFrame({"t": ['effect({"n": 1})', 'effect({"n": 2})']})
    job = df.llm.batch("{t}", out="out", tools=[effect], **call).wait(60)
    with CallLog(job._folder.calls) as log:
        log.put(Entry(0, 0, df["out"].iloc[0][0]["id"]))
    job.run_tools(rerun=rerun)
    assert df["out"].tolist() == ["effect 1" if rerun else INTERRUPTED, "effect 2"]
    assert sorted(ran) == ([1, 2] if rerun else [2])
