"""The provider of a cell: one way to steer the providers' fakes and to read what was asked of them."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, contextmanager

from aiohttp import web

from tests.anthropic.fake import KEY, Fake, RefusalError
from tests.endings.openai_host import OpenAI
from tests.endings.openai_like import DashScope, DeepInfra, Groq, Moonshot, SiliconFlow, Together
from tests.endings.table import PAGED, REFUSED, WHY
from tests.providers.fakes.azure import Azure
from tests.providers.fakes.fireworks_ai import Fireworks
from tests.providers.fakes.gemini import Gemini
from tests.providers.fakes.host import Fault
from tests.providers.fakes.mistral import Mistral
from tests.providers.fakes.openrouter import OpenRouter
from tests.providers.fakes.xai import Xai

HOSTS = {
    "fireworks_ai": Fireworks,
    "openrouter": OpenRouter,
    "openai": OpenAI,
    "azure": Azure,
    "xai": Xai,
    "mistral": Mistral,
    "gemini": Gemini,
    "groq": Groq,
    "together_ai": Together,
    "deepinfra": DeepInfra,
    "dashscope": DashScope,
    "moonshot": Moonshot,
    "siliconflow": SiliconFlow,
}
LATE_POLLS = 3


class RemoteHost:
    """A provider whose fake is a Host."""

    def __init__(self, name, fake):
        self.name, self.fake = name, fake
        self.call = {"model": f"{name}/the-model", "api_base": fake.url, "api_key": fake.key}
        if name == "azure":
            self.call["api_version"] = "2024-10-21"
        if isinstance(fake, OpenAI):
            self.call["api_base"] += "/v1"

    @property
    def log(self):
        """(verb, path) of each call."""
        return self.fake.log

    @property
    def sent(self):
        """The rows of each batch, by its requests' own text."""
        return [
            "".join(body["messages"][-1]["content"] for body in batch.requests.values())
            for batch in list(self.fake.batches.values())
        ]  # its own thread puts more there

    def work(self, cell):
        """The newest batch has come as far as in `cell`, and is open still."""
        batch = self._newest()
        by_row = {body["messages"][-1]["content"]: one for one, body in batch.requests.items()}
        batch.answers = {by_row[row]: row.upper() for row in cell.answered}
        batch.errors = {by_row[row]: WHY for row in cell.failed}
        batch.output_named = cell.output not in ("late", "absent")
        batch.errors_named = cell.errors != "no errors"
        self.fake.spoil = _Spoil(cell, self.name)

    def end(self, ending):
        """The newest batch ends."""
        batch = self._newest()
        if ending == "expired" and self.name == "xai":  # it has dates, and no state
            batch.created -= 4 * 86400
        batch.reason = REFUSED if ending == "failed" else ""
        batch.ending = ending

    def name_output(self):
        """The output file that was late is there."""
        self._newest().output_named = True

    def refuse(self, lines):
        """The newest batch is refused as a whole, for what these lines of its file hold."""
        batch = self._newest()
        batch.reason, batch.bad_lines, batch.ending = REFUSED, lines, "failed"

    def answer_all(self):
        """All of the newest batch, well."""
        batch = self._newest()
        batch.answers = {
            one: body["messages"][-1]["content"].upper() for one, body in batch.requests.items()
        }
        self.fake.spoil = lambda verb, path, answer: answer
        batch.ending = "completed"

    def is_output(self, path):
        """Whether a GET was for a file of answers."""
        return self.name in PAGED or "out-of-" in path

    def _newest(self):
        return list(self.fake.batches.values())[-1]


class _Spoil:
    """The downloads of the output file in a cell."""

    def __init__(self, cell, name):
        self.cell, self.name, self.times = cell, name, 0

    def __call__(self, verb, path, answer):
        if verb != "fetch" or not (self.name in PAGED or "out-of-" in path):
            return answer
        self.times += 1
        if self.cell.output == "gone":
            return Fault(404)
        if self.cell.output == "cut" and self.times == 1:
            return Fault(half=True)
        return web.Response(body=answer.body[:-30]) if self.cell.output == "short" else answer


_VERBS = {"retrieve": "poll", "results": "fetch"}


class RemoteAnthropic:
    """Anthropic, whose fake has a shape of its own."""

    name = "anthropic"

    def __init__(self, fake):
        self.fake = fake
        self.call = {"model": "anthropic/claude-haiku-4-5", "api_base": fake.base, "api_key": KEY}
        self._cell = None
        self._shown, self._results = fake.shown, fake.results
        fake.shown, fake.results = self._show, self._give
        self._hidden = False

    @property
    def log(self):
        """(verb, "") of each call."""
        return [(_VERBS.get(verb, verb), "") for verb in self.fake.calls]

    @property
    def sent(self):
        """The rows of each batch, by its requests' own text."""
        return [
            "".join(map(_text, batch["requests"])) for batch in list(self.fake.batches.values())
        ]

    def work(self, cell):
        """The newest batch will end as in `cell`; nothing of it can be seen before."""
        self._cell = cell
        self._hidden = cell.output in ("late", "absent")
        if cell.output == "cut":
            self.fake.faults.append(("results", "cut"))
        if cell.output == "gone":
            self.fake.faults += [("results", RefusalError(404, "no results"))] * 100

    def end(self, ending):
        """The newest batch ends."""
        cell, batch = self._cell, self._newest()
        rest = {"completed": "errored", "expired": "expired", "cancelled": "canceled"}[ending]

        def outcome(n):
            row = _text(batch["requests"][n])
            return (
                "succeeded" if row in cell.answered else "errored" if row in cell.failed else rest
            )

        self.fake.end(batch["id"], outcome)

    def name_output(self):
        """The results that were late are there."""
        self._hidden = False

    def answer_all(self):
        """All of the newest batch, well."""
        self._cell, self._hidden = None, False
        self.fake.faults.clear()
        self.fake.end(self._newest()["id"])

    def is_output(self, path):
        """Whether a GET was for answers: there is nothing else."""
        return True

    def _newest(self):
        return list(self.fake.batches.values())[-1]

    def _show(self, batch):
        shown = self._shown(batch)
        return {**shown, "results_url": None} if self._hidden else shown

    async def _give(self, request):
        answer = await self._results(request)
        if self._cell is not None and self._cell.output == "short":
            return web.Response(body=answer.body[:-30], content_type="application/x-jsonl")
        return answer


def _text(request):
    messages = request["params"]["messages"][-1]["content"]
    return messages if isinstance(messages, str) else "".join(part["text"] for part in messages)


@contextmanager
def _anthropic():
    fake, up, over = Fake(), threading.Event(), threading.Event()

    async def serve():
        async with fake.serving():
            up.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(60)
    try:
        yield RemoteAnthropic(fake)
    finally:
        over.set()
        thread.join()


@contextmanager
def remote_provider(name, clock):
    """A provider's fake, served on this machine."""
    with ExitStack() as stack:
        if name == "anthropic":
            yield stack.enter_context(_anthropic())
        else:
            yield RemoteHost(name, stack.enter_context(HOSTS[name](clock)))
