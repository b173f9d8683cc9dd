"""A process of its own whose every way out but one is blocked: each provider's whole cycle, and where it tried to go.

Run as `python -m tests.endings.hosts_process HOME PROVIDER...`. It prints a line of JSON: the ways that were tried and
not allowed, and what became of each job. A name that is looked up, and an address that is not the fake's, is an error.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time

from tests.loopback_only import no_certificates

ALLOWED: set[tuple[str, int]] = set()
TRIED: list[str] = []
NUMERIC = ("127.0.0.1", "::1", None)


def block(event, arguments):
    """No name is resolved, and no other address is called."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        if arguments[0] not in NUMERIC:
            TRIED.append(f"{event} {arguments[0]}")
            raise PermissionError(f"{arguments[0]} is looked up")
    elif event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and address[:2] not in ALLOWED:
            TRIED.append(f"{event} {address}")
            raise PermissionError(f"{address} is called")


def wait_for(test, job):
    """Let the worker go on until something is so."""
    end, still = time.monotonic() + 60, threading.Event()
    while not test():
        assert time.monotonic() < end, job.snapshot()
        still.wait(0.02)


def cycle(frame, name):
    """A job whose last row fails, its retry, and one that is cancelled, at a provider's fake."""
    from jupyter_batch.providers.record import RECORDS
    from tests.endings.remote import remote_provider
    from tests.endings.table import Cell

    with remote_provider(name, time.time) as remote:
        open_way(remote.call["api_base"])
        df = frame()
        job = df.llm.batch("{t}", out="out", **remote.call)
        wait_for(lambda: remote.sent, job)
        remote.work(Cell(name, "completed", "present", "errors"))
        remote.end("completed")
        job.wait(60)
        again = job.retry()
        wait_for(lambda: len(remote.sent) == 2, again)
        remote.answer_all()
        again.wait(60)
        other = frame().llm.batch("{t}", out="out", system="again", **remote.call)
        wait_for(lambda: len(remote.sent) == 3, other)
        other.cancel()
        if RECORDS[name].cancel:
            wait_for(lambda: "cancel" in dict(remote.log), other)
        else:
            wait_for(lambda: other.state == "cancelling", other)
        remote.work(Cell(name, "cancelled", "present", "errors"))
        remote.end("cancelled")
        other.wait(60)
        return [job.state, again.state, other.state, df["out"].tolist()]


def at_once(frame, name):
    """The same in real time."""
    from tests.realtime.realtime_endpoint import Endpoint

    with Endpoint(lambda text, before: 400 if text == "d" and before == 0 else None) as endpoint:
        open_way(endpoint.base)
        df = frame()
        provider = name.rpartition(" ")[2]
        job = df.llm.batch(
            "{t}",
            out="out",
            model=f"{provider}/m",
            api_base=endpoint.base,
            api_key="k",
            mode="realtime",
        ).wait(60)
        again = job.retry().wait(60)
        other = (
            frame()
            .llm.batch(
                "again: {t}",
                out="out",
                model=f"{provider}/m",
                api_base=endpoint.base,
                api_key="k",
                mode="realtime",
            )
            .cancel()
            .wait(60)
        )
        return [job.state, again.state, str(other.is_complete), df["out"].tolist()]


def open_way(base):
    """The one address that may be called from here on."""
    from urllib.parse import urlsplit

    ALLOWED.clear()
    ALLOWED.add(("127.0.0.1", urlsplit(base).port))


def main(home, *names):
    """All of them, one after the other."""
    os.environ["JUPYTER_BATCH_HOME"] = home
    for name in (
        "OPENAI",
        "AZURE",
        "XAI",
        "MISTRAL",
        "ANTHROPIC",
        "GEMINI",
        "HOSTED_VLLM",
        "LITELLM_PROXY",
    ):
        os.environ[f"{name}_API_BASE"] = os.environ[f"{name}_BASE_URL"] = (
            "http://elsewhere.invalid/v1"
        )
        os.environ[f"{name}_API_KEY"] = "sk-of-the-environment"
    sys.addaudithook(block)
    no_certificates()
    assert socket.gethostname()
    import pandas as pd

    import jupyter_batch  # noqa: F401 - gives frames their accessor

    def frame():
        return pd.DataFrame({"t": list("abcd")})

    shown = {}
    for name in names:
        shown[name] = at_once(frame, name) if name.startswith("at once") else cycle(frame, name)
    sys.stdout.write("\n" + json.dumps({"tried": TRIED, "found": shown}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
