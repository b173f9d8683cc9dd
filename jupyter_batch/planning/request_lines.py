"""Request lines of a frame: blocks of rows rendered, encoded and hashed, one block in memory.

frames.blocks -> prompt.holes -> encoder.encode -> request lines, in row order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from jupyter_batch.config.tool_definitions import names_of
from jupyter_batch.core.errors import InputError
from jupyter_batch.core.request import custom_ids
from jupyter_batch.frames import frame as frames
from jupyter_batch.frames.adapter import taken
from jupyter_batch.frames.canonical import whole_texts
from jupyter_batch.frames.hashing import BLAKE2B
from jupyter_batch.frames.row_keys import KnownRows
from jupyter_batch.frames.text_blocks import TextBlock, spans, text_blocks
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.ledger.folder import written
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.merging.rendered import Rendered
from jupyter_batch.notebook.progress import report
from jupyter_batch.planning.ask import Ask, record_of, route_of, scope_of
from jupyter_batch.planning.row_data import LeftOut, RowHashes, job_fingerprint
from jupyter_batch.process.memory import returned
from jupyter_batch.prompts.additions import in_pieces, marked_body, marked_holes, within
from jupyter_batch.prompts.prompt import Prompt, Written, calls_function
from jupyter_batch.prompts.row_params import OWN_TOOLS, RowParams, params_of
from jupyter_batch.row_files.request_files import Blocks, Lines
from jupyter_batch.row_files.row_columns import Unsent
from jupyter_batch.row_files.text_lines import TextLines
from jupyter_batch.templates.values import PLAIN, RowError
from jupyter_batch.wire.dialects import (
    OPENAI,
    encoder,
    is_mapped,
    may_be_mapped,
)
from jupyter_batch.wire.message_parts import all_in_chat_form
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS, RESPONSES, Hole

if TYPE_CHECKING:
    import pandas as pd

LEAST_ROWS = 1000
"""Of fewer rows each is made by itself, which costs less than a block of Arrow's."""


Record = Callable[[Sequence[Any], range, TextBlock | None, dict[int, str]], None]
"""Gets the columns read, rows once their lines were made, their texts, if they have nothing else, and why some
have no request."""


