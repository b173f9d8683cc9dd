"""Parsing of the line of `%%llm_batch`: its options, and the resulting arguments."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from jupyter_batch.config.line_values import values
from jupyter_batch.config.option import Option
from jupyter_batch.config.options import CHAT_PARAMS, EVERY, FINISH, OPTIONS
from jupyter_batch.config.settings import unknown
from jupyter_batch.config.types import FLAG, is_name
from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.frames.adapter import is_readable

NAME = "llm_batch"
VERBS = {
    "list": "list: every job in the ledger",
    "show": "show ID: the live monitor of a job",
    "view": "view ID: the rows of a job",
    "attach": "attach ID FRAME: merge the answers of an earlier job into this frame",
    "cancel": "cancel ID: cancel at the provider; finished rows are kept",
    "finish": "finish ID: ask what is open now, at the full price (--mode flex: on the flex tier)",
    "retry": "retry ID: resend only the rows that have no answer (--model MODEL: to another model; --invalid)",
    "forget": "forget ID: remove a complete job and its answers; asking the same again is paid again",
    "errors": "errors ID: the rows that failed, with the reasons",
    "notify": "notify [desktop | URL | mailto:ADDRESS | off]: send a notice when a job of this kernel ends",
    "adopt": "adopt [ID | --all] [--model MODEL]: list or adopt batches that are in no job here (adopt --help)",
}
ABOUT = """\
%%llm_batch FRAME [options]      the body is the prompt, {column} stands for the row's value in that column
%%llm_batch [options]            without a frame: the body is prompts, separated by lines of ---

IPython expands nothing in the line or the body. The job is displayed as a live monitor, and its answers are merged
into the frame when it is done.

As a line: """ + "\n           ".join(f"%llm_batch {verb}" for verb in VERBS.values())
ADOPT = (
    "--all",
    "--model",
    "--provider",
    "--api-base",
    "--api-version",
    "--days",
    "--api-key",
    "--help",
)
"""The options of `%llm_batch adopt`."""
CELL = (
    Option("bind the Job to this name", name="job"),
    Option(
        "ask N rows now, in real time, and display them; the batch reuses their answers",
        name="sample",
    ),
    Option(
        "show what would be sent and what it would cost; send nothing",
        name="preview",
        kind=FLAG,
        default=False,
    ),
    Option("show this and send nothing", short="-h", name="help", kind=FLAG, default=False),
)
"""The options of the cell alone."""
GROUPS = {
    "what is asked": (
        "out",
        "model",
        "schema",
        "system",
        "examples",
        "images",
        "image_size",
        "tools",
        "tool_choice",
        "keep",
        "n",
        "na",
        "template",
        "cache",
    ),
    "cost and time": (
        "max_cost",
        "mode",
        "deadline",
        "deadline_mode",
        "reuse",
        "wait",
        "timeout",
        "prices",
        "concurrency",
        "requests_per_minute",
        "tokens_per_minute",
    ),
    "the job": (
        "name",
        "overwrite",
        "metadata",
        "shard_size",
        "completion_window",
        "output_expires_after",
        "poll_interval",
    ),
}
"""The help's groups of options; the others are of the account and the provider."""
NOTE = 72
"""Characters of a note in a completion menu."""
FIRST = (
    "--out",
    "--model",
    "--schema",
    "--system",
    "--max-tokens",
    "--preview",
    "--sample",
    "--max-cost",
    "--temperature",
    "--name",
    "--job",
    "--examples",
    "--images",
    "--wait",
    "--mode",
)
"""The options that are used most, in the order in which completion offers them."""
BY_POSITION = "--by-position"
"""The option of `%llm_batch attach`."""


# -- the line --------------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """An argument parser that raises OptionError, with one sentence, instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise the error."""
        raise OptionError(message)


