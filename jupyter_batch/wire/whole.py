"""Check that a translated request contains everything in the original. No network.

litellm silently drops parts that it does not know: a row would be answered, and paid for, without
its image. So each text in the original messages is looked for in the request to be sent.
"""

from __future__ import annotations

import copy
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from jupyter_batch.core.errors import OptionError


class Refused(Exception):  # noqa: N818 - it never leaves the translations
    """A request can't be expressed in a provider's format; the message is the reason."""


_STRUCTURE = frozenset({"role", "type", "cache_control", "format", "detail", "filename"})
"""Keys whose values describe a value's format, not its content: they may change or be omitted."""
_IDS = frozenset({"id", "tool_call_id", "signature", "annotations", "provider_specific_fields"})
"""Keys that some providers lack: there a call and its result are matched by name or order."""
_NO_OPTIONS = ("n", "extra_headers")
_SILENT: dict[str, tuple[Any, ...]] = {
    "reasoning_effort": ("none", "default"),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default", "standard"),
    "modalities": (["text"],),
    "tool_choice": ("auto",),
    "parallel_tool_calls": (True,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "store": (False,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
}
"""Values that request a model's default behavior: a translation may omit them."""
_EMPTY_ASKS = frozenset({"web_search_options"})
"""Parameters that take effect even if they are empty."""
_PROBE = ({"role": "user", "content": "x"},)
_SHOWN = 60
_OTHER_LETTERS = re.compile(r"[^a-zA-Z0-9_-]")
"""Characters that some providers reject in a tool's name; litellm replaces them with "_"."""


def check_whole(given: Any, sent: Any, taker: str) -> None:
    """Raise Refused where a text of the messages `given` is missing in the request `sent`."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        return
    wanted = list(_wanted(given))
    there: set[str] = set()
    _strings(sent, there)
    missing = [one for one in wanted if one[1] not in there]
    if not missing:
        return
    long = "\0".join(there)
    for path, text in missing:
        if not _is_there(path, text, there, long):
            raise Refused(
                f"{path} ({text[:_SHOWN]!r}) has no place in a request to {taker}, and would be left out: take it "
                "out of the message, or say it in a text"
            )


def _wanted(messages: Sequence[Any]) -> Iterator[tuple[str, str]]:
    for at, message in enumerate(messages):
        if not isinstance(message, Mapping):
            continue
        tool = message.get("role") in ("tool", "function")
        for key, value in message.items():
            if key not in _STRUCTURE and key not in _IDS and not (tool and key == "name"):
                yield from _leaves(value, f"messages[{at}].{key}")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield (path, text) for each text in a value, except empty ones."""
    if isinstance(value, str):
        text = value.strip()
        if text:
            yield path, _payload(text)
    elif isinstance(value, Mapping):
        for key, held in value.items():
            if key not in _STRUCTURE and key not in _IDS:
                yield from _leaves(held, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for at, held in enumerate(value):
            yield from _leaves(held, f"{path}[{at}]")


def _payload(text: str) -> str:
    """The data in a data: URL, which is all that every provider receives."""
    if text.startswith("data:") and ";base64," in text[:200]:
        return text.partition(";base64,")[2]
    return text


def _strings(value: Any, found: set[str]) -> None:
    if isinstance(value, str):
        found.add(_payload(value.strip()))
    elif isinstance(value, Mapping):
        for key, held in value.items():
            found.add(str(key))
            _strings(held, found)
    elif isinstance(value, list | tuple):
        for held in value:
            _strings(held, found)


def _is_there(path: str, text: str, there: set[str], long: str) -> bool:
    """Whether a text is in another, also in other letters (tool name) or as JSON of known texts."""
    if path.endswith(".name"):
        return _OTHER_LETTERS.sub("_", text) in there
    if text in long:
        return True
    if text[:1] not in "{[":
        return False
    try:
        held = json.loads(text)
    except ValueError:
        return False
    return all(one in there or one in long for _, one in _leaves(held, ""))


class Translation(ABC):
    """litellm's translation of chat requests for one model, in two steps.

    provider: litellm's name of it. betas: Anthropic's, for the batch as a whole. tool_names: the
    provider's tool names -> the user's, where they differ.
    """

    provider: str

    def __init__(self, litellm: Any, model: str) -> None:
        self._litellm = litellm
        self._model = model
        self.betas: list[str] = []
        self.tool_names: dict[str, str] = {}

    @abstractmethod
    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Translate parameters. Raises OptionError (unknown), Refused (bad value)."""

    @abstractmethod
    def body(self, messages: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request. Raises Refused."""

    def dumps(self, data: Any) -> bytes:
        """Encode as JSON. Raises TypeError."""
        return orjson.dumps(data)

    def _mapped(self, params: Mapping[str, Any], *, route: str = "", **more: Any) -> dict[str, Any]:
        """Litellm's parameters of these. route: before the model's name. more: not of the user's."""
        try:
            made = self._litellm.utils.get_optional_params(
                model=f"{route}{self._model}",
                custom_llm_provider=self.provider,
                **more,
                **params,
            )
        except self._litellm.UnsupportedParamsError as e:
            raise unsupported(f"{self.provider}/{self._model}", e) from None
        except Exception as e:
            raise Refused(sentence(e)) from None
        return dict(made)

    def _refused(self, error: Exception) -> Refused:
        """The error for a request that litellm can't make."""
        return refused(self._litellm, f"{self.provider}/{self._model}", error)


def without_developers(messages: Any) -> list[dict[str, Any]]:
    """A copy of messages for a provider without the role "developer"."""
    return [
        {**one, "role": "system"} if one.get("role") == "developer" else dict(one)
        for one in copy.deepcopy(messages)
    ]


class ParamCheck:
    """Refuse parameters that a translation silently drops: the request is the same without them.

    A translation may drop one when it maps parameters or when it makes the request: both are
    checked. Each parameter is checked until it was seen to count once, an object once for each
    `type`: rows differ in values, seldom in names.
    """

    def __init__(self, translation: Translation, taker: str) -> None:
        self._translation, self._taker = translation, taker
        self._kept: set[tuple[str, str]] = set()

    def check(self, params: Mapping[str, Any]) -> None:
        """Raise Refused where one of `params` has no effect on the request."""
        named = [
            name
            for name, value in params.items()
            if (name, _type_in(value)) not in self._kept and _says_something(name, value)
        ]
        lost = next((name for name in named if not self.carries(name, params)), None)
        if lost is not None:
            raise Refused(
                f"{self._taker} has no `{lost}`, and litellm would leave it out: leave it out, or give it in "
                "extra_body=, which is sent as it is"
            )
        self._kept.update((name, _type_in(params[name])) for name in named)

    def carries(self, name: str, params: Mapping[str, Any]) -> bool:
        """Whether the parameter changes the request; so does one that the others require."""
        made = self._made(params)
        without = self._made({key: held for key, held in params.items() if key != name})
        if made is None or without is None or made != without:
            return True
        if type(params[name]) is not int:
            return False
        other = self._made({**params, name: params[name] + 1})  # it may be the default's number
        return other is None or other != without

    def takes(self, params: Mapping[str, Any]) -> bool:
        """Whether a request can be made with these parameters."""
        try:
            self._translation.body([dict(one) for one in _PROBE], self._translation.options(params))
        except (Refused, OptionError):
            return False
        return True

    def _made(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """A request with these parameters; None if they are invalid."""
        try:
            options = self._translation.options(params)
        except (Refused, OptionError):
            return None
        try:
            return self._translation.body([dict(one) for one in _PROBE], options)
        except Refused:
            return options


def _type_in(value: Any) -> str:
    """The `type` of an object: a response_format of one may count where another is dropped."""
    return str(value.get("type")) if isinstance(value, Mapping) else ""


def _says_something(name: str, value: Any) -> bool:
    """Whether a parameter differs from its default."""
    if name in _NO_OPTIONS or value is None:
        return False
    if isinstance(value, str | Sequence | Mapping) and not value:
        return name in _EMPTY_ASKS
    return value not in _SILENT.get(name, ())


def parted(
    check: ParamCheck, litellm: Any, given: Mapping[str, Any], extra: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split `extra_body`: (litellm's fields, fields sent unchanged, with chat parameters)."""
    chat = litellm.utils.DEFAULT_CHAT_COMPLETION_PARAM_VALUES
    own: dict[str, Any] = {}
    for key, value in extra.items():
        params = {**given, key: value}
        if key not in chat and check.takes(params) and check.carries(key, params):
            own[key] = value
    return own, {key: value for key, value in extra.items() if key not in own}


def merged(body: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the user's own fields into a request's body; objects are merged one level deep."""
    if not extra:
        return body
    made = dict(body)
    for key, value in extra.items():
        both = isinstance(value, Mapping) and isinstance(made.get(key), Mapping)
        made[key] = {**made[key], **value} if both else value
    return made


# --- what is refused ------------------------------------------------------------------------------------------------


_REASON_CHARS = 300
_BOUNDS_OF_OPENAI = {
    "temperature": (0, 2),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "top_logprobs": (0, 20),
    "logit_bias": (-100, 100),
}
"""API reference, chat completions; a compatible server may take more."""
_INSIST = "leave it out, or give it in extra_body=, which is sent as it is"


def unsupported(model: str, error: Exception) -> OptionError:
    """The error for an unsupported parameter, in litellm's words, with a workaround."""
    return OptionError(f"{model}: {sentence(error)}; {_INSIST}")


def refused(litellm: Any, model: str, error: Exception) -> Refused:
    """The error for a request that litellm can't make; for a parameter, with a workaround."""
    if isinstance(error, litellm.UnsupportedParamsError):
        return Refused(str(unsupported(model, error)))
    return Refused(sentence(error))


_ADVICE = re.compile(r"\s*To (drop|send|use)\b[^.]*(litellm|allowed_openai_params).*", re.DOTALL)
"""Advice in litellm's errors for its callers, which users of this package can't follow."""


def sentence(error: Exception) -> str:
    """The first line of litellm's error, without its advice and names."""
    text = str(error).partition("\nReceived Messages=")[0].partition("\n")[0]
    text = _ADVICE.sub("", re.sub(r"^(litellm\.\w+: )+", "", text)).strip().rstrip(".")
    return text[:_REASON_CHARS] or type(error).__name__


def combination_refused(params: Mapping[str, Any], *, own: bool) -> str | None:
    """Why a combination is refused by everyone, or (own) by OpenAI itself (API reference, chat completions)."""
    if params.get("tool_choice") not in (None, "none") and not params.get("tools"):
        return "tool_choice has no meaning without tools: give tools=, or leave it out"
    if params.get("max_tokens") is not None and params.get("max_completion_tokens") is not None:
        return "max_tokens and max_completion_tokens say the same: give one of them"
    if not own:
        return None
    if params.get("top_logprobs") and not params.get("logprobs"):
        return "top_logprobs wants logprobs=True, too"
    if params.get("parallel_tool_calls") is not None and not params.get("tools"):
        return "parallel_tool_calls has no meaning without tools: give tools=, or leave it out"
    stops = params.get("stop")
    if isinstance(stops, list) and len(stops) > 4:  # noqa: PLR2004 - API reference: up to 4
        return f"stop: OpenAI takes up to 4 texts, and these are {len(stops)}"
    return _out_of_bounds(params)


def _out_of_bounds(params: Mapping[str, Any]) -> str | None:
    for name, (low, high) in _BOUNDS_OF_OPENAI.items():
        value = params.get(name)
        for one in value.values() if isinstance(value, Mapping) else [value]:
            if isinstance(one, int | float) and not low <= one <= high:
                return f"{name}: OpenAI takes {low} to {high}, and this is {one}"
    return None
