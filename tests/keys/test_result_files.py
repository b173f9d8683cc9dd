"""A key that a server repeats in its answers is on no disk and in no cell."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from jupyter_batch.core import secrets
from jupyter_batch.http.masked_stream import MaskedStream, masked_bytes
from tests.keys.recorder import BATCH, CHAT, recording

KEY = "sk-echoed-0123456789abcdef"


def chat(words):
    """A chat completion that says so."""
    message = {"role": "assistant", "content": words}
    return {**CHAT, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}


class Echo:
    """A server that answers each request with the header that it was asked with."""

    def __init__(self, usual):
        self._usual = usual
        self._asked = []

    def __call__(self, method, path, headers, body):
        text = chat(f"You sent {headers['authorization']}")
        if path.endswith("/chat/completions"):
            return 200, {}, text
        if path.endswith("/files"):
            lines = [line[line.index(b"{") :] for line in body.splitlines() if b"custom_id" in line]
            self._asked = [json.loads(line)["custom_id"] for line in lines]
        if path.endswith("/content"):
            response = {"status_code": 200, "request_id": "r", "body": text}
            shown = [{"id": "r", "custom_id": one, "response": response} for one in self._asked]
            return 200, {}, "\n".join(map(json.dumps, shown)).encode()
        if path.endswith("/batches/batch_1"):
            counts = {"total": 2, "completed": 2, "failed": 0}
            over = {"status": "completed", "output_file_id": "file-2", "request_counts": counts}
            return 200, {}, {**BATCH, **over}
        return self._usual(method, path, headers, body)


@pytest.mark.parametrize("mode", ["batch", "realtime"])
def test_a_key_in_an_answer(mode, home):
    """Masked before it is written; the rest of the answer is there."""
    with recording() as server:
        server.answer = Echo(server.answer)
        frame = pd.DataFrame({"t": ["a", "b"]})
        call = {"model": "openai/m", "api_base": f"{server.url}/v1", "api_key": KEY}
        job = frame.llm.batch("{t}", out="o", mode=mode, **call).wait(30)
        assert list(job.results()["o"]) == ["You sent Bearer ***"] * 2
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize("size", [1, 7, 25, 26, 27, 1000])
def test_a_key_across_blocks(size):
    """Wherever a download is cut."""
    secrets.remember(KEY)
    data = (b'{"a": "' + KEY.encode() + b'", "b": "plain"}\n') * 9
    came = []
    stream = MaskedStream(came.append)
    for at in range(0, len(data), size):
        stream.write(data[at : at + size])
    stream.close()
    assert b"".join(came) == data.replace(KEY.encode(), b"***")


def test_words_stay(monkeypatch):
    """Answers are data: a key that is a word, and what the environment holds besides, are not looked for."""
    secrets.remember("postgres")
    monkeypatch.setenv("DB_PASSWORD", "hunter-2-hunter-2")
    line = b'{"said": "postgres took hunter-2-hunter-2"}'
    assert masked_bytes(line) == line