class RequestLines(Blocks):
    """The request lines of a frame, block by block, and the row data to store with the job.

    Set by the caller: digest, of the frame's rows in `columns`; known, rows without a line.
    hashing: the kind of hashes. kinds: others, in which requests are hashed as well. record: as
    `Record`, where lines are made of blocks. marks: request hashes. left_out: rows without a request.
    """

    def __init__(
        self,
        ask: Ask,
        frame: pd.DataFrame,
        job: str,
        asked_in: Path | None = None,
        hashing: str = BLAKE2B,
        kinds: Sequence[str] = (),
        record: Record | None = None,
    ) -> None:
        prompt: Prompt = ask.prompt
        params = params_of(ask.params)
        self._of_params = params.columns
        self._ask, self._frame, self._job, self._prompt = ask, frame, job, prompt
        self._needed = set(prompt.needed)  # a parameter without a value in a row is left out for it
        needed = [*prompt.needed, *self._of_params.values()]  # first: reported if missing
        self._reads = {*needed, *ask.models_from}
        self.columns = tuple(dict.fromkeys([*needed, *prompt.columns, *ask.models_from]))
        frames.used(frame, self.columns)
        asked = "input" if ask.endpoint == EMBEDDINGS else "messages"
        body = {"model": ask.body_model, asked: prompt.messages(), **params.body}
        sent = body if ask.cache is None else marked_body(body, ask.cache)
        route = route_of(ask)
        self._mapped = route is not None
        self._encoder = encoder(
            ask.dialect, ask.endpoint, sent, load_litellm, route=route, extra=params.extra
        )
        self._tools = names_of(body["tools"]) if "tools" in body else ()
        self._row_params = RowParams()
        # Hash unmapped requests: litellm's mapping may change with its version.
        translated = is_mapped(self._encoder)
        apart = bool(params.extra) and route is not None and route.as_given
        rows_own = isinstance(body.get("messages"), Hole)
        hashed = may_be_mapped(self._encoder) or apart or rows_own or sent is not body
        self._hashed = (
            encoder(OPENAI, CHAT, body, load_litellm, extra=params.extra) if hashed else None
        )
        self._asked_in = asked_in if translated and ask.endpoint != RESPONSES else None
        self._space = scope_of(ask)
        self._fingerprints = bytearray()
        self.digest = ""
        self.known: KnownRows | None = None
        self._samples = ask.samples
        requests = frames.row_count(frame) * ask.samples
        self.marks, *self._others = (
            RowHashes(kind, requests, ask.samples, apart=hashed) for kind in (hashing, *kinds)
        )
        self._record = record
        self.left_out = LeftOut(ask.samples)
        self._texts = self._text_lines()

    @property
    def hashing(self) -> str:
        """The kind of the hashes."""
        return self.marks.kind

    @property
    def hashes(self) -> bytearray:
        """The request hashes of the rows so far, 16 bytes a request; zeros where a row has none."""
        return self.marks.asked

    @property
    def is_plain(self) -> bool:
        """Whether each row makes one line, of its cells alone, that is hashed as it is sent."""
        return self._texts is not None and self._ask.na != "raise" and not self._tools

    def __iter__(self) -> Iterator[Lines]:
        if self.known is None:
            return self._of_rows() if self._texts is None else self._of_blocks()
        return self._of_unknown(self.known)

    def _of_unknown(self, known: KnownRows) -> Iterator[Lines]:
        """The lines of the other rows; the hashes of known rows are those that they had."""
        rows = known.others
        left = taken(self._frame, rows)
        some = RequestLines(self._ask, left, self._job, hashing=self.hashing)
        self.marks.asked = known.asks_with(some.hashes)
        for lines in some:
            found = lines.renumbered(rows, self._job)
            self.marks.array[found.positions] = some.marks.array[lines.positions]
            yield found
        self.marks.asked = known.asks_with(some.hashes)
        self._fingerprints = known.fingerprints_with(some._fingerprints)
        self.left_out = some.left_out.of_rows(rows)

    def _of_blocks(self) -> Iterator[Lines]:
        for rows, block in returned(text_blocks(self._frame, self.columns, self.hashing)):
            lines = None if block is None else self._of_texts(block)
            if lines is None:  # a missing cell, another type of value, a rare character
                yield from self._of_rows(rows)
            else:
                yield lines
            if self._record is not None:
                texts = None if lines is None else block
                self._record(self.columns, rows, texts, self.left_out.since(rows.start))

    def _text_lines(self) -> TextLines | None:
        """The encoder of blocks of texts, of which a line is a join; None where a row may need more."""
        ask, plain = self._ask, self._encoder.plain
        if type(ask.prompt) is not Written or frames.row_count(self._frame) < LEAST_ROWS:
            return None
        is_one = ask.samples == 1 and ask.cache is None and not ask.models_from
        texts = ask.prompt.pieces() if is_one and not self._of_params else None
        if plain is None or texts is None or self._hashed is not None or self._asked_in is not None:
            return None
        return TextLines.of_requests(
            self._job, plain.parts, [texts[hole] for hole in plain.order], spans
        )

    def _of_texts(self, block: TextBlock) -> Lines | None:
        """The lines of a block of texts; their hashes are recorded."""
        assert self._texts is not None  # noqa: S101 - the caller has it
        first = block.rows.start
        report(first, frames.row_count(self._frame))
        made = self._texts.encode(first, block.columns, block.escaped)
        if made is None:
            return None
        data, offsets, digits = made
        bodies, ends = (offsets[:-1] + self._before_body() + digits).tolist(), offsets[1:].tolist()
        for marks in (self.marks, *self._others):
            marks.add_block(first, data, bodies, ends)
        self._fingerprints += block.fingerprints
        return Lines(block.rows, data, offsets)

    def _of_rows(self, span: range | None = None) -> Iterator[Lines]:
        """The lines of these rows, or of all, made row by row."""
        pictured = hasattr(self._prompt, "weights")
        with contextlib.ExitStack() as stack:
            asked = None if self._asked_in is None else stack.enter_context(written(self._asked_in))
            for block in frames.blocks(self._frame, self.columns, span=span, hashing=self.hashing):
                report(block.start, frames.row_count(self._frame))
                self._fingerprints += b"".join(block.fingerprints)
                others = self._of_other_models(block)
                left_out = {
                    block.start + offset for offset in {*others, *self._leave_out(block, others)}
                }
                for piece in in_pieces(self._prompt, self.columns, block) if pictured else [block]:
                    ids, holes = self._holes(piece)
                    lines = self._encoder.encode(ids, self._sent_form(holes))
                    if pictured:
                        lines = within(lines, self._ask.limits.bytes)
                    hashed = lines if self._hashed is None else self._hashed.encode(ids, holes)
                    kept = self._kept(piece.start, lines, hashed, left_out, asked)
                    if kept:
                        yield Lines.of(*zip(*kept, strict=True))

    def _kept(
        self,
        start: int,
        lines: list[bytes | RowError],
        hashed: list[bytes | RowError],
        left_out: set[int],
        asked: BinaryIO | None,
    ) -> list[tuple[int, bytes]]:
        """A block's lines that can be sent, with their positions; their hashes are recorded.

        hashed: the lines to hash, the same for the same request in any job.
        """
        before, first = self._before_body(), start * self._samples
        if hashed is lines and not left_out and set(map(type, lines)) == {bytes}:  # all can be sent
            whole: list[Any] = lines
            bodies = [line[before + len(str(at)) :] for at, line in enumerate(whole, first)]
            self._hash(first, bodies)
            return list(enumerate(whole, first))
        kept = list[tuple[int, bytes]]()
        asks, sent = list[bytes | None](), list[bytes | None]()
        for position, (line, same) in enumerate(zip(lines, hashed, strict=True), first):
            body = as_sent = None
            if left_out and position // self._samples in left_out:
                pass
            elif isinstance(line, RowError):
                self.left_out.break_off(line.reason, position)
            elif isinstance(same, RowError):
                self.left_out.break_off(same.reason, position)
            else:
                body = same[before + len(str(position)) :]
                as_sent = line
                if asked is not None:
                    asked.write(same)
                kept.append((position, line))
            asks.append(body)
            sent.append(as_sent)
        self._hash(first, asks, [] if hashed is lines else sent)
        return kept

    def _hash(
        self, first: int, bodies: Sequence[bytes | None], sent: Sequence[bytes | None] = ()
    ) -> None:
        """Record the hashes of a block. sent: the lines as sent, where others are hashed."""
        for marks in (self.marks, *self._others):
            marks.add(first, bodies, sent)

    def _before_body(self) -> int:
        """The length of a hashed line before its body, without its position."""
        url = CHAT if self._hashed is not None else self._ask.endpoint
        return len(f'{{"custom_id":"{self._job}-","method":"POST","url":"{url}","body":')

    def _of_other_models(self, block: frames.Block) -> set[int]:
        """The rows that other jobs of the call have, where columns name the models or endpoints."""
        if not self._ask.models_from:
            return set()
        at = dict(zip(self.columns, block.values, strict=True))
        named = zip(*(at[label] for label in self._ask.models_from), strict=True)
        return {offset for offset, cells in enumerate(named) if cells not in self._ask.model_names}

    def _leave_out(self, block: frames.Block, others: set[int]) -> dict[int, Any]:
        missing = {
            offset: column
            for offset, column in block.missing.items()
            if column in self._needed and offset not in others
        }
        if self._ask.na == "send" or not missing:
            return {}
        if self._ask.na == "raise":
            offset, column = next(iter(missing.items()))
            raise InputError(
                f"row {block.start + offset} (counted from 0) has no value in column {column!r}, and "
                'na="raise"; na="skip" leaves such rows out, na="send" sends an empty text'
            )
        for offset, column in missing.items():
            first = (block.start + offset) * self._samples
            self.left_out.skip(frames.missing_reason(column), range(first, first + self._samples))
        return missing

    def _holes(self, block: frames.Block) -> tuple[list[str], dict[str, list[Any]]]:
        """(the ids of a block's requests, the texts for the placeholders of the body)."""
        at = dict(zip(self.columns, block.values, strict=True))
        plain = all(PLAIN.issuperset(map(type, cells)) for cells in at.values())
        with contextlib.nullcontext() if plain else whole_texts():
            holes = self._prompt.holes(
                block.start, [at[label] for label in self._prompt.columns], block.rows
            )
        for hole, column in self._of_params.items():
            holes[hole] = self._row_params.read(hole, at[column])
        n = self._samples
        ids = custom_ids(self._job, block.start * n, block.rows * n)
        if n > 1:
            holes = {
                name: [value for value in values for _ in range(n)]
                for name, values in holes.items()
            }
        return ids, holes

    def _sent_form(self, holes: dict[str, list[Any]]) -> Mapping[str, Sequence[Any]]:
        """The texts as sent; request hashes are of the messages as given."""
        if "messages" in holes:
            holes = {**holes, "messages": all_in_chat_form(holes["messages"])}
        return holes if self._ask.cache is None else marked_holes(holes, self._ask.cache)

    def record(self, now: float) -> JobRecord:
        """The job record, once all lines were read."""
        ask = self._ask
        return record_of(
            ask,
            self._job,
            now,
            fingerprint=job_fingerprint(ask, self._frame, self.hashes, self._fingerprints),
            space=self._space,
            hashing=self.hashing,
            columns=[str(label) for label in self._read_columns()],
            model_column=str(ask.models_from[0]) if ask.models_from else "",
            rows=frames.row_count(self._frame) * ask.samples,
            **self.left_out.counts(),
            mapped=self._mapped,
            headers=self._encoder.headers,
            tool_names=self._encoder.tool_names,
            tools=self._tools or self._row_params.tool_names,
            own_tools=OWN_TOOLS in self._of_params,
        )

    def _read_columns(self) -> tuple[Any, ...]:
        """The columns that identify a row: those used by the prompt."""
        return tuple(one for one in self.columns if one in {*self._reads, *self._prompt.read})

    def keys(self) -> frames.Keys:
        """The rows' keys, with the request hashes; rows left out have the hash of their reason."""
        left_out = [row for _, rows in self.left_out.by_reason() for row in rows]
        read, fingerprints = self._read_columns(), self._fingerprints
        if read != self.columns:  # a row function, whose columns are known only now
            fingerprints = self._printed(self.hashing, read)
        asks = self.marks.asked
        if left_out or self._samples > 1:
            asks = bytearray(self.marks.array[:: self._samples].tobytes())
            self.left_out.mark(asks)
        return frames.Keys.of(
            frames.row_labels(self._frame), fingerprints, left_out, asks, self.hashing
        )

    def rendered(self) -> Rendered:
        """The rendered frame, for aligning rows with the answers later."""
        keys = self.keys()
        columns = [str(label) for label in self._read_columns()]
        digest = self.digest if len(columns) == len(self.columns) else ""
        if not calls_function(self._prompt):
            return Rendered(columns, keys, digest=digest, again=self.keys_now)
        witness = frames.copied(self._frame) if keys.ambiguous.any() else None
        return Rendered(columns, keys, digest=digest, witness=witness)

    def keys_now(self, frame: pd.DataFrame, hashing: str) -> frames.Keys:
        """The keys of a frame's rows as rendered now, of this kind."""
        return self.again(frame, hashing).keys()

    def again(self, frame: pd.DataFrame | None, hashing: str) -> RequestLines:
        """The requests of a frame, or of this one, rendered for their hashes of this kind."""
        frame = self._frame if frame is None else frame
        lines = RequestLines(self._ask, frame, self._job, hashing=hashing)
        for _ in lines:
            pass
        return lines

    def in_kind(self, kind: str) -> RequestLines:
        """These requests with their hashes and fingerprints of another kind."""
        marks = next((one for one in self._others if one.kind == kind), None)
        if marks is None or self.known is not None:
            return self.again(None, kind)
        other: RequestLines = copy(self)
        other.marks, other._others, other._fingerprints = (
            marks,
            [],
            self._printed(kind, self.columns),
        )
        return other

    def _printed(self, kind: str, columns: Sequence[Any]) -> bytearray:
        """The rows' fingerprints of a kind."""
        blocks = frames.blocks(self._frame, columns, hashing=kind)
        return bytearray().join(b"".join(block.fingerprints) for block in blocks)

    def unsent(self) -> list[Unsent]:
        """The rows without a request, by reason."""
        return self.left_out.unsent()
