"""Pictures and examples at the other doors: the magic's line, Anthropic's words, and the memory that they take."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import orjson
import pandas as pd
import pytest

from jupyter_batch.completion import complete
from jupyter_batch.config.magic_line import read_line
from jupyter_batch.core.errors import OptionError
from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.planning.estimate import at_most, counter, light, request_of
from jupyter_batch.prompts.additions import part_of
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.dialects import ANTHROPIC, BEDROCK, VERTEX, encoder
from jupyter_batch.wire.openai import CHAT, Hole
from tests.anthropic.test_wire_encode import MODEL, by_litellm, same

from .files import GIF, JPEG, PDF, WEBP, png

ROOT = Path(__file__).parents[2]


def test_the_magics_line():
    """--images may be given several times, --examples takes the name of a frame."""
    shots = pd.DataFrame({"text": ["a"], "label": ["b"]})
    asked, given = read_line(
        "df --images photo --images 'other one' --image-size 512 --examples shots", {"shots": shots}
    )
    assert asked.frame == "df"
    assert given["images"] == ["photo", "other one"]
    assert given["image_size"] == 512
    assert given["examples"] is shots
    assert complete("%%llm_batch shots --images te", {"shots": shots}) == ["text"]
    with pytest.raises(
        OptionError, match="--examples takes the name of a DataFrame; 'shoots' is not defined here"
    ):
        read_line("df --examples shoots", {"shots": shots})


def test_anthropic_gets_what_litellm_makes():
    """Each kind of part is, byte for byte, what litellm makes of that row; documents and addresses too."""
    litellm = load_litellm()
    parts = [
        part_of(cell, None)
        for cell in (png(3, 2), JPEG, GIF, WEBP, PDF, "https://x.invalid/a.png?b=1")
    ]
    rows = [[{"type": "text", "text": "Look"}, part] for part in parts] + [
        [parts[0], *parts[3:5]],
        "plain",
        parts[:1],
    ]
    pairs = [{"role": "user", "content": rows[1]}, {"role": "assistant", "content": "a picture"}]
    for before in ([], [{"role": "system", "content": "Be brief."}, *pairs]):
        made = encoder(
            ANTHROPIC,
            CHAT,
            {
                "model": MODEL,
                "messages": [*before, {"role": "user", "content": Hole("t")}],
                "max_tokens": 9,
            },
            load_litellm,
        )
        lines = made.encode([f"x-{n}" for n in range(len(rows))], {"t": rows})
        for line, row in zip(lines, rows, strict=True):
            same(
                line,
                by_litellm(
                    litellm, MODEL, [*before, {"role": "user", "content": row}], max_tokens=9
                ),
            )
    sources = [orjson.loads(line)["params"]["messages"][-1]["content"][-1] for line in lines[:6]]
    assert sources[4] == {
        "type": "document",
        "source": {
            "type": "base64",
            "media_type": "application/pdf",
            "data": base64.b64encode(PDF).decode(),
        },
    }
    assert sources[5] == {
        "type": "image",
        "source": {"type": "url", "url": "https://x.invalid/a.png?b=1"},
    }


@pytest.mark.parametrize(
    ("dialect", "model"),
    [
        (ANTHROPIC, MODEL),
        (VERTEX, "gemini-2.5-flash"),
        (BEDROCK, "anthropic.claude-3-haiku-20240307-v1:0"),
    ],
)
def test_nothing_is_fetched(dialect, model, monkeypatch):
    """Some addresses litellm fetches itself as it translates: such a row has a reason, and nothing is fetched."""
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **_: asked.append(given) or [])
    addresses = [
        "http://x.invalid/a.png",
        "http://x.invalid/a",
        "https://x.invalid/a.png",
        "https://x.invalid/a?b",
        "gs://bucket/a.png",
    ]
    rows = [[{"type": "text", "text": "x"}, part_of(address, None)] for address in addresses]
    rows += [[{"type": "text", "text": "x"}, {"type": "file", "file": {"file_id": addresses[0]}}]]
    made = encoder(
        dialect,
        CHAT,
        {"model": model, "messages": [{"role": "user", "content": Hole("t")}]},
        load_litellm,
    )
    lines = made.encode([f"x-{n}" for n in range(len(rows))], {"t": rows})
    assert asked == []
    assert all("can't be handed on" in line.reason for line in (lines[0], lines[1], lines[5]))
    assert isinstance(lines[2], RowError) == (dialect == BEDROCK)


SCRIPT = """
import json, sys, threading
import numpy as np, pandas as pd, psutil
import jupyter_batch
from jupyter_batch.planning.resolve import order
from jupyter_batch import jobs
from jupyter_batch.config import settings
from pathlib import Path

