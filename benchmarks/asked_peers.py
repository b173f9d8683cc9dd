"""Peers that are measured on request: pydantic-ai and curator on their batch paths, dspy a call for each row.

Their requests end at a stub of the network below their own HTTP client, with a tenth or a hundredth of the rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson

from benchmarks.answers import prompts, source
from benchmarks.public import Figures, clocked

MODEL = "gpt-4.1-mini"
TENTH, HUNDREDTH = 10, 100
_USAGE = {"input_tokens": 90, "output_tokens": 12, "total_tokens": 102}
_TEXT = "“positive” " + "x" * 150


def _chat(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 90, "completion_tokens": 12, "total_tokens": 102}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    about = {"id": "c", "object": "chat.completion", "created": 1, "model": MODEL}
    return {**about, "choices": [choice], "usage": usage}


def _response(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
    about = {"id": "r", "object": "response", "created_at": 1, "model": MODEL}
    output = [{**message, "content": [part]}]
    return {**about, "status": "completed", "output": output, "usage": _USAGE}


def _batch(rows: int) -> dict[str, Any]:
    counts = {"completed": rows, "failed": 0, "total": rows}
    files = {"input_file_id": "f", "output_file_id": "o", "error_file_id": None}
    about = {"id": "b", "object": "batch", "endpoint": "/v1", "completion_window": "24h"}
    return {
        **about,
        **files,
        "status": "completed",
        "created_at": 1,
        "completed_at": 2,
        "request_counts": counts,
    }


class _Provider:
    """OpenAI below its SDK: the way out ends where a file comes, and the way in begins where one is fetched."""

    def __init__(self, rows: int, answer: dict[str, Any]) -> None:
        self.out, self.into = Figures(), Figures()
        self.way = contextlib.ExitStack()
        self.rows = rows
        line = {"id": "l", "response": {"status_code": 200, "request_id": "", "body": answer}}
        self._results = b"".join(
            orjson.dumps({**line, "custom_id": str(at), "error": None}) + b"\n"
            for at in range(rows)
        )

    def client(self) -> Any:
        """The SDK's client."""
        import openai

        kind = openai.DefaultAsyncHttpxClient
        httpx = __import__(kind.__mro__[1].__module__.partition(".")[0])  # or httpx2

        async def handle(request: Any) -> Any:
            await request.aread()
            return httpx.Response(200, **self._answered(request.method, request.url.path))

        transport = httpx.MockTransport(handle)
        return openai.AsyncOpenAI(api_key="sk-x", http_client=kind(transport=transport))

    def _answered(self, method: str, path: str) -> dict[str, Any]:
        if path.endswith("/content"):
            self.way.enter_context(clocked(self.rows, self.into))
            return {"content": self._results}
        if "/batches" in path:
            return {"json": _batch(self.rows)}
        if method == "POST":
            self.way.close()
        about = {"id": "f", "object": "file", "bytes": 1, "created_at": 1, "filename": "f"}
        return {"json": {**about, "purpose": "batch", "status": "processed"}}


# -- pydantic-ai -------------------------------------------------------------------------------------------------------


def _pydantic_ai(rows: int) -> _Provider:
    """`model_request_batch`, which speaks to /v1/responses."""
    from datetime import timedelta

    from pydantic_ai import ModelRequest
    from pydantic_ai.direct import model_request_batch
    from pydantic_ai.models.batch import BatchRequest
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    frame, provider = source(rows), _Provider(rows, _response(_TEXT))

    async def work() -> list[str]:
        client = provider.client()
        model = OpenAIResponsesModel(MODEL, provider=OpenAIProvider(openai_client=client))
        provider.way.enter_context(clocked(rows, provider.out))
        asked = [
            BatchRequest(custom_id=str(at), messages=[ModelRequest.user_text_prompt(prompt)])
            for at, prompt in enumerate(prompts(frame))
        ]
        answers = await model_request_batch(model, asked, poll_interval=timedelta(seconds=0.01))
        return [one.text for one in answers]

    return _finished(provider, work)


def _finished(provider: _Provider, work: Callable[[], Coroutine[Any, Any, list[str]]]) -> _Provider:
    with contextlib.redirect_stdout(io.StringIO()):
        texts = asyncio.run(work())
    provider.way.close()
    assert texts == [_TEXT] * provider.rows
    return provider


def pydantic_ai_out(rows: int, home: Path) -> Figures:
    """From the frame to the upload of its request file."""
    del home
    return _pydantic_ai(rows // TENTH).out


def pydantic_ai_in(rows: int, home: Path) -> Figures:
    """From the download of the result file to the answers."""
    del home
    return _pydantic_ai(rows // TENTH).into


# -- curator -----------------------------------------------------------------------------------------------------------


def _curator(rows: int, home: Path) -> _Provider:
    """Its LLM with `batch=True`, from prompts to its dataset; without its cache, telemetry and display."""
    os.environ |= {
        "OPENAI_API_KEY": "sk-x",
        "TELEMETRY_ENABLED": "false",
        "CURATOR_CACHE_DIR": str(home / "cache"),
        "CURATOR_DISABLE_CACHE": "true",
        "CURATOR_DISABLE_RICH_DISPLAY": "true",
    }
    from bespokelabs import curator
    from bespokelabs.curator.request_processor.batch import openai_batch_request_processor as module

    frame, provider = source(rows), _Provider(rows, _chat(_TEXT))
    module.AsyncOpenAI = lambda **_: provider.client()
    model = curator.LLM(
        model_name=MODEL,
        batch=True,
        backend="openai",
        backend_params={"batch_check_interval": 1, "batch_size": rows},
    )
    provider.way.enter_context(clocked(rows, provider.out))
    answers = model(list(prompts(frame)))
    texts = list(getattr(answers, "dataset", answers)["response"])
    provider.way.close()
    assert texts == [_TEXT] * rows
    return provider


def curator_out(rows: int, home: Path) -> Figures:
    """From the frame to the upload of its request file."""
    return _curator(rows // HUNDREDTH, home).out


def curator_in(rows: int, home: Path) -> Figures:
    """From the download of the result file to its dataset."""
    return _curator(rows // HUNDREDTH, home).into


# -- dspy --------------------------------------------------------------------------------------------------------------


def dspy_both(rows: int, home: Path) -> Figures:
    """`Predict.batch` in one thread: it has no batch of a provider's, and each row is asked and read in turn."""
    del home
    import dspy
    from dspy._vendor.lm15.transports import StdlibTransport, TransportResponse

    rows //= HUNDREDTH
    body = orjson.dumps(_chat(f"[[ ## answer ## ]]\n{_TEXT}\n\n[[ ## completed ## ]]"))

    def stream(_: Any, __: Any) -> Any:
        headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        return TransportResponse(
            status=200,
            reason="OK",
            headers=headers,
            http_version="1.1",
            chunks=iter([body]),
            release=lambda *_, **__: None,
        )

    StdlibTransport.stream = stream
    dspy.configure(lm=dspy.LM(f"openai/{MODEL}", api_key="sk-x", cache=False))
    frame, predict, found = source(rows), dspy.Predict("question -> answer"), Figures()
    with contextlib.redirect_stderr(io.StringIO()), clocked(rows, found):
        asked = [dspy.Example(question=one).with_inputs("question") for one in prompts(frame)]
        answers = predict.batch(asked, num_threads=1, disable_progress_bar=True)
        texts = [one.answer for one in answers]
    assert texts == [_TEXT] * rows
    return found
