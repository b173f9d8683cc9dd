"""`jupyter batch serve`: the command line of the server."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.secrets import clean, remember
from jupyter_batch.http.address import check_base
from jupyter_batch.server import faults
from jupyter_batch.server.echo.model import is_echo
from jupyter_batch.server.faults import parse_faults

API_KEY_VARIABLE = "JUPYTER_BATCH_UPSTREAM_API_KEY"
EMBEDDINGS_KEY_VARIABLE = "JUPYTER_BATCH_EMBEDDINGS_API_KEY"
TOKEN_VARIABLE = "JUPYTER_BATCH_SERVER_TOKEN"  # noqa: S105 - the name of a variable
DESCRIPTION = """A batch server on this machine, with OpenAI's Files and Batches APIs and Anthropic's Messages and
Message Batches APIs (whose clients take the address without /v1). Without --upstream, the model `local/echo` answers
by simple rules (it is no language model), and `provider/name` is answered by that litellm model."""
_LOOK = 1.0
"""Seconds between two looks at the announcement."""
_MOST_PORT = 65_535
_MOST_SECONDS = 10**9
FAULTS = "faults:\n" + "\n".join(
    row for row in (faults.__doc__ or "").splitlines() if row.startswith("|")
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `serve`, and the table of faults as the help's last part."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = FAULTS
    _add_upstream(parser)
    _add_address(parser)
    parser.add_argument(
        "--faults",
        default="",
        metavar="SPEC",
        help="what shall go wrong, such as 'seed=7,429=0.2,truncate=0.1' (the table below)",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="where files and batches are kept over restarts "
        "(default: a folder that goes when the server stops)",
    )
    parser.add_argument(
        "--pace",
        type=float,
        default=1.5,
        metavar="SECONDS",
        help="the least time that a batch takes, so that its states can be seen (default: 1.5)",
    )
    parser.add_argument(
        "--exit-when-idle",
        type=float,
        metavar="SECONDS",
        help="stop when nothing was asked and no batch was open for so long",
    )
    parser.add_argument("--prefer-port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--announce", type=Path, help=argparse.SUPPRESS)


def _add_upstream(parser: argparse.ArgumentParser) -> None:
    """The options for the models that answer in place of the echo model."""
    parser.add_argument(
        "--upstream",
        metavar="MODEL",
        help="a litellm model that answers every request, such as "
        "ollama/llama3.2, or openai/NAME at --api-base",
    )
    parser.add_argument("--api-base", metavar="URL", help="where the upstream model is")
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"the upstream's key; better in ${API_KEY_VARIABLE}, as the "
        "list of processes shows this one",
    )
    parser.add_argument(
        "--embeddings-upstream",
        metavar="MODEL",
        help="a litellm model that answers embeddings, where --upstream answers the rest; it shares "
        "--api-base and --api-key if both models are of one provider",
    )
    parser.add_argument(
        "--embeddings-api-base", metavar="URL", help="where the model for embeddings is"
    )
    parser.add_argument(
        "--embeddings-api-key",
        metavar="KEY",
        help=f"its key; better in ${EMBEDDINGS_KEY_VARIABLE}",
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        default=16,
        metavar="N",
        help="requests to the upstream at once (default: 16)",
    )


def _add_address(parser: argparse.ArgumentParser) -> None:
    """The options for the address and the token."""
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        metavar="N",
        help="the port to listen on (default: a free one)",
    )
    token = parser.add_mutually_exclusive_group()
    token.add_argument(
        "--token",
        metavar="T",
        help=f"the key that clients must send; better in ${TOKEN_VARIABLE} "
        "(default: one is made up and printed)",
    )
    token.add_argument("--no-token", action="store_true", help="let everybody on this machine in")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code. Errors are printed to stderr in a line."""
    try:
        if args.state is not None:
            return asyncio.run(_serve(args, args.state))
        with tempfile.TemporaryDirectory(prefix="jupyter_batch_serve_") as folder:
            return asyncio.run(_serve(args, Path(folder)))
    except (OptionError, RuntimeError, OSError, OverflowError, sqlite3.Error) as error:
        sys.stderr.write(f"jupyter batch serve: {error}\n")
        return 2


