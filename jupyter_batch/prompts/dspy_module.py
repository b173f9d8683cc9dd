"""A dspy module with one predictor as the prompt.

Its adapter writes the messages, and the stored schema parses the answers. dspy is taken from
sys.modules: a caller with a dspy object has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from jupyter_batch.config.options import EVERY
from jupyter_batch.core.errors import ColumnError, InputError, OptionError
from jupyter_batch.core.schema import Schema
from jupyter_batch.schema import read
from jupyter_batch.wire.openai import Hole

_OF_ITS_OWN = frozenset(
    {
        "cache",
        "cache_in_memory",
        "rollout_id",
        "num_retries",
        "timeout",
        "model_list",
        "callbacks",
        "api_key",
        "api_base",
        "base_url",
        "api_version",
        "n",
        "num_generations",
    }
)
"""Options of dspy's LM other than chat parameters, for calls and caching.

The address is read by name.
"""


def is_module(prompt: Any) -> bool:
    """Whether this is a dspy module, or a signature class."""
    dspy = sys.modules.get("dspy")
    if dspy is None:
        return False
    return isinstance(prompt, dspy.Module) or (
        isinstance(prompt, type) and issubclass(prompt, dspy.Signature)
    )


def frame_of(source: Any, prompt: Any) -> Any:
    """A frame of a list of dspy Examples, unchanged for any other source.

    Its columns are the module's inputs; for another prompt the Examples' own inputs, else all their fields.
    """
    dspy = sys.modules.get("dspy")
    if dspy is None or not isinstance(source, list | tuple) or not source:
        return source
    if not all(isinstance(one, dspy.Example) for one in source):
        return source
    import pandas as pd

    if is_module(prompt):
        names = list(_predictor(dspy, prompt).signature.input_fields)
    else:
        names = list(dict.fromkeys(name for one in source for name in _inputs(one)))
    return pd.DataFrame(
        {
            name: pd.Series([one.get(name) for one in source], dtype=object)
            for name in names
            if any(name in one for one in source)
        }
    )


def _inputs(example: Any) -> list[str]:
    """The names of an Example's inputs; all of its fields where none are marked."""
    try:
        return list(example.inputs().toDict())
    except ValueError:  # without with_inputs()
        return list(example.toDict())


class Module:
    """The prompt of a predictor: instructions, demos and inputs, as its adapter writes them."""

    def __init__(self, predictor: Any, adapter: Any) -> None:
        self._predictor = predictor
        self._adapter = adapter
        self.columns: tuple[Any, ...] = tuple(predictor.signature.input_fields)
        self.needed = self.read = self.columns
        self._head: list[Any] | None = None  # the messages common to all rows, once known
        self._alike = not any(map(_is_dspys, predictor.signature.input_fields.values()))

    def messages(self) -> Any:
        """One hole, as all messages come from the adapter."""
        return Hole("messages")

    def holes(
        self, start: int, columns: Sequence[Sequence[Any]], rows: int
    ) -> dict[str, list[Any]]:
        """Each row's messages by the adapter.

        Raises InputError with the row and the adapter's error.
        """
        del rows
        return {
            "messages": [
                self._one(start + n, row) for n, row in enumerate(zip(*columns, strict=True))
            ]
        }

    def _one(self, position: int, row: tuple[Any, ...]) -> Any:
        inputs = dict(
            zip(self.columns, ("" if cell is None else cell for cell in row), strict=True)
        )
        try:
            if self._head is not None:
                return [*self._head, self._last(inputs)]
            messages = self._adapter.format(
                self._predictor.signature, self._predictor.demos, inputs
            )
            if self._alike and messages[-1] == self._last(inputs):
                self._head = messages[:-1]
            return messages
        except Exception as e:
            raise InputError(
                f"dspy's {type(self._adapter).__name__} failed at row {position} (counted from 0): "
                f"{type(e).__name__}: {e}; nothing was sent"
            ) from e

    def _last(self, inputs: dict[str, Any]) -> Any:
        """The message with the row's inputs, the only one that differs by row."""
        content = self._adapter.format_user_message_content(
            self._predictor.signature, inputs, main_request=True
        )
        return {"role": "user", "content": content}


