"""Media cells: the bytes of an image or a file, resized where requested.

Pillow is needed for resizing, for Pillow's own images, and for arrays.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import io
import os
import stat
import sys
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.media import kind_of, pixels_of
from jupyter_batch.frames.cells import is_picture, is_pixels, own_picture

MOST_BYTES = 200_000_000
"""Of one file, as large as OpenAI's whole batch file; no provider accepts a larger image or PDF."""
QUALITY = 90
"""Of resized JPEG and WebP images, out of 100."""

_BASE64 = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "JVBERi0")
"""The beginnings of PNG, JPEG, GIF, WebP and PDF in base64."""
_SHOWN = 200


class Unreadable(Exception):  # noqa: N818 - it never leaves the engine: it becomes a row's reason
    """The reason why a cell can't be sent, as a sentence."""


def pillow(why: str) -> Any:
    """Return Pillow's `Image` module; raise OptionError with the install command. why: its use."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError:
        raise OptionError(f"{why} needs Pillow: pip install pillow") from None


def is_several(cell: Any) -> bool:
    """Whether this is an array of cells, which parquet returns for a list."""
    return isinstance(cell, np.ndarray) and cell.dtype.kind in "OU"


def weight(cell: Any) -> int:
    """The approximate number of bytes of a cell's images, before any is read."""
    if isinstance(cell, list | tuple):
        return sum(map(weight, cell))
    if isinstance(cell, Mapping):
        return weight(cell.get("bytes") or cell.get("path"))
    if isinstance(cell, bytes | bytearray | memoryview):
        return len(cell)
    if is_picture(cell):
        return int(cell.width * cell.height * 4)
    if isinstance(cell, np.ndarray):
        return weight(cell.tolist()) if is_several(cell) else int(cell.nbytes)
    if isinstance(cell, str) and (len(cell) > _SHOWN * 10 or cell.startswith(("data:", "http"))):
        return len(cell)
    try:
        return _path(cell).stat().st_size if isinstance(cell, str | os.PathLike) else 0
    except (OSError, ValueError):
        return 0


def bytes_of(cell: Any, longest: int | None) -> tuple[bytes, str]:
    """(a file's bytes, its name or ""). longest: maximum pixels of an image's longer edge.

    Raises Unreadable, and OptionError where Pillow is needed and not installed.
    """
    if is_picture(cell):
        return _of_picture(cell, longest), ""
    if is_pixels(cell):
        squeezed = cell[:, :, 0] if cell.shape[2:] == (1,) else cell
        return _of_picture(pillow("a picture that is an array").fromarray(squeezed), longest), ""
    data, name = _read(cell)
    if longest is None or not data or kind_of(data) == "pdf":
        return data, name
    return _shrunk(data, longest, name), name


def _read(cell: Any) -> tuple[bytes, str]:
    if (
        isinstance(cell, Mapping) and {"bytes", "path"} & cell.keys()
    ):  # the format of images in parquet datasets
        held = cell.get("bytes")
        return (bytes(held), _name(cell.get("path"))) if held else _read(cell.get("path"))
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell), ""
    if isinstance(cell, str):
        return _of_text(cell)
    if isinstance(cell, os.PathLike):
        return _of_file(cell)
    if cell is None:
        raise Unreadable("a picture among others in the cell is missing")
    if isinstance(cell, np.ndarray):
        raise Unreadable(
            f"an array of {cell.dtype} of shape {cell.shape} is no picture: it is uint8 of shape "
            "(height, width), or (height, width, 3 or 4)"
        )
    raise Unreadable(
        f"a {type(cell).__name__} is no picture: give an address, a path, bytes, or a picture of Pillow's"
    )


def _of_text(text: str) -> tuple[bytes, str]:
    if not text.strip():
        raise Unreadable("an empty text is no picture")
    if text[:5].lower() == "data:":
        return _of_data_url(text), ""
    if text.startswith(_BASE64) and len(text) > _SHOWN:
        try:
            return base64.b64decode(text, validate=True), ""
        except binascii.Error:
            pass  # a path with the same beginning
    scheme, marks, _ = text.partition("://")
    if marks and scheme.isalnum() and scheme.lower() != "file":
        raise Unreadable(
            f"{text[:_SHOWN]}: what lies at {scheme}:// can't be sent: give an https:// address, or the "
            "file"
        )
    return _of_file(text)


