"""`jupyter batch ...`: the ledger's jobs without a notebook.

Start-up is fast: each command imports its own modules.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from jupyter_batch.cli.commands import COMMANDS
from jupyter_batch.core.errors import JupyterBatchError


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence on stderr, with exit 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help)\n")


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
    if not words:
        parser().print_help()
        return 0
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(COMMANDS)}"
        print(f"jupyter batch: no command {words[0]!r}; {hint}", file=sys.stderr)
        return 2
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
