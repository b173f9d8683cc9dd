"""`jupyter batch run FILE PROMPT`: a prompt over the rows of a file, and the file again with the answers."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from jupyter_batch.config.line_values import column, values
from jupyter_batch.config.magic_line import CELL, add_all, groups
from jupyter_batch.config.options import CHAT_PARAMS, EVERY, OPTIONS
from jupyter_batch.core.errors import InputError, JobBlockedError, OptionError
from jupyter_batch.frames.extended_file import ExtendedFile, check_ending

if TYPE_CHECKING:
    from jupyter_batch.group import Group
    from jupyter_batch.job import Job

_OF_FILES = ("schema", "tools", "examples")
"""Options that name an object: here a file with it, or JSON."""
INTERRUPTED = 130


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Add the file, the prompt, and the options of `%%llm_batch`."""
    sub.add_argument("file", type=Path, metavar="FILE", help="its ending names the format")
    sub.add_argument("prompt", metavar="PROMPT", help="{column} stands for the row's value there")
    sub.add_argument(
        "--output", type=Path, metavar="FILE", help="default: reviews.out.csv for reviews.csv"
    )
    sub.add_argument(
        "--preview",
        action="store_true",
        help="show what would be sent and what it would cost; send nothing",
    )
    sub.add_argument(
        "--sample", type=int, metavar="N", help="ask N rows now, in real time, and print them"
    )
    for title, options in groups().items():
        if options is not CELL:
            add_all(sub.add_argument_group(title), options)


def run(asked: argparse.Namespace) -> int:
    """Ask, wait and write; 0: written, 1: it can't continue or ran out of time, 130: Ctrl-C; run again to continue."""
    from jupyter_batch import jobs

    output = asked.output or asked.file.with_name(f"{asked.file.stem}.out{asked.file.suffix}")
    for file in (asked.file, output):
        check_ending(file)
    if output.absolute() == asked.file.absolute():
        raise OptionError("--output is the file that is read: give another name")
    if not output.absolute().parent.is_dir():
        raise InputError(f"there is no folder {output.absolute().parent}")
    if output.is_dir() or not os.access(output.absolute().parent, os.W_OK):
        raise InputError(f"{output} can't be written: give --output another name or folder")
    given = _given(asked)
    strict, timeout = given.pop("raise_on_failure", False), given.pop("timeout", None)
    given.pop("wait", None)
    table = ExtendedFile(asked.file)
    if asked.preview:
        print(jobs.preview(table.frame, asked.prompt, door="cli", **given))
        return 0
    if asked.sample is not None:
        print(jobs.sample(table.frame, asked.prompt, asked.sample, door="cli", **given).to_string())
        return 0
    made = jobs.submit(table.frame, asked.prompt, door="cli", held=True, **given)
    try:
        made.wait(timeout, raise_on_failure=False)
    except JobBlockedError as error:
        print(f"jupyter batch: {error}", file=sys.stderr)
        return 1
    if not made.is_complete:
        print(
            f"{made.id} is still running at the provider. Run the same command to continue; nothing is paid twice.",
            file=sys.stderr,
        )
        return INTERRUPTED if timeout is None else 1
    table.save(output)
    return _reported(made, output, strict=strict)


def _given(asked: argparse.Namespace) -> dict[str, Any]:
    """The options. Raises OptionError."""
    plain = [option for option in OPTIONS + CHAT_PARAMS if option.name not in _OF_FILES]
    given = values(asked, plain, {})
    for name in _OF_FILES:
        if hasattr(asked, name):
            given[name] = column(EVERY[name], word := getattr(asked, name)) or _object(word)
    if isinstance(models := given.get("model"), str) and "," in models:
        given["model"] = [model.strip() for model in models.split(",")]
    return given


def _object(word: str) -> Any:
    """The JSON in a word or in a file of that name; a table for a table's file."""
    if word.lstrip()[:1] in ("{", "["):
        text: str | bytes = word
    else:
        path = Path(word)
        if path.suffix.lower() != ".json":
            return ExtendedFile(path).frame
        try:
            text = path.read_bytes()
        except OSError as e:
            raise InputError(f"{path} can't be read: {e.strerror or e}") from e
    try:
        return orjson.loads(text)
    except ValueError as e:
        raise OptionError(f"{word[:60]!r} is no JSON ({e})") from None


def _reported(made: Job | Group, output: Path, *, strict: bool) -> int:
    counts = made.counts
    lost = counts.failed + counts.expired + counts.cancelled
    print(f"{counts.succeeded + counts.reused:,} of {counts.total:,} rows have an answer: {output}")
    if lost:
        print(
            f"{lost:,} have none: `jupyter batch show {made.id}` has the reasons, `jupyter batch retry {made.id}` "
            "sends them again; then the same command writes the file again.",
            file=sys.stderr,
        )
    return 1 if lost and strict else 0
