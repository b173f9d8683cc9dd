"""A server, from its options to an open socket and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.address import LOOPBACK
from jupyter_batch.process.locks import FileLock
from jupyter_batch.server.answers import Answers
from jupyter_batch.server.app import build
from jupyter_batch.server.faults import FaultBox, Faults
from jupyter_batch.server.protocol import Connection
from jupyter_batch.server.runner import Runner
from jupyter_batch.server.service import Service
from jupyter_batch.server.storage.store import Store
from jupyter_batch.server.upstream import Upstream

_GRACE = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a server is started with.

    state: the folder that it keeps its files and batches in. port: 0 for a free one. prefer_port: taken if it is free.
    token: None for no token (loopback only). upstream, api_base, api_key, concurrency: the litellm model behind it.
    embeddings_upstream, embeddings_api_base, embeddings_api_key: another one for embeddings.
    pace: the least seconds that a batch takes, spread over its states; 0 for as fast as it goes.
    """

    state: Path
    host: str = "127.0.0.1"
    port: int = 0
    prefer_port: int = 0
    token: str | None = field(default=None, repr=False)
    upstream: str | None = None
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    embeddings_upstream: str | None = None
    embeddings_api_base: str | None = None
    embeddings_api_key: str | None = field(default=None, repr=False)
    concurrency: int = 16
    pace: float = 1.5
    faults: Faults = Faults()  # noqa: RUF009 - frozen
    clock: Callable[[], float] = time.time


def _embeddings_of(options: Options) -> Upstream | None:
    """The upstream for embeddings alone. The other one's address and key are its own only at the same provider."""
    model = options.embeddings_upstream
    if model is None:
        return None
    base, key = options.embeddings_api_base, options.embeddings_api_key
    if base is None and _provider(model) == _provider(options.upstream or ""):
        base, key = options.api_base, key or options.api_key
    return Upstream(model, api_base=base, api_key=key, concurrency=options.concurrency)


def _provider(model: str) -> str:
    return model.removeprefix("local/").partition("/")[0]


class Server:
    """A server that listens from `start` to `stop`, in the running loop. `service` holds its parts."""

    def __init__(self, options: Options) -> None:
        if options.token is None and options.host not in LOOPBACK:
            raise OptionError(
                f"--no-token with --host {options.host}: without a token, who reaches this machine "
                "could use the server; give it a token, or leave it on 127.0.0.1"
            )
        self.options = options
        self.base_url = ""
        self.port = 0
        self.service: Service
        self._lock = FileLock(options.state / "lock")
        self._runner: web.AppRunner | None = None
        self._socket: asyncio.Server | None = None

    async def start(self) -> None:
        """Open the state, go on with the open batches, listen. OptionError where that can't be."""
        options = self.options
        options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._lock.take():
            raise OptionError(f"another server is running on the state in {options.state}")
        try:
            store = Store(options.state)
        except BaseException:
            self._lock.release()
            raise
        answers = Answers(
            Upstream(
                options.upstream,
                api_base=options.api_base,
                api_key=options.api_key,
                concurrency=options.concurrency,
            ),
            _embeddings_of(options),
        )
        faults = FaultBox(options.faults)
        runner = Runner(store, answers, faults, pace=options.pace, clock=options.clock)
        self.service = Service(
            store, runner, answers, faults, token=options.token, clock=options.clock
        )
        self._runner = web.AppRunner(build(self.service), shutdown_timeout=_GRACE)
        try:
            await self._runner.setup()
            await self._listen(self._runner)
            runner.start()
        except BaseException:
            await self.stop()
            raise

    async def _listen(self, runner: web.AppRunner) -> None:
        """Open the socket: on the port that was asked for, on the preferred one if it is free, or on any."""
        host, loop, manager = self.options.host, asyncio.get_running_loop(), runner.server
        if manager is None:
            raise RuntimeError("the application is not set up")

        async def listen(port: int) -> asyncio.Server:
            return await loop.create_server(lambda: Connection(manager, loop=loop), host, port)

        try:
            self._socket = await listen(self.options.port or self.options.prefer_port)
        except OSError as error:
            if self.options.port or not self.options.prefer_port:
                where = f"port {self.options.port} of {host}" if self.options.port else host
                raise OptionError(f"can't listen on {where}: {error.strerror or error}") from error
            self._socket = await listen(0)
        self.port = int(self._socket.sockets[0].getsockname()[1])
        self.base_url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/v1"

    async def stop(self) -> None:
        """Stop listening and moving batches; open batches continue at the next start."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._runner is not None:
            await self.service.runner.close()
            await self._runner.cleanup()
            await self.service.answers.close()
            self.service.store.close()
            self._runner = None
        self._lock.release()

    async def idle(self, seconds: float) -> None:
        """Return when nothing was asked and no batch was open for so long."""
        quiet = time.monotonic()
        while time.monotonic() - max(quiet, self.service.touched) < seconds:
            await asyncio.sleep(min(1.0, seconds / 4))
            if self.service.runner.is_busy:
                quiet = time.monotonic()


@asynccontextmanager
async def running(options: Options) -> AsyncIterator[Server]:
    """A server in this loop, for as long as the block lasts."""
    server = Server(options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
