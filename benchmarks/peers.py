"""Peers on their own batch paths: a frame to their request files, result files to a list of answers.

The network is stubbed below what each library does with a request and with a result. They take a tenth or a
hundredth of the rows: their cost a row hardly depends on it. PEERS are measured where they are installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import orjson

from benchmarks import asked_peers
from benchmarks.answers import prompts, result_line, source
from benchmarks.public import Figures, clocked

MODEL = "gpt-4.1-mini"
SHARE = 10
"""By which the rows are divided."""
OUT, IN = "out: frame to request files", "in: result files to column"


class Peer(NamedTuple):
    """module: its name in Python. install: what pip takes. out, into: a case of each group.

    into: None where `out` is both ways. label: of its rows in the table.
    """

    module: str
    install: str
    out: Callable[[int, Path], Figures]
    into: Callable[[int, Path], Figures] | None
    label: str = ", a tenth of the rows"

    @property
    def is_installed(self) -> bool:
        """Whether it can be imported here."""
        return importlib.util.find_spec(self.module) is not None


def _answers(custom_ids: list[str], *, as_json: bool = False, all_answered: bool = False) -> bytes:
    """The output file of a batch; each 50th row is not in it, unless `all_answered`."""
    lines = []
    for position, custom_id in enumerate(custom_ids):
        line = orjson.loads(
            result_line("jb", position + (all_answered and position % 50 == 0), 150)
        )
        line["custom_id"] = custom_id
        if line["response"]["status_code"] != 200:
            continue
        if as_json:
            message = line["response"]["body"]["choices"][0]["message"]
            message["content"] = json.dumps({"answer": message["content"]})
        lines.append(orjson.dumps(line) + b"\n")
    return b"".join(lines)


# -- lm-deluge ---------------------------------------------------------------------------------------------------------


def deluge_out(rows: int, home: Path) -> Figures:
    """`create_batch_files_oa`: its request files in a temporary folder."""
    del home
    from lm_deluge.batches import create_batch_files_oa
    from lm_deluge.config import SamplingParams

    frame, found = source(rows // SHARE), Figures()
    with contextlib.redirect_stdout(io.StringIO()), clocked(rows // SHARE, found):
        made = asyncio.run(create_batch_files_oa(MODEL, SamplingParams(), prompts(frame)))
    for path in made:
        Path(path).unlink()
    return found


def deluge_in(rows: int, home: Path) -> Figures:
    """Its retrieval of a completed batch; it reads no error file."""
    del home
    from lm_deluge import batches

    class Response(contextlib.AbstractAsyncContextManager):  # type: ignore[type-arg]
        status = 200

        async def __aexit__(self, *_: object) -> None:
            pass

        async def json(self) -> dict[str, str]:
            return {"status": "completed", "output_file_id": "f"}

    class Session(Response):
        def get(self, *_: object, **__: object) -> Response:
            return Response()

    output = _answers([str(at) for at in range(rows // SHARE)])

    async def downloaded(*_: object) -> tuple[int, bytes]:
        return 200, output

    os.environ["OPENAI_API_KEY"] = "sk-x"
    batches.aiohttp = SimpleNamespace(ClientSession=Session)  # type: ignore[attr-defined]
    batches.download_without_leaking_credentials = downloaded
    found = Figures()
    with clocked(rows // SHARE, found):
        made = asyncio.run(batches._retrieve_openai_batch_results_async("b"))  # noqa: SLF001
        texts = [one["response"]["body"]["choices"][0]["message"]["content"] for one in made]
    assert len(texts) == rows // SHARE - len(range(0, rows // SHARE, 50))
    return found


# -- instructor --------------------------------------------------------------------------------------------------------


def _processor() -> Any:
    from instructor.batch import BatchProcessor
    from pydantic import BaseModel

    class Answer(BaseModel):
        answer: str

    os.environ["OPENAI_API_KEY"] = "sk-x"
    return BatchProcessor(f"openai/{MODEL}", Answer)


def instructor_out(rows: int, home: Path) -> Figures:
    """`create_batch_from_messages`, whose requests have the schema of one field."""
    processor, frame, found = _processor(), source(rows // SHARE), Figures()
    with contextlib.redirect_stdout(io.StringIO()), clocked(rows // SHARE, found):
        messages = [[{"role": "user", "content": prompt}] for prompt in prompts(frame)]
        processor.create_batch_from_messages(messages, file_path=str(home / "requests.jsonl"))
    return found


def instructor_in(rows: int, home: Path) -> Figures:
    """`retrieve_results`; it reads no error file."""
    del home
    processor, found = _processor(), Figures()
    output = _answers([f"request-{at}" for at in range(rows // SHARE)], as_json=True)
    processor.provider = SimpleNamespace(retrieve_results=lambda _: output.decode())
    with clocked(rows // SHARE, found):
        made = processor.retrieve_results("b")
        texts = [one.result.answer for one in made if one.success]
    assert len(texts) == rows // SHARE - len(range(0, rows // SHARE, 50))
    return found


# -- inspect_ai --------------------------------------------------------------------------------------------------------


def _inspect(rows: int) -> tuple[Figures, Figures]:
    """All rows through its batcher, as `Model.generate` calls it, without what that adds to each; both ways."""
    import tenacity
    from inspect_ai.model import BatchConfig
    from inspect_ai.model._providers._openai_batch import OpenAIBatcher
    from openai.types.chat import ChatCompletion

    frame, out, into = source(rows), Figures(), Figures()
    way, files = contextlib.ExitStack(), dict[str, bytes]()

    async def create(*, file: Any, **_: object) -> Any:
        way.close()
        ids = [orjson.loads(line)["custom_id"] for line in file]
        files["f"] = _answers(ids, all_answered=True)
        return SimpleNamespace(id="f")

    async def submit(**_: object) -> Any:
        return SimpleNamespace(id="b")

    async def retrieve(_: str) -> Any:
        return SimpleNamespace(
            status="completed",
            request_counts=None,
            created_at=0,
            output_file_id="f",
            error_file_id=None,
        )

    async def content(name: str) -> Any:
        async def read() -> bytes:
            way.enter_context(clocked(rows, into))
            return files[name]

        return SimpleNamespace(aread=read)

    client: Any = SimpleNamespace(
        files=SimpleNamespace(create=create, content=content),
        batches=SimpleNamespace(create=submit, retrieve=retrieve),
    )

    async def work() -> list[str]:
        batcher: Any = OpenAIBatcher(
            client,
            BatchConfig(size=rows, send_delay=0.01, tick=0.05),
            {
                "wait": tenacity.wait_none(),
                "retry": tenacity.retry_never,
                "before_sleep": lambda _: None,
                "stop": tenacity.stop_after_attempt(1),
            },
            ChatCompletion,
        )
        way.enter_context(clocked(rows, out))
        asked = (
            batcher.generate_for_request(
                {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}
            )
            for prompt in prompts(frame)
        )
        return [one.choices[0].message.content for one in await asyncio.gather(*asked)]

    with contextlib.redirect_stdout(io.StringIO()):
        texts = asyncio.run(work())
    way.close()
    assert len(texts) == rows
    return out, into


def inspect_out(rows: int, home: Path) -> Figures:
    """From the frame to the upload of its request file."""
    del home
    return _inspect(rows // SHARE)[0]


def inspect_in(rows: int, home: Path) -> Figures:
    """From the download of its result files to the answers."""
    del home
    return _inspect(rows // SHARE)[1]


_LESS = ", a hundredth of the rows"
PEERS = {
    "curator": Peer(
        "bespokelabs",
        "bespokelabs-curator",
        asked_peers.curator_out,
        asked_peers.curator_in,
        _LESS,
    ),
    "dspy": Peer("dspy", "dspy", asked_peers.dspy_both, None, f", requests and answers{_LESS}"),
    "inspect_ai": Peer("inspect_ai", "inspect_ai openai", inspect_out, inspect_in),
    "instructor": Peer("instructor", "instructor", instructor_out, instructor_in),
    "lm-deluge": Peer("lm_deluge", "lm-deluge", deluge_out, deluge_in),
    "pydantic-ai": Peer(
        "pydantic_ai",
        "pydantic-ai-slim[openai]",
        asked_peers.pydantic_ai_out,
        asked_peers.pydantic_ai_in,
    ),
}
CASES: dict[str, dict[str, Callable[[int, Path], Figures]]] = {
    OUT: {name + peer.label: peer.out for name, peer in PEERS.items()},
    IN: {name + peer.label: peer.into for name, peer in PEERS.items() if peer.into is not None},
}
"""As in public.py."""


def chosen(names: list[str] | None) -> dict[str, dict[str, Callable[[int, Path], Figures]]]:
    """The cases of the peers of these names, or of all (None), where they are installed; the others are named."""
    wanted = {name: PEERS[name] for name in (PEERS if names is None else names)}
    for name, peer in wanted.items():
        if not peer.is_installed:
            print(f"{name} is not installed: pip install {peer.install}", file=sys.stderr)
    here = {name + peer.label for name, peer in wanted.items() if peer.is_installed}
    return {
        group: {name: case for name, case in cases.items() if name in here}
        for group, cases in CASES.items()
    }
