"""Registration of `df.llm` and `df.llm_batch` as soon as pandas or polars is imported; light: every import runs it."""

from __future__ import annotations

import importlib
import sys
import warnings

TYPE_CHECKING = False  # of `typing`, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    import pandas as pd

    from jupyter_batch.accessor import LLMAccessor

OURS = "llm_batch"
"""The accessor's name that is always ours; `llm` too, unless another package has registered it."""


def register() -> None:
    """Register the accessor with each library, once it is imported. Idempotent."""
    for library, register_on in _LIBRARIES.items():
        if library in sys.modules:
            # waits, where another thread is in the middle of importing it
            register_on(importlib.import_module(library))
        elif not any(getattr(finder, "library", "") == library for finder in sys.meta_path):
            sys.meta_path.insert(0, _AfterImport(library))


def _on_pandas(pandas: ModuleType) -> None:
    _register_on(pandas.DataFrame, pandas.api.extensions.register_dataframe_accessor)


def _on_polars(polars: ModuleType) -> None:
    _register_on(polars.DataFrame, polars.api.register_dataframe_namespace)
    _register_on(polars.LazyFrame, polars.api.register_lazyframe_namespace)  # which is refused


def _on_dask(frames: ModuleType) -> None:
    _register_on(frames.DataFrame, frames.extensions.register_dataframe_accessor)  # refused, too


_LIBRARIES = {"pandas": _on_pandas, "polars": _on_polars, "dask.dataframe": _on_dask}


def _register_on(kind: type, register_as: Callable[[str], Callable[[Any], object]]) -> None:
    for name in (OURS, "llm"):
        there = getattr(kind, name, None)
        if there is None:
            register_as(name)(_accessor)
        elif there is not _accessor and (kind, name) not in _warned:
            _warned.add((kind, name))
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
_warned: set[tuple[type, str]] = set()  # names that were warned about: each once


class _AfterImport:
    """Finder that registers the accessor once the library is imported; any other import passes."""

    def __init__(self, library: str) -> None:
        self.library = library

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.library:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((one for one in found if one is not None), None)
        loader = spec.loader if spec is not None else None
        if loader is not None:  # a spec may be asked for without an import
            run = loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                run(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _LIBRARIES[self.library](module)

            loader.exec_module = run_and_register  # type: ignore[method-assign]  # for this one loader object
        return spec
