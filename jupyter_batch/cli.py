"""`jupyter batch ...`: the ledger's jobs for people without a notebook. It asks the face and prints, no more.

Start-up is light: each command imports what it needs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jupyter_batch.core.errors import InputError, JobBlockedError, JupyterBatchError
from jupyter_batch.core.result import ToolCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_batch.config.option import Option
    from jupyter_batch.jobs import Job

WRITERS = (".csv", ".jsonl", ".parquet")
TOLD_SECONDS = 60.0
"""How long `cancel` tries to reach the provider before it leaves that to `watch`."""


class _Parser(argparse.ArgumentParser):
    """One sentence on stderr and exit 2, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help)\n")


def parser(chosen: str = "") -> argparse.ArgumentParser:
    """The parser of the whole command; the server's and the demo's own options are there where they are `chosen`."""
    from jupyter_batch import __version__

    made = _Parser(
        prog="jupyter batch",
        description="LLM batches: the jobs in this machine's ledger.",
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=__version__)
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int], about: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=about, description=about[0].upper() + about[1:] + ".", allow_abbrev=False
        )
        sub.set_defaults(run=run)
        return sub

    command("list", _list, "every job in the ledger, newest first")
    _with_id(command("show", _show, "a job: state, counts, why rows failed"))
    looked = _with_id(command("view", _view, "a job's rows in the browser: filter, search, export"))
    looked.add_argument("--port", type=int, default=0, metavar="N", help="default: a free one")
    looked.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    watch = command(
        "watch",
        _watch,
        "poll and download, without any kernel, until all is collected; then exit 0 (1 where a job "
        "can't go on without you: it says why)",
    )
    watch.add_argument(
        "id", nargs="?", metavar="ID", help="only this job (default: all that are open)"
    )
    watch.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="stop watching after so long, with exit 1"
    )
    _with_base(watch)
    _with_base(
        _with_id(command("cancel", _cancel, "cancel a job at the provider; finished rows are kept"))
    )
    retry = _with_id(
        command(
            "retry",
            _retry,
            "send the rows of a job again that have no answer, those alone; until done",
        )
    )
    _with_base(retry)
    adopt = command(
        "adopt",
        _adopt,
        "list the provider's batches that are in no job here (another machine's, a lost "
        "ledger's); take up one job's, or all",
    )
    forget = command(
        "forget",
        _forget,
        "remove jobs that are over from the ledger, answers and all: they can't be "
        "reused, and are paid for again when they are asked again",
    )
    forget.add_argument("id", nargs="+", metavar="ID", help="a job's id, as `list` prints it")
    command(
        "providers",
        _providers,
        "what each provider takes, keeps and costs, and where that was read",
    )
    export = _with_id(
        command("export", _export, "write a job's results to a file: .csv, .jsonl or .parquet")
    )
    export.add_argument(
        "path", type=Path, metavar="FILE", help="its ending says the format; it is replaced whole"
    )
    serve = command(
        "serve", _serve, "an OpenAI-compatible Files and Batches server on this machine"
    )
    demo = command(
        "demo", _demo, "the whole way on real reviews and the embedded server: no key, no network"
    )
    if chosen == "serve":
        from jupyter_batch.server.serve import add_arguments as serve_arguments

        serve_arguments(serve)
    elif chosen == "demo":
        from jupyter_batch.demo import add_arguments as demo_arguments

        demo_arguments(demo)
    elif chosen == "retry":
        from jupyter_batch.config.magic_line import add_all

        add_all(retry, _retry_options())
    elif chosen == "adopt":
        from jupyter_batch.adoption.commands import add_arguments as adopt_arguments

        adopt_arguments(adopt)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. 0: done. 1: it was not, through no fault of the input. 2: bad input. 130: interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    asked = parser(words[0] if words else "").parse_args(words)
    try:
        return int(asked.run(asked))
    except JupyterBatchError as error:
        print(f"jupyter batch: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("jupyter batch: stopped here; what was sent goes on at the provider", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `jupyter batch list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _with_id(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("id", metavar="ID", help="a job's id, as `list` prints it")
    return sub


def _with_base(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument(
        "--api-base",
        metavar="URL",
        help="an address that the key in the environment may go to, as well as the provider's own "
        "(several: in $JUPYTER_BATCH_API_BASES)",
    )
    return sub


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
    """Failed rows are printed, but they are collected too: only what is still open at the end is a 1.

    A job that can't go on without the user says so and is left: cron and systemd would wait for it without an end.
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
    """Stay until the provider has been told for each of the job's batches."""
    from jupyter_batch import jobs
    from jupyter_batch.core.status import Step

    jobs.name_address(asked.api_base)
    job = jobs.open_job(
        asked.id, follow=False
    )  # noted before anything moves: what is not sent yet, never is
    job.cancel()
    told = _until(
        lambda: all(
            shard.step in {Step.CANCELLING, Step.ENDED, Step.COLLECTED}
            for shard in job.snapshot().shards
        )
    )
    _print(job)
    if not told:
        print(
            "The provider could not be told yet: `jupyter batch watch` goes on trying.",
            file=sys.stderr,
        )
    return 0 if told else 1


def _retry(asked: argparse.Namespace) -> int:
    """Stay until each of the new job's batches was sent, or has to wait: for room, or for a provider that is down."""
    from jupyter_batch import jobs
    from jupyter_batch.config.magic_line import values
    from jupyter_batch.core.status import Step

    jobs.name_address(asked.api_base)
    given = values(asked, _retry_options(), {})
    job = jobs.open_job(asked.id, follow=False).retry(**given)
    _until(
        lambda: all(
            shard.step not in {Step.PLANNED, Step.SUBMITTING} for shard in job.snapshot().shards
        )
    )
    sent = all(
        shard.step not in {Step.PLANNED, Step.SUBMITTING, Step.WAITING}
        for shard in job.snapshot().shards
    )
    _print(job)
    print(
        "`jupyter batch watch` fetches the answers."
        if sent
        else "Not all of it could be sent yet: `jupyter batch watch` goes on trying.",
        file=sys.stderr,
    )
    return 0 if sent else 1


def _retry_options() -> list[Option]:
    from jupyter_batch.config.options import CHAT_PARAMS, EVERY

    left = "US dollars that it may cost (default: the rest of the job's own max_cost)"
    return [EVERY["max_cost"]._replace(help=left), *CHAT_PARAMS]


def _until(done: Callable[[], bool]) -> bool:
    until = time.monotonic() + TOLD_SECONDS
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
                    "`jupyter batch adopt ID`, with the same options, takes a job up; --all takes up each.",
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

    ending = asked.path.suffix.lower()
    if ending not in WRITERS:
        raise InputError(f"{asked.path.name} ends in none of {', '.join(WRITERS)}")
    if not asked.path.absolute().parent.is_dir():
        raise InputError(f"there is no folder {asked.path.absolute().parent}")
    frame = jobs.open_job(asked.id, follow=False).results()
    part = asked.path.with_name(f".{asked.path.name}.{os.getpid()}.part")
    try:
        _write(frame, part, ending)
        part.replace(asked.path)
    except OSError as error:
        raise InputError(f"{asked.path} can't be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
    print(f"{len(frame):,} {'row' if len(frame) == 1 else 'rows'} in {asked.path}")
    return 0


def _write(frame: Any, path: Path, ending: str) -> None:
    """The frame with its index: as the first columns in .csv and .jsonl, as pandas' own index in .parquet."""
    objects = [name for name, kind in frame.dtypes.items() if kind == "object"]
    if ending == ".csv":
        for name in objects:
            frame[name] = frame[name].map(_whole)  # pandas would leave out the middle of an array
        frame.to_csv(path)
    elif ending == ".jsonl":
        frame.reset_index().to_json(
            path, orient="records", lines=True, force_ascii=False, date_format="iso"
        )
    else:
        for name in objects:  # one column can't hold texts and lists, nor arguments of any form
            frame[name] = frame[name].map(
                lambda cell: _whole(cell) if isinstance(cell, ToolCalls) else cell
            )
        try:
            try:
                frame.to_parquet(path)
            except (ValueError, TypeError, NotImplementedError):  # of many forms, or empty: as JSON
                frame.assign(**{name: frame[name].map(_whole) for name in objects}).to_parquet(path)
        except ImportError:
            raise InputError(".parquet needs pyarrow: pip install pyarrow") from None


def _whole(cell: Any) -> Any:
    """A cell as JSON where it is no plain value: a vector with all its numbers, a list, a dict."""
    import numpy as np
    import orjson

    if not isinstance(cell, np.ndarray | list | dict):
        return cell
    return orjson.dumps(cell, option=orjson.OPT_SERIALIZE_NUMPY, default=str).decode()


def _serve(asked: argparse.Namespace) -> int:
    from jupyter_batch.server import serve

    return int(serve.run(asked) or 0)


def _demo(asked: argparse.Namespace) -> int:
    from jupyter_batch import demo

    return demo.run(asked)
