"""The commands of `jupyter batch`: each with its help, its arguments and its action."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from jupyter_batch.cli import actions, watch


class Command(NamedTuple):
    """A command: its action, its help, and what adds its arguments."""

    run: Callable[[argparse.Namespace], int]
    about: str
    arguments: Callable[[argparse.ArgumentParser], object] = lambda _: None


def _id(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("id", metavar="ID", help="a job's id, as in `list`")


def _base(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--api-base",
        metavar="URL",
        help="an address that the key in the environment may go to, as well as the provider's own "
        "(several: in $JUPYTER_BATCH_API_BASES)",
    )


def _id_and_base(sub: argparse.ArgumentParser) -> None:
    _id(sub)
    _base(sub)


def _view_arguments(sub: argparse.ArgumentParser) -> None:
    _id(sub)
    sub.add_argument("--port", type=int, default=0, metavar="N", help="default: a free one")
    sub.add_argument("--no-browser", action="store_true", help="print the address, open nothing")


def _watch_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "id", nargs="?", metavar="ID", help="only this job (default: all that are open)"
    )
    sub.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="stop watching after so long, with exit 1"
    )
    sub.add_argument(
        "--notify",
        metavar="WHERE",
        help="send a notice when a job ends or needs you: desktop, an https:// address (JSON by POST), or "
        "mailto:NAME@HOST (through $JUPYTER_BATCH_SMTP, smtp://[user:password@]host)",
    )
    sub.add_argument(
        "--webhook",
        metavar="[HOST:]PORT",
        help="also take the provider's webhooks here (OpenAI's batch.completed), signed with "
        "$OPENAI_WEBHOOK_SECRET; each makes the next poll due at once",
    )
    _base(sub)


def _retry_arguments(sub: argparse.ArgumentParser) -> None:
    from jupyter_batch.config.magic_line import add_retry

    _id_and_base(sub)
    add_retry(sub)


def _finish_arguments(sub: argparse.ArgumentParser) -> None:
    from jupyter_batch.config.magic_line import add_all
    from jupyter_batch.config.options import FINISH

    _id_and_base(sub)
    add_all(sub, FINISH)


def _of_module(name: str) -> Callable[[argparse.ArgumentParser], None]:
    """The arguments that a module adds; imported only where the command is chosen."""

    def add(sub: argparse.ArgumentParser) -> None:
        import_module(f"jupyter_batch.{name}").add_arguments(sub)

    return add


def _forget_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("id", nargs="+", metavar="ID", help="a job's id, as in `list`")


def _run_of(name: str) -> Callable[[argparse.Namespace], int]:
    """The action of a module; imported only where it is run."""
    return lambda asked: int(import_module(f"jupyter_batch.{name}").run(asked))


def _export_arguments(sub: argparse.ArgumentParser) -> None:
    _id(sub)
    sub.add_argument(
        "path",
        type=Path,
        metavar="FILE",
        help="its ending chooses the format; the file is replaced as a whole",
    )


COMMANDS = {
    "list": Command(actions.run_list, "every job in the ledger, newest first"),
    "show": Command(actions.run_show, "a job: state, counts, why rows failed", _id),
    "view": Command(
        actions.run_view, "a job's rows in the browser: filter, search, export", _view_arguments
    ),
    "run": Command(
        _run_of("cli.run"),
        "ask about each row of a file (CSV, TSV, JSON lines, Parquet, Excel) and write it with the answers; run again, "
        "it continues, and nothing is paid twice",
        _of_module("cli.run"),
    ),
    "watch": Command(
        watch.run_watch,
        "poll and download, without any kernel, until all is collected; then exit 0 (1 where a job "
        "can't continue without you, with the reason)",
        _watch_arguments,
    ),
    "cancel": Command(
        actions.run_cancel, "cancel a job at the provider; finished rows are kept", _id_and_base
    ),
    "finish": Command(
        actions.run_finish,
        "ask what is open of a job now: in real time at the full price, or on the flex tier",
        _finish_arguments,
    ),
    "retry": Command(
        actions.run_retry,
        "send only the rows of a job again that have no answer; until they are sent",
        _retry_arguments,
    ),
    "adopt": Command(
        actions.run_adopt,
        "list the provider's batches that are in no job here (another machine's, a lost ledger's); "
        "adopt one job's, or all",
        _of_module("adoption.commands"),
    ),
    "forget": Command(
        actions.run_forget,
        "remove complete jobs from the ledger, answers and all: they can't be reused, and are paid "
        "again when they are asked again",
        _forget_arguments,
    ),
    "providers": Command(
        actions.run_providers, "each provider's limits, storage and costs, with their sources"
    ),
    "doctor": Command(
        _run_of("cli.doctor"),
        "check versions, the ledger's folder, keys and the way to the provider; costs nothing",
        _of_module("cli.doctor"),
    ),
    "export": Command(
        actions.run_export,
        "write a job's results to a file: .csv, .jsonl or .parquet",
        _export_arguments,
    ),
    "serve": Command(
        _run_of("server.serve"),
        "an OpenAI-compatible Files and Batches server on this machine",
        _of_module("server.serve"),
    ),
    "demo": Command(
        _run_of("demo"),
        "a whole job on real reviews and the embedded server: no key, no network",
        _of_module("demo"),
    ),
}
