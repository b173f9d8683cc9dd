"""The providers: a folder of this package for each, and entry points `jupyter_batch.providers`.

An entry point's object is a Record, or several.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

from jupyter_batch.providers.record import Record

FOLDERS = (
    "openai",
    "azure",
    "compatible",
    "local",
    "anthropic",
    "xai",
    "mistral",
    "vertex",
    "bedrock",
    "gemini",
    "groq",
    "together_ai",
    "deepinfra",
    "dashscope",
    "moonshot",
    "siliconflow",
    "fireworks_ai",
    "openrouter",
    "realtime_only",
)
"""In the order of the table."""
GROUP = "jupyter_batch.providers"
"""The group of entry points."""


class Registry(Mapping[str, Record]):
    """The records by name. Entry points are loaded when a name is not ours, or all are listed."""

    @cached_property
    def _ours(self) -> dict[str, Record]:
        modules = [importlib.import_module(f"{__package__}.{folder}.record") for folder in FOLDERS]
        return {record.name: record for module in modules for record in module.RECORDS}

    @cached_property
    def _all(self) -> dict[str, Record]:
        found = dict(self._ours)
        for point in entry_points(group=GROUP):
            try:
                loaded = point.load()
                records = (loaded,) if isinstance(loaded, Record) else tuple(loaded)
                _check(records, found)
            except Exception as e:
                warnings.warn(
                    f"the provider {point.name!r} ({point.value}) can't be used: {e or type(e).__name__}; "
                    "update or uninstall its package",
                    stacklevel=2,
                )
            else:
                found.update((record.name, record) for record in records)
        return found

    def __getitem__(self, name: str) -> Record:
        return self._ours[name] if name in self._ours else self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def _check(records: Iterable[Any], known: Mapping[str, Record]) -> None:
    for record in records:
        if not isinstance(record, Record):
            raise TypeError(f"expected a Record, got {type(record).__name__}")
        if record.name in known:
            raise ValueError(f"there is a provider {record.name!r} already")


RECORDS: Mapping[str, Record] = Registry()
"""Every provider that is known, by name, in the order of the table."""


def record_of(provider: str) -> Record | None:
    """A provider's record; None for one that is known to litellm alone."""
    return RECORDS.get(provider)


def is_embedded(provider: str) -> bool:
    """Whether a provider's models are served by the embedded server."""
    record = RECORDS.get(provider)
    return record is not None and record.embedded


def is_cloud(provider: str) -> bool:
    """Whether a provider has settings of a cloud in place of a key and an address."""
    record = RECORDS.get(provider)
    return record is not None and bool(record.settings)


def load(name: str) -> Any:
    """Import what a field of a record names."""
    return pkgutil.resolve_name(name)
