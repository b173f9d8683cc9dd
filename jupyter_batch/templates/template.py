"""Rendering of prompts with {columns} to a text for each row.

Grammar of braces: the innermost `{...}` groups are parsed in order. The content of one is

- a column's name, or a column's name with a format (`{price:.2f}`, `{name!r}`): a placeholder;
- an unknown word, a column's attribute, a misspelt name: an error before anything is sent;
- anything else, JSON above all: text, unchanged.

Doubled braces escape a placeholder or an error: `{{feedback}}` is `{feedback}`, and
`{{{feedback}}}` the value in braces, as in str.format. Braces around other text are never changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

import msgspec

from jupyter_batch.core.errors import OptionError, TemplateError
from jupyter_batch.core.limits import FIELD_WIDTH, is_too_wide
from jupyter_batch.templates.jinja_template import Jinja
from jupyter_batch.templates.values import (
    PLAIN,
    RowError,
    UnstableError,
    raised,
    short,
    stable,
)

KINDS = ("braces", "jinja")


class Names:
    """The frame's labels by their texts, and error messages for unknown names."""

    def __init__(self, labels: Iterable[Any]) -> None:
        self.by_text: dict[str, Any] = {}
        for label in labels:
            if (
                isinstance(label, str) or str(label) not in self.by_text
            ):  # a text has precedence over an equal number
                self.by_text[str(label)] = label
        self.longest = max(map(len, self.by_text), default=0)

    def close(
        self, word: str, among: Iterable[str] | None = None, cutoff: float = 0.6
    ) -> str | None:
        """Return the nearest name, ignoring case."""
        lower = {
            name.lower(): name for name in reversed(list(self.by_text if among is None else among))
        }
        found = get_close_matches(word.lower(), list(lower), n=1, cutoff=cutoff)
        return lower[found[0]] if found else None

    def unknown(self, shown: str, word: str) -> TemplateError:
        """Return the error for an unknown column name."""
        close = self.close(word)
        hint = f"; did you mean {shown.replace(word, close, 1)}?" if close is not None else "."
        first = list(self.by_text)[:20]
        more = len(self.by_text) - len(first)
        listed = ", ".join(first) + (f" and {more} more" if more else "") if first else "none"
        return TemplateError(
            f"{shown}: no such column{hint} Columns: {listed}. "
            "(For the text itself, double the braces.)",
            column=word,
        )


class Template(Protocol):
    """A parsed prompt."""

    @property
    def columns(self) -> tuple[Any, ...]:
        """The labels of the used columns, each once, in order of appearance."""

    def render(self, columns: Sequence[Sequence[Any]], rows: int) -> list[str | RowError]:
        """Return the text of each of a block's `rows`; `columns` has a list for each of `.columns`.

        None is a missing value and gives an empty text.
        """

    def pieces(self) -> list[str | int] | None:
        """The constants and the places in `columns` of the values between them.

        None where a text has other parts.
        """


def parse(text: str, columns: Iterable[Any], kind: str = "braces") -> Template:
    """Parse a template over these labels. Raises TemplateError, OptionError for a bad kind."""
    if not isinstance(text, str):
        raise TemplateError(f"a template is a text, not {type(text).__name__}")
    names = Names(columns)
    if kind == "braces":
        return _Braces(text, names)
    if kind == "jinja":
        return Jinja(text, names.by_text, names.unknown)
    raise OptionError(f"template={kind!r}: it is one of {', '.join(KINDS)}")


_CONVERSIONS: dict[str, Callable[[Any], str]] = {"r": repr, "s": str, "a": ascii}


