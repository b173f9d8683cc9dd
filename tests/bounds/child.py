"""A client process whose memory is watched: one job against the address given; prints its outcome as JSON."""

from __future__ import annotations

import json
import resource
import sys

import jupyter_batch


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
        "note": job.snapshot().message,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print("REPORT " + json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
