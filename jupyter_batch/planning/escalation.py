"""Request lines of a retry at another model, or with an answer's error in the conversation.

They are made from the lines as the user gave them, in OpenAI's dialect, and translated as any request
of the model that is asked now.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import numpy as np
import orjson

from jupyter_batch.config.options import CHAT_PARAMS
from jupyter_batch.core.cost import Price
from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.request import Limits, custom_id
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.ledger.folder import JobFolder, written
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.planning.ask import route_of
from jupyter_batch.planning.resent_lines import Changed, line_hash
from jupyter_batch.row_files.line_index import look_elsewhere, requests_of
from jupyter_batch.row_files.row_columns import changed_of, sent_hashes
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.dialects import OPENAI, encoder
from jupyter_batch.wire.openai import EMBEDDINGS, RESPONSES, Hole

if TYPE_CHECKING:
    from jupyter_batch.results.outcomes import Outcomes
    from jupyter_batch.row_files.request_hashes import Array

_KNOWN = frozenset({"model", "messages", "tools", "tool_choice"}) | {
    option.name for option in CHAT_PARAMS
}
AGAIN = (
    "This answer can't be used: {error}\n"
    "Answer once more, completely, in the form that was asked for, without this error."
)
"""The message that follows an answer that does not fit the schema."""


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """The model of a retry, and its place: fields of the job's record. limits: of a batch there."""

    model: str
    provider: str
    dialect: str
    endpoint: str
    body_model: str
    mode: str
    api_base: str | None
    api_version: str | None
    cloud: dict[str, str]
    keyless: bool
    place: str | None
    space: str
    price: Price | None
    limits: Limits
    rush_to: str = "realtime"

    def moved(self, job: JobRecord) -> JobRecord:
        """The record of a job there."""
        fields = msgspec.structs.asdict(self)
        del fields["limits"], fields["place"]
        _, dot, schema = job.space.partition(".")
        fields["space"] += f"{dot}{schema}"
        return msgspec.structs.replace(
            job, **fields, mapped=True, called="", headers={}, tool_names={}
        )


def check_chat(*jobs: JobRecord) -> None:
    """Raise OptionError where a job's requests can't go to another model."""
    for job in jobs:
        if job.endpoint in (EMBEDDINGS, RESPONSES):
            raise OptionError(
                f"retry: {job.model} is asked at {job.endpoint}; only chat requests can go to another model, or be "
                "asked again with their error; a retry without model= and invalid= sends all failed rows again"
            )


class EscalatedLines:
    """The requests of the job `was` for another model, or with their errors, in row order.

    job: the job that sends them. misfits: where it is asked again with the error: the outcomes of the answers.
    sent, gone, changed, headers: as of ChangedLines. Raises OptionError where the model takes no such requests.
    """

    def __init__(
        self,
        ledger: Ledger,
        was: JobRecord,
        job: JobRecord,
        wanted: Array,
        params: Mapping[str, Any],
        misfits: Outcomes | None,
    ) -> None:
        check_chat(was, job)
        folder = ledger.folders.of(was.id)
        self._was, self._job, self._wanted = was, job, wanted
        self._misfits = misfits
        self._params = Changed(was, OPENAI, params, given=True) if params else None
        self._translates = was.model != job.model or job.dialect != OPENAI or folder.asked.exists()
        self._encoders: dict[bytes, Any] = {}
        self._asked: BinaryIO | None = None
        self.headers: dict[str, str] = dict(job.headers)
        self.tool_names: dict[str, str] = dict(job.tool_names)
        self.sent = np.zeros(was.rows, dtype=bool)
        self.gone = np.zeros(was.rows, dtype=bool)
        known, changed = sent_hashes(was, folder), changed_of(was, folder)
        blank: Array = np.zeros((was.rows, 2), dtype=np.uint64)
        self.changed = blank if changed is None else changed.copy()
        self._held = requests_of(ledger, was, wanted, OPENAI, given=True)
        hashes = blank if known is None else known
        look_elsewhere(self._held, ledger, was, hashes, wanted, OPENAI, given=True)

    @contextlib.contextmanager
    def writing(self, draft: JobFolder) -> Iterator[None]:
        """Write the lines in the user's form into the draft, where they differ, as they are read."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._held.close)
            if self._translates:
                self._asked = stack.enter_context(written(draft.asked))
            yield

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for row in np.flatnonzero(self._wanted).tolist():
            if row not in self._held:
                self.gone[row] = True
                continue
            line = self._given(row)
            self.changed[row] = np.frombuffer(self._hash(line, row), "<u8")
            self.sent[row] = True
            if self._asked is not None:
                self._asked.write(line)
                line = self._translated(line, row)
            yield row, line

    def _hash(self, line: bytes, row: int) -> bytes:
        return line_hash(line, self._was.hashing, row % self._was.samples)

    def _given(self, row: int) -> bytes:
        """The new request of a row in the user's form."""
        line = self._held.line(row)
        ours = custom_id(self._job.id, row)
        if self._params is not None:
            line = self._params.line(line, ours)
        data = orjson.loads(line)
        data["custom_id"], data["url"] = ours, self._job.endpoint
        data["body"]["model"] = self._job.body_model
        answer = None if self._misfits is None else self._misfits.raws.get(row)
        if self._misfits is not None and answer is not None:
            data["body"]["messages"] += [
                {"role": "assistant", "content": answer},
                {"role": "user", "content": AGAIN.format(error=self._misfits.reasons[row])},
            ]
        return orjson.dumps(data) + b"\n"

    def _translated(self, line: bytes, row: int) -> bytes:
        data = orjson.loads(line)
        rest = data["body"]
        messages = rest.pop("messages")
        key = orjson.dumps(rest)
        if key not in self._encoders:
            self._encoders[key] = encoder(
                self._job.dialect,
                self._job.endpoint,
                {
                    **{name: value for name, value in rest.items() if name in _KNOWN},
                    "messages": Hole("messages"),
                },
                load_litellm,
                route=route_of(self._job),
                extra={name: value for name, value in rest.items() if name not in _KNOWN},
            )
        made = self._encoders[key]
        (new,) = made.encode([data["custom_id"]], {"messages": [messages]})
        if isinstance(new, RowError):
            raise OptionError(f"retry: row {row} (counted from 0): {new.reason}")
        self.headers |= made.headers
        self.tool_names |= made.tool_names
        return bytes(new)