async def _serve(args: argparse.Namespace, state: Path) -> int:
    from jupyter_batch.server.server import Options, running

    given = args.token or os.environ.get(TOKEN_VARIABLE)
    token = None if args.no_token else given or secrets.token_urlsafe(24)
    _check(args, given)
    upstream_key = _key(args.api_key, "--api-key", API_KEY_VARIABLE)
    embeddings_key = _key(args.embeddings_api_key, "--embeddings-api-key", EMBEDDINGS_KEY_VARIABLE)
    remember(token)
    options = Options(
        state=state,
        host=args.host,
        port=args.port,
        prefer_port=args.prefer_port,
        token=token,
        upstream=args.upstream,
        api_base=args.api_base,
        api_key=upstream_key,
        embeddings_upstream=args.embeddings_upstream,
        embeddings_api_base=args.embeddings_api_base,
        embeddings_api_key=embeddings_key,
        concurrency=args.concurrency,
        pace=args.pace,
        faults=parse_faults(args.faults),
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stopped.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(stopped.wait())]
    async with running(options) as server:
        sys.stdout.write(f"base_url: {server.base_url}\n")
        if token is not None and not given:
            sys.stdout.write(f"token: {token}\n")
        sys.stdout.flush()
        if args.announce is not None:
            announce(args.announce, server.base_url, token)
            waits.append(asyncio.ensure_future(_until_removed(args.announce)))
        if args.exit_when_idle:
            waits.append(asyncio.ensure_future(server.idle(args.exit_when_idle)))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()
    return 0


def _check(args: argparse.Namespace, token: str | None) -> None:
    """Raise OptionError for a value that can't be; nothing was opened yet."""
    _check_numbers(args)
    _check_upstreams(args)
    if not args.host.strip():
        raise OptionError("--host is empty; leave it out for 127.0.0.1")
    if args.state is not None and args.state.exists() and not args.state.is_dir():
        raise OptionError(f"--state expects a folder; {args.state} is a file")
    if args.token is not None and not args.token:
        raise OptionError("--token is empty; leave it out, or use --no-token")
    if token is not None:
        _check_key("--token" if args.token else TOKEN_VARIABLE, token)


def _check_numbers(args: argparse.Namespace) -> None:
    for name, port in (("--port", args.port), ("--prefer-port", args.prefer_port)):
        if not 0 <= port <= _MOST_PORT:
            raise OptionError(f"{name} expects a number from 0 to {_MOST_PORT}; got {port}")
    if args.concurrency < 1:
        raise OptionError(f"--concurrency expects at least 1; got {args.concurrency}")
    for name, seconds in (("--pace", args.pace), ("--exit-when-idle", args.exit_when_idle)):
        if seconds is not None and not 0 <= seconds <= _MOST_SECONDS:
            raise OptionError(f"{name} expects seconds from 0 to {_MOST_SECONDS}; got {seconds:g}")


def _check_upstreams(args: argparse.Namespace) -> None:
    for name in ("upstream", "embeddings_upstream"):
        _check_model(f"--{name.replace('_', '-')}", getattr(args, name))
    for name in ("", "embeddings-"):
        base = getattr(args, f"{name.replace('-', '_')}api_base")
        if base is not None:
            check_base(base, f"--{name}api-base", f"--{name}api-key")
    if (args.embeddings_api_base or args.embeddings_api_key) and not args.embeddings_upstream:
        raise OptionError(
            "--embeddings-api-base and --embeddings-api-key need --embeddings-upstream"
        )


def _check_model(name: str, model: str | None) -> None:
    if model is None:
        return
    if not model.strip():
        raise OptionError(f"{name} is empty; it expects a litellm model, such as ollama/llama3.2")
    if is_echo(model):
        raise OptionError(f"{name} {model}: the built-in model answers without this option")


def _check_key(name: str, given: str) -> str:
    """A key, as a header can carry it. Raises OptionError, which does not repeat it."""
    remember(given)
    try:
        return clean(given)
    except ValueError as error:
        raise OptionError(f"{name} {error}: copy the key again") from None


def _key(given: str | None, name: str, variable: str) -> str | None:
    """An upstream's key: the option's, else the variable's."""
    if not given:
        given, name = os.environ.get(variable), variable
    if not given:
        return None
    key = _check_key(name, given)
    remember(key)
    return key


def announce(path: Path, base_url: str, token: str | None) -> None:
    """Write where the server is, for `launch.ensure`: a file that its owner alone may read."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(
        os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as handle:
        inode = os.fstat(handle.fileno()).st_ino
        known = {"pid": os.getpid(), "base_url": base_url, "token": token, "inode": inode}
        json.dump(known, handle)
    partial.replace(path)


async def _until_removed(announced: Path) -> None:
    """Return once the folder was moved or removed: this server no longer finds its files."""
    while True:
        await asyncio.sleep(_LOOK)
        try:
            await asyncio.to_thread(announced.stat)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError:  # a disk that is away for a while
            continue


class _Parser(argparse.ArgumentParser):
    """A parser that reports a wrong option in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m jupyter_batch.server`."""
    parser = _Parser(
        prog="python -m jupyter_batch.server", description=DESCRIPTION, allow_abbrev=False
    )
    add_arguments(parser)
    return run(parser.parse_args(argv))
