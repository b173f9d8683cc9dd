"""Where the time of the hot paths goes: CPU time of each stage, without those within it, of all threads.

`python -m benchmarks profile out|in ROWS`, or --profile: the stages of a path and its floors.
"""

from __future__ import annotations

import functools
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from benchmarks import public

STAGES = {
    "out": {
        "planning.plan:digests_of": "digest of the frame (SHA-256)",
        "frames.text_blocks:_text_block": "cells in Arrow's memory",
        "frames.text_blocks:hashes": "fingerprints (XXH3)",
        "planning.row_data:hashes": "request hashes (XXH3)",
        "row_files.text_lines:TextLines.encode": "lines (Arrow)",
        "planning.plan:write_requests": "request files: packed, CRC-32, written",
        "planning.draft:JobDraft.deduplicate": "duplicates, reused answers",
        "planning.draft:JobDraft.write_rows": "files by row",
        "planning.draft:JobDraft.store": "ledger",
    },
    "in": {
        "results.lines.shapes:_Lines.match": "lines compared with their shape",
        "results.lines.shapes:_Lines.read_texts": "texts",
        "results.lines.builder:Builder.add_run": "arrays",
        "results.lines.plain:_LINES.decode_lines": "lines decoded (msgspec)",
        "results.result_files:_add_each": "fields of decoded lines, failures",
        "results.result_files:_decode": "blocks read, cut into lines",
        "results.result_files:_mark": "checksum of the file",
        "file_checks.contents:read": "columns kept, lines counted",
        "runner.collect:of_shard": "counts and costs of a shard",
        "merging.bound_frames:Answers._gather": "outcomes of the job",
        "merging.target:MergeTarget.prepare": "rows of the frame",
        "merging.bound_frames:Answers.fill": "column",
    },
}
PATHS = {"out": public.out, "in": public.into}
FLOORS = {
    "out": {"orjson in one loop": public.orjson_out, "the bytes written": public.raw_out},
    "in": {"msgspec in one loop": public.msgspec_in, "the bytes read": public.raw_in},
}


class Clock:
    """CPU seconds by stage: of the thread that runs it, without the stages that it runs."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._within = threading.local()

    def clocked(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time added to that of the label."""

        @functools.wraps(function)
        def run(*args: Any, **options: Any) -> Any:
            outer = getattr(self._within, "seconds", 0.0)
            self._within.seconds, start = 0.0, time.thread_time()
            try:
                return function(*args, **options)
            finally:
                took = time.thread_time() - start
                self.seconds[label] += took - self._within.seconds
                self._within.seconds = outer + took

        return run

    def put_on(self, stages: dict[str, str]) -> None:
        """Replace the functions of the stages by clocked ones, in the modules that call them."""
        for path, label in stages.items():
            owner, name = _owner_of(path)
            clocked = self.clocked(label, getattr(owner, name))
            try:
                setattr(owner, name, clocked)
            except AttributeError:  # a method in C: the object is replaced
                module, variable = _owner_of(path.rpartition(".")[0])
                setattr(module, variable, _Instead(owner, name, clocked))


class _Instead:
    """An object with one method replaced."""

    def __init__(self, of: Any, name: str, method: Callable[..., Any]) -> None:
        self._of = of
        setattr(self, name, method)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)


def _owner_of(path: str) -> tuple[Any, str]:
    """The module, or the object within it, that has the last name of a path, and that name."""
    before, _, name = path.rpartition(".")
    if ":" in name:
        module, _, name = path.partition(":")
        return resolve_name(f"jupyter_batch.{module}"), name
    return resolve_name(f"jupyter_batch.{before}"), name


def profile(path: str, rows: int) -> str:
    """The stages of a path, and its floors, in microseconds of CPU a row."""
    clock, measured = Clock(), public.clocked
    clock.put_on(STAGES[path])

    def reset(*given: Any) -> Any:
        clock.seconds.clear()  # what the case prepared is not part of it
        return measured(*given)

    public.clocked = reset
    found = {"all of it": _measured(PATHS[path], rows)}
    stages = {label: seconds / rows * 1e6 for label, seconds in clock.seconds.items()}
    found |= dict(sorted(stages.items(), key=lambda item: -item[1]))
    found["the rest"] = found["all of it"] - sum(stages.values())
    found |= {f"floor: {name}": _measured(each, rows) for name, each in FLOORS[path].items()}
    return "\n".join(f"{took:7.2f} us a row  {name}" for name, took in found.items())


def _measured(case: Callable[[int, Path], public.Figures], rows: int) -> float:
    with tempfile.TemporaryDirectory() as home:
        return case(rows, Path(home))["cpu"]
