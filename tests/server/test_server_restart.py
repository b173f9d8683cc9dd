"""The state after a stop, a kill and a restart: no batch lost, no row missing or doubled."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from server_asking import Asking, jsonl, line, until

from jupyter_batch.core.errors import OptionError
from jupyter_batch.server.embedded import Embedded

ROOT = Path(__file__).parents[2]


def rows(count: int) -> bytes:
    """An input file."""
    return jsonl(*(line(f"r-{i}", f"text {i}") for i in range(count)))


def written(folder: Path) -> int:
    """Lines in its files; one that is taken away since has none."""
    lines = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            lines += path.read_bytes().count(b"\n")
    return lines


class Process:
    """A server in a process of its own, that can be killed."""

    def __init__(self, state: Path, *options: str) -> None:
        self.child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyter_batch.server",
                "--state",
                str(state),
                "--token",
                "secret",
                *options,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.base_url = self.child.stdout.readline().split()[1]
        self.token = "secret"

    def kill(self) -> None:
        self.child.send_signal(signal.SIGKILL)
        self.end()

    def end(self) -> int:
        code = self.child.wait(60)
        self.child.stdout.close()
        return code


@pytest.mark.parametrize(
    "options", [(), ("--faults", "seed=5,double=0.1,row_errors=0.1,drop=0.05")]
)
def test_a_killed_server_goes_on_where_it_was(tmp_path, options):
    """SIGKILL in validating and three times in progress: after the last start each row has its line, once."""
    state, count = tmp_path / "state", 3000
    first = Process(state, "--pace", "3", *options)
    ask = Asking(first)
    batch = ask.create(rows(count))
    done = 0
    for wanted in (0, 300, 900, 1500):
        until(lambda: ask.batch(batch["id"])["request_counts"]["completed"] >= wanted)  # noqa: B023 - called at once
        ask.server.kill()
        ask.close()
        ask = Asking(Process(state, "--pace", "3", *options))
        until(lambda: ask.batch(batch["id"])["request_counts"]["completed"] >= done)  # noqa: B023 - called at once
        done = ask.batch(batch["id"])["request_counts"]["completed"]
    ended = ask.ended(batch["id"])
    output, errors = ask.results(ended)
    ids = [row["custom_id"] for row in output + errors]
    assert ended["status"] == "completed"
    assert ended["request_counts"]["total"] == count
    assert ended["request_counts"]["completed"] == len({row["custom_id"] for row in output})
    if not options:
        assert sorted(ids) == sorted(f"r-{i}" for i in range(count))
    for row in output:
        text = row["response"]["body"]["choices"][0]["message"]["content"]
        assert text == row["custom_id"].replace("r-", "text ")
    ask.server.child.terminate()
    assert ask.server.end() == 0
    ask.close()


def test_a_server_killed_while_finalizing_goes_on(tmp_path):
    """A batch found in `finalizing` ends as completed with all its rows, one found while it expires as expired."""
    for faults, status, done in (("", "completed", 40), ("expire_after=10", "expired", 10)):
        state = tmp_path / status
        ask = Asking(Process(state, "--pace", "5", "--faults", faults))
        batch = ask.create(rows(40))
        files = state / "files"
        until(lambda: written(files) == 80)  # noqa: B023 - called at once
        ask.server.kill()
        ask.close()
        ask = Asking(Process(state))
        ended = ask.ended(batch["id"])
        output, errors = ask.results(ended)
        assert (ended["status"], len(output), len(errors)) == (status, done, 40 - done)
        ask.server.kill()
        ask.close()


def test_a_half_written_line_is_cut_off(tmp_path, started):
    """The torn end of a line after a crash is removed before the rest is written; whole lines are kept and counted."""
    ask = started(pace=6)
    batch = ask.create(rows(50))
    until(lambda: ask.batch(batch["id"])["request_counts"]["completed"] > 5)
    state = tmp_path / "state0"
    ask.server.stop()
    known = {
        path: path.read_bytes()
        for path in (state / "files").iterdir()
        if path.name != batch["input_file_id"]
    }
    ((path, content),) = known.items()
    path.write_bytes(content + content.splitlines()[0][:40])
    with Embedded(state) as server:
        again = Asking(server)
        ended = again.ended(batch["id"])
        output, _ = again.results(ended)
        again.close()
    assert sorted(row["custom_id"] for row in output) == sorted(f"r-{i}" for i in range(50))
    assert ended["request_counts"]["completed"] == 50
    assert path.read_bytes().startswith(content)
    ask.server.start()


def test_a_restart_keeps_all_and_goes_on(started):
    """Stop and start: the same port, token, files and ended batches; open ones go on, cancelling ones end."""
    ask = started(pace=3.0)
    done = ask.run(rows(3))
    openly, stopped = ask.create(rows(200)), ask.create(rows(200))
    until(
        lambda: all(
            ask.batch(one["id"])["request_counts"]["completed"] for one in (openly, stopped)
        )
    )
    url = ask.server.base_url
    ask.call("POST", f"/batches/{stopped['id']}/cancel")
    ask.server.restart()
    assert ask.server.base_url == url
    assert ask.batch(done["id"]) == done
    assert ask.ended(openly["id"])["request_counts"] == {
        "total": 200,
        "completed": 200,
        "failed": 0,
    }
    ended = ask.ended(stopped["id"])
    output, errors = ask.results(ended)
    assert ended["status"] == "cancelled"
    assert len(output) + len(errors) == 200


def test_two_servers_do_not_share_a_state(tmp_path):
    """The second server on a state is refused with a sentence."""
    with (
        Embedded(tmp_path),
        pytest.raises(OptionError, match="another server is running on the state"),
    ):
        Embedded(tmp_path).start()


def test_the_state_is_private_and_holds_no_secret(tmp_path):
    """Folders are 0700, files 0600, and neither the token nor the upstream's key is on disk."""
    state = tmp_path / "state"
    with Embedded(state, token="token-to-look-for", api_key="key-to-look-for") as server:
        ask = Asking(server)
        ask.run(rows(3))
        ask.close()
        for path in (state, *state.rglob("*")):
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
            if path.is_file():
                assert b"to-look-for" not in path.read_bytes()
        assert "to-look-for" not in repr(server) + repr(server._options)


