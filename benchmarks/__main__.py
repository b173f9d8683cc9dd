"""`python -m benchmarks NAME [ROWS]`: one benchmark; `in` is the way of result files to a column."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks import answers


def main(name: str, rows: str = "100000", way: str = "", home: str = "") -> None:
    """Run a benchmark; with `way` and `home` a single run of it, printed as JSON."""
    if name != "in":
        raise SystemExit(f"expected one of 'in'; got {name!r}")
    if way:
        print(json.dumps(answers.measured(way, int(rows), Path(home))))
    else:
        answers.main(int(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
