"""The table of benchmarks/README.md."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import public

START, END = "<!-- table -->", "<!-- end of the table -->"
COLUMNS = {
    "cpu": "CPU, us a row",
    "ms": "CPU, ms",
    "share": "share of a core, %",
    "ratio": "a row, against fewer rows",
    "wall": "wall, s",
    "memory": "peak memory, MB",
    "column": "of that the column, MB",
    "held": "main thread held, ms",
    "disk": "written, MB",
}
PACKAGES = (
    "jupyter_batch",
    "pandas",
    "pyarrow",
    "orjson",
    "msgspec",
    "litellm",
    "aiohttp",
    "lm-deluge",
    "inspect-ai",
    "instructor",
    "bespokelabs-curator",
    "dspy",
    "pydantic-ai-slim",
)
JOBS = "jobs while they run"
BY_ROWS = ("out", "in", "again")
OURS = frozenset(
    {
        "jupyter_batch, df.llm.batch",
        "jupyter_batch, worker and merge",
        "same cell, same kernel",
        "same cell, new kernel",
        "ten rows more",
    }
)


def table(
    found: dict[str, dict[str, public.Figures]],
    calls: str | None,
    profiles: dict[str, str],
    *,
    rows: int,
    runs: int,
    loads: tuple[float, float],
) -> str:
    """The figures as Markdown, with the date, the versions and the machine's load."""
    now = datetime.now(UTC).strftime("%d %b %Y, %H:%M UTC")
    parts = [
        f"{now}; {rows:,} rows, {_of(runs)}; Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, load {loads[0]:.1f} at the start and {loads[1]:.1f} at the end; "
        + ", ".join(_versions())
        + ".",
    ]
    for group, cases in found.items():
        parts.append(_group(group, cases))
    if calls is not None:
        parts.append(f"### real time\n\n```\n{calls.rstrip()}\n```")
    parts += [f"### profile: {name}\n\n```\n{text}\n```" for name, text in profiles.items()]
    return "\n\n".join(parts)


def _of(runs: int) -> str:
    return "a single run" if runs == 1 else f"medians of {runs} interleaved runs"


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _group(name: str, cases: dict[str, public.Figures]) -> str:
    keys = [key for key in COLUMNS if any(key in each for each in cases.values())]
    lines = [f"### {name}", "", f"| | {' | '.join(COLUMNS[key] for key in keys)} |"]
    lines.append(f"|---|{'---|' * len(keys)}")
    for case, each in cases.items():
        cells = [f"{each[key]:,.2f}" if key in each else "" for key in keys]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines)


Found = dict[str, dict[str, public.Figures]]
_SLOWER = 1.25
"""A ratio to the figure before above which a case is marked: two quiet runs differ by up to a fifth."""


def with_floors(found: Found, calls: str | None) -> dict[str, dict[str, float]]:
    """A figure for each case to compare runs by: CPU over that of its group's floor, if it has one.

    Those of real time are parts of raw aiohttp's seconds; others are milliseconds of CPU.
    """
    figures: dict[str, dict[str, float]] = {}
    for group, cases in found.items():
        floors = [
            each["cpu"]
            for name, each in cases.items()
            if name.startswith("floor: ") and "cpu" in each
        ]
        over = floors[0] if floors and floors[0] else 1.0
        figures[group] = {
            name: each["cpu"] / over if "cpu" in each else each["ms"]
            for name, each in cases.items()
            if "cpu" in each or "ms" in each
        }
    named = re.findall(r"(?m)^(\S.*?)  +\d+ requests/s .*?(\d+)% of raw aiohttp$", calls or "")
    figures["real time"] = {name: 100 / max(1, int(share)) for name, share in named}
    return figures


def compared(now: dict[str, dict[str, float]], before: dict[str, dict[str, float]]) -> str:
    """A line for each case that both runs have: the figures of `with_floors`, and which are slower."""
    lines = []
    for group, cases in now.items():
        for name, figure in cases.items():
            earlier = before.get(group, {}).get(name)
            if earlier:
                mark = "  slower" if figure / earlier > _SLOWER else ""
                change = f"{earlier:10.2f} -> {figure:10.2f}  x {figure / earlier:.2f}"
                lines.append(f"{group.partition(':')[0]}: {name:50} {change}{mark}")
    return "\n".join(lines)


def write(path: Path, text: str) -> None:
    """Replace the table in a page."""
    page = path.read_text(encoding="utf-8")
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")
