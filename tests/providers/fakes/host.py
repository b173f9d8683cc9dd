"""The fakes' shared parts: a server in a thread, faults on demand, and batches that end at a test's command."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Batch:
    """A batch; ending: completed, failed, expired or cancelled. answers, errors: by custom_id.

    reason: why it was refused as a whole, given for each line in `bad_lines`, which count from 1.
    """

    id: str
    file: str
    requests: dict[str, dict]
    named: object
    created: float
    order: dict = field(default_factory=dict)
    ending: str | None = None
    cancelling: bool = False
    answers: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    output_named: bool = True
    errors_named: bool = True
    reason: str = ""
    bad_lines: tuple[int, ...] = (1,)


@dataclass
class Fault:
    """A fault of a call: an answer of `status`, or (0) no answer; `after` it took effect, or instead.

    half: the answer is cut in the middle. hang: it never comes.
    """

    status: int = 0
    after: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    half: bool = False
    hang: bool = False
    message: str = ""


class Host:
    """One server. asked: how often each verb was called; faults: for a verb, what its next calls meet.

    log: (verb, path) of each call, in order. spoil: (verb, path, answer) -> the answer, or the Fault that takes its
    place.

    A provider's own are `routes()`, whose handlers are named after the verbs, and `refusal(status, message)`, an
    error's body.
    """

    key = "sk-secret-of-the-tests"
    purpose = "batch"
    lacks: tuple[str, ...] = ()
    """Verbs that the provider has not."""
    shown: dict[int, int] = {}
    """HTTP statuses for which the provider has others."""

    def __init__(self, clock):
        self.clock = clock
        self.asked = Counter()
        self.log: list[tuple[str, str]] = []
        self.spoil = lambda verb, path, answer: answer
        self.faults: dict[str, list[Fault]] = {}
        self.batches: dict[str, Batch] = {}
        self.files: dict[str, bytes] = {}
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._up = threading.Event()

    def allowed(self, request) -> bool:
        """Whether the key is there, in the header that the documentation names."""
        return request.headers.get("Authorization") == f"Bearer {self.key}"

    # -- for tests -----------------------------------------------------------------------------------------

    @property
    def only(self) -> Batch:
        """The one batch that there is."""
        (batch,) = self.batches.values()
        return batch

    def results_of(self, batch_id) -> str:
        """The id of a batch's answers, as `fetch` takes it."""
        return f"out-of-{batch_id}"

    def end(self, ending="completed", answered=None, failed=0, **more) -> Batch:
        """End the one batch: the first `answered` requests have an answer, the next `failed` an error.

        answered: None for all but the failed.
        """
        batch = self.only
        ids = list(batch.requests)
        answered = len(ids) - failed if answered is None else answered
        batch.answers = {
            one: batch.requests[one]["messages"][-1]["content"].upper() for one in ids[:answered]
        }
        batch.errors = dict.fromkeys(ids[answered : answered + failed], "the model fell over")
        batch.ending = ending
        for name, value in more.items():
            setattr(batch, name, value)
        return batch

    def __enter__(self):
        self._thread.start()
        assert self._up.wait(60)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)

    # -- the server ----------------------------------------------------------------------------------------

    def _serve(self):
        asyncio.set_event_loop(self._loop)
        app = web.Application(middlewares=[self._gate], client_max_size=1 << 28)
        app.add_routes(self.routes())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        self._loop.call_soon(self._up.set)
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    @web.middleware
    async def _gate(self, request, handler):
        verb = getattr(handler, "__name__", "nothing")
        self.asked[verb] += 1
        self.log.append((verb, request.path))
        if not self.allowed(request):
            return self.no(
                401, f"Incorrect API key provided: {request.headers.get('Authorization')}"
            )
        fault = self.faults[verb].pop(0) if self.faults.get(verb) else None
        if fault is not None and not fault.after and not fault.half:
            await request.read()
            return await self._fail(request, fault)
        try:
            answer = await handler(request)
        except KeyError as missing:
            return self.no(404, f"there is no {missing}")
        except ValueError as wrong:
            return self.no(400, str(wrong))
        spoilt = self.spoil(verb, request.path, answer)
        if isinstance(spoilt, Fault):
            fault = spoilt
        if fault is not None and fault.half:
            return await _half(request, answer)
        return spoilt if fault is None else await self._fail(request, fault)

    async def _fail(self, request, fault):
        if fault.hang:
            await asyncio.sleep(2)  # longer than the test's patience
        if fault.status:
            content = fault.message or f"as the test wanted (the key was {self.key})"
            return self.no(fault.status, content, fault.headers)
        request.transport.abort()
        return web.Response()

    def no(self, status, message, headers=None):
        """A refusal."""
        return web.json_response(self.refusal(status, message), status=status, headers=headers)

    # -- what the verbs need ---------------------------------------------------------------------------------

    async def keep_file(self, request, new_id):
        """(id, size, name) of an uploaded file."""
        form = await request.post()
        data = form["file"].file.read()
        if form["purpose"] != self.purpose:
            raise ValueError(f"purpose {form['purpose']}")
        self.files[new_id] = data
        return new_id, len(data), form["file"].filename

    def lines(self, file_id):
        """The lines of a file."""
        return [json.loads(line) for line in self.files[file_id].splitlines()]


async def _half(request, answer):
    cut = web.StreamResponse(headers={"Content-Length": str(len(answer.body))})
    await cut.prepare(request)
    await cut.write(answer.body[: len(answer.body) // 2])
    request.transport.close()
    return cut


def completion(text, model="the-model"):
    """A chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


def jsonl(lines):
    """A file of lines."""
    return "".join(json.dumps(line) + "\n" for line in lines).encode()