def _of_data_url(text: str) -> bytes:
    head, comma, rest = text.partition(",")
    try:
        if head.endswith(";base64"):
            return base64.b64decode("".join(urllib.parse.unquote(rest).split()), validate=True)
    except binascii.Error:
        comma = ""
    if not comma:
        raise Unreadable(f"{text[:40]}...: this data: address is damaged")
    return urllib.parse.unquote_to_bytes(rest)


def _path(cell: Any) -> Path:
    text = os.fspath(cell)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if text[:7].lower() == "file://":
        text = urllib.request.url2pathname(urllib.parse.urlsplit(text).path)
    return Path(text).expanduser()


def _name(path: Any) -> str:
    return os.path.basename(str(path)) if path else ""  # noqa: PTH119 - it may be another system's path


def _of_file(cell: Any) -> tuple[bytes, str]:
    shown = str(cell)[:_SHOWN]
    try:
        path = _path(cell)
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable(f"{shown} is no file")
        if found.st_size > MOST_BYTES:
            raise Unreadable(
                f"{shown} has {found.st_size:,} bytes, and at the most {MOST_BYTES:,} can be sent"
            )
        return path.read_bytes(), path.name
    except FileNotFoundError:
        where = "" if Path(str(cell)).expanduser().is_absolute() else f" (in {Path.cwd()})"
        raise Unreadable(f"no such file: {shown}{where}") from None
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as e:  # RuntimeError: a ~ of an unknown user; ValueError: a zero byte
        raise Unreadable(f"{shown} can't be read: {getattr(e, 'strerror', None) or e}") from None


def _shrunk(data: bytes, longest: int, name: str) -> bytes:
    """Resize an image; one that is small enough is unchanged, byte for byte.

    An image in another format becomes a PNG.
    """
    image = pillow("image_size=")
    known, size = kind_of(data), pixels_of(data)
    if known and size and max(size) <= longest:
        return data
    try:
        with image.open(io.BytesIO(data)) as picture:
            return _encoded(picture, picture.format, longest)
    except Exception as e:  # Pillow's decoders raise many kinds
        if known is None:
            return data  # a file that is no image
        raise Unreadable(f"{name or 'a picture'} can't be made smaller: {e}") from None


def _of_picture(cell: Any, longest: int | None) -> bytes:
    try:
        with own_picture(cell) as own:
            return _encoded(own, cell.format, longest)
    except Exception as e:  # a missing file, a mode that can't be written
        raise Unreadable(f"a picture can't be read: {type(e).__name__}: {e}") from None


def _encoded(picture: Any, form: str | None, longest: int | None) -> bytes:
    """Encode JPEG and WebP in their format, others as PNG; rotated by the EXIF orientation."""
    operations = importlib.import_module("PIL.ImageOps")
    if picture.mode.startswith("I"):  # 16 bits, which Pillow neither resizes nor writes as JPEG
        picture = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    clear = "transparency" in picture.info or picture.mode in ("LA", "RGBA", "PA", "La", "RGBa")
    if longest is not None and max(picture.size) > longest:
        if picture.mode in ("P", "PA", "1"):
            picture = picture.convert("RGBA" if clear else "RGB")
        picture.thumbnail((longest, longest), sys.modules["PIL.Image"].Resampling.LANCZOS)
    picture = operations.exif_transpose(picture)
    form = {"JPEG": "JPEG", "MPO": "JPEG", "WEBP": "WEBP"}.get(form or "", "PNG")
    if picture.mode not in (
        {"L", "RGB"} if form == "JPEG" else {"1", "L", "LA", "P", "RGB", "RGBA"}
    ):
        picture = picture.convert("RGBA" if clear and form != "JPEG" else "RGB")
    held = io.BytesIO()
    picture.save(held, form, **({} if form == "PNG" else {"quality": QUALITY}))
    return held.getvalue()
