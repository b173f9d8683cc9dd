"""A Vertex AI of this machine, a desk in front of it, and a home for jobs; nothing goes to another host."""

from __future__ import annotations

import sys

import pytest

from jupyter_batch.engine import session as sessions
from jupyter_batch.providers.via_vertex import ViaVertex
from tests.vertex.desk import Desk, assert_nowhere
from tests.vertex.fake import BUCKET, LOCATION, PROJECT, Vertex

SETTINGS = {"vertex_project": PROJECT, "vertex_location": LOCATION, "gcs_bucket_name": BUCKET}
_called: list[str] = []


def _note_connections(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _called.append(str(arguments[1][0]))
    elif event == "socket.getaddrinfo":
        _called.append(str(arguments[0]))


sys.addaudithook(_note_connections)


@pytest.fixture(autouse=True)
def _to_no_other_host(monkeypatch):
    for name in ("VERTEXAI_PROJECT", "GOOGLE_CLOUD_PROJECT", "VERTEXAI_LOCATION", "VERTEX_LOCATION", "GCS_BUCKET_NAME",
                 "GOOGLE_CLOUD_LOCATION", "GCS_BATCH_BUCKET_NAME", "VERTEXAI_CREDENTIALS", "STORAGE_EMULATOR_HOST",
                 "GOOGLE_APPLICATION_CREDENTIALS", "VERTEXAI_API_BASE", "VERTEX_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    _called.clear()
    yield
    assert {host for host in _called if host not in ("127.0.0.1", "localhost", "::1", "None")} == set()


@pytest.fixture
def desk(tmp_path):
    """Four rows and a token that is there; at the end it must be nowhere on the disk."""
    with Vertex(lambda: made.now) as fake:
        made = Desk(tmp_path / "home", fake, lambda facts: ViaVertex(
            facts, api_base=fake.url, storage=fake.url, model="gemini-2.5-flash", settings=SETTINGS,
            secrets={"api_key": fake.key}), model="vertex_ai/gemini-2.5-flash", rows=4)
        yield made
        made.ledger.close()
    assert_nowhere(Vertex.key, tmp_path)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty ledger folder that this process's jobs go to; its worker is stopped at the end."""
    home = tmp_path / "home"
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(home))
    for name in ("JUPYTER_BATCH_MODEL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield home
    held = sessions._sessions.pop(home, None)
    if held is not None:
        held.close()
    assert_nowhere(Vertex.key, tmp_path)
