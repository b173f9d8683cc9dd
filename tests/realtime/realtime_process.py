"""A process that works at a run in real time until it is killed: FOLDER BASE CONCURRENCY [TIER]."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from realtime_harness import begin, ended, provider

from jupyter_batch.realtime.pacing import ServiceTier


async def work(folder: Path, base: str, concurrency: int, tier: str = "") -> None:
    """Submit, which goes on where a run is there already, and poll to the end."""
    asked = ServiceTier(name=tier, sent=bool(tier))
    real = provider(folder, base, concurrency=concurrency, tier=asked)
    await begin(real, folder / "requests-0.jsonl")
    await ended(real)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))
