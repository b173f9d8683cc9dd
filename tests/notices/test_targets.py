"""Where notices go: a desktop's program, an address, a mail server; and that no secret of an address is shown."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from jupyter_batch.cli import main
from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.secrets import masked
from jupyter_batch.job_list import notify
from jupyter_batch.notices.callbacks import unsubscribe
from jupyter_batch.notices.message import Message
from jupyter_batch.notices.targets import deliver, target
from jupyter_batch.server.embedded import Embedded

MESSAGE = Message(title="job: completed", text="job: completed, 3 of 3 rows", fields={"job": "jb1"})
PATH = "/services/T0123456789/B0123456789/abcdefghijklmnop"


@pytest.fixture
def hook():
    """A server that notes each POST; `statuses` are what it answers first."""
    posts, statuses = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posts.append((self.path, json.loads(body)))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.posts, server.statuses = posts, statuses
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_address_gets_json(hook):
    """The text for chat systems, and the job's fields."""
    assert deliver(target(hook.url + PATH), MESSAGE)
    assert hook.posts == [
        (PATH, {"text": MESSAGE.text, "content": MESSAGE.text, "job": "jb1"}),
    ]


def test_it_is_sent_again_after_a_failure_and_the_address_is_in_no_log(hook, caplog):
    """Two failures and a success: one notice. Three failures: one line in the log, with the host alone."""
    pauses = []
    hook.statuses[:] = [500, 302]
    to = target(f"{hook.url}{PATH}?token=0123456789abcdef")
    assert deliver(to, MESSAGE, sleep=pauses.append)
    assert (len(hook.posts), pauses) == (3, [1.0, 5.0])
    hook.statuses[:] = [403, 403, 403]
    assert not deliver(to, MESSAGE, sleep=pauses.append)
    [line] = [one.getMessage() for one in caplog.records]
    assert "no notice could be sent to http://127.0.0.1: HTTPError: HTTP Error 403" in line
    for text in (line, repr(to), str(to), masked(f"GET {hook.url}{PATH}?token=0123456789abcdef")):
        assert "abcdefghijklmnop" not in text
        assert "0123456789abcdef" not in text


@pytest.mark.skipif(
    os.name == "nt" or os.uname().sysname == "Darwin", reason="notify-send is Linux's"
)
def test_the_desktop_s_program_gets_the_texts_as_arguments(tmp_path, monkeypatch):
    """A text is never code; without the program the refusal names it."""
    out = tmp_path / "out"
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {out}\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    message = Message(title="$(touch x)", text="`id`; 3 rows", fields={})
    assert deliver(target("desktop"), message)
    assert out.read_text("utf-8") == "$(touch x)|`id`; 3 rows|"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(OptionError, match="no notify-send"):
        target("desktop")


class Smtp(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as a message needs; AUTH PLAIN is noted and accepted."""

    def handle(self):
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            word = line.strip().decode()
            self.server.heard.append(word)
            if word.upper() == "DATA":
                self.wfile.write(b"354 go\r\n")
                for text in iter(self.rfile.readline, b".\r\n"):
                    self.server.heard.append(text.strip().decode())
            if word.upper() == "QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            if word.lower().startswith("ehlo"):
                self.wfile.write(b"250-here\r\n250 AUTH PLAIN\r\n")
            elif word.startswith("AUTH"):
                self.wfile.write(b"235 ok\r\n")
            else:
                self.wfile.write(b"250 ok\r\n")


def test_mail_goes_through_the_user_s_server():
    """To the mailbox, with the job in the subject and the line in the body; the password is masked."""
    with socketserver.TCPServer(("127.0.0.1", 0), Smtp) as server:
        server.heard = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"smtp://me%40here.org:pass-0123456789@127.0.0.1:{server.server_address[1]}"
        to = target("mailto:you@there.org", {"JUPYTER_BATCH_SMTP": at})
        try:
            assert deliver(to, MESSAGE)
        finally:
            server.shutdown()
    for line in ("From: me@here.org", "To: you@there.org", "Subject: job: completed", MESSAGE.text):
        assert line in server.heard
    assert "pass-0123456789" not in f"{to!r} {to} {masked(at)}"


@pytest.mark.parametrize(
    "where",
    [
        "",
        "slack",
        "ftp://host/x",
        "mailto:nobody",
        "https://",
        "http://host:port",
        "mailto:a@b%0aBcc:c@d",
    ],
)
def test_what_is_no_target_is_refused(where):
    """Before anything is watched."""
    with pytest.raises(OptionError):
        target(where)


def test_watch_sends_a_notice_at_the_end_of_each_job(hook, home, tmp_path, capsys, monkeypatch):
    """One POST without a row's text, though no webhook ever comes: polls go on; none for a job that was over before."""
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", "whsec_" + "QUJD" * 8)
    df = pd.DataFrame({"text": ["row 0", "row 1"]})
    with Embedded(tmp_path / "slow", pace=0.5) as server:
        given = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        job = df.llm.batch("{text}", out="out", name="tones", **given)
        assert main(["watch", "--webhook", "127.0.0.1:0", "--notify", hook.url + PATH]) == 0
    assert "polling continues" in capsys.readouterr().out
    assert main(["watch", job.id, "--notify", hook.url + PATH]) == 0
    [(path, body)] = hook.posts
    assert path == PATH
    assert body["text"].startswith("tones: completed, 2 of 2 rows")
    assert (body["job"], body["state"], body["counts"]["succeeded"]) == (job.id, "completed", 2)
    assert "row 0" not in json.dumps(body)
    assert PATH not in capsys.readouterr().out


def test_watch_refuses_a_bad_target_or_webhook_before_it_watches(submit, capsys, monkeypatch):
    """Exit 2 and one sentence."""
    monkeypatch.delenv("OPENAI_WEBHOOK_SECRET", raising=False)
    assert main(["watch", "--notify", "pigeon"]) == 2
    assert "expected desktop" in capsys.readouterr().err
    assert main(["watch", "--webhook", "0"]) == 2
    assert "$OPENAI_WEBHOOK_SECRET" in capsys.readouterr().err


def test_notify_of_a_kernel(hook, submit, request):
    """`%llm_batch notify URL`: each job that ends from then on, one notice; complete ones none; `off` ends it."""
    request.addfinalizer(unsubscribe)
    submit(rows=1).wait(60)
    assert notify(hook.url) == "A notice goes to http://127.0.0.1 when a job of this kernel ends."
    came = threading.Event()
    wait, job = came.wait, submit(rows=2).wait(60)
    for _ in range(600):
        if hook.posts or wait(0.1):
            break
    assert [body["job"] for _, body in hook.posts] == [job.id]
    assert notify(None) == "No notices are sent any more."
    submit(rows=3).wait(60)
    assert len(hook.posts) == 1