def parser() -> argparse.ArgumentParser:
    """Return the parser of `%%llm_batch`'s line. Values stay texts; `read_line` converts them."""
    made = Parser(
        prog=f"%%{NAME}",
        usage=argparse.SUPPRESS,
        description=ABOUT,
        add_help=False,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, 2, 32, 118),
    )
    made.add_argument("frame", nargs="?", metavar="FRAME", help="the name of a DataFrame")
    here = made.add_argument_group("the cell")
    for option in CELL:
        more: dict[str, Any] = {"metavar": "NAME"} if option.name == "job" else {}
        if option.name == "sample":
            more = {"metavar": "N", "type": _rows}
        if option.kind is FLAG:
            more = {"action": "store_true"}
        here.add_argument(*filter(None, (option.short, option.flag)), help=option.help, **more)
    for title, options in groups().items():
        if options is not CELL:
            add_all(made.add_argument_group(title), options)
    return made


def _rows(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"it takes a number of rows, not {text!r}")
    return int(text)


def groups() -> dict[str, tuple[Option, ...]]:
    """The options of the line in the help's groups, in the order of use."""
    left = {option.name: option for option in OPTIONS}
    named = {
        title: tuple(left.pop(name) for name in names if name in left)
        for title, names in GROUPS.items()
    }
    return {
        "the cell": CELL,
        **named,
        "chat parameters": tuple(CHAT_PARAMS),
        "account and provider": tuple(left.values()),
    }


def notes() -> dict[str, str]:
    """The beginning of each option's help, for a menu, in the order of use."""
    helps = {option.flag: option.help for options in groups().values() for option in options}
    helps |= {flag: helps[f"--{flag[5:]}"] for flag in flags() if flag not in helps}
    return {flag: helps[flag][:NOTE] for flag in dict.fromkeys((*FIRST, *helps))}


def add_all(section: argparse._ActionsContainer, options: Iterable[Option]) -> None:
    """Add our options to a parser."""
    for option in options:
        add(section, option)


def add(section: argparse._ActionsContainer, option: Option) -> None:
    """Add one of our options to a parser."""
    flags = [flag for flag in (option.short, option.flag) if flag]
    help_text = option.help.replace("%", "%%")
    if option.by_name:
        help_text += "; here the NAME of a Python or environment variable, so that no secret stays in the notebook"
    elif option.default is not None and option.kind is not FLAG:
        help_text += f" (default: {option.default})"
    if option.kind is FLAG:
        section.add_argument(
            *flags,
            dest=option.name,
            help=help_text,
            default=argparse.SUPPRESS,
            action=argparse.BooleanOptionalAction,
        )
        return
    section.add_argument(
        *flags,
        dest=option.name,
        help=help_text,
        default=argparse.SUPPRESS,
        metavar="NAME" if option.by_name else option.kind.metavar,
        action="append" if option.kind.many else "store",
    )


def words_of(line: str) -> list[str]:
    """Split the line into words; quotes group words with blanks. Raises OptionError."""
    try:
        return [dashes(word) for word in shlex.split(line)]
    except ValueError:
        raise OptionError(f"a quote in the line is never closed: {line.strip()}") from None


