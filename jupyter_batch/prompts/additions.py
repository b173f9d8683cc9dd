"""Additions to a prompt: images and files of a row's cells, few-shot examples, cache markers.

Images go into the last user message. Files are read as their rows are rendered, some megabytes at a time. A cache
marker changes a request's cost but not its answer, so request hashes are computed without it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jupyter_batch.config.settings import Options
from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.core.media import TYPES, kind_of
from jupyter_batch.core.schema import Schema
from jupyter_batch.frames.frame import Block
from jupyter_batch.prompts.column_names import label_of
from jupyter_batch.prompts.dspy_module import Module
from jupyter_batch.prompts.embeddings import Embed
from jupyter_batch.prompts.few_shot import Shown, pairs_of
from jupyter_batch.prompts.media_files import Unreadable, bytes_of, is_several, pillow, weight
from jupyter_batch.prompts.prompt import Given, Prompt, prompt_of
from jupyter_batch.prompts.row_params import OWN_TOOLS
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.templates.values import RowError, raised
from jupyter_batch.wire.openai import EMBEDDINGS, RESPONSES, Hole

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
    """Split a block so that each piece's images fit into memory. prompt: has images (`weights`)."""
    at = {label: n for n, label in enumerate(columns)}
    sizes = prompt.weights([block.values[at[label]] for label in prompt.columns], block.rows)
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


def within(lines: list[bytes | RowError], most: int) -> list[bytes | RowError]:
    """The lines; one whose images make it too large for any batch file fails its row."""
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


def with_extras(
    form: Prompt, columns: Sequence[Any], prompt: Any, opts: Options, schema: Schema | None
) -> Prompt:
    """Return the prompt with the images and examples of the options.

    columns: of the frame. prompt: as given by the user. Raises InputError, OptionError,
    ColumnError.
    """
    if opts.image_size is not None:
        if opts.images is None:
            raise OptionError(
                "`image_size` says how large the pictures of `images` may be: name their column there"
            )
        pillow("image_size=")
    if isinstance(prompt, Module | Embed):
        name = "images" if opts.images is not None else "examples"
        raise OptionError(
            f"`{name}` is the prompt's own business here: a dspy module has it in its signature and "
            "its demos"
        )
    form = _with_images(form, columns, opts)
    if opts.examples is None:
        return form

    def over(labels: list[Any]) -> Prompt:
        """Return the prompt over the examples' rows, without the system message."""
        if isinstance(form, Given) or not labels:
            bare: Prompt = Given(None)
        else:
            bare = prompt_of(
                prompt, labels if callable(prompt) else columns, system=None, kind=opts.template
            )
        return _with_images(bare, labels, opts, of="examples=")

    return Shown(form, pairs_of(opts.examples, over, opts.out, opts.model, schema))


def _with_images(
    form: Prompt, columns: Sequence[Any], opts: Options, *, of: str = "the frame"
) -> Prompt:
    if opts.images is None:
        return form
    if isinstance(form, Given):
        raise InputError(
            "`images` names columns of a frame, and there is none: put the image parts into the messages, "
            'or make a frame: pd.DataFrame({"text": [...], "photo": [...]})'
        )
    named = opts.images
    several = isinstance(named, list) or (isinstance(named, tuple) and named not in columns)
    return Pictured(
        form,
        [label_of(name, columns, of=of) for name in (named if several else [named])],
        opts.image_size,
    )


WITH_TOOLS = "system_and_tools"
MARK = {"type": "ephemeral"}
"""Anthropic's `cache_control`, which litellm passes on."""

_ROLES = ("system", "developer")


def marks(provider: str, endpoint: str, cache: str | None) -> str | None:
    """The part to mark: `cache` where this provider requires markers, else None."""
    record = RECORDS.get(provider)
    marked = record is not None and record.cache_marks
    return cache if marked and endpoint not in (EMBEDDINGS, RESPONSES) else None


def marked_body(body: Mapping[str, Any], cache: str) -> dict[str, Any]:
    """Return a chat request's body with markers.

    Raises OptionError where there is nothing to mark.
    """
    made, messages, tools = dict(body), body["messages"], body.get("tools")
    tools = tools if cache == WITH_TOOLS else None
    if not isinstance(messages, Hole):
        made["messages"] = marked_messages(messages)
        if made["messages"] == list(messages) and not tools:
            raise OptionError(
                f'cache="{cache}": there is no system message to cache; give system=, or leave cache out'
            )
    if isinstance(tools, list):
        made["tools"] = _marked_tools(tools)
    return made


def _marked_tools(tools: list[Any]) -> list[Any]:
    return [*tools[:-1], {**tools[-1], "cache_control": MARK}]


def marked_messages(messages: Sequence[Any]) -> list[Any]:
    """Return the messages with the last system message marked, which caches everything up to it."""
    made = list(messages)
    places = [
        at
        for at, message in enumerate(made)
        if isinstance(message, Mapping) and message.get("role") in _ROLES
    ]
    if places and (content := _marked(made[places[-1]].get("content"))) is not None:
        made[places[-1]] = {**made[places[-1]], "content": content}
    return made


def _marked(content: Any) -> list[Any] | None:
    """Return a content with a marker at its end; None where it has no text."""
    if isinstance(content, Hole) or (isinstance(content, str) and content):
        return [{"type": "text", "text": content, "cache_control": MARK}]
    if isinstance(content, list) and content and isinstance(content[-1], Mapping):
        return [*content[:-1], {**content[-1], "cache_control": MARK}]
    return None


def marked_holes(holes: Mapping[str, Sequence[Any]], cache: str) -> Mapping[str, Sequence[Any]]:
    """Return the rows' own message lists (prompts without a template) and tools with markers."""
    marks = {
        "messages": marked_messages,
        **({OWN_TOOLS: _marked_tools} if cache == WITH_TOOLS else {}),
    }
    return {
        name: [marks[name](one) if isinstance(one, list) else one for one in values]
        if name in marks
        else values
        for name, values in holes.items()
    }