me = psutil.Process()
folder, rows, each = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
head = b"\\x89PNG\\r\\n\\x1a\\n"
noise = np.random.default_rng(0)
for n in range(rows):
    (folder / f"{n}.png").write_bytes(head + noise.bytes(each))
df = pd.DataFrame({"photo": [str(folder / f"{n}.png") for n in range(rows)]})
one = df.head(1).copy()
one.llm.build("What?", images="photo", model="openai/gpt-4.1-mini")
start, peak, over = me.memory_info().rss, [0], threading.Event()

def watch():
    while not over.wait(0.01):
        peak[0] = max(peak[0], me.memory_info().rss)

watcher = threading.Thread(target=watch)
watcher.start()
made = df.llm.build("What?", images="photo", model="openai/gpt-4.1-mini")
over.set()
watcher.join()
size = sum(path.stat().st_size for path in Path(sys.argv[4]).rglob("requests-*.jsonl"))
print(json.dumps({"grown": peak[0] - start, "written": size}), file=sys.stderr)
"""


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_pictures(tmp_path):
    """400 MB of pictures, 533 MB in the request files, are rendered in less than half as much memory, some at a time.

    How many are under way depends on the load: 167 MB were seen.
    """
    pictures, home = tmp_path / "pictures", tmp_path / "home"
    pictures.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(pictures), "200", "2000000", str(home)],
        cwd=ROOT,
        env={**os.environ, "JUPYTER_BATCH_HOME": str(home), "OPENAI_API_KEY": "none is asked"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stderr.splitlines()[-1])
    print(data)
    assert data["written"] > 530_000_000
    assert data["grown"] < 250_000_000, data


def test_what_pictures_are_expected_to_cost(call, home):
    """An estimate holds no picture's bytes, counts no base64 as words, and bounds what a picture or a PDF may take."""
    noise = os.urandom(300_000)
    body = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    part_of(png(9, 9) + noise, None),
                    part_of(PDF + noise, None),
                ],
            }
        ]
    }
    small = light(body)
    assert len(orjson.dumps(small)) < 500
    assert light(small) == small
    assert (
        counter("gpt-4.1-mini", load_litellm)(small)
        == counter("gpt-4.1-mini", load_litellm)(body)
        < 1000
    )
    assert 450_000 < at_most(body) == at_most(small) < 600_000
    for dialect, model in (
        (BEDROCK, "anthropic.claude-3-haiku-20240307-v1:0"),
        (VERTEX, "gemini-2.5-flash"),
    ):
        made = encoder(
            dialect,
            CHAT,
            {"model": model, "messages": [{"role": "user", "content": Hole("t")}]},
            load_litellm,
        )
        (line,) = made.encode(["x-0"], {"t": [body["messages"][0]["content"]]})
        data = request_of(orjson.loads(line))
        assert counter(model, load_litellm)(data) < 100
        assert 450_000 < at_most(data) < 600_000
    df = pd.DataFrame({"photo": [png(2, 2) + noise, PDF + noise]})
    options = {**call, "model": "openai/gpt-4.1-mini"}
    seen = df.llm.preview("What is it?", images="photo", max_tokens=10, **options)
    assert (seen.requests, seen.unsendable) == (2, 0)
    assert seen.tokens.count < 1000
    with pytest.raises(OptionError, match="max_cost"):
        df.llm.batch("What is it?", images="photo", max_tokens=10, max_cost=0.00001, **options)