def read_line(line: str, names: Mapping[str, Any]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Parse a line into (frame, job, help) and its options, ready for the accessor.

    names: the variables that a NAME is looked up in. Raises OptionError, one sentence.
    """
    made = parser()
    asked, left = made.parse_known_args(words_of(line))
    if asked.help:
        return asked, {}
    refuse(left, flags(), f"%%{NAME} --help shows all")
    if asked.job is not None and (not is_name(asked.job) or asked.job == asked.frame):
        raise OptionError(f"--job takes a name for the Job, which no frame has, not {asked.job!r}")
    given = values(asked, OPTIONS + CHAT_PARAMS, names)
    if "system" in given and not re.search(r"""--system(\s+|=)['"]""", line):
        given["system"] = _text_named(given["system"], names)
    models = given.get("model")
    if isinstance(models, str) and "," in models:
        given["model"] = [model.strip() for model in models.split(",")]
    return asked, given


def retry_options() -> list[Option]:
    """The options of `retry` with a value."""
    other = EVERY["model"]._replace(help="another model for these rows (default: the job's own)")
    left = "US dollars that it may cost (default: the rest of the job's own max_cost)"
    return [other, EVERY["max_cost"]._replace(help=left), *CHAT_PARAMS]


def add_retry(made: argparse.ArgumentParser) -> None:
    """Add the options of `retry`, in a notebook and in a terminal."""
    made.add_argument(
        "--invalid",
        action="store_true",
        help="ask rows whose answer does not fit the schema again with its error in the conversation",
    )
    add_all(made, retry_options())


def read_verb(verb: str, words: list[str], names: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return (arguments of `Job.retry` or `Job.finish`, other words). Raises OptionError."""
    made = Parser(prog=f"%{NAME} {verb}", add_help=False, allow_abbrev=False)
    options = [EVERY["api_base"], *retry_options()] if verb == "retry" else FINISH
    add_all(made, options if verb == "finish" else options[:1])
    if verb == "retry":
        add_retry(made)
    asked, left = made.parse_known_args(words)
    known = [*(["--invalid"] if verb == "retry" else []), *(option.flag for option in options)]
    refuse([word for word in left if word.startswith("-")], known, f"%{NAME} {VERBS[verb]}")
    invalid = {"invalid": True} if getattr(asked, "invalid", False) else {}
    return {**values(asked, options, names), **invalid}, left


def _text_named(word: str, names: Mapping[str, Any]) -> str:
    """Return the text in the variable of that name, else the word itself. Raises OptionError."""
    if not word.isidentifier():
        return word
    held = names.get(word)
    if not isinstance(held, str):
        what = f"holds a {type(held).__name__}" if word in names else "is not defined here"
        raise OptionError(
            f"--system takes the name of a text, or a text in quotes; {word!r} {what} "
            f"(the word itself is --system '{word}')"
        )
    return held


def refuse(left: list[str], known: Iterable[str], hint: str) -> None:
    """Raise OptionError for the first unparsed word, with the nearest option if similar."""
    for word in left:
        if word.startswith("-"):
            raise OptionError(unknown(word.partition("=")[0], known, str) + f" ({hint})")
        if word.lower() in ("true", "false"):
            raise OptionError(
                f"`{word}` is one word too many: an option such as --reuse is given alone, "
                "and its opposite is --no-reuse"
            )
        raise OptionError(f"`{word}` is one word too many: put a value that has spaces in quotes")


def flags() -> list[str]:
    """Return every option that the line accepts."""
    known = (*CELL, *OPTIONS, *CHAT_PARAMS)
    negated = [one for one in known if one.kind is FLAG and one.default is not False]
    return [*(option.flag for option in known), *(f"--no-{one.flag[2:]}" for one in negated)]


def dashes(word: str) -> str:
    """Convert --max_tokens, the accessor's spelling, to --max-tokens."""
    flag, equals, value = word.partition("=")
    return (
        flag.replace("_", "-") + equals + value
        if re.fullmatch(r"--[a-z][a-z0-9_-]*", flag)
        else word
    )


# -- names -----------------------------------------------------------------------------------------------------------


def frames(names: Mapping[str, Any]) -> list[str]:
    """Return the names that hold a DataFrame, without IPython's `_` names."""
    return [name for name, value in names.items() if name[:1] != "_" and is_readable(value)]


def frame_named(name: str, names: Mapping[str, Any]) -> Any:
    """Return the named DataFrame. Raises InputError with the name's type and known frames."""
    there = frames(names)
    if name in there or (name in names and name.startswith("_") and frames({"x": names[name]})):
        return names[name]
    known = f"DataFrames here: {', '.join(there)}" if there else "there is no DataFrame here yet"
    if name in names:
        raise InputError(f"`{name}` is no DataFrame but a {type(names[name]).__name__}; {known}")
    near = difflib.get_close_matches(name, there, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    if not name.isidentifier():
        hint = "; the first word is a DataFrame's name, so give an expression a name first"
    raise InputError(f"`{name}` is not defined; {known}{hint}")
