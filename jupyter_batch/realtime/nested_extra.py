"""Placement of `extra_body` in real time where litellm (1.84 to 1.106) nests it.

Claude and Bedrock's Converse refuse the nested field. The fields are inserted as in a
batch, into the request that litellm makes, after it has chosen address and key.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import orjson

from jupyter_batch.providers.record import RECORDS, load
from jupyter_batch.wire.whole import ParamCheck, merged, parted

_EXTRA = "extra_body"
_MADE_BY = (
    ("AnthropicConfig", "transform_request"),
    ("AmazonConverseConfig", "_transform_request"),
    ("AmazonConverseConfig", "_async_transform_request"),
)
"""litellm's methods that make such a request; other hosts of Claude call the first."""
_MARK = "_places_extra_body"
_KINDS = 64
_APART = frozenset({_EXTRA, "model", "messages"})


class _Parts(msgspec.Struct, frozen=True):
    """own: fields supported by litellm. rest: fields of the request itself."""

    own: dict[str, Any]
    rest: dict[str, Any]


_now: contextvars.ContextVar[_Parts | None] = contextvars.ContextVar("extra_body", default=None)


class NestedExtra:
    """Places the fields of `extra_body` in one model's requests; caches the latest kinds."""

    def __init__(self, model: str) -> None:
        self._provider, _, self._model = model.partition("/")
        record = RECORDS.get(self._provider)
        self._translation = "" if record is None else record.nested_extra
        self._known: dict[bytes, _Parts] = {}

    @contextlib.contextmanager
    def placed(self, litellm: Any, sent: Mapping[str, Any]) -> Iterator[None]:
        """Context in which litellm's requests contain `extra_body` as a batch does."""
        extra = sent.get(_EXTRA)
        if not isinstance(extra, Mapping) or not self._translation:
            yield
            return
        _wrap(litellm)
        token = _now.set(self._parts(litellm, sent, extra))
        try:
            yield
        finally:
            _now.reset(token)

    def _parts(self, litellm: Any, sent: Mapping[str, Any], extra: Mapping[str, Any]) -> _Parts:
        given = {name: value for name, value in sent.items() if name not in _APART}
        key = orjson.dumps([given, extra])
        if key not in self._known:
            translation = load(self._translation)(litellm, self._model)
            own, rest = parted(ParamCheck(translation, self._provider), litellm, given, extra)
            if len(self._known) >= _KINDS:
                self._known.clear()
            self._known[key] = _Parts(own, rest)
        return self._known[key]


def _wrap(litellm: Any) -> None:
    """Make litellm's methods insert the fields; other calls are unchanged."""
    for config, name in _MADE_BY:
        kind = getattr(litellm, config)
        method = kind.__dict__.get(name)
        if method is not None and not hasattr(method, _MARK):
            setattr(kind, name, _placing(method))


def _placing(method: Callable[..., Any]) -> Callable[..., Any]:
    taken = inspect.signature(method)

    def given(args: Any, more: Any) -> tuple[inspect.BoundArguments, _Parts | None]:
        bound = taken.bind(*args, **more)
        options = bound.arguments.get("optional_params") or {}
        parts = _now.get()
        if (
            parts is None or _EXTRA not in options
        ):  # made by an outer method already, or not our call
            return bound, None
        options = {**options, **parts.own}
        del options[_EXTRA]
        bound.arguments["optional_params"] = options
        return bound, parts

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def awaited(*args: Any, **more: Any) -> Any:
            bound, parts = given(args, more)
            made = await method(*bound.args, **bound.kwargs)
            return made if parts is None else merged(dict(made), parts.rest)

        placing: Callable[..., Any] = awaited
    else:

        @functools.wraps(method)
        def called(*args: Any, **more: Any) -> Any:
            bound, parts = given(args, more)
            made = method(*bound.args, **bound.kwargs)
            return made if parts is None else merged(dict(made), parts.rest)

        placing = called
    setattr(placing, _MARK, True)
    return placing
