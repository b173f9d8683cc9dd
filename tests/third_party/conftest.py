"""Servers that others wrote, each a process on a free port of this machine, and an empty ledger for each test.

JUPYTER_BATCH_THIRD_PARTY names the folder that their commands lie in (a virtual environment's `bin`); what is not there
is skipped. `pip install aibrix==0.8.0` gives `aibrix_metadata`, `pip install 'litellm[proxy]'` gives `litellm`, and
`pip install ogx==1.5.0` (Python 3.12 or newer) gives `ogx`. Clients that others wrote run in that environment's
`python`: `pip install bespokelabs-curator==0.1.31`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from threading import Event

import pandas as pd
import pytest

from jupyter_batch.server.embedded import Embedded

VARIABLE = "JUPYTER_BATCH_THIRD_PARTY"
START_SECONDS = 90.0
MASTER = "sk-of-the-proxy"


def command(name):
    """A server's command; the test is skipped where there is none."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} is not set: it names the folder of the servers' commands")
    path = Path(folder) / name
    if not path.exists():
        pytest.skip(f"there is no {name} in {folder}")
    return str(path)


def free_port():
    """An unused port, below those that systems give away: none has it before the server does."""
    for port in random.sample(range(20_000, 30_000), 100):
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            return port
    raise AssertionError("a hundred ports are taken")


@contextlib.contextmanager
def serving(arguments, port, path, folder, **environ):
    """A server's process, once it answers at `path`; its output is in `folder`/output."""
    with (
        (folder / "output").open("wb") as output,
        subprocess.Popen(
            arguments,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "HOME": str(folder), **environ},
        ) as process,
    ):
        try:
            end, still = time.monotonic() + START_SECONDS, Event()
            while not _answers(f"http://127.0.0.1:{port}{path}"):
                log = (folder / "output").read_text(errors="replace")[-2000:]
                assert process.poll() is None, log
                assert time.monotonic() < end, log
                still.wait(0.2)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def aibrix(tmp_path_factory):
    """The address of AIBrix's metadata service in its dry run: each answer is its request's body."""
    program, port, folder = (
        command("aibrix_metadata"),
        free_port(),
        tmp_path_factory.mktemp("aibrix"),
    )
    arguments = [program, "--host", "127.0.0.1", "--port", str(port), "--dry-run"]
    with serving(arguments, port, "/v1/batches", folder):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture(scope="session")
def upstream(tmp_path_factory):
    """The embedded server that the proxy stands in front of."""
    with Embedded(tmp_path_factory.mktemp("upstream")) as server:
        yield server


@pytest.fixture(scope="session")
def proxy(tmp_path_factory, upstream):
    """The address of a litellm proxy in front of the embedded server."""
    program, port, folder = command("litellm"), free_port(), tmp_path_factory.mktemp("proxy")
    (folder / "config.yaml").write_text(f"""
model_list:
  - model_name: echo
    litellm_params: {{model: openai/echo, api_base: "{upstream.base_url}", api_key: "{upstream.token}"}}
files_settings:
  - custom_llm_provider: openai
    api_base: "{upstream.base_url}"
    api_key: "{upstream.token}"
general_settings: {{master_key: {MASTER}}}
""")
    arguments = [
        program,
        "--config",
        "config.yaml",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--telemetry",
        "False",
    ]
    with serving(
        arguments,
        port,
        "/health/liveliness",
        folder,
        OPENAI_API_KEY=upstream.token,
        OPENAI_BASE_URL=upstream.base_url,
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    ):
        yield Proxy(f"http://127.0.0.1:{port}", folder / "output")


class Proxy:
    """A proxy that runs, and what its own log says of the calls that came."""

    def __init__(self, url, log):
        self.url, self._log, self._from = url, log, 0

    def forget(self):
        """Count from here."""
        self._from = len(self._log.read_text(errors="replace"))

    def asked(self):
        """The calls, as "GET files content": without version and ids."""
        lines = _CALL.findall(self._log.read_text(errors="replace")[self._from :])
        return [
            " ".join([verb, *(part for part in path.split("?")[0].split("/") if part.isalpha())])
            for verb, path in lines
        ]


_CALL = re.compile(r'"(GET|POST|DELETE) (\S+) HTTP')


@pytest.fixture(scope="session")
def ogx(tmp_path_factory, upstream):
    """OGX (which was llama-stack) with files, batches and Anthropic's messages, in front of the embedded server."""
    program, port, folder = command("ogx"), free_port(), tmp_path_factory.mktemp("ogx")
    (folder / "settings.yaml").write_text(f"""
version: 2
distro_name: batches
apis: [inference, files, batches, messages]
providers:
  inference:
  - {{provider_id: up, provider_type: "remote::openai",
      config: {{base_url: "{upstream.base_url}", api_key: "{upstream.token}"}}}}
  files:
  - {{provider_id: files, provider_type: "inline::localfs",
      config: {{storage_dir: ./files, metadata_store: {{table_name: files, backend: sql}}}}}}
  batches:
  - {{provider_id: batches, provider_type: "inline::reference",
      config: {{sqlstore: {{table_name: batches, backend: sql}}}}}}
  messages:
  - {{provider_id: messages, provider_type: "inline::builtin",
      config: {{kvstore: {{namespace: message_batches, backend: kv}}}}}}
storage:
  backends:
    kv: {{type: kv_sqlite, db_path: ./kv.db}}
    sql: {{type: sql_sqlite, db_path: ./sql.db}}
  stores:
    metadata: {{namespace: registry, backend: kv}}
    inference: {{table_name: inference, backend: sql}}
    conversations: {{table_name: conversations, backend: sql}}
    prompts: {{table_name: prompts, backend: sql}}
    connectors: {{table_name: connectors, backend: sql}}
registered_resources:
  models:
  - {{model_id: vectors, provider_id: up, provider_model_id: local/echo, model_type: embedding,
      metadata: {{embedding_dimension: 256}}}}
server: {{host: 127.0.0.1, port: {port}}}
""")
    arguments = [program, "run", "--insecure", "--port", str(port), "settings.yaml"]
    with serving(arguments, port, "/v1/health", folder):
        yield Ogx(f"http://127.0.0.1:{port}")


class Ogx:
    """An OGX that runs: its address, and the batches that it has."""

    def __init__(self, url):
        self.url = url

    def batches(self, model):
        """Those of the API that a model is asked through, newest first."""
        path = "/v1/messages/batches" if model.startswith("anthropic/") else "/v1/batches"
        with urllib.request.urlopen(f"{self.url}{path}?limit=100", timeout=20) as answer:
            return json.load(answer)["data"]


@pytest.fixture(autouse=True)
def home(home):
    """An empty ledger for each test."""
    return home


def numbered(rows):
    """A frame whose rows say who they are."""
    return pd.DataFrame(
        {"text": [f"row number {n}" for n in range(rows)]}, index=[f"k{n}" for n in range(rows)]
    )
