"""Requests -> lines for OpenAI-compatible servers, as litellm sends them to the model in real time.

litellm maps parameters by model and provider (gpt-5: max_tokens -> max_completion_tokens; Mistral:
seed -> random_seed) and rewrites messages (o1 has no system role). It maps each set of parameter
values once, not once per row, and is loaded (by a function argument) only where it may change
something. No network.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.address import host_name
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire import openai, whole
from jupyter_batch.wire.anthropic import requests as anthropic_requests
from jupyter_batch.wire.part_keys import check_parts, refuse_files
from jupyter_batch.wire.whole import (
    ParamCheck,
    Refused,
    check_whole,
    combination_refused,
    sentence,
)

_PLAIN_ROLES = frozenset({"system", "user", "assistant"})
_PLAIN_PARAMS = frozenset({"temperature", "top_p", "max_tokens", "seed", "presence_penalty"})
"""Parameters that every model not matched by `_CHANGED` takes unchanged."""
_CHANGED = re.compile(r"(^|/)o\d|gpt-?[5-9]|audio|search|realtime|codex|claude|transcribe|tts")
"""OpenAI's models whose requests litellm changes; a test compares each model in litellm's list."""
_OF_THE_CALL = ("stream", "stream_options", "max_retries", "extra_headers", "json_mode")
_NOT_IN_A_BODY = (*_OF_THE_CALL, "fake_stream")
_OWN = ("openai.com", "openai.azure.com")


class Route(NamedTuple):
    """The destination of requests: litellm's provider, bare model name, address, and API version.

    as_given: litellm translates later (real time): lines keep its format, parameters are only
    checked. plain: litellm passes plain parameters on unchanged, as to any server of OpenAI's API.
    checked: requests to OpenAI's own hosts are checked by its rules. translation: by which parameters
    are checked, if not this module's.
    """

    provider: str
    model: str
    api_base: str | None = None
    api_version: str | None = None
    as_given: bool = False
    plain: bool = False
    checked: bool = False
    translation: Callable[[Any, str], whole.Translation] | None = None


class Encoder(anthropic_requests.Encoder):
    """Encodes lines `{"custom_id", "method", "url", "body"}` with this model's chat parameters."""

    def __init__(
        self,
        endpoint: str,
        body: Mapping[str, Any],
        *,
        litellm: Any,
        route: Route,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.taker = f"{route.provider}/{route.model}"
        self._url, self._route = endpoint.encode(), route
        super().__init__(openai.CHAT, body, litellm=litellm, extra=extra)

    def _translate(self, litellm: Any, model: str) -> Translation:
        del model
        return Translation(litellm, self._route)

    def _parted(
        self, litellm: Any, given: Mapping[str, Any], extra: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        del litellm, given
        return {}, dict(extra)

    def _body(self, messages: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        body = {**self._translation.body(messages, options), **self._extra}
        check_whole(messages, body, self.taker)
        return body

    def _request(self, custom_id: bytes, params: bytes) -> bytes:
        return b'{"custom_id":%b,"method":"POST","url":"%b","body":%b}\n' % (
            custom_id,
            self._url,
            params,
        )

    def _plain(self, row: Mapping[str, Any]) -> bool:
        return all(type(row[name]) is str for name in self._message_holes)

    @quiet()
    def encode(
        self, custom_ids: Sequence[str], holes: Mapping[str, Sequence[Any]]
    ) -> list[bytes | RowError]:
        """Return a line, or the row's error, for each row of a block."""
        form = None if self._param_holes else self._form({})
        texts = [] if form is None or form.order is None else [holes[name] for name in form.order]
        if not texts or any(type(text) is not str for column in texts for text in column):
            return super().encode(custom_ids, holes)
        assert form is not None  # noqa: S101 - else there are no texts
        try:
            cells = [[orjson.dumps(text) for text in column] for column in texts]
        except TypeError:  # half a character: the slow path finds its row
            return super().encode(custom_ids, holes)
        return [
            self._request(orjson.dumps(custom_id), form.pattern % row)
            for custom_id, row in zip(custom_ids, zip(*cells, strict=True), strict=True)
        ]


class Translation(whole.Translation):
    """litellm's translation of chat requests for one OpenAI-compatible model, in two steps."""

    def __init__(self, litellm: Any, route: Route) -> None:
        super().__init__(litellm, route.model)
        self.provider, self._route = route.provider, route
        known = {one.value for one in litellm.LlmProviders}
        self._config = (
            litellm.utils.ProviderConfigManager.get_provider_chat_config(
                model=route.model, provider=litellm.LlmProviders(route.provider)
            )
            if route.provider in known
            else None
        ) or litellm.OpenAIConfig()
        self._own = route.checked and not _is_elsewhere(route)
        self._turns: dict[tuple[str, ...], tuple[str, ...] | None] = {}

    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Translate parameters. Raises OptionError (unsupported), Refused (bad value)."""
        headers = params.get("extra_headers")
        if headers:
            raise OptionError("extra_headers: a batch takes none")
        refusal = combination_refused(params, own=self._own)
        if refusal is not None:
            raise Refused(refusal)
        given = {
            key: copy.deepcopy(value)
            for key, value in params.items()
            if key not in _NOT_IN_A_BODY and value is not None
        }
        self._validate(given)
        version = {"api_version": self._route.api_version} if self._route.api_version else {}
        made = self._mapped(given, **version)
        return {key: value for key, value in made.items() if key not in _NOT_IN_A_BODY}

    def _validate(self, given: dict[str, Any]) -> None:
        """Do the validation of litellm's own call."""
        utils = self._litellm.utils
        if given.get("tools"):
            given["tools"] = utils.validate_and_fix_openai_tools(tools=given["tools"])
        choose = utils.validate_chat_completion_tool_choice
        if given.get("tool_choice") is not None:
            more = {"model": self._model} if "model" in inspect.signature(choose).parameters else {}
            try:
                given["tool_choice"] = choose(tool_choice=given["tool_choice"], **more)
            except Exception as e:
                raise Refused(sentence(e)) from None

    def body(self, messages: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request's body. Raises Refused."""
        refuse_files(messages)
        if self._route.plain and self._own:
            check_parts(messages)
        given = copy.deepcopy(dict(options))
        shape = _shape(messages)
        roles = self._turns.get(shape) if shape is not None else None
        if shape is None or shape not in self._turns:
            data = self._transformed(copy.deepcopy(messages), given)
            if shape is not None:
                self._turns[shape] = _roles(messages, data.get("messages"))
        elif roles is None:
            data = self._transformed(copy.deepcopy(messages), given)
        else:
            data = self._transformed([{"role": "user", "content": "x"}], given)
            data["messages"] = [
                {"role": role, "content": one["content"]}
                for role, one in zip(roles, messages, strict=True)
            ]
        more = data.pop("extra_body", None)
        made = {key: value for key, value in data.items() if key not in _NOT_IN_A_BODY}
        return {**made, **(more if isinstance(more, Mapping) else {})}

    def _transformed(self, messages: list[Any], options: dict[str, Any]) -> dict[str, Any]:
        params = {
            "custom_llm_provider": self._route.provider,
            "api_base": self._route.api_base,
            "drop_params": None,
        }
        try:
            fixed = self._litellm.utils.validate_and_fix_openai_messages(messages=messages)
            developer = self._config.translate_developer_role_to_system_role
            names = inspect.signature(developer).parameters
            hints = {
                "model": self._model,
                "custom_llm_provider": self._route.provider,
                "api_base": self._route.api_base,
                "model_info": None,
            }
            fixed = developer(
                messages=fixed, **{name: value for name, value in hints.items() if name in names}
            )
            data: dict[str, Any] = dict(
                self._config.transform_request(
                    model=self._model,
                    messages=list(fixed),
                    optional_params=options,
                    litellm_params=params,
                    headers={},
                )
            )
        except Exception as e:
            raise self._refused(e) from None
        return data


class ByRow:
    """Encodes rows that are message lists, unchanged as long as litellm would not change them.

    litellm is loaded at the first row that it may change.
    """

    def __init__(self, given: openai.Encoder, mapped: Callable[[], Encoder]) -> None:
        self._given, self._mapped = given, mapped
        self._made: Encoder | None = None
        self.holes = given.holes

    def encode(
        self, custom_ids: Sequence[str], holes: Mapping[str, Sequence[Any]]
    ) -> list[bytes | RowError]:
        """Return a line, or the row's error, for each row of a block."""
        lines = self._given.encode(custom_ids, holes)
        for at, fixed in enumerate(holes["messages"]):
            if isinstance(lines[at], RowError) or _is_plain(fixed):
                continue
            if self._made is None:
                self._made = self._mapped()
            row = {name: [values[at]] for name, values in holes.items()}
            lines[at] = self._made.encode([custom_ids[at]], row)[0]
        return lines


class Checked:
    """Encodes lines unchanged, after checking their parameters for the model; translated later."""

    def __init__(
        self,
        given: openai.Encoder,
        translation: whole.Translation,
        params: Mapping[str, Any],
        taker: str,
    ) -> None:
        """Raises OptionError for a parameter that the model does not take."""
        self._given, self._translation = given, translation
        self._params = dict(params)
        self._varying = anthropic_requests.holes_in(self._params)
        self._known: dict[bytes, str | None] = {}
        self._check = ParamCheck(translation, taker)
        self.holes = given.holes
        refusal = self._refusal(anthropic_requests.constant_of(self._params))
        if refusal is not None:
            raise OptionError(refusal)

    def encode(
        self, custom_ids: Sequence[str], holes: Mapping[str, Sequence[Any]]
    ) -> list[bytes | RowError]:
        """Return a line, or the row's error, for each row of a block."""
        lines = self._given.encode(custom_ids, holes)
        if not self._varying:
            return lines
        for at, line in enumerate(lines):
            row = {name: holes[name][at] for name in self._varying}
            refusal = None if isinstance(line, RowError) else self._of_row(row)
            if refusal is not None:
                lines[at] = RowError(refusal)
        return lines

    def _of_row(self, row: Mapping[str, Any]) -> str | None:
        key = orjson.dumps(list(row.values()), option=orjson.OPT_NON_STR_KEYS)
        if key not in self._known:
            self._known[key] = self._refusal(anthropic_requests.filled(self._params, row))
        return self._known[key]

    @quiet()
    def _refusal(self, params: Mapping[str, Any]) -> str | None:
        try:
            self._translation.options(params)
            self._check.check(params)
        except (Refused, OptionError) as e:
            return str(e)
        return None


def is_identity(route: Route, params: Mapping[str, Any]) -> bool:
    """Whether litellm is known to pass these parameters, and plain messages, on unchanged."""
    return (
        route.plain
        and not _CHANGED.search(route.model.lower())
        and params.keys() <= _PLAIN_PARAMS
        and combination_refused(params, own=route.checked and not _is_elsewhere(route)) is None
    )


def is_foreign(route: Route) -> bool:
    """Whether it is an OpenAI-compatible server other than OpenAI's."""
    return route.plain and not route.as_given and _is_elsewhere(route)


def _is_elsewhere(route: Route) -> bool:
    host = host_name(route.api_base or "")
    return bool(host) and not host.endswith(_OWN)


def _is_plain(messages: Any) -> bool:
    """Whether messages are texts of the three plain roles."""
    return isinstance(messages, list | tuple) and all(
        isinstance(one, Mapping)
        and one.keys() == {"role", "content"}
        and one["role"] in _PLAIN_ROLES
        and isinstance(one["content"], str | openai.Hole)
        for one in messages
    )


def encoder(
    endpoint: str,
    body: Mapping[str, Any],
    load: Callable[[], Any],
    route: Route,
    extra: Mapping[str, Any],
) -> openai.Encoder | Encoder | ByRow | Checked:
    """Return the fastest encoder for a route with litellm's lines. Raises OptionError."""
    params = {key: value for key, value in body.items() if key not in ("model", "messages")}
    plain = is_identity(route, params)
    if route.as_given:
        given = openai.Encoder(endpoint, {**body, **({"extra_body": extra} if extra else {})})
        if plain or not params:
            return given
        return Checked(given, translation(load(), route), params, f"{route.provider}/{route.model}")

    def mapped() -> Encoder:
        return Encoder(endpoint, body, litellm=load(), route=route, extra=extra)

    if not plain:
        return mapped()
    given = openai.Encoder(endpoint, {**body, **extra})
    if isinstance(body["messages"], openai.Hole):
        return ByRow(given, mapped)
    return given if _is_plain(body["messages"]) else mapped()


def translation(litellm: Any, route: Route) -> whole.Translation:
    """The translation for checking the parameters of a model of any provider."""
    if route.translation is not None:
        return route.translation(litellm, route.model)
    return Translation(litellm, route)


def _shape(messages: Any) -> tuple[str, ...] | None:
    """The roles of text-only messages; None for others, whose parts litellm may change."""
    if not isinstance(messages, list | tuple) or not all(
        isinstance(one, Mapping) and one.keys() == {"role", "content"} for one in messages
    ):
        return None
    if not all(isinstance(one["content"], str) and one["content"] for one in messages):
        return None
    return tuple(str(one["role"]) for one in messages)


def _roles(given: Sequence[Any], made: Any) -> tuple[str, ...] | None:
    """The roles that litellm gave to messages, if it changed only roles."""
    if not isinstance(made, list) or len(made) != len(given):
        return None
    for one, other in zip(given, made, strict=True):
        if set(other) != {"role", "content"} or other["content"] != one["content"]:
            return None
    return tuple(str(one["role"]) for one in made)
