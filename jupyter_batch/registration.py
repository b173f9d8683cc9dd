"""Registration of `df.llm` and `df.llm_batch` as soon as pandas is imported; light, since every import runs it."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    import pandas as pd

    from jupyter_batch.accessor import LLMAccessor

OURS = "llm_batch"
"""The accessor's name that is always ours; `llm` too, unless another package has registered it."""


def register() -> None:
    """Register the accessor, once pandas is imported. Idempotent."""
    if "pandas" in sys.modules:
        import pandas as pd  # waits, where another thread is in the middle of importing it

        _register_on(pd)
    elif not any(isinstance(finder, _AfterPandas) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterPandas())


def _register_on(pandas: ModuleType) -> None:
    for name in (OURS, "llm"):
        there = getattr(pandas.DataFrame, name, None)
        if there is None:
            pandas.api.extensions.register_dataframe_accessor(name)(_accessor)
        elif there is not _accessor and name not in _warned:
            _warned.add(name)
            owner = getattr(there, "__module__", None) or type(there).__module__
            warnings.warn(
                f"df.{name} belongs to {owner}: LLM batches are at df.{OURS} here", stacklevel=2
            )


class _Accessor:
    """The class LLMAccessor, imported on first use."""

    def __call__(self, frame: pd.DataFrame) -> LLMAccessor:
        return _imported()(frame)

    def __getattr__(self, name: str) -> Any:
        return getattr(_imported(), name)


def _imported() -> type[LLMAccessor]:
    from jupyter_batch.accessor import LLMAccessor

    return LLMAccessor


_accessor = _Accessor()
_warned: set[str] = set()  # names that were warned about: each once


class _AfterPandas:
    """Finder that registers the accessor once pandas is imported; any other import passes."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if name != "pandas":
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(self)
        spec = find_spec(name)
        loader = spec.loader if spec is not None else None
        if loader is not None:
            run = loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                run(module)
                _register_on(module)

            loader.exec_module = run_and_register  # type: ignore[method-assign]  # for this one loader object
        return spec