def _is_dspys(field: Any) -> bool:
    """Whether a field has a dspy type, such as an image or history, which changes the messages."""
    return "dspy" in str(getattr(field.annotation, "__module__", "")) or "dspy" in str(
        field.annotation
    )


def as_asked(
    prompt: Any, columns: Sequence[Any], given: Mapping[str, Any]
) -> tuple[Module, dict[str, Any]]:
    """(the prompt, the options) of a module: model, parameters and address of its LM, unless given.

    Raises InputError for several predictors, or for inputs that are no columns of the frame.
    """
    dspy: Any = sys.modules["dspy"]
    for name in ("schema", "system", "response_format", "tools"):
        if given.get(name) is not None:
            raise OptionError(f"`{name}` is the module's own business: say it in its signature")
    predictor = _predictor(dspy, prompt)
    gone = [name for name in predictor.signature.input_fields if name not in columns]
    if gone:
        raise ColumnError(
            f"the module's signature asks for the column {gone[0]!r}, which the frame has not. Columns: "
            f"{', '.join(map(str, columns[:20]))}"
        )
    lm = predictor.lm or dspy.settings.lm
    adapter = dspy.settings.adapter or dspy.ChatAdapter()
    options = {**_of_lm(lm), **_params(predictor.config, strict=True)}
    options |= {name: value for name, value in given.items() if value is not None}
    return Module(predictor, adapter), {**options, "schema": _schema(predictor.signature, adapter)}


def _predictor(dspy: Any, prompt: Any) -> Any:
    if isinstance(prompt, type):
        return dspy.Predict(prompt)
    if isinstance(prompt, dspy.ChainOfThought):
        return prompt.predict
    if isinstance(prompt, dspy.Predict):
        return prompt
    calls = len(prompt.predictors())
    raise InputError(
        f"a batch asks once for each row, and a {type(prompt).__name__} decides as it goes what it asks "
        f"({calls} predictor{'' if calls == 1 else 's'} in it): give a dspy.Predict or a "
        "dspy.ChainOfThought, such as one of its own predictors"
    )


def _of_lm(lm: Any) -> dict[str, Any]:
    """The model, address and parameters of dspy's LM; empty where none is configured."""
    if lm is None or not isinstance(getattr(lm, "model", None), str):
        return {}
    kept = dict(getattr(lm, "kwargs", {}))
    base = kept.get("api_base") or kept.get("base_url")
    found = {
        "model": lm.model,
        "api_base": base,
        "api_key": kept.get("api_key"),
        "api_version": kept.get("api_version"),
        **_params(kept, strict=False),
    }
    return {name: value for name, value in found.items() if value is not None}


def _params(given: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    """The chat parameters. strict: raise for any other that is not dspy's own."""
    unknown = sorted(set(given) - set(EVERY) - _OF_ITS_OWN)
    if unknown and strict:
        raise OptionError(
            f"the module is configured with {unknown[0]!r}, which is no chat parameter known here"
        )
    return {
        name: value
        for name, value in given.items()
        if name in EVERY and name not in _OF_ITS_OWN and value is not None
    }


def _schema(signature: Any, adapter: Any) -> Schema:
    """The schema of the output fields, with the adapter that parses them."""
    kind = type(adapter)
    if kind.__module__.partition(".")[0] != "dspy" or kind.__name__ == "TwoStepAdapter":
        raise OptionError(
            f"the adapter {kind.__name__} can't read the answers in another process, or asks more than "
            "once: take dspy.ChatAdapter, dspy.JSONAdapter or dspy.XMLAdapter"
        )
    outputs = {name: field.annotation for name, field in signature.output_fields.items()}
    for name, annotation in outputs.items():
        if _is_dspys(signature.output_fields[name]):
            raise OptionError(
                f"the output field {name!r} is {annotation!r}, which comes by other ways than the "
                "answer's text"
            )
    made = read(outputs)
    title = getattr(signature, "__name__", "") or made.name
    return msgspec.structs.replace(made, name=title, reader=f"{kind.__module__}:{kind.__name__}")
