"""A table file (CSV, TSV, JSON lines, Parquet, Excel) whose rows are asked about, written again with more columns."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from jupyter_batch.core.errors import InputError
from jupyter_batch.frames.table_file import replacing, whole, write_parquet

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_OTHERS = ";\t|"
"""Separators of .csv files whose header has no comma."""
_BOM = b"\xef\xbb\xbf"
_LINES = (".jsonl", ".ndjson")
_EXCEL = (".xlsx", ".xls", ".ods")
ENDINGS = (*_SEPARATORS, *_LINES, ".parquet", *_EXCEL)


class ExtendedFile:
    """A file's rows. frame: to ask about and to fill. The cells that were there are written back as they were read.

    Cells of a text format are texts; a column whose numbers are written as Python writes them holds numbers.
    Raises InputError where the file can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._header, self._separator, self._encoding = dict[str, str](), "", "utf-8"
        read = self._reader(check_ending(path))
        try:
            self._source = read()
        except OSError as e:
            raise InputError(f"{path} can't be read: {e.strerror or e}") from e
        except UnicodeDecodeError as e:
            raise InputError(f"{path} is not in UTF-8 ({e}): save it in that encoding") from e
        except ImportError as e:
            raise InputError(f"{path} can't be read without another package: {e}") from e
        except (ValueError, KeyError, zipfile.BadZipFile) as e:  # no such format within
            raise InputError(f"{path} can't be read: {e}") from e
        self.frame = self._source.copy()
        for name in self.frame.columns if check_ending(path) in _SEPARATORS else ():
            self.frame[name] = _numbers(self.frame[name])
        self._before = self.frame.copy()

    def save(self, to: Path) -> None:
        """Write the rows with the columns that were filled, replacing a file as a whole. Raises InputError."""
        made = self._source.copy()
        for name in self.frame.columns:
            if name not in made.columns or not self.frame[name].equals(self._before[name]):
                made[name] = self.frame[name]
        ending = check_ending(to)
        with replacing(to) as part:
            if ending == ".parquet":
                write_parquet(made, part)
            elif ending in _LINES:
                there = set(self._source.columns) if self.path.suffix.lower() in _LINES else set()
                part.write_bytes(b"".join(_lines(made, there)))
            else:
                made = made.apply(
                    lambda cells: cells.map(whole) if cells.dtype == object else cells
                )
                self._write_cells(made, part, ending)

    def _write_cells(self, made: pd.DataFrame, part: Path, ending: str) -> None:
        if ending in _SEPARATORS:
            is_same = ending == self.path.suffix.lower()
            made.to_csv(
                part,
                sep=self._separator if is_same else _SEPARATORS[ending],
                header=[self._header.get(name, name) for name in made.columns],
                encoding=self._encoding,
                index=False,
            )
            return
        try:
            with part.open("wb") as file:
                made.to_excel(file, index=False)
        except ImportError as e:
            raise InputError(f"{ending} can't be written without another package: {e}") from e

    def _reader(self, ending: str) -> Callable[[], pd.DataFrame]:
        import pandas as pd

        if ending in _SEPARATORS:
            return lambda: self._separated(ending)
        if ending in _LINES:
            return lambda: pd.DataFrame(_objects(self.path), dtype=object)
        if ending == ".parquet":
            return lambda: pd.read_parquet(self.path)
        return lambda: pd.read_excel(self.path, dtype=object, keep_default_na=False, na_values=[""])

    def _separated(self, ending: str) -> pd.DataFrame:
        """The cells of a .csv or .tsv file as texts. Raises ValueError for rows longer than the header."""
        import pandas as pd

        with self.path.open("rb") as file:
            first = file.readline()
        self._encoding = "utf-8-sig" if first.startswith(_BOM) else "utf-8"
        self._separator = _SEPARATORS[ending]
        if ending == ".csv" and b"," not in first:
            self._separator = max("," + _OTHERS, key=lambda one: first.count(one.encode()))
        given: dict[str, Any] = {
            "sep": self._separator,
            "dtype": str,
            "keep_default_na": False,
            "encoding": "utf-8-sig",
        }
        found: pd.DataFrame = pd.read_csv(self.path, na_values=[""], **given)
        is_shifted = len(found) and not isinstance(found.index, pd.RangeIndex)
        if is_shifted:  # pandas takes the first cells for labels
            raise ValueError("rows have more cells than the header")
        header = pd.read_csv(self.path, header=None, nrows=1, **given).iloc[0]
        self._header = dict(zip(found.columns, header, strict=True))
        return found


def check_ending(path: Path) -> str:
    """The ending of a file that can be read and written. Raises InputError for another."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{path.name} ends in none of {', '.join(ENDINGS)}")
    return ending


def _numbers(cells: pd.Series[Any]) -> pd.Series[Any]:
    """A column of texts as numbers, where each text is how Python writes its number."""
    import pandas as pd

    there = cells.dropna()
    try:
        found = pd.to_numeric(there)
    except ValueError:
        return cells
    if not len(there) or found.dtype.kind not in "if" or (found.astype(str) != there).any():
        return cells
    return found.reindex(cells.index).astype("Int64" if found.dtype.kind == "i" else "Float64")


def _objects(path: Path) -> list[dict[str, Any]]:
    found = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            try:
                one = orjson.loads(line.removeprefix(_BOM))
            except orjson.JSONDecodeError as e:
                raise ValueError(f"line {number} is no JSON: {e.msg}") from None
            if not isinstance(one, dict):
                raise ValueError(f"line {number} is no JSON object")  # noqa: TRY004 - as orjson's error
            found.append(one)
    return found


def _lines(frame: pd.DataFrame, there: set[str]) -> list[bytes]:
    """The rows as JSON lines. there: the columns in which NaN, which JSON has not, is an absent key."""
    import pandas as pd

    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    names = list(map(str, frame.columns))
    return [
        orjson.dumps(
            {
                name: None if pd.api.types.is_scalar(cell) and pd.isna(cell) else cell
                for name, cell in zip(names, row, strict=True)
                if not (name in there and isinstance(cell, float) and pd.isna(cell))
            },
            option=option,
            default=str,
        )
        for row in frame.itertuples(index=False, name=None)
    ]