def test_a_newer_state_is_refused(tmp_path):
    """A state of a later version is left alone."""
    with Embedded(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("pragma user_version = 99")
    db.close()
    with pytest.raises(RuntimeError, match="newer version"):
        Embedded(tmp_path).start()


def test_serve_prints_where_it_is_and_stops_cleanly(tmp_path):
    """`serve` prints its base_url and a token that it made up; SIGINT and SIGTERM end it with 0, its own state goes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        child = subprocess.Popen(
            [sys.executable, "-m", "jupyter_batch.server"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        base_url = child.stdout.readline().removeprefix("base_url: ").strip()
        token = child.stdout.readline().removeprefix("token: ").strip()
        answer = httpx.get(f"{base_url}/models", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
        assert (child.returncode, out, err) == (0, "", "")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-token", "--host", "0.0.0.0"], "--no-token with --host 0.0.0.0"),
        (["--faults", "nonsense=1"], "no fault is called 'nonsense'"),
        (["--pace", "-1"], "--pace expects seconds from 0"),
    ],
)
def test_serve_says_in_one_line_what_can_not_be(options, message):
    """A bad option is one line on stderr and exit code 2."""
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_batch.server", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_serve_stops_when_idle(tmp_path):
    """With --exit-when-idle it ends by itself once no batch is open and nothing was asked."""
    process = Process(tmp_path, "--exit-when-idle", "4", "--pace", "2")
    ask = Asking(process)
    batch = ask.create(rows(10))
    ask.close()
    assert process.end() == 0
    with Embedded(tmp_path) as server:
        assert [(one["id"], one["status"]) for one in server.batches()] == [
            (batch["id"], "completed")
        ]


def test_importing_the_server_is_light():
    """Neither litellm nor pandas comes with it."""
    code = (
        "import sys, json, jupyter_batch.server.serve, jupyter_batch.server.launch, jupyter_batch.server.embedded;"
        "print(json.dumps([m for m in ('litellm', 'openai', 'pandas', 'numpy', 'IPython') if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert json.loads(done.stdout) == []
