"""Tab completion in the magics: options and their values, frames, models, jobs, and columns in a prompt.

It runs no user code. Names with control or bidi characters (ANSI, say) are not offered.
"""

from __future__ import annotations

import os
import re
import shlex
import types
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_batch.config import settings
from jupyter_batch.config.magic_line import (
    ADOPT,
    BY_POSITION,
    CELL,
    NAME,
    VERBS,
    dashes,
    frames,
    notes,
)
from jupyter_batch.config.option import Option
from jupyter_batch.config.options import EVERY, FINISH
from jupyter_batch.config.types import COLUMNS, EXAMPLES, FLAG, SCHEMA, TOOLS
from jupyter_batch.core.errors import JupyterBatchError
from jupyter_batch.frames.adapter import column_names
from jupyter_batch.monitor.words import HIDDEN, JOINERS
from jupyter_batch.providers.prices import in_short
from jupyter_batch.providers.table import common_models, listed_models

if TYPE_CHECKING:
    from jupyter_batch.ledger.store import Ledger

OWN_MODELS = 5
"""Models of earlier jobs that are offered first."""

_SECRET = re.compile(r"KEY|TOKEN|SECRET|CREDENTIAL", re.IGNORECASE)
_WORD = re.compile(r"""(?:[^\s"']|"[^"]*"?|'[^']*'?)+""")
_OURS = re.compile(rf"\s*%%{NAME}(?=\s|\Z)")
_LINE = re.compile(rf"\s*(?:[\w, ]+=\s*)?(%{NAME}\s.*)", re.DOTALL)
_CALL = re.compile(
    r"""(?:\.llm(?:_batch)?\.|\bjupyter_batch\.)\w+\(.*\bmodel\s*=\s*(?:\[[^\]]*)?["'](?P<typed>[^"'\n]*)\Z""",
    re.DOTALL,
)
_BRACES = re.compile(r"(\{+)([^{}]*)\Z")
_JINJA = re.compile(r"\{[{%](?:(?![%}]\}).)*\Z", re.DOTALL)
_JINJA_WORD = re.compile(r"""(?<![\w.])(?:row\[(?P<quote>["'])(?P<odd>[^"'\]]*)|\w*)\Z""")


class Offer(NamedTuple):
    """The completions of `typed`, the text just before the cursor. kind: the menu's label.

    notes: labels of single words in place of it.
    """

    typed: str
    words: list[str]
    kind: str = "param"
    notes: Mapping[str, str] = {}


class Sources(NamedTuple):
    """Sources of names that are in no namespace, called only where such a name fits."""

    models: Callable[[], Mapping[str, str]] = dict
    jobs: Callable[[str], Iterable[str]] = lambda _verb: ()


# -- the names ---------------------------------------------------------------------------------------------------------


def models() -> dict[str, str]:
    """Models with their price and context: the user's own, common ones, then litellm's if it is loaded.

    Of the common ones, those of providers whose key is in the environment come first.
    """
    configured = settings.read().model
    own = [configured] if isinstance(configured, str) else []
    offered = [*own, *_used_before(), *common_models(), "local/echo"]
    known = {model: in_short(model) for model in offered}
    return known | {model: "" for model in listed_models() if model not in known}


def _used_before() -> list[str]:
    """The models of the last jobs, newest first."""
    try:
        records = _ledger().jobs()
    except JupyterBatchError:
        return []
    return list(dict.fromkeys(record.model for record in records))[:OWN_MODELS]


def _ledger() -> Ledger:
    from jupyter_batch.runner.process import session

    return session(settings.home()).ledger


def job_ids(verb: str) -> list[str]:
    """The ids that a verb takes, newest first: open jobs for cancel and finish, complete ones for forget."""
    ledger = _ledger()
    try:
        records, groups = ledger.jobs(), ledger.groups()
    except JupyterBatchError:  # raised by the command itself
        return []
    unfinished = {record.id for record in records if not record.finished_at}
    if verb == "forget":
        return [record.id for record in records if record.id not in unfinished]
    members = {job for jobs in groups.values() for job in jobs}
    found = {**groups, **{record.id: [record.id] for record in records if record.id not in members}}
    return [
        name
        for name, jobs in found.items()
        if verb not in ("cancel", "finish") or unfinished & set(jobs)
    ]


SOURCES = Sources(models, job_ids)


# -- completions -------------------------------------------------------------------------------------------------------


