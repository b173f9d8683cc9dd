"""The server in a thread of this process: for tests, notebooks and demos. Public.

with Embedded(folder, faults="429=0.2,seed=7") as server:
client = openai.OpenAI(base_url=server.base_url, api_key=server.token)
...
server.restart()                     # the same state, token and port; open batches go on
server.stats()["batches_created"]
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from jupyter_batch.server.faults import parse_faults
from jupyter_batch.server.server import Options, Server, running

__all__ = ["Embedded", "Options", "running"]

T = TypeVar("T")


class Embedded:
    """A server that runs from entering the block (or `start`) to leaving it (or `stop`).

    state: the folder that it keeps its files and batches in; another one may go on from it later.
    token: what clients send as key; None for no token.
    faults: what goes wrong, as for `--faults`, or by name.
    pace: the least seconds that a batch takes; 0 (the default here) for as fast as it goes.
    upstream, api_base, api_key, concurrency: a litellm model that answers, instead of the built-in echo model.
    embeddings_upstream, embeddings_api_base, embeddings_api_key: another one that answers embeddings.
    """

    def __init__(
        self,
        state: Path | str,
        *,
        token: str | None = "embedded",  # noqa: S107
        faults: str | dict[str, Any] = "",
        pace: float = 0.0,
        port: int = 0,
        upstream: str | None = None,
        api_base: str | None = None,
        api_key: str | None = None,
        embeddings_upstream: str | None = None,
        embeddings_api_base: str | None = None,
        embeddings_api_key: str | None = None,
        concurrency: int = 16,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._options = Options(
            state=Path(state),
            token=token,
            faults=parse_faults(faults),
            pace=pace,
            port=port,
            upstream=upstream,
            api_base=api_base,
            api_key=api_key,
            embeddings_upstream=embeddings_upstream,
            embeddings_api_base=embeddings_api_base,
            embeddings_api_key=embeddings_api_key,
            concurrency=concurrency,
            clock=clock,
        )
        self._server: Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"Embedded({self._server.base_url if self._server else 'stopped'})"

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT/v1`."""
        return self._running().base_url

    @property
    def token(self) -> str:
        """The key that clients send; without a token any will do."""
        return self._options.token or "none"

    def start(self) -> Self:
        """Listen; returns when the server can be asked."""
        if self._thread is not None:
            raise RuntimeError("this server runs already")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="jupyter_batch server", daemon=True
        )
        self._thread.start()
        server = Server(self._options)
        try:
            self._call(server.start())
        except BaseException:
            self._end_loop()
            raise
        self._server = server
        return self

    def stop(self) -> None:
        """Stop; open batches continue at the next start on the same state. A second call does nothing."""
        if self._server is not None:
            self._call(self._server.stop())
            self._server = None
            self._end_loop()

    def restart(self) -> None:
        """Stop, and start again on the same state, with the same token, at the same port."""
        port = self._running().port
        self.stop()
        self._options = replace(self._options, prefer_port=port)
        self.start()

    def stats(self) -> dict[str, Any]:
        """What was asked since the start: see `Stats.as_json`."""
        return self._call(_called(self._running().service.stats.as_json))

    def batches(self) -> list[dict[str, Any]]:
        """All batches as they are now, oldest first, in the API's shape."""

        def look() -> list[dict[str, Any]]:
            serving = self._running().service
            records, _ = serving.store.batches(after=None, limit=1 << 30)
            return [
                msgspec.to_builtins((serving.runner.record(one.batch.id) or one).batch)
                for one in reversed(records)
            ]

        return self._call(_called(look))

    def set_faults(self, faults: str | dict[str, Any]) -> None:
        """Put other faults in force; for batches: those created from here on."""
        new = parse_faults(faults)
        self._options = replace(self._options, faults=new)
        self._call(_called(lambda: self._running().service.faults.set(new)))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _running(self) -> Server:
        if self._server is None:
            raise RuntimeError("this server is not running")
        return self._server

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            raise RuntimeError("this server is not running")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _end_loop(self) -> None:
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            self._call(_wind_up())
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
        self._loop = self._thread = None


async def _called(function: Callable[[], T]) -> T:
    return function()


async def _wind_up() -> None:
    """Let what is left in the loop (idle connections) come to its end."""
    loop = asyncio.get_running_loop()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
