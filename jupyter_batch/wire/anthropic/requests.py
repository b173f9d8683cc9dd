"""Requests -> lines of Anthropic's Message Batches, translated by litellm once for all rows.

No network, and no import of litellm: the creator of an Encoder passes the loaded module
(providers/openai/batches.py). Each line is litellm's own translation of its row, in one of
two ways that must agree: a text replaces a marker in one translated request, or, where its
position or content may change the rest, the row is translated by itself.
"""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from jupyter_batch.core.errors import OptionError
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire import whole
from jupyter_batch.wire.anthropic import rules
from jupyter_batch.wire.openai import Hole
from jupyter_batch.wire.whole import ParamCheck, Refused, check_whole, merged, parted

MAX_TOKENS = 4096
"""Default of `max_tokens`, which Anthropic requires; litellm's default is the model's maximum."""
MAX_TOKENS_THINKING = 16_384
"""The same with thinking enabled, since thinking tokens count."""

_BETA = "anthropic-beta"
_TOOL_NAMES = (
    "_anthropic_tool_name_map"  # where litellm's translation stores the names that it had to change
)
_DROPPED = "x-anthropic-"  # litellm (1.84) may drop a system text that begins with it
_FORMS = 256


class Encoder:
    """Encodes request lines `{"custom_id": ..., "params": ...}` that differ only in their holes.

    headers: headers for the batch as a whole, merged over all rows; complete once all are encoded.
    tool_names: Anthropic's tool names -> the user's, where they differ; complete likewise. Other
    dialects translated by litellm (wire/clouds/) subclass it, with their translation and line.
    """

    taker = "Anthropic"
    line = b'{"custom_id":%b,"params":%b}\n'

    @quiet()
    def __init__(
        self,
        endpoint: str,
        body: Mapping[str, Any],
        *,
        litellm: Any,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """`body` is a chat request in OpenAI's format, with a Hole for each varying value.

        endpoint: as for OpenAI's encoder; only chat is supported. extra: the user's `extra_body`.
        Raises OptionError for unsupported options, before anything is sent; a Hole's value is
        checked by row.
        """
        if not endpoint.rstrip("/").endswith("/chat/completions"):
            raise OptionError(f"{self.taker}'s batches answer chat requests; {endpoint} is none")
        self._messages = body["messages"]
        self._translation = self._translate(litellm, str(body["model"]))
        self._check = ParamCheck(self._translation, self.taker)
        given = {key: value for key, value in body.items() if key not in ("model", "messages")}
        own, self._extra = self._parted(litellm, given, extra or {})
        self._params = {**given, **own}
        self._param_holes = holes_in(self._params)
        self._message_holes = holes_in(self._messages)
        self.holes: tuple[str, ...] = tuple(
            dict.fromkeys([*self._message_holes, *self._param_holes])
        )
        self._strict = strict_holes(self._messages)
        self._forms: dict[bytes, _Form] = {}
        self._marks = {name: secrets.token_hex(16) for name in self._message_holes}
        self._cut = re.compile(
            b'"(%b)"' % (b"|".join(mark.encode() for mark in self._marks.values()) or b"(?!)")
        )
        constant = constant_of(self._params)
        try:
            self._translation.options(constant)
            self._check.check(constant)
            if not self._param_holes:
                self._form({})
        except Refused as e:
            raise OptionError(f"a request like this can't be sent to {self.taker}: {e}") from None
        except TypeError as e:
            raise OptionError(f"a parameter of the request can't be sent as JSON: {e}") from None

    def _translate(self, litellm: Any, model: str) -> whole.Translation:
        return Translation(litellm, model)

    def _parted(
        self, litellm: Any, given: Mapping[str, Any], extra: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        return parted(self._check, litellm, constant_of(given), extra)

    def _body(self, messages: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request's whole body, `extra_body` included. Raises Refused."""
        body = merged(self._translation.body(messages, options), self._extra)
        check_whole(messages, body, self.taker)
        return body

    def _request(self, custom_id: bytes, params: bytes) -> bytes:
        return self.line % (custom_id, params)

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of the batch with these lines, without secrets."""
        betas = self._translation.betas
        return {_BETA: ",".join(betas)} if betas else {}

    @property
    def tool_names(self) -> dict[str, str]:
        """Anthropic's name of a tool -> the user's."""
        return dict(self._translation.tool_names)

    @quiet()
    def encode(
        self, custom_ids: Sequence[str], holes: Mapping[str, Sequence[Any]]
    ) -> list[bytes | RowError]:
        """Return a line, or the row's error, for each row of a block."""
        values = [holes[name] for name in self.holes]
        return [
            self._line(custom_id, dict(zip(self.holes, row, strict=True)))
            for custom_id, *row in zip(custom_ids, *values, strict=True)
        ]

    def _line(self, custom_id: str, row: dict[str, Any]) -> bytes | RowError:
        for value in row.values():
            if isinstance(value, RowError):
                return value
        try:
            form = self._form({name: row[name] for name in self._param_holes})
            if form.order is None or not self._plain(row):
                params = self._translation.dumps(
                    self._body(filled(self._messages, row), form.options)
                )
            else:
                params = form.pattern % tuple(orjson.dumps(row[name]) for name in form.order)
        except Refused as e:
            return RowError(str(e))
        except TypeError as e:
            if "surrogate" in str(e) or "UTF-8" in str(e):
                return RowError(
                    "the text is not valid Unicode: it holds half a character (a lone surrogate)"
                )
            return RowError(f"a value can't be sent as JSON: {e}")
        return self._request(orjson.dumps(custom_id), params)

    def _plain(self, row: Mapping[str, Any]) -> bool:
        """Whether litellm keeps each text; it changes empty ones, and the end of a last turn."""
        for name in self._message_holes:
            text = row[name]
            if not is_kept(text) or (name in self._strict and text[-1].isspace()):
                return False
        return True

    def _form(self, values: Mapping[str, Any]) -> _Form:
        """The request form shared by all rows with these parameters, which seldom vary."""
        key = orjson.dumps(list(values.values()), option=orjson.OPT_NON_STR_KEYS)
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _FORMS:
                self._forms.clear()
            form = self._forms[key] = self._made(values)
        return form

    def _made(self, values: Mapping[str, Any]) -> _Form:
        params = filled(self._params, values)
        options = self._translation.options(params)
        self._check.check(params)
        if not _simple(self._messages):
            return _Form(options)
        data = self._translation.dumps(self._body(filled(self._messages, self._marks), options))
        pieces = self._cut.split(data)
        names = {mark: name for name, mark in self._marks.items()}
        order = [names[mark.decode()] for mark in pieces[1::2]]
        rest = b"".join(pieces[::2])
        if sorted(order) != sorted(holes_in(self._messages, every=True)) or any(
            mark.encode() in rest for mark in names
        ):
            return _Form(options)
        return _Form(
            options, order, b"%b".join(piece.replace(b"%", b"%%") for piece in pieces[::2])
        )


class _Form:
    """One translated request. order: the holes in `pattern`'s order; None: translate by row."""

    def __init__(
        self, options: dict[str, Any], order: list[str] | None = None, pattern: bytes = b""
    ) -> None:
        self.options = options
        self.order = order
        self.pattern = pattern


class Translation(whole.Translation):
    """litellm's translation of chat requests for one Anthropic model, in two steps."""

    provider = "anthropic"

    def __init__(self, litellm: Any, model: str) -> None:
        super().__init__(litellm, model)
        self._config = litellm.utils.ProviderConfigManager.get_provider_chat_config(
            model=model, provider=litellm.LlmProviders.ANTHROPIC
        )
        self._limit = self._most()

    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Translate parameters. Raises OptionError (unknown), Refused (bad value)."""
        headers = params.get("extra_headers") or {}
        if not isinstance(headers, Mapping) or {str(name).lower() for name in headers} - {_BETA}:
            raise OptionError(
                f"extra_headers: of headers, a batch at Anthropic takes {_BETA} alone"
            )
        self._unite(headers)
        options = self._mapped(
            {key: value for key, value in params.items() if key not in ("extra_headers", "stream")}
        )
        options.pop("json_mode", None)
        options.pop("stream", None)
        if "max_tokens" not in options:
            wanted = MAX_TOKENS_THINKING if options.get("thinking") else MAX_TOKENS
            budget = rules.budget_of(options)
            wanted = max(wanted, budget + MAX_TOKENS) if budget else wanted
            options["max_tokens"] = min(wanted, self._limit or wanted)
        most = rules.most_in_batch(self._model, self._limit)
        refusal = rules.refusal(self._model, options, most)
        if refusal is not None:
            raise Refused(refusal)
        if rules.is_long(options, self._limit):
            self._unite({_BETA: rules.LONG_BETA})
        return options

    def body(self, messages: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request's `params`. Raises Refused."""
        from jupyter_batch.wire.translated import refuse_downloads  # which imports Refused

        refuse_downloads(
            messages, lambda url: url.startswith("https://")
        )  # Anthropic fetches these itself
        left: dict[str, Any] = {}
        headers: dict[str, str] = {}
        try:
            converted = whole.without_developers(messages)
            # It reads the request, and names the betas needed for it; its key is not used.
            self._unite(
                self._config.validate_environment(
                    headers={},
                    model=self._model,
                    messages=converted,
                    optional_params=dict(options),
                    litellm_params={},
                    api_key="none",
                )
            )
            data: dict[str, Any] = self._config.transform_request(
                model=self._model,
                messages=converted,
                optional_params=copy.deepcopy(dict(options)),
                litellm_params=left,
                headers=headers,
            )
        except Exception as e:
            raise self._refused(e) from None
        self._unite(headers)
        self.tool_names.update(left.get(_TOOL_NAMES) or {})
        return data

    def _unite(self, headers: Mapping[str, Any]) -> None:
        for name, value in headers.items():
            if str(name).lower() == _BETA:
                betas = (beta.strip() for beta in str(value).split(","))
                self.betas = sorted({*self.betas, *filter(None, betas)})

    def _most(self) -> int | None:
        """The model's maximum of output tokens, if litellm knows it."""
        try:
            info = self._litellm.get_model_info(model=self._model, custom_llm_provider="anthropic")
        except Exception:  # a model newer than litellm's list
            return None
        most = info.get("max_output_tokens") or info.get("max_tokens")
        return most if isinstance(most, int) and most > 0 else None


# --- holes ----------------------------------------------------------------------------------------------------------


OF_TOOLS = frozenset({"tool_choice", "parallel_tool_calls"})
"""Parameters that have no meaning without tools."""


def constant_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are the same in all rows, without OF_TOOLS where the tools are not."""
    apart = OF_TOOLS if holes_in(params.get("tools")) else ()
    return {key: value for key, value in params.items() if key not in apart and not holes_in(value)}


def _visit(value: Any, found: Callable[[Hole], None]) -> None:
    if isinstance(value, Hole):
        found(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            _visit(item, found)
    elif isinstance(value, list | tuple):
        for item in value:
            _visit(item, found)


def holes_in(value: Any, *, every: bool = False) -> list[str]:
    """Return the names of the holes in a value: each once, or for each occurrence."""
    names: list[str] = []
    _visit(value, lambda hole: names.append(hole.name))
    return names if every else list(dict.fromkeys(names))


def filled(value: Any, row: Mapping[str, Any]) -> Any:
    """Return a value with its holes filled from a row."""
    if isinstance(value, Hole):
        return row[value.name]
    if isinstance(value, Mapping):
        return {key: filled(item, row) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [filled(item, row) for item in value]
    return value


def is_kept(text: Any) -> bool:
    """Whether litellm keeps a text; the end of an assistant's turn is another matter."""
    return type(text) is str and bool(text) and not text.isspace() and not text.startswith(_DROPPED)


def _simple(messages: Any) -> bool:
    """Whether each hole is a whole content or text part of a message: litellm keeps such texts."""
    if not isinstance(messages, list | tuple):
        return False
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        parts = content if isinstance(content, list | tuple) else []
        texts = [
            part["text"]
            for part in parts
            if isinstance(part, Mapping)
            and part.get("type") == "text"
            and isinstance(part.get("text"), Hole)
        ]
        known = [content] if isinstance(content, Hole) else texts
        if len(known) != len(holes_in(message, every=True)):
            return False
    return True


def strict_holes(messages: Any) -> frozenset[str]:
    """The holes in assistant turns: litellm strips trailing space from the last one."""
    if not isinstance(messages, list | tuple):
        return frozenset()
    turns = [
        m
        for m in messages
        if isinstance(m, Mapping) and m.get("role") not in ("user", "system", "developer")
    ]
    return frozenset(name for turn in turns for name in holes_in(turn))
