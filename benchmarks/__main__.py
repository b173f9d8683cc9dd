"""`python -m benchmarks`: measure the public paths, and write the table of benchmarks/README.md.

    python -m benchmarks [--rows 100000] [--runs 3] [--only out in again first jobs realtime]
                         [--peers NAME ...] [--million] [--profile] [--write] [--compare [FILE]]

Each figure is the median of interleaved runs, each in a process of its own; those of jobs, which take a minute each,
are of one run. Peers are measured where they are installed, with fewer rows; --peers names those to measure
(without a name: none). --million adds a single run with ten times the rows. --profile adds where the time of the hot
paths goes. --write replaces the table in README.md and figures.json; else the table is printed. --compare adds which
cases are slower than in a figures.json, by ratios to the floors. By default all takes about ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import jobs, peers, public, report, stages
from benchmarks.public import Figures

HERE = Path(__file__).parent
FIGURES = HERE / "figures.json"
"""Those of the table, for --compare."""
MILLION = 10
"""By which --million multiplies the rows."""
CASES = {**public.CASES, report.JOBS: jobs.CASES}


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print or write the table."""
    if sys.argv[1:2] == ["run"]:  # one case, in this process
        _, _, group, name, rows, home = sys.argv
        cases = CASES[group] | peers.CASES.get(group, {})
        print(json.dumps(cases[name](int(rows), Path(home))))
        return
    if sys.argv[1:2] == ["profile"]:
        rows = int(sys.argv[3])
        print(jobs.profiled() if sys.argv[2] == "poll" else stages.profile(sys.argv[2], rows))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--requests", type=int, default=5_000, help="in real time")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--peers", nargs="*", choices=peers.PEERS)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--compare", nargs="?", const=FIGURES, type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    others = peers.chosen(given.peers)
    groups = {
        name: each | others.get(name, {})
        for name, each in CASES.items()
        if _is_asked(name, given.only)
    }
    found = {
        name: measured(name, each, given.rows, 1 if name == report.JOBS else given.runs)
        for name, each in groups.items()
    }
    if given.million:
        found |= many(found, given.rows)
    calls = None
    if _is_asked("realtime", given.only):
        printed = _script("benchmarks/realtime.py", str(given.requests)).splitlines()
        first = next(
            at for at, line in enumerate(printed) if " at once, " in line
        )  # jobs print, too
        calls = "\n".join(printed[first:])
    profiles = {
        name: _script("-m", "benchmarks", "profile", name, str(given.rows))
        for name in ((*stages.PATHS, "poll") if given.profile else ())
    }
    loads = (load, os.getloadavg()[0])
    text = report.table(found, calls, profiles, rows=given.rows, runs=given.runs, loads=loads)
    figures = report.with_floors(found, calls)
    earlier = json.loads(given.compare.read_bytes()) if given.compare else None
    if given.write:
        report.write(HERE / "README.md", text)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(text)
    if earlier is not None:
        print(report.compared(figures, earlier))


def _is_asked(name: str, only: list[str]) -> bool:
    return not only or any(name.startswith(word) for word in only)


def many(found: dict[str, dict[str, Figures]], rows: int) -> dict[str, dict[str, Figures]]:
    """The cases of this package in `found` with more rows, and their ratio to those, a row."""
    more: dict[str, dict[str, Figures]] = {}
    for group in (name for name in found if name.startswith(report.BY_ROWS)):
        ours = {name: CASES[group][name] for name in found[group] if name in report.OURS}
        more[f"{group}, {rows * MILLION:,} rows"] = each = measured(group, ours, rows * MILLION, 1)
        for name, figures in each.items():
            figures["ratio"] = figures["cpu"] / found[group][name]["cpu"]
    return more


def measured(group: str, cases: dict[str, Any], rows: int, runs: int) -> dict[str, Figures]:
    """The medians of a group's cases, which take turns. A peer that fails is named, and left out."""
    found: dict[str, list[Figures]] = {name: [] for name in cases}
    for turn in range(runs):
        for name in list(found)[:: 1 if turn % 2 else -1]:
            print(f"{group}: {name}, run {turn + 1} of {runs}", file=sys.stderr)
            try:
                with tempfile.TemporaryDirectory() as home:
                    printed = _script("-m", "benchmarks", "run", group, name, str(rows), home)
            except SystemExit as error:
                if group not in peers.CASES or name not in peers.CASES[group]:
                    raise
                print(error, file=sys.stderr)
                del found[name]
            else:
                found[name].append(json.loads(printed.splitlines()[-1]))
    return {
        name: {key: statistics.median(run[key] for run in each) for key in each[0]}
        for name, each in found.items()
    }


def _script(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=HERE.parent, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
