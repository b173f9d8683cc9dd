"""Expansion of short prompt forms, signature texts and dspy modules, to a prompt and options."""

from __future__ import annotations

from typing import Any

from jupyter_batch.core.errors import InputError
from jupyter_batch.frames.adapter import is_frame
from jupyter_batch.prompts import dspy_module, signature


def spelled_out(source: Any, prompt: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(the prompt, the options), unchanged for any other prompt. Raises InputError."""
    columns = getattr(source, "columns", None) if is_frame(source) else None
    columns = columns if hasattr(columns, "tolist") else None
    if dspy_module.is_module(prompt):
        if columns is None:
            raise InputError(
                "a dspy module takes its inputs from a frame's columns, or from dspy Examples: "
                "pd.DataFrame({...}).llm.batch(module), or jupyter_batch.batch(examples, module)"
            )
        return dspy_module.as_asked(prompt, columns.tolist(), given)
    if isinstance(prompt, str) and columns is not None:
        return signature.as_asked(prompt, columns.tolist(), given) or (prompt, given)
    return prompt, given
