"""A server of OpenAI's batches and Anthropic's message batches with bad habits, as a process of its own.

Standard library alone. Its clock moves on POST /clock, its faults come from a seed: `python faulty_server.py SEED`
prints its port. GET /paid has what it answered for money, and which lines it was sent.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wires import ANTHROPIC, OPENAI

WORK_SECONDS = 40.0
"""The duration of a batch; one that is cancelled ends after a fifth of it."""
SICK = "sick"
"""A text that fails the first time that it is asked, unbilled."""
CREATES = ["ok", "ok", "ok", "reset", "slow", "lost", "500", "503", "429", "504 and made"]
"""The fate of a create. reset, slow, 504: it is made, and the answer is lost; lost: it is not made."""


class State:
    """Everything that it knows. Times are seconds of its own clock."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.lock = threading.Lock()
        self.now = 0.0
        self.files, self.batches = {}, []
        self.asked, self.paid, self.direct = {}, {}, {}
        self.downloads = {}
        self.ids = 0

    def new(self, kind):
        """An id."""
        self.ids += 1
        return f"{kind}_{self.ids:06d}"

    def create(self, lines, wire, **more):
        """(status, batch) of a create; `at` is when it is accepted, `seen` when the list shows it; status 0: reset."""
        dice = self.dice
        how = dice.choice(CREATES)
        if how == "lost":
            return 0, None
        if how.isdecimal():
            return int(how), None
        at = self.now + (dice.uniform(0.5, 30.0) if how == "slow" else 0.0)
        batch = {
            "id": self.new("batch" if wire is OPENAI else "msgbatch"),
            "lines": lines,
            "at": at,
            "seen": at + (dice.uniform(0.0, 20.0) if dice.random() < 0.5 else 0.0),
            "ends": at + WORK_SECONDS,
            "cancelled": False,
            "files_at": at + WORK_SECONDS + dice.choice([0.0, 0.0, 25.0]),
            "results": None,
            "wire": wire,
            **more,
        }
        if dice.random() < 0.5:
            batch["metadata"] = None
        self.batches.append(batch)
        return {"ok": 200, "504 and made": 504}.get(how, 0), batch

    def cancel(self, batch):
        """It ends soon, with half of its lines done."""
        if batch["ends"] > self.now and not batch["cancelled"]:
            batch["cancelled"] = True
            batch["ends"] = batch["files_at"] = self.now + WORK_SECONDS / 5

    def answer(self, key):
        """Whether this request is answered well; then it is paid."""
        self.asked[key] = self.asked.get(key, 0) + 1
        good = SICK not in key or self.asked[key] > 1
        self.paid[key] = self.paid.get(key, 0) + good
        return good

    def results(self, batch):
        """(custom_id, request, good) of each line that has a result, decided once."""
        if batch["results"] is None:
            lines = batch["lines"]
            done = lines[: len(lines) // 2] if batch["cancelled"] else lines
            batch["results"] = [(name, asked, self.answer(asked["key"])) for name, asked in done]
            self.dice.shuffle(batch["results"])
        return batch["results"]

    def is_over(self, batch):
        """Whether it has ended."""
        return batch["ends"] <= self.now

    def there(self, batch_id):
        """The batch, once it is accepted."""
        return next((b for b in self.batches if b["id"] == batch_id and b["at"] <= self.now), None)

    def is_bad(self, name):
        """Whether this download goes wrong: the first two of each may."""
        self.downloads[name] = self.downloads.get(name, 0) + 1
        return self.downloads[name] <= 2 and self.dice.random() < 0.6

    def ledger(self):
        """The requests answered for money, with times; pending: batches that the list does not show yet."""
        return {
            "paid": self.paid,
            "direct": self.direct,
            "pending": sum(batch["seen"] > self.now for batch in self.batches),
            "now": self.now,
            "lines": [asked["key"] for batch in self.batches for _, asked in batch["lines"]],
        }


class Handler(BaseHTTPRequestHandler):
    """One call."""

    protocol_version = "HTTP/1.1"
    state: State

    def log_message(self, *_):
        """Nothing is logged."""

    def say(self, status, body):
        """An answer; status 0: none, and the connection is reset."""
        if not status:
            self.close_connection = True
            self.connection.close()
            return
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def fail(self, status):
        """A refusal."""
        document = {"type": "server_error", "message": f"no luck: {status}"}
        self.say(status, {"type": "error", "error": document})

    def do_POST(self):
        """Uploads, creates, cancels, and requests in real time."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        state, path = self.state, self.path.partition("?")[0]
        with state.lock:
            if path == "/clock":
                state.now = json.loads(body)
                return self.say(200, {})
            if path.endswith("/cancel"):
                return self._cancel(path.split("/")[-2])
            if path == "/v1/files":
                return self._upload(body)
            order = json.loads(body)
            if path == "/v1/batches":
                lines = [json.loads(line) for line in self.state.files[order["input_file_id"]]]
                lines = [(line["custom_id"], OPENAI.asked(line["body"])) for line in lines]
                more = {"metadata": order.get("metadata"), "file": order["input_file_id"]}
                return self._create(lines, OPENAI, more)
            if path == "/v1/messages/batches":
                lines = [(r["custom_id"], ANTHROPIC.asked(r["params"])) for r in order["requests"]]
                return self._create(lines, ANTHROPIC, {})
            if path in ("/v1/chat/completions", "/v1/messages"):
                return self._direct(order, OPENAI if "chat" in path else ANTHROPIC)
        return self.fail(404)

    def _upload(self, body):
        if self.state.dice.random() < 0.15:
            return self.fail(503)
        head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
        parts = BytesParser(policy=HTTP).parsebytes(head + body).iter_parts()
        data = next(p.get_payload(decode=True) for p in parts if p.get_filename())
        name = self.state.new("file")
        self.state.files[name] = data.splitlines()
        document = {"id": name, "object": "file", "purpose": "batch", "bytes": len(data)}
        return self.say(200, document | {"created_at": 1, "filename": "x", "status": "processed"})

    def _create(self, lines, wire, more):
        status, batch = self.state.create(lines, wire, **more)
        if status in (0, 200):
            return self.say(status, batch and self._view(batch))
        return self.fail(status)

    def _cancel(self, batch_id):
        batch = self.state.there(batch_id)
        if batch is None:
            return self.fail(404)
        if self.state.dice.random() < 0.2:
            return self.fail(500)
        self.state.cancel(batch)
        return self.say(200, self._view(batch))

    def _direct(self, order, wire):
        asked = wire.asked(order)
        if self.state.dice.random() < 0.2:
            return self.fail(self.state.dice.choice([429, 500, 503]))
        self.state.direct[asked["key"]] = self.state.direct.get(asked["key"], 0) + 1
        good = self.state.answer(asked["key"])
        return self.say(200, wire.answer(asked)) if good else self.fail(500)

    def do_GET(self):
        """Lists, polls and downloads."""
        state, path = self.state, self.path.partition("?")[0]
        with state.lock:
            if path == "/paid":
                return self.say(200, state.ledger())
            if state.dice.random() < 0.08:
                return self.fail(state.dice.choice([429, 500, 502]))
            if path in ("/v1/batches", "/v1/messages/batches"):
                wire = ANTHROPIC if "messages" in path else OPENAI
                seen = [b for b in state.batches if b["wire"] is wire and b["seen"] <= state.now]
                shown = [self._view(batch) for batch in reversed(seen)]
                return self.say(200, {"object": "list", "has_more": False, "data": shown})
            if path.endswith(("/content", "/results")):
                return self._download(path.split("/")[-2])
            batch = state.there(path.rsplit("/", 1)[-1])
            return self.fail(404) if batch is None else self.say(200, self._view(batch))

    def _view(self, batch):
        over = self.state.is_over(batch)
        results = self.state.results(batch) if over else []
        good = sum(one for _, _, one in results)
        counts = (len(batch["lines"]), good, len(results) - good)
        return batch["wire"].batch(
            batch, counts, over=over, has_files=over and batch["files_at"] <= self.state.now
        )

    def _download(self, name):
        kind, _, batch_id = name.rpartition("-")
        batch = self.state.there(batch_id)
        wanted = {"out": (True,), "err": (False,)}.get(kind, (True, False))
        lines = [
            json.dumps(batch["wire"].line(custom_id, asked, good)).encode() + b"\n"
            for custom_id, asked, good in self.state.results(batch)
            if good in wanted
        ]
        if self.state.is_bad(name):
            half = b"".join(lines[: len(lines) // 2])
            bad = [b"<html>Log in</html>", b'{"error": {"message": "try later"}}', b"", half]
            return self.say(200, self.state.dice.choice(bad))
        return self.say(200, b"".join(lines))


if __name__ == "__main__":
    Handler.state = State(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that was killed
    print(server.server_port, flush=True)
    server.serve_forever()