def offers(before: str, names: Mapping[str, Any], sources: Sources = SOURCES) -> Offer | None:
    """The completions at the cursor; None outside our magics, or where none fits.

    before: the cell up to the cursor. names: the user's namespace.
    """
    lines = before.lstrip("\n").split("\n")
    while len(lines) > 1 and lines[0].lstrip().startswith("%%") and not _OURS.match(lines[0]):
        lines.pop(0)  # %%time and the like come before our line
    ours = _OURS.match(lines[0])
    if ours is not None and len(lines) > 1:
        return _in_body("\n".join(lines[1:]), lines[0][ours.end() :], names)
    if ours is not None and ours.end() < len(lines[0]):
        return _in_line(lines[0][ours.end() :], names, sources)
    line = _LINE.fullmatch(lines[-1]) if ours is None else None
    return _in_call(before, sources) if line is None else _of_verbs(line[1], names, sources)


def complete(line: str, names: Mapping[str, Any], models: Iterable[str] = ()) -> list[str]:
    """The completions of a magic's line up to the cursor: options, frames, columns, models, or verbs."""
    found = offers(line, names, Sources(lambda: dict.fromkeys(models, "")))
    return [] if found is None else found.words


def _in_line(line: str, names: Mapping[str, Any], sources: Sources) -> Offer:
    words, token = _split(line)
    frame, option = _read(words)
    flag, equals, _ = token.partition("=")
    if equals and option is None and (named := _option(flag)) is not None:
        return _valued(named, token[len(flag) + 1 :], _labels(frame, names), names, sources)
    if option is not None and option.kind is not FLAG:
        return _valued(option, token, _labels(frame, names), names, sources)
    flags = notes()
    if token.startswith("-"):
        return _of(token, flags, dashes(token))._replace(notes=flags)
    if frame is None:
        options = flags if words and not token else ()
        return _of(token, [*frames(names), *options])._replace(notes=flags)
    return _of(token, flags if not token else ())._replace(notes=flags)


def _in_call(code: str, sources: Sources) -> Offer | None:
    """A model's name in `df.llm.batch(..., model="`, or in the list of such an argument."""
    found = _CALL.search(code)
    if found is None:
        return None
    known = sources.models()
    return _of(found["typed"], known)._replace(notes=known)


def _of_verbs(line: str, names: Mapping[str, Any], sources: Sources) -> Offer:
    words, token = _split(line.removeprefix(f"%{NAME}"))
    before = dashes(words[-1]) if words else ""
    if not words:
        return _of(token, VERBS)
    if words[0] == "adopt":
        return _of_adopt(before, token, names, sources)
    if words[0] == "finish" and len(words) > 1:
        values = {option.flag: _values(option, [], names, sources) for option in FINISH}
        return _of(token, values.get(before, values), dashes(token))
    if len(words) == 1 and words[0] in VERBS and words[0] != "list":
        return _of(token, sources.jobs(words[0]))
    if words[0] == "attach":
        return _of(token, frames(names) if len(words) == 2 else (BY_POSITION,))  # noqa: PLR2004  after verb and id
    return _of(token, ())


def _of_adopt(before: str, token: str, names: Mapping[str, Any], sources: Sources) -> Offer:
    if before in {"--model", "-m"}:
        known = sources.models()
        return _of(token, known)._replace(notes=known)
    if before == "--api-key":
        return _of(token, _holding_secrets(names))
    return _of(token, ADOPT if token.startswith("-") or before == "adopt" else (), dashes(token))


def _in_body(body: str, line: str, names: Mapping[str, Any]) -> Offer | None:
    words, _ = _split(line + " ")
    labels = _labels(_read(words)[0], names)
    kind = next((after for flag, after in pairwise(words) if flag == "--template"), "")
    look = _in_jinja if kind == "jinja" or "--template=jinja" in words else _in_braces
    found = look(body, labels)
    return None if found is None else found._replace(kind="column")


def _in_braces(text: str, labels: Iterable[str]) -> Offer | None:
    """A column after an odd number of braces; a pair is an escaped brace."""
    found = _BRACES.search(text)
    if found is None or len(found[1]) % 2 == 0:
        return None
    return _of(found[2], labels, caseless=True)


def _in_jinja(text: str, labels: Iterable[str]) -> Offer | None:
    """A column as a name, or as `row["any name"]` where it is not an identifier."""
    inside = _JINJA.search(text)
    found = None if inside is None else _JINJA_WORD.search(inside[0][2:])
    if found is None:
        return None
    if found["quote"] is not None:
        return Offer(
            found[0], [_item(label) for label in _fitting(labels, found["odd"], caseless=True)]
        )
    return Offer(
        found[0],
        [
            label if label.isidentifier() else _item(label)
            for label in _fitting(labels, found[0], caseless=True)
        ],
    )


def _item(label: str) -> str:
    escaped = label.replace("\\", "\\\\").replace('"', '\\"')
    return f'row["{escaped}"]'


