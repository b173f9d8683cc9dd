"""A provider for tests and dry runs that answers from a function, in memory. No network, no clock.

It uses the same wire format as the others, request lines in and result lines out, so tests with it
use the real code path.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import NotFoundError, ProviderError
from jupyter_batch.core.request import Limits
from jupyter_batch.core.status import State
from jupyter_batch.providers.protocol import Facts, is_of

FACTS = Facts(
    name="scripted", dialect="openai", key="", limits=Limits(requests=50_000, bytes=200_000_000)
)


class Scripted:
    """Answers each request with `answer(body)`; its exception becomes the row's error line.

    polls: the number of polls after which a batch ends. ending: its final state. asked: counts of
    calls by method. faults: by method, the exceptions of the next calls (None: none), raised before
    they take effect; `after`: the same, after they do.
    """

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], Any],
        *,
        polls: int = 1,
        ending: State = State.COMPLETED,
        facts: Facts = FACTS,
    ) -> None:
        self.facts = facts
        self.asked: Counter[str] = Counter()
        self.faults: dict[str, list[ProviderError | None]] = {}
        self.after: dict[str, list[ProviderError | None]] = {}
        self.batches: dict[str, BatchView] = {}
        self.files: dict[str, bytes] = {}
        self.ending = ending
        self._answer = answer
        self._polls = polls
        self._polled: Counter[str] = Counter()
        self._ids = itertools.count(1)

    def _begin(self, verb: str) -> None:
        self.asked[verb] += 1
        _raise_next(self.faults, verb)

    async def submit(
        self,
        requests: Path,
        tag: Mapping[str, str],
        *,
        endpoint: str,
        window: str,
        uploaded: str | None,
        on_upload: Callable[[str], Awaitable[None]],
    ) -> BatchView:
        """Store a file, then create a batch of it."""
        del endpoint, window
        if uploaded is None:
            self._begin("upload")
            uploaded = f"file-{next(self._ids)}"
            self.files[uploaded] = requests.read_bytes()  # noqa: ASYNC240 - the loop is idle
            await on_upload(uploaded)
        self._begin("create")
        lines = self.files[uploaded].count(b"\n")
        view = BatchView(
            id=f"batch-{next(self._ids)}",
            status="in_progress",
            input_file_id=uploaded,
            total=lines,
            tag=dict(tag),
        )
        self.batches[view.id] = view
        _raise_next(self.after, "create")
        return view

    async def find(
        self, tag: Mapping[str, str], *, since: float, file_id: str | None = None
    ) -> list[BatchView]:
        """Find by tag or file; batches have no times, so `since` is ignored."""
        del since
        self._begin("find")
        return [view for view in reversed(self.batches.values()) if is_of(view, tag, file_id)]

    async def poll(self, batch_id: str) -> BatchView:
        """Return the batch; it ends after `polls` calls."""
        self._begin("poll")
        self._polled[batch_id] += 1
        view = self._there(batch_id)
        if view.ending is None and self._polled[batch_id] >= self._polls:
            view = self.finish(batch_id)
        return view

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Write a result file."""
        self._begin("fetch")
        if file_id not in self.files:
            raise NotFoundError(f"no file {file_id}", status=404)
        write(self.files[file_id])

    async def cancel(self, batch_id: str) -> BatchView:
        """Cancel at once."""
        self._begin("cancel")
        view = self._there(batch_id)
        return (
            view
            if view.ending is not None
            else self.finish(batch_id, ending=State.CANCELLED, answered=0)
        )

    async def aclose(self) -> None:
        """Nothing is open."""

    def finish(
        self, batch_id: str, *, ending: State | None = None, answered: int | None = None
    ) -> BatchView:
        """End a batch: the first `answered` requests (None: all) get a line, the others none."""
        view = self._there(batch_id)
        lines = self.files[str(view.input_file_id)].splitlines()
        output: list[bytes] = []
        errors: list[bytes] = []
        for line in lines[:answered]:
            request = orjson.loads(line)
            good, result = self._line(request)
            (output if good else errors).append(result)
        ids: list[str | None] = [None, None]
        for n, group in enumerate((output, errors)):
            if group:
                ids[n] = f"file-{next(self._ids)}"
                self.files[str(ids[n])] = b"\n".join(reversed(group)) + b"\n"
        ending = ending or self.ending
        self.batches[batch_id] = msgspec.structs.replace(
            view,
            status=str(ending),
            ending=ending,
            output_file_id=ids[0],
            error_file_id=ids[1],
            completed=len(output),
            failed=len(errors),
        )
        return self.batches[batch_id]

    def _line(self, request: dict[str, Any]) -> tuple[bool, bytes]:
        head = {"id": f"batch_req_{request['custom_id']}", "custom_id": request["custom_id"]}
        try:
            answer = self._answer(request["body"])
        except Exception as e:  # how a script fails a row
            body: dict[str, Any] = {
                "error": {"message": str(e), "type": "server_error", "param": None, "code": None}
            }
            return False, orjson.dumps(
                {**head, "response": {"status_code": 500, "body": body}, "error": None}
            )
        body = {
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": answer},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }
        return True, orjson.dumps(
            {**head, "response": {"status_code": 200, "body": body}, "error": None}
        )

    def _there(self, batch_id: str) -> BatchView:
        if batch_id not in self.batches:
            raise NotFoundError(f"no batch {batch_id}", status=404)
        return self.batches[batch_id]


def _raise_next(queue: dict[str, list[ProviderError | None]], verb: str) -> None:
    waiting = queue.get(verb)
    error = waiting.pop(0) if waiting else None
    if error is not None:
        raise error
