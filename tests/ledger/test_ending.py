"""A process that ends while it works: what Python says of that is stored nowhere, and the next process goes on."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from jupyter_batch.core.errors import InputError, ProviderDownError
from jupyter_batch.realtime.journal import Book
from jupyter_batch.realtime.litellm_call import CallFailedError
from jupyter_batch.realtime.provider import Realtime
from jupyter_batch.testing.scripted import FACTS, Scripted
from tests.harness import Harness

SAID = "cannot schedule new futures after interpreter shutdown"


class _EndingCall:
    """A call at the interpreter's end, in each form of its error."""

    async def ready(self):
        """Nothing to be loaded."""

    async def __call__(self, endpoint, body):
        """No thread can be started any more."""
        raise CallFailedError(ProviderDownError(f"no connection: {SAID}"))

    async def aclose(self):
        """Nothing is open."""


@pytest.mark.parametrize("error", [ProviderDownError, InputError, RuntimeError])
def test_a_provider_that_can_not_be_reached_at_the_end_is_no_message(tmp_path, caplog, error):
    """A kernel that is shut while it connects leaves no message, no block and no log record behind."""
    harness = Harness(
        tmp_path / "home",
        lambda: Scripted(lambda _: "a"),
        model="scripted/m",
        limits=msgspec.structs.replace(FACTS.limits, requests=2),
    )
    job = harness.plan()
    make = harness.make

    def ending():
        raise error(SAID)

    harness.make = ending
    harness.play(harness.step())
    assert harness.ledger.job(job).message == ""
    assert harness.ledger.job(job).blocked_by is None
    assert SAID not in caplog.text
    harness.make = make
    harness.play(harness.step(60.0, harness.another_process()))
    assert harness.shard(job).batch_id
    harness.ledger.close()


def test_a_row_in_real_time_is_no_failure_when_the_process_ends(tmp_path):
    """A row that could not be asked since the interpreter ended is asked by the next process."""
    requests = tmp_path / "requests-0.jsonl"
    requests.write_bytes(
        b'{"custom_id":"jb-0","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}\n'
    )
    folder = tmp_path / "realtime"

    async def way():
        real = Realtime(FACTS, folder=folder, call=_EndingCall())

        async def nothing(_):
            pass

        view = await real.submit(
            requests,
            {"jupyter_batch": "jb/0"},
            endpoint="/v1/chat/completions",
            window="24h",
            uploaded=None,
            on_upload=nothing,
        )

        async def polled():
            async with asyncio.timeout(20):
                while True:
                    await real.poll(view.id)
                    await asyncio.sleep(0)

        with pytest.raises(ProviderDownError, match="interpreter shutdown"):
            await polled()
        await real.aclose()
        return view.id

    name = asyncio.run(way())
    book = Book(folder, name)
    book.look()
    assert (book.completed, book.failed) == (0, 0)
