"""Frames written to a file: .csv, .jsonl or .parquet."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_batch.core.errors import InputError
from jupyter_batch.core.request import ToolCalls

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".csv", ".jsonl", ".parquet")


def check_path(path: Path) -> None:
    """Raise InputError where a file of that name can't be written."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path.name} ends in none of {', '.join(ENDINGS)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"there is no folder {path.absolute().parent}")


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a file, replaced as a whole. Raises InputError where that is not possible."""
    with replacing(path) as part:
        _write(frame, part, path.suffix.lower())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of a new file that replaces `path` at the end. Raises InputError where that is not possible."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _write(frame: pd.DataFrame, path: Path, ending: str) -> None:
    """Write the frame with its index: as the first columns in .csv and .jsonl, as pandas' index in .parquet."""
    if ending == ".csv":
        for name in [name for name, kind in frame.dtypes.items() if kind == "object"]:
            frame[name] = frame[name].map(whole)  # pandas would abbreviate an array
        frame.to_csv(path)
    elif ending == ".jsonl":
        frame.reset_index().to_json(
            path, orient="records", lines=True, force_ascii=False, date_format="iso"
        )
    else:
        write_parquet(frame, path)


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write .parquet, with columns of mixed or nested values as JSON. Raises InputError without pyarrow."""
    objects: list[Any] = [name for name, kind in frame.dtypes.items() if kind == "object"]
    for name in objects:  # a tool call's arguments have no type in common
        frame[name] = frame[name].map(
            lambda cell: whole(cell) if isinstance(cell, ToolCalls) else cell
        )
    try:
        try:
            frame.to_parquet(path)
        except (ValueError, TypeError, NotImplementedError):  # mixed values in a column
            frame.assign(**{name: frame[name].map(whole) for name in objects}).to_parquet(path)
    except ImportError:
        raise InputError(".parquet needs pyarrow: pip install pyarrow") from None


def whole(cell: Any) -> Any:
    """A vector, list or dict as JSON, complete; any other cell unchanged."""
    import numpy as np
    import orjson

    if not isinstance(cell, np.ndarray | list | dict):
        return cell
    return orjson.dumps(cell, option=orjson.OPT_SERIALIZE_NUMPY, default=str).decode()
