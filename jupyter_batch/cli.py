"""`jupyter batch ...`: the ledger's jobs without a notebook.

Start-up is fast: each command imports its own modules.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from jupyter_batch.core.errors import JobBlockedError, JupyterBatchError

if TYPE_CHECKING:
    from jupyter_batch.config.option import Option
    from jupyter_batch.core.status import Step
    from jupyter_batch.group import Group
    from jupyter_batch.jobs import Job

PATIENCE = 60.0
"""Seconds for which `cancel` and `retry` try to reach the provider before they leave that to `watch`."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence on stderr, with exit 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help)\n")


class _Command(NamedTuple):
    """A command: its action, its help, and what adds its arguments."""

    run: Callable[[argparse.Namespace], int]
    about: str
    arguments: Callable[[argparse.ArgumentParser], object] = lambda _: None


def parser(chosen: str = "") -> argparse.ArgumentParser:
    """The parser of the whole command. Only the `chosen` command has its arguments, so that start-up is fast."""
    from jupyter_batch import __version__

    made = _Parser(
        prog="jupyter batch",
        description="LLM batches: the jobs in this machine's ledger.",
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=__version__)
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        about = command.about
        sub = commands.add_parser(
            name, help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False
        )
        sub.set_defaults(run=command.run)
        if name == chosen:
            command.arguments(sub)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0: done; 1: not done, though the input is right; 2: bad input; 130: interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    asked = parser(words[0] if words else "").parse_args(words)
    try:
        return int(asked.run(asked))
    except JupyterBatchError as error:
        print(f"jupyter batch: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "jupyter batch: stopped here; batches that were sent continue at the provider",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # `jupyter batch list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


# -- arguments ---------------------------------------------------------------------------------------------------------


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
    _base(sub)


def _retry_arguments(sub: argparse.ArgumentParser) -> None:
    from jupyter_batch.config.magic_line import add_all

    _id_and_base(sub)
    add_all(sub, _retry_options())


def _retry_options() -> list[Option]:
    from jupyter_batch.config.options import CHAT_PARAMS, EVERY

    left = "US dollars that it may cost (default: the rest of the job's own max_cost)"
    return [EVERY["max_cost"]._replace(help=left), *CHAT_PARAMS]


def _of_module(name: str) -> Callable[[argparse.ArgumentParser], None]:
    """The arguments that a module adds; imported only where the command is chosen."""

    def add(sub: argparse.ArgumentParser) -> None:
        import_module(f"jupyter_batch.{name}").add_arguments(sub)

    return add


def _forget_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("id", nargs="+", metavar="ID", help="a job's id, as in `list`")


def _export_arguments(sub: argparse.ArgumentParser) -> None:
    _id(sub)
    sub.add_argument(
        "path",
        type=Path,
        metavar="FILE",
        help="its ending chooses the format; the file is replaced as a whole",
    )


# -- commands ----------------------------------------------------------------------------------------------------------


def _list(_asked: argparse.Namespace) -> int:
    from jupyter_batch import jobs

    print(jobs.list_jobs())
    return 0


def _show(asked: argparse.Namespace) -> int:
    from jupyter_batch import jobs

    _print(jobs.open_job(asked.id, follow=False))
    return 0


def _view(asked: argparse.Namespace) -> int:
    from jupyter_batch.viewer.opened import serve

    return serve(asked.id, port=asked.port, browser=not asked.no_browser)


def _print(job: Job) -> None:
    from jupyter_batch.monitor import text, view

    seen = view.view(job.snapshot())
    course = [seen.curve_words] if seen.curve_words else []
    print(
        text.line(seen),
        f"  model: {seen.model}",
        *(f"  batch: {batch}" for batch in seen.batches),
        *(f"  {line}" for line in [*course, *text.details(seen)]),
        sep="\n",
    )


def _watch(asked: argparse.Namespace) -> int:
    """Watch jobs; 1 if any is still open at the end. Failed rows are results, too.

    A job that can't continue without the user is reported and left, since cron and systemd would wait forever.
    """
    from jupyter_batch import jobs

    jobs.name_address(asked.api_base)
    until = None if asked.timeout is None else time.monotonic() + asked.timeout
    chosen = [jobs.open_job(asked.id)] if asked.id else _still_open()
    if not chosen:
        print("No job is open.")
    if asked.id is None:
        jobs.resume_open()
    blocked: dict[str, str] = {}
    while chosen:
        for job in chosen:
            if job.is_complete:
                _print(job)
            try:
                left = None if until is None else max(0.0, until - time.monotonic())
                if not job.wait(left).is_complete:
                    return 1  # out of time, or Ctrl-C
            except JobBlockedError as error:
                blocked[job.id] = str(error)
                print(f"jupyter batch: {error}", file=sys.stderr)
        # More jobs may have been submitted since; blocked ones were tried once and have printed why.
        chosen = [] if asked.id else [job for job in _still_open() if job.id not in blocked]
    return 1 if blocked else 0


def _still_open() -> list[Job]:
    from jupyter_batch import jobs

    return [job for job in jobs.list_jobs() if not job.is_complete]


def _cancel(asked: argparse.Namespace) -> int:
    """Cancel, and wait until the provider has the request for each batch."""
    from jupyter_batch import jobs
    from jupyter_batch.core.status import Step

    jobs.name_address(asked.api_base)
    job = jobs.open_job(asked.id, follow=False)  # unsent batches are never sent
    job.cancel()
    reached = _until(lambda: _steps(job) <= {Step.CANCELLING, Step.ENDED, Step.COLLECTED})
    _print(job)
    if not reached:
        print(
            "The provider could not be reached yet: `jupyter batch watch` tries again.",
            file=sys.stderr,
        )
    return 0 if reached else 1


def _retry(asked: argparse.Namespace) -> int:
    """Retry, and wait until each of the new batches was sent, or waits for quota or the provider."""
    from jupyter_batch import jobs
    from jupyter_batch.config.magic_line import values
    from jupyter_batch.core.status import Step

    jobs.name_address(asked.api_base)
    given = values(asked, _retry_options(), {})
    job = jobs.open_job(asked.id, follow=False).retry(**given)
    unsent = {Step.PLANNED, Step.SUBMITTING}
    _until(lambda: not _steps(job) & unsent)
    sent = not _steps(job) & {*unsent, Step.WAITING}
    _print(job)
    print(
        "`jupyter batch watch` fetches the answers."
        if sent
        else "Not all batches could be sent yet: `jupyter batch watch` tries again.",
        file=sys.stderr,
    )
    return 0 if sent else 1


def _steps(job: Job | Group) -> set[Step]:
    return {shard.step for shard in job.snapshot().shards}


def _until(done: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _adopt(asked: argparse.Namespace) -> int:
    from jupyter_batch import jobs
    from jupyter_batch.adoption.commands import where_of
    from jupyter_batch.core.errors import ProviderError

    where = where_of(asked)
    try:
        if not (asked.all or asked.id):
            found = jobs.orphans(**where)
            print(found)
            if found:
                print(
                    "`jupyter batch adopt ID`, with the same options, adopts a job; --all adopts each.",
                    file=sys.stderr,
                )
            return 0
        taken = jobs.adopt(asked.id, **where)
    except ProviderError as error:
        print(f"jupyter batch: {error}", file=sys.stderr)
        return 1
    print(taken)
    print("`jupyter batch watch` fetches the answers.", file=sys.stderr)
    return 0


def _forget(asked: argparse.Namespace) -> int:
    from jupyter_batch import jobs

    for name in asked.id:
        print(f"{jobs.forget(name)} is forgotten")
    return 0


def _providers(_asked: argparse.Namespace) -> int:
    from jupyter_batch.providers.shown import Providers

    print(Providers())
    return 0


def _export(asked: argparse.Namespace) -> int:
    from jupyter_batch import jobs
    from jupyter_batch.frames.table_file import check_path, write

    check_path(asked.path)
    frame = jobs.open_job(asked.id, follow=False).results()
    write(frame, asked.path)
    print(f"{len(frame):,} {'row' if len(frame) == 1 else 'rows'} in {asked.path}")
    return 0


def _serve(asked: argparse.Namespace) -> int:
    from jupyter_batch.server import serve

    return int(serve.run(asked) or 0)


def _demo(asked: argparse.Namespace) -> int:
    from jupyter_batch import demo

    return demo.run(asked)


COMMANDS = {
    "list": _Command(_list, "every job in the ledger, newest first"),
    "show": _Command(_show, "a job: state, counts, why rows failed", _id),
    "view": _Command(_view, "a job's rows in the browser: filter, search, export", _view_arguments),
    "watch": _Command(
        _watch,
        "poll and download, without any kernel, until all is collected; then exit 0 (1 where a job "
        "can't continue without you, with the reason)",
        _watch_arguments,
    ),
    "cancel": _Command(
        _cancel, "cancel a job at the provider; finished rows are kept", _id_and_base
    ),
    "retry": _Command(
        _retry,
        "send only the rows of a job again that have no answer; until they are sent",
        _retry_arguments,
    ),
    "adopt": _Command(
        _adopt,
        "list the provider's batches that are in no job here (another machine's, a lost ledger's); "
        "adopt one job's, or all",
        _of_module("adoption.commands"),
    ),
    "forget": _Command(
        _forget,
        "remove complete jobs from the ledger, answers and all: they can't be reused, and are paid "
        "again when they are asked again",
        _forget_arguments,
    ),
    "providers": _Command(
        _providers, "each provider's limits, storage and costs, with their sources"
    ),
    "export": _Command(
        _export, "write a job's results to a file: .csv, .jsonl or .parquet", _export_arguments
    ),
    "serve": _Command(
        _serve,
        "an OpenAI-compatible Files and Batches server on this machine",
        _of_module("server.serve"),
    ),
    "demo": _Command(
        _demo,
        "a whole job on real reviews and the embedded server: no key, no network",
        _of_module("demo"),
    ),
}
