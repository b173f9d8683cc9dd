"""A ledger with jobs in it, and a real jupyter_server in a process of its own, on a free port of the loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from types import SimpleNamespace

import pytest

from jupyter_batch.core.status import State, Step
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger, this_process

REPO = Path(__file__).parents[2]
CONFIG = REPO / "jupyter_batch" / "lab" / "jupyter_server_config.json"
OTHERS = ("jupyterlab", "jupyter_lsp", "jupyter_server_terminals", "notebook_shim")
"""Extensions that no test here asks: without them a server takes 4 seconds of CPU to start, and not 7."""
PATIENCE = 120  # seconds until a test gives up; none waits for them


def record(job, **more):
    """A job of a hundred rows."""
    return JobRecord(
        **{
            "id": job,
            "fingerprint": job,
            "created_at": time.time() - 600,
            "model": "openai/x",
            "provider": "openai",
            "dialect": "openai",
            "endpoint": "/v1/chat/completions",
            "body_model": "x",
            "out": "out",
            "columns": ["t"],
            "rows": 100,
            **more,
        }
    )


def planned(ledger, job, *, done=0, over=False, shard=None, **more):
    """A job in the ledger, running, or over."""
    step = {"step": Step.COLLECTED, "ending": State.COMPLETED} if over else {"step": Step.RUNNING}
    one = ShardRecord(
        job=job,
        number=0,
        requests=100,
        bytes=9,
        first=0,
        last=99,
        completed=100 if over else done,
        batch_id=f"batch_{job}",
        sent_at=time.time() - 600,
        due_at=time.time() + 9_999,
        **{**step, **(shard or {})},
    )
    ledger.plan(record(job, finished_at=time.time() if over else 0.0, **more), [one], lambda: None)


@pytest.fixture
def ledger(tmp_path):
    """A ledger without any job."""
    made = Ledger(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def lease():
    """`lease(ledger, job)`: as if a kernel followed it."""
    return lambda ledger, job, seconds=3600.0: ledger.lease(
        job, this_process(), time.time(), seconds
    )


class Server:
    """A jupyter_server over a ledger's folder. `env`: of its process; `config`: more command line."""

    def __init__(self, folder, home, *config, **env):
        self.folder, self.token, self.home = folder, "secret-of-this-test", home
        place = folder / "config"
        (place / "jupyter_server_config.d").mkdir(parents=True)
        shutil.copy2(CONFIG, place / "jupyter_server_config.d" / "jupyter_batch.json")
        (folder / "root").mkdir()
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")},
            **{
                f"JUPYTER_{name}_DIR": str(folder / name.lower())
                for name in ("CONFIG", "RUNTIME", "DATA")
            },
            "JUPYTER_PLATFORM_DIRS": "1",
            "JUPYTER_BATCH_HOME": str(home),
            "PYTHONPATH": str(REPO),
            **env,
        }
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "jupyter_server",
                    "--no-browser",
                    "--allow-root",
                    "--ServerApp.ip=127.0.0.1",
                    "--ServerApp.port=0",
                    f"--IdentityProvider.token={self.token}",
                    f"--ServerApp.root_dir={folder / 'root'}",
                    f"--ServerApp.jpserver_extensions={dict.fromkeys(OTHERS, False)}",
                    *config,
                ],
                env=self.env,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        info = folder / "runtime" / f"jpserver-{self.process.pid}.json"
        try:
            self.url = self.until(
                lambda: json.loads(info.read_text("utf-8"))["url"]
            )  # it is there before it is whole
            self.until(lambda: self.get("api/status").status == 200)
        except BaseException:
            self.close()
            raise

    def until(self, test):
        """Wait until it is so."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError, ValueError):
                if found := test():
                    return found
            assert self.process.poll() is None, self.log.read_text("utf-8")
            assert time.monotonic() < deadline, self.log.read_text("utf-8")[-3000:]
            time.sleep(0.05)

    def ask(self, method, path, *, opener=None, token=True, **headers):
        """Its answer: status, headers, body."""
        if token:
            headers["Authorization"] = f"token {self.token}"
        request = urllib.request.Request(
            self.url + path, method=method, headers=headers, data=b"" if method == "POST" else None
        )
        try:
            with (opener or urllib.request.build_opener()).open(request, timeout=PATIENCE) as found:
                return SimpleNamespace(
                    status=found.status, headers=found.headers, body=found.read()
                )
        except urllib.error.HTTPError as e:
            with e:
                return SimpleNamespace(status=e.code, headers=e.headers, body=e.read())

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def jobs(self):
        """The list, as the panel gets it."""
        return json.loads(self.get("jupyter-batch/jobs").body)["jobs"]

    def signed_in(self):
        """A browser's cookies after a visit with the token: (opener, XSRF token)."""
        jar = CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        with opener.open(f"{self.url}api/status?token={self.token}", timeout=PATIENCE):
            pass
        self.ask("GET", "login", opener=opener, token=False)
        return opener, next(cookie.value for cookie in jar if cookie.name == "_xsrf")

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def serve(tmp_path):
    """`serve(home, *config, **env)`: a jupyter_server, ended after the test."""
    opened = []

    def one(home, *config, **env):
        opened.append(Server(tmp_path / f"server{len(opened)}", home, *config, **env))
        return opened[-1]

    yield one
    for server in opened:
        server.close()
