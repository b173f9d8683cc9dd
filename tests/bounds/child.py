"""A client process whose memory is watched: one job against the address given; prints its outcome as JSON."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import jupyter_batch
from tests.messages import messages


def main(model: str, base: str, mode: str) -> None:
    """Run two rows, wait for at most 150 seconds, and report the cells, the reasons and the peak memory in MB."""
    job = jupyter_batch.batch(
        ["first", "second"], model=model, api_base=base, api_key="k-12345678", mode=mode
    )
    job.wait(timeout=150)
    found = job.results()
    report = {
        "status": [str(status) for status in found["_status"]],
        "error": [str(error) for error in found["_error"]],
        "note": messages(job.snapshot()),
        "peak": _peak(),
    }
    print("REPORT " + json.dumps(report))


def _peak() -> float:
    """Peak memory of this process in MB.

    Linux carries a parent's ru_maxrss over to its child, so that a test's own size would count; VmHWM starts at a fork.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