def _valued(
    option: Option, token: str, labels: list[str], names: Mapping[str, Any], sources: Sources
) -> Offer:
    """The values of an option, or the next value after a comma."""
    if option.name == "system":
        return _in_braces(token, labels) or Offer(token, [])
    head, comma, last = token.rpartition(",")
    if comma and (option.name == "model" or option.kind is TOOLS):
        there = head.split(",")
        known = _values(option, labels, names, sources)
        return _noted(_of(last, [word for word in known if word not in there]), known)
    known = _values(option, labels, names, sources)
    return _noted(_of(token, known, quoted=True), known)


def _noted(offer: Offer, known: Iterable[str]) -> Offer:
    return offer._replace(notes=known) if isinstance(known, Mapping) else offer


def _values(
    option: Option, labels: list[str], names: Mapping[str, Any], sources: Sources
) -> Iterable[str]:
    if option.name == "model":
        return sources.models()
    if option.name == "out" or option.kind is COLUMNS:
        return labels
    if option.by_name:
        return _holding_secrets(names)
    if option.kind is EXAMPLES:
        return frames(names)
    if option.kind is SCHEMA:
        return [
            name for name, value in names.items() if not name.startswith("_") and _is_schema(value)
        ]
    if option.kind is TOOLS:
        return [
            name
            for name, value in names.items()
            if not name.startswith("_") and isinstance(value, types.FunctionType)
        ]
    if option.kind.metavar.startswith("{"):
        return option.kind.metavar.strip("{}").split(",")
    return option.suggested


# -- reading the line --------------------------------------------------------------------------------------------------


def _split(line: str) -> tuple[list[str], str]:
    """The words before the cursor's word, without quotes, and that word as typed ("" after a blank)."""
    found = [(match[0], match.end()) for match in _WORD.finditer(line)]
    token = found.pop()[0] if found and found[-1][1] == len(line) else ""
    return [_bare(word) for word, _ in found], token


def _bare(word: str) -> str:
    return word.replace('"', "").replace("'", "")


def _option(flag: str) -> Option | None:
    """The option of that flag."""
    named = dashes(flag)
    return next(
        (
            option
            for option in (*EVERY.values(), *CELL)
            if named in (option.flag, option.short or None)
        ),
        None,
    )


def _read(words: list[str]) -> tuple[str | None, Option | None]:
    """The frame's name among the words, and the option that expects a value next."""
    frame: str | None = None
    waits: Option | None = None
    for word in words:
        if waits is not None:
            waits = None
        elif word.startswith("-"):
            option = None if "=" in word else _option(word)
            waits = option if option is not None and option.kind is not FLAG else None
        elif frame is None:
            frame = word
    return frame, waits


def _labels(frame: str | None, names: Mapping[str, Any]) -> list[str]:
    """The columns' names as in a template, each once."""
    if frame is None or frame not in frames(names):
        return []
    return column_names(names[frame])


def _holding_secrets(names: Mapping[str, Any]) -> list[str]:
    """Names of variables that may hold a secret, never their values."""
    here = [
        name for name, value in names.items() if not name.startswith("_") and isinstance(value, str)
    ]
    return [name for name in dict.fromkeys([*here, *sorted(os.environ)]) if _SECRET.search(name)]


def _is_schema(value: Any) -> bool:
    """A Pydantic model, a TypedDict, or a dict."""
    return isinstance(value, dict) or (
        isinstance(value, type)
        and (hasattr(value, "model_fields") or hasattr(value, "__required_keys__"))
    )


def _of(
    token: str,
    words: Iterable[str],
    typed: str | None = None,
    *,
    quoted: bool = False,
    caseless: bool = False,
) -> Offer:
    """The words that begin with `typed`; quoted: in quotes where they have blanks or a quote was typed."""
    quote = token[:1] if token[:1] in {"'", '"'} else ""
    fitting = _fitting(
        words, (_bare(token) if quoted else token) if typed is None else typed, caseless=caseless
    )
    if quoted:
        fitting = [_quoted(word, quote) for word in fitting]
    return Offer(token, fitting)


def _quoted(word: str, quote: str) -> str:
    return f"{quote}{word}{quote}" if quote and quote not in word else shlex.quote(word)


def _fitting(words: Iterable[str], typed: str, *, caseless: bool = False) -> list[str]:
    shown = [word for word in words if _is_visible(word)]
    exact = [word for word in shown if word.startswith(typed)]
    if exact or not caseless:
        return exact
    return [word for word in shown if word.casefold().startswith(typed.casefold())]


def _is_visible(word: str) -> bool:
    return word.isprintable() or not any(
        unicodedata.category(char) in HIDDEN and char not in JOINERS for char in word
    )


# -- in IPython --------------------------------------------------------------------------------------------------------
