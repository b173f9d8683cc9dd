"""Encoding of rows with different sets of parameters: some missing, or with extra fields.

There is one encoder per set, created by a function argument for any dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.anthropic.requests import OF_TOOLS
from jupyter_batch.wire.openai import Encoder as PlainEncoder
from jupyter_batch.wire.openai import Hole

_KINDS = 256
"""The most encoders held; each row may have extra fields of its own."""

Make = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
"""(a request's body, extra fields) -> its encoder."""


class Varying:
    """An encoder (dialects.py) of rows with missing parameters, or with extra fields of their own.

    body: with a Hole for each parameter that varies by row; a parameter with the value None is
    omitted, and OF_TOOLS with the tools. extra: the user's `extra_body`; a Hole where each row has
    its own dict. The first encoder, with every parameter, is created immediately, so that
    OptionError is raised before any write.
    """

    def __init__(
        self, make: Make, body: Mapping[str, Any], extra: Mapping[str, Any] | Hole
    ) -> None:
        self._make, self._body = make, body
        self._extra = extra if isinstance(extra, Hole) else None
        self._constant: Mapping[str, Any] = {} if isinstance(extra, Hole) else extra
        self._params = {
            key: value.name
            for key, value in body.items()
            if isinstance(value, Hole) and value.name.startswith("param ")
        }
        self.whole = make(body, self._constant)
        self._kinds: dict[tuple[frozenset[str], bytes], Any] = {(frozenset(), b""): self.whole}
        self._headers: dict[str, str] = {}
        self._tool_names: dict[str, str] = {}

    @property
    def plain(self) -> PlainEncoder | None:
        """The encoder of lines that differ only in their texts; None where they may differ more."""
        one_kind = self._extra is None and not self._params
        return self.whole if one_kind and type(self.whole) is PlainEncoder else None

    def encode(
        self, custom_ids: Sequence[str], holes: Mapping[str, Sequence[Any]]
    ) -> list[bytes | RowError]:
        """Return a line, or the row's error, for each row of a block."""
        if self._extra is None and not any(
            value is None for name in self._params.values() for value in holes[name]
        ):
            return list(self.whole.encode(custom_ids, holes))
        lines: list[bytes | RowError] = [RowError("")] * len(custom_ids)
        groups: dict[tuple[frozenset[str], bytes], list[int]] = {}
        for at in range(len(custom_ids)):
            extra = None if self._extra is None else holes[self._extra.name][at]
            if isinstance(extra, RowError):
                lines[at] = extra
                continue
            missing = frozenset(
                key for key, name in self._params.items() if holes[name][at] is None
            )
            data = orjson.dumps(extra, option=orjson.OPT_SORT_KEYS) if extra else b""
            groups.setdefault((missing, data), []).append(at)
        for kind, rows in groups.items():
            for at, line in zip(rows, self._of_kind(kind, rows, custom_ids, holes), strict=True):
                lines[at] = line
        return lines

    def _of_kind(
        self,
        kind: tuple[frozenset[str], bytes],
        rows: list[int],
        custom_ids: Sequence[str],
        holes: Mapping[str, Sequence[Any]],
    ) -> list[bytes | RowError]:
        from jupyter_batch.core.errors import OptionError

        encoder = self._kinds.get(kind)
        if encoder is None:
            missing, data = kind
            if "tools" in missing:
                missing |= OF_TOOLS
            body = {key: value for key, value in self._body.items() if key not in missing}
            try:
                encoder = self._make(body, orjson.loads(data) if data else self._constant)
            except OptionError as e:
                return [RowError(str(e))] * len(rows)
            self._remember(kind, encoder)
        values = {name: [column[at] for at in rows] for name, column in holes.items()}
        return list(encoder.encode([custom_ids[at] for at in rows], values))

    def _remember(self, kind: tuple[frozenset[str], bytes], encoder: Any) -> None:
        if len(self._kinds) >= _KINDS:
            for held in self.encoders():
                self._headers = united(self._headers, getattr(held, "headers", {}))
                self._tool_names |= getattr(held, "tool_names", {})
            self._kinds = {(frozenset(), b""): self.whole}
        self._kinds[kind] = encoder

    def encoders(self) -> list[Any]:
        """The encoders in use."""
        return list(self._kinds.values())

    @property
    def headers(self) -> dict[str, str]:
        """Headers for the batch as a whole; complete once all rows are encoded."""
        made = dict(self._headers)
        for held in self.encoders():
            made = united(made, getattr(held, "headers", {}))
        return made

    @property
    def tool_names(self) -> dict[str, str]:
        """The provider's tool names -> the user's, where they differ."""
        made = dict(self._tool_names)
        for held in self.encoders():
            made |= getattr(held, "tool_names", {})
        return made


def united(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """Merge headers whose values are comma-separated lists."""
    made = dict(one)
    for name, value in other.items():
        values = {*made.get(name, "").split(","), *value.split(",")} - {""}
        made[name] = ",".join(sorted(values))
    return made
