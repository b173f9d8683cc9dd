"""A process that works at a run in real time until it is killed: FOLDER BASE CONCURRENCY."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from realtime_harness import begin, ended, provider


async def work(folder: Path, base: str, concurrency: int) -> None:
    """Submit, which goes on where a run is there already, and poll to the end."""
    real = provider(folder, base, concurrency=concurrency)
    await begin(real, folder / "requests-0.jsonl")
    await ended(real)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