class _Hole(msgspec.Struct, frozen=True):
    """A placeholder for a value."""

    label: Any
    conversion: str = ""
    spec: str = ""

    def texts(self, column: Sequence[Any], errors: dict[int, RowError]) -> list[Any]:
        """Return the values for `%s`; a value that can't be formatted is reported in `errors`."""
        if not self.conversion and not self.spec and PLAIN.issuperset(map(type, column)):
            return ["" if value is None else value for value in column]
        try:
            return ["" if value is None else self._format(value) for value in column]
        except Exception:  # some value is invalid: find it, and keep the others
            return [self._try(at, value, errors) for at, value in enumerate(column)]

    def _format(self, value: Any) -> str:
        if not self.conversion and not self.spec:
            return value if isinstance(value, str) else stable(value)
        shown = _CONVERSIONS[self.conversion](value) if self.conversion else value
        text = format(shown, self.spec)
        return text if type(value) in PLAIN else stable(value, text)

    def _try(self, at: int, value: Any, errors: dict[int, RowError]) -> str:
        try:
            return "" if value is None else self._format(value)
        except UnstableError as error:
            errors[at] = RowError(f"{{{self.label}}}: {error}")
            return ""
        except Exception as error:  # a value's own __format__ may raise anything
            if not self.conversion and not self.spec:
                errors[at] = RowError(f"a value can't be written as text: {raised(error)}")
                return ""
            mark = (f"!{self.conversion}" if self.conversion else "") + (
                f":{self.spec}" if self.spec else ""
            )
            errors[at] = RowError(
                f"{{{self.label}{mark}}} does not fit the value {short(value)}: {raised(error)}"
            )
            return ""


_JINJA_STATEMENT = re.compile(r"\{%.*?%\}", re.DOTALL)
_JINJA_SPACED = re.compile(r"[-+]?\s+[^\W\d](?!\w*\s*:).*|[^\W\d][^\"':,{}]*\s[-+]?", re.DOTALL)
_JINJA_DENSE = re.compile(r"[^\W\d]\w*\s*[.|(\[].*", re.DOTALL)
_SPEC = re.compile(
    r"(?:.?[<>=^])?(?:[-+]|[ ](?=[\d.,]))?z?#?0?\d*[,_]?(?:\.\d+)?[bcdeEfFgGnosxX%]?", re.DOTALL
)
_SURE_SPEC = re.compile(r".*\.\d+[eEfFgGs%]|,\w?|.?[<>^]\d+\w?|%[A-Za-z].*", re.DOTALL)
_TAIL = re.compile(r"(?:!([rsa]))?(?::(.*))?", re.DOTALL)
_TYPO = 0.85
"""The similarity to a column's name from which a text of several words is a misspelling."""


def _is_access(rest: str) -> bool:
    """Whether the text after a column's name is an index or an attribute."""
    return rest[0] == "[" or (rest[0] == "." and rest[1:2].isidentifier())


def _meaning(content: str, names: Names) -> _Hole | TemplateError | None:
    """Return the meaning of `{content}`: a placeholder, an error, or (None) text."""
    known = names.by_text
    shown = f"{{{content}}}"
    if content in known:
        return _Hole(known[content])
    if content.strip() in known:
        return TemplateError(
            f"{shown}: for the column write {{{content.strip()}}}, without the spaces"
        )
    for at in range(min(len(content) - 1, names.longest), -1, -1):
        if content[:at] not in known:
            continue
        if content[at] in ":!":
            return _formatted(content, at, known[content[:at]])
        if _is_access(content[at:]):
            return TemplateError(
                f"{shown}: a template takes whole columns, no attribute and no index. Make a column "
                f"of it first, or double the braces for the text itself"
            )
    if content.isidentifier():
        return names.unknown(shown, content)
    word, _, spec = content.partition(":")
    if word.isidentifier() and _SURE_SPEC.fullmatch(spec):
        return names.unknown(shown, word)
    phrases = [name for name in known if not name.isidentifier()]
    if len(content) <= 100 and names.close(content, phrases, _TYPO) is not None:  # noqa: PLR2004 - a name, not a paragraph
        return names.unknown(shown, content)
    return None


def _formatted(content: str, at: int, label: Any) -> _Hole | TemplateError | None:
    """Parse a column's name followed by ':' or '!'."""
    tail = _TAIL.fullmatch(content, at)
    if tail is None:
        return None
    conversion, spec = tail[1] or "", tail[2] or ""
    if _SPEC.fullmatch(spec) or "%" in spec:
        if is_too_wide(spec):
            return TemplateError(
                f"{{{content}}}: a width or precision above {FIELD_WIDTH:,}; write a smaller one"
            )
        return _Hole(label, conversion, spec)
    if spec[0].isspace() or spec[0] in "\"'":  # {label: "positive"}
        return None
    return TemplateError(
        f"{{{content}}}: {spec!r} is no format (such as .2f). For the text itself, double the braces"
    )


