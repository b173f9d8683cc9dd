"""The real-time tests' use of a provider: a request file, a run to its end, and its lines as they are read."""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.request import Limits, Result
from jupyter_batch.providers.protocol import TAG, Facts
from jupyter_batch.realtime.fast_path import call_to
from jupyter_batch.realtime.provider import Realtime, realtime_facts
from jupyter_batch.realtime.run import Tries
from jupyter_batch.wire.openai import CHAT, decode

FACTS = realtime_facts(
    Facts(
        name="openai",
        dialect="openai",
        key="OPENAI_API_KEY",
        limits=Limits(requests=50_000, bytes=200_000_000),
    )
)
KEY = "sk-of-the-test"
QUICK = Tries(most=4, first=0.001, last=0.004)
SECONDS = 60.0
"""Until a test gives up; none waits for them."""


def texts(count: int) -> list[str]:
    """Rows that say who they are."""
    return [f"row {number}" for number in range(count)]


def requests(
    folder: Path, texts: list[str], endpoint: str = CHAT, name: str = "requests-0.jsonl"
) -> Path:
    """A request file with a row for each text."""
    path = folder / name
    lines = []
    for number, text in enumerate(texts):
        asked = (
            {"messages": [{"role": "user", "content": text}]}
            if endpoint == CHAT
            else {"input": text}
        )
        lines.append(
            orjson.dumps(
                {
                    "custom_id": f"jb-{number}",
                    "method": "POST",
                    "url": endpoint,
                    "body": {"model": "m", **asked},
                }
            )
            + b"\n"
        )
    path.write_bytes(b"".join(lines))
    return path


def provider(
    folder: Path,
    base: str,
    *,
    model: str = "openai/m",
    key: str = KEY,
    seconds: float = 20.0,
    **more: Any,
) -> Realtime:
    """Real time by litellm, with pauses of a millisecond."""
    call = more.pop("call", None) or call_to(model, api_base=base, api_key=key, seconds=seconds)
    return Realtime(FACTS, folder=folder, call=call, **{"tries": QUICK, "concurrency": 8, **more})


async def begin(real: Realtime, path: Path, endpoint: str = CHAT) -> BatchView:
    """Submit the shard."""

    async def nothing(_: str) -> None:
        pass

    return await real.submit(
        path,
        {"team": "a", TAG: "jb/0"},
        endpoint=endpoint,
        window="24h",
        uploaded=None,
        on_upload=nothing,
    )


async def until(holds: Callable[[], Any]) -> Any:
    """Wait on a condition (or on a coroutine's answer); its value when it holds."""
    end = time.monotonic() + SECONDS
    while True:
        value = holds()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < end, "the condition did not come to hold"
        await asyncio.sleep(0.005)


async def ended(real: Realtime, name: str = "realtime-jb-0") -> BatchView:
    """Poll until it is over."""

    async def look() -> BatchView | None:
        view = await real.poll(name)
        return view if view.ending is not None else None

    return await until(look)


async def results(real: Realtime, view: BatchView, endpoint: str = CHAT) -> dict[str, Result]:
    """Both files, fetched and read as the engine does; each row once."""
    found: dict[str, Result] = {}
    for file_id in (view.output_file_id, view.error_file_id):
        if file_id:
            data = bytearray()
            await real.fetch(file_id, data.extend)
            assert data.endswith(b"\n")
            for line in bytes(data).splitlines():
                result = decode(line, endpoint)
                assert result.custom_id is not None
                assert result.custom_id not in found
                found[result.custom_id] = result
    return found


def run(real: Realtime, path: Path, endpoint: str = CHAT) -> tuple[BatchView, dict[str, Result]]:
    """The whole cycle."""

    async def cycle() -> tuple[BatchView, dict[str, Result]]:
        try:
            await begin(real, path, endpoint)
            view = await ended(real)
            return view, await results(real, view, endpoint)
        finally:
            await real.aclose()

    return asyncio.run(cycle())


def modes(folder: Path) -> set[str]:
    """The modes of what a run left in its folder."""
    return {
        oct(stat.S_IMODE(path.stat().st_mode))
        for path in folder.iterdir()
        if path.name.startswith("realtime-")
    }
