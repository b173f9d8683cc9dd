"""A toy provider in a package of its own, with an entry point, and the server that it calls."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

RECORD = '''
"""The facts about Toy."""

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import Record

RECORD = Record(
    name="toy",
    title="Toy",
    source="a test",
    connect="toy_llm.batches:connect",
    carried="httpx",
    key=("TOY_API_KEY",),
    base=("TOY_API_BASE",),
    default_base="https://api.toy.test/v1",
    hosts=(r"api\\.toy\\.test",),
    pack=Limits(requests=100, bytes=1_000_000),
    windows=("1h",),
    discount="50%",
    price=0.5,
    prices={"toy-1": {"input": 2.0, "output": 4.0}},
    models=("toy-1",),
    files=1,
)
'''
BATCHES = '''
"""Toy's batches: one POST with the requests, one GET with the answers."""

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.status import State
from jupyter_batch.providers.http_api import Direct
from jupyter_batch.providers.protocol import TAG


class Toy(Direct):
    async def submit(self, requests, tag, *, endpoint, window, uploaded, on_upload):
        lines = [msgspec.json.decode(line) for line in requests.read_bytes().splitlines()]
        prompts = {one["custom_id"]: one["body"]["messages"][-1]["content"] for one in lines}
        async with self._open() as client:
            body = {"name": tag[TAG], "window": window, "prompts": prompts}
            return view(await self._object(client, "POST", "/jobs", json=body))

    async def find(self, tag, *, since, file_id=None):
        async with self._open() as client:
            page = await self._list(client, "/jobs", "jobs", bare=True)
        return [view(job) for job in page["jobs"] if job["name"] == tag[TAG]]

    async def poll(self, batch_id):
        async with self._open() as client:
            return view(await self._object(client, "GET", f"/jobs/{batch_id}"))

    async def fetch(self, file_id, write):
        async with self._open() as client:
            job = await self._object(client, "GET", f"/jobs/{file_id}")
        for custom_id, text in job["answers"].items():
            message = {"role": "assistant", "content": text}
            usage = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}
            body = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
            line = {"custom_id": custom_id, "response": {"status_code": 200, "body": body}}
            write(msgspec.json.encode(line) + b"\\n")

    async def cancel(self, batch_id):
        return await self.poll(batch_id)


def view(job):
    return BatchView(
        id=job["id"],
        status="completed",
        ending=State.COMPLETED,
        total=len(job["answers"]),
        completed=len(job["answers"]),
        output_file_id=job["id"],
        tag={TAG: job["name"]},
    )


def connect(to):
    return Toy(to.facts, to.access)
'''


def install(site, name="toy_llm", value="toy_llm.record:RECORD"):
    """Write the package as pip would, with the metadata that importlib.metadata reads."""
    package = site / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "record.py").write_text(RECORD)
    (package / "batches.py").write_text(BATCHES)
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[jupyter_batch.providers]\ntoy = {value}\n")


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.headers["authorization"], asked))
        answers = {key: text.upper() for key, text in asked["prompts"].items()}
        self.server.jobs["job-1"] = {"id": "job-1", "name": asked["name"], "answers": answers}
        self._send(self.server.jobs["job-1"])

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        jobs = self.server.jobs
        self._send({"jobs": list(jobs.values())} if name == "jobs" else jobs[name])

    def _send(self, made):
        body = json.dumps(made).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def served():
    """(its address, what it was asked) of a Toy server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.asked, server.jobs = [], {}
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", server.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