class _Braces:
    """A template with `{feedback}`."""

    def __init__(self, text: str, names: Names) -> None:
        mark = _JINJA_STATEMENT.search(text)
        if mark is not None:
            raise _is_jinja(mark[0])
        literals, self._holes = _split(text, names)
        self._pattern = "%s".join(literal.replace("%", "%%") for literal in literals)
        self._literals = literals
        self._text = "".join(literals)
        self.columns: tuple[Any, ...] = tuple(dict.fromkeys(hole.label for hole in self._holes))
        self._which = [self.columns.index(hole.label) for hole in self._holes]

    def pieces(self) -> list[str | int] | None:
        """See Template; None where a value has a conversion or a format."""
        if any(hole.conversion or hole.spec for hole in self._holes):
            return None
        made: list[str | int] = [self._literals[0]]
        for at, literal in zip(self._which, self._literals[1:], strict=True):
            made += [at, literal]
        return made

    def render(self, columns: Sequence[Sequence[Any]], rows: int) -> list[str | RowError]:
        """Apply one `%` a row: `%s` leaves a str unchanged and calls str() on the rest."""
        if not self._holes:
            return [self._text] * rows
        errors: dict[int, RowError] = {}
        cells = [
            hole.texts(columns[at], errors)
            for hole, at in zip(self._holes, self._which, strict=True)
        ]
        pattern = self._pattern
        texts: list[str | RowError]
        try:
            texts = [pattern % row for row in zip(*cells, strict=True)]
        except Exception:  # a value's __str__ raised: find it, and keep the others
            texts = [_one(pattern, row) for row in zip(*cells, strict=True)]
        for at, error in errors.items():
            texts[at] = error
        return texts


def _split(text: str, names: Names) -> tuple[list[str], list[_Hole]]:
    """Return the texts around the placeholders (always one more) and the placeholders."""
    odd = sorted(
        (re.escape(name) for name in names.by_text if "{" in name or "}" in name),
        key=len,
        reverse=True,
    )
    group = re.compile(rf"(\{{+)({'|'.join([*odd, '[^{}]*'])})(\}}+)")
    literals, holes, end = [""], [], 0
    for found in group.finditer(text):
        opening, content, closing = found.groups()
        depth = min(len(opening), len(closing))
        meaning = _meaning(content, names)
        if (
            depth > 1
            and content not in names.by_text
            and (
                _JINJA_SPACED.fullmatch(content)
                or (meaning is None and _JINJA_DENSE.fullmatch(content))
            )
        ):
            raise _is_jinja("{{" + content + "}}")
        if meaning is None:
            continue
        around = depth // 2
        before = text[end : found.start()] + opening[depth:] + "{" * around
        after = "}" * around + closing[depth:]
        end = found.end()
        if depth % 2 == 0:
            literals[-1] += before + content + after
        elif isinstance(meaning, TemplateError):
            raise meaning
        else:
            literals[-1] += before
            holes.append(meaning)
            literals.append(after)
    rest = text[end:]
    unclosed = re.search(r"\{(\w+)[^{}]*\Z", rest)
    if unclosed is not None and unclosed[1] in names.by_text:
        raise TemplateError(f"{{{unclosed[1]}: the brace is never closed; write {{{unclosed[1]}}}")
    literals[-1] += rest
    return literals, holes


def _is_jinja(mark: str) -> TemplateError:
    return TemplateError(
        f'{short(mark, 40)} is Jinja: say template="jinja", or write {{column}} with single braces'
    )


def _one(pattern: str, row: tuple[Any, ...]) -> str | RowError:
    try:
        return pattern % row
    except Exception as error:  # raised by the value
        return RowError(f"a value can't be written as text: {raised(error)}")
