"""Message parts for images and files in a row's cells: read, checked, and resized on request.

Added to the last user message. Files are read as their rows are rendered, some megabytes at a time.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.core.media import TYPES, kind_of
from jupyter_batch.frames.frame import Block
from jupyter_batch.prompts.media_files import Unreadable, bytes_of, is_several, weight
from jupyter_batch.templates.values import RowError, raised
from jupyter_batch.wire.openai import Hole

PIECE_BYTES = 1 << 23
"""Maximum bytes of images in memory at a time, over all rows; a single row may have more."""
ADDRESSES = ("http://", "https://", "gs://")
_READERS = 8


class Pictured:
    """A prompt with images from these columns after the text of the last user message. A Prompt."""

    def __init__(self, inner: Any, labels: Sequence[Any], longest: int | None) -> None:
        """longest: maximum pixels of an image's longer edge.

        Raises OptionError where no message can have images.
        """
        self._inner = inner
        self._labels = tuple(labels)
        self._longest = longest
        self.columns: tuple[Any, ...] = tuple(dict.fromkeys([*inner.columns, *labels]))
        self.needed: tuple[Any, ...] = tuple(dict.fromkeys([*inner.needed, *labels]))
        asked = inner.messages()
        self._whole = isinstance(asked, Hole)
        if self._whole:
            self._hole = asked.name
            return
        users = [one["content"] for one in asked if one["role"] == "user"]
        if not users:
            raise OptionError("`images` go into the last user message, and the prompt has none")
        self._hole = users[-1].name

    @property
    def read(self) -> tuple[Any, ...]:
        """The columns of the prompt itself, and of the images."""
        return tuple(dict.fromkeys([*self._inner.read, *self._labels]))

    def messages(self) -> Any:
        """As without images: a content's hole takes parts as well as a text."""
        return self._inner.messages()

    def weights(self, columns: Sequence[Sequence[Any]], rows: int) -> list[int]:
        """The approximate bytes of each row's images, before they are read."""
        at = [self.columns.index(label) for label in self._labels]
        return [sum(weight(columns[n][row]) for n in at) for row in range(rows)]

    def holes(
        self, start: int, columns: Sequence[Sequence[Any]], rows: int
    ) -> dict[str, list[Any]]:
        """The prompt's values with each row's parts, or the reason why an image can't be sent."""
        at = {label: n for n, label in enumerate(self.columns)}
        made: dict[str, list[Any]] = self._inner.holes(
            start, [columns[at[c]] for c in self._inner.columns], rows
        )
        cells = [[columns[at[label]][row] for label in self._labels] for row in range(rows)]
        if rows > 1:  # read and decode in parallel
            with ThreadPoolExecutor(_READERS, thread_name_prefix="jupyter-batch-images") as pool:
                parts = list(pool.map(self._parts, cells))
        else:
            parts = list(map(self._parts, cells))
        return {
            **made,
            self._hole: [
                self._put(messages, more)
                for messages, more in zip(made[self._hole], parts, strict=True)
            ],
        }

    def _parts(self, cells: Sequence[Any]) -> list[dict[str, Any]] | RowError:
        try:
            return [part_of(one, self._longest) for cell in cells for one in _each(cell)]
        except Unreadable as e:
            return RowError(str(e))
        except InputError:
            raise
        except Exception as e:  # a value's own methods may raise anything
            return RowError(f"a picture can't be read: {raised(e)}")

    def _put(self, messages: Any, parts: list[dict[str, Any]] | RowError) -> Any:
        if isinstance(messages, RowError) or parts == []:
            return messages
        if isinstance(parts, RowError):
            return parts
        if not self._whole:
            return [*_text_parts(messages), *parts]
        users = [n for n, message in enumerate(messages) if message["role"] == "user"]
        if not users:
            return RowError("the images go into the last user message, and there is none")
        last = messages[users[-1]]
        return [
            *messages[: users[-1]],
            {**last, "content": [*_text_parts(last["content"]), *parts]},
            *messages[users[-1] + 1 :],
        ]


def in_pieces(prompt: Any, columns: Sequence[Any], block: Block) -> Iterator[Block]:
    """Split a block so that each piece's images fit into memory; unchanged without images."""
    weights = getattr(prompt, "weights", None)
    if weights is None:
        yield block
        return
    at = {label: n for n, label in enumerate(columns)}
    sizes = weights([block.values[at[label]] for label in prompt.columns], block.rows)
    start = held = 0
    for row, size in enumerate([*sizes, PIECE_BYTES + 1]):
        if row > start and held + size > PIECE_BYTES:
            yield Block(
                block.start + start,
                [cells[start:row] for cells in block.values],
                {},
                block.fingerprints[start:row],
            )
            start, held = row, 0
        held += size


def within(prompt: Any, lines: list[bytes | RowError], most: int) -> list[bytes | RowError]:
    """The lines; one whose images make it too large for any batch file fails its row."""
    if not hasattr(prompt, "weights"):
        return lines
    return [
        line
        if isinstance(line, RowError) or len(line) <= most
        else RowError(
            f"the request has {len(line):,} bytes, and a batch file may hold {most:,}: image_size= makes pictures smaller"  # noqa: E501
        )
        for line in lines
    ]


def _each(cell: Any) -> Sequence[Any]:
    """The images in a cell: none, one, or a list of them."""
    if cell is None:
        return []
    if is_several(cell):
        cell = cell.tolist()
    return cell if isinstance(cell, list | tuple) else [cell]


def _text_parts(content: Any) -> list[Any]:
    """A content as parts; providers reject an empty text."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content or [])


def part_of(cell: Any, longest: int | None) -> dict[str, Any]:
    """The message part for one image or file. Raises Unreadable with the reason."""
    if isinstance(cell, str) and cell.startswith(ADDRESSES):
        if cell.partition("?")[0].lower().endswith(".pdf"):
            raise Unreadable(
                f"{cell[:200]}: a PDF can't be sent by its address; give a path, or its bytes"
            )
        return {"type": "image_url", "image_url": {"url": cell}}
    data, name = bytes_of(cell, longest)
    kind = kind_of(data)
    if kind == "pdf":
        return {
            "type": "file",
            "file": {"filename": name or "document.pdf", "file_data": _url(data, kind)},
        }
    if kind is None:
        what = f"{name} is" if name else "a cell holds" if data else "a picture is"
        hint = (
            ""
            if longest is not None
            else "; image_size= makes a PNG of other pictures, with Pillow"
        )
        raise Unreadable(
            f"{what} no PNG, JPEG, GIF or WebP picture and no PDF{hint}"
            if data
            else f"{what} empty"
        )
    return {"type": "image_url", "image_url": {"url": _url(data, kind)}}


def _url(data: bytes, kind: str) -> str:
    return f"data:{TYPES[kind]};base64,{base64.b64encode(data).decode()}"
