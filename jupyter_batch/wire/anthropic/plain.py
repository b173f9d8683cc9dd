"""Requests of plain texts -> Anthropic's lines, as litellm makes them, without its import of 4 s.

Rows and parameters that litellm may change are encoded by litellm (requests.py); the tests compare
both, byte for byte, for each of Anthropic's models in litellm's list.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from jupyter_batch.http.litellm import price_list
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.anthropic import rules
from jupyter_batch.wire.anthropic.requests import MAX_TOKENS, Encoder, is_kept, strict_holes
from jupyter_batch.wire.openai import CHAT, Hole

_SAMPLED = re.compile(r"claude-(3-|(haiku|sonnet|opus)-4(-[0156])?(-\d{8})?$)")
"""The models that take a temperature and top_p; others may refuse them."""
_PARAMS = ("temperature", "top_p", "max_tokens")
_FIRST_LIMIT = 4096
"""Every model of Anthropic's writes that many tokens."""


class PlainEncoder:
    """Encodes request lines as `Encoder` does; litellm is loaded at the first row that needs it."""

    def __init__(
        self, body: Mapping[str, Any], load: Callable[[], Any], pieces: Sequence[bytes | Hole]
    ) -> None:
        self._body, self._load = body, load
        self._mapped: Encoder | None = None
        self.holes = tuple(dict.fromkeys(one.name for one in pieces if isinstance(one, Hole)))
        self._order = [one.name for one in pieces if isinstance(one, Hole)]
        self._strict = strict_holes(body["messages"])
        self._pattern = b"".join(
            b"%b" if isinstance(one, Hole) else one.replace(b"%", b"%%") for one in pieces
        )

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of the batch with these lines, without secrets."""
        return {} if self._mapped is None else self._mapped.headers

    @property
    def tool_names(self) -> dict[str, str]:
        """Anthropic's name of a tool -> the user's."""
        return {}

    def encode(
        self, custom_ids: Sequence[str], holes: Mapping[str, Sequence[Any]]
    ) -> list[bytes | RowError]:
        """Return a line, or the row's error, for each row of a block."""
        columns = [holes[name] for name in self._order]
        lines: list[bytes | RowError] = []
        for at, custom_id in enumerate(custom_ids):
            row = [column[at] for column in columns]
            try:
                if all(map(is_kept, row)) and not self._has_space_at_end(holes, at):
                    texts = tuple(map(orjson.dumps, row))
                    lines.append(
                        b'{"custom_id":%b,"params":%b}\n'
                        % (orjson.dumps(custom_id), self._pattern % texts)
                    )
                    continue
            except TypeError:  # half a character
                pass
            lines.append(self._by_litellm(custom_id, holes, at))
        return lines

    def _has_space_at_end(self, holes: Mapping[str, Sequence[Any]], at: int) -> bool:
        return any(holes[name][at][-1].isspace() for name in self._strict)

    def _by_litellm(
        self, custom_id: str, holes: Mapping[str, Sequence[Any]], at: int
    ) -> bytes | RowError:
        row = {name: [values[at]] for name, values in holes.items()}
        if any(isinstance(values[0], RowError) for values in row.values()):
            return next(one[0] for one in row.values() if isinstance(one[0], RowError))
        if self._mapped is None:
            self._mapped = Encoder(CHAT, self._body, litellm=self._load())
        return self._mapped.encode([custom_id], row)[0]


def encoder(
    body: Mapping[str, Any], load: Callable[[], Any], extra: Mapping[str, Any]
) -> PlainEncoder | None:
    """Return the encoder of these chat requests; None where litellm may change them."""
    pieces = None if extra else _pieces(body)
    return None if pieces is None else PlainEncoder(body, load, pieces)


def _pieces(body: Mapping[str, Any]) -> list[bytes | Hole] | None:
    """A request's JSON, cut at its holes, in litellm's order; None where litellm may change it."""
    params = {key: value for key, value in body.items() if key not in ("model", "messages")}
    turns = _turns(body["messages"])
    if turns is None or not _are_plain(str(body["model"]), params):
        return None
    system, rest = turns
    made: list[bytes | Hole] = [b'{"model":%b,"messages":[' % orjson.dumps(str(body["model"]))]
    for number, turn in enumerate(rest):
        made.append(
            b',{"role":"%b","content":[' % turn["role"].encode()
            if number
            else b'{"role":"%b","content":[' % turn["role"].encode()
        )
        made += [*_part(turn["content"]), b"]}"]
    given = {name: params[name] for name in _PARAMS if name in params}
    options = orjson.dumps({**given, "max_tokens": params.get("max_tokens", MAX_TOKENS)})
    made += [b"],", options[1:-1]]
    if system is not None:
        made += [b',"system":[', *_part(system), b"]"]
    return [*made, b"}"]


def _part(text: str | Hole) -> list[bytes | Hole]:
    """A text part."""
    return [b'{"type":"text","text":', text if isinstance(text, Hole) else orjson.dumps(text), b"}"]


def _turns(messages: Any) -> tuple[str | Hole | None, Sequence[Any]] | None:
    """(the system text, the turns); None for messages that litellm may change.

    It keeps texts that alternate between the user and the assistant, after at most one system text.
    """
    if not isinstance(messages, list | tuple):
        return None
    for one in messages:
        if not isinstance(one, Mapping) or one.keys() != {"role", "content"}:
            return None
        if not isinstance(one["content"], Hole) and not is_kept(one["content"]):
            return None
        if one["role"] == "assistant" and str(one["content"])[-1].isspace():
            return None  # litellm strips the last turn
    roles = [one["role"] for one in messages]
    first = roles[:1] == ["system"]
    if not roles[first:] or roles[first:] != ["user", "assistant"] * (len(roles[first:]) // 2) + [
        "user"
    ] * (len(roles[first:]) % 2):
        return None
    return (messages[0]["content"] if first else None), messages[first:]


def _are_plain(model: str, params: Mapping[str, Any]) -> bool:
    """Whether Anthropic takes these parameters, and litellm passes them on unchanged."""
    if not model.startswith("claude-") or params.keys() - set(_PARAMS):
        return False
    sampled = {name for name in ("temperature", "top_p") if name in params}
    if sampled and not _SAMPLED.match(model):
        return False
    if any(type(params[name]) not in (int, float) for name in sampled):
        return False
    limit = params.get("max_tokens", MAX_TOKENS)
    if type(limit) is not int or limit < 1:
        return False
    return rules.refusal(model, params, None if limit <= _FIRST_LIMIT else _most(model)) is None


class _Limits(msgspec.Struct):
    """The limits in an entry of litellm's list."""

    max_output_tokens: Any = None
    max_tokens: Any = None


def _most(model: str) -> int | None:
    """The model's maximum of output tokens, if litellm's list has it."""
    loaded = getattr(sys.modules.get("litellm"), "model_cost", None)
    if isinstance(loaded, Mapping):
        entry = loaded.get(model) or {}
        most = entry.get("max_output_tokens") or entry.get("max_tokens")
    else:
        listed = _file().get(model, _Limits())
        most = listed.max_output_tokens or listed.max_tokens
    return most if isinstance(most, int) and most > 0 else None


@functools.cache
def _file() -> dict[str, _Limits]:
    path = price_list()
    return {} if path is None else msgspec.json.decode(path.read_bytes(), type=dict[str, _Limits])
