"""The server of a ledger home: found if it is alive, else started as a detached process.

In `home/server/`: `endpoint.json` (0600: pid, url, token, its own inode), `server.log`, and the server's state. The
token stays the same over restarts, and so does the port, if it is still free.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jupyter_batch.core.errors import ConnectionFailedError, LedgerError
from jupyter_batch.http.address import is_own_server
from jupyter_batch.process.locks import FileLock
from jupyter_batch.server.serve import TOKEN_VARIABLE

IDLE = 900
"""Seconds without a request or an open batch after which the server stops by itself."""
_TICK = 0.05
_TAIL = 1500


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is. base_url: `http://127.0.0.1:PORT/v1`. token: the key for it, kept out of the repr."""

    base_url: str
    token: str = field(repr=False)


def ensure(home: Path, *, timeout: float = 20.0) -> Endpoint:
    """The server of this home, started if it isn't running; any number of processes may ask at once.

    timeout: seconds. ConnectionFailedError, with the end of the server's log, if it doesn't come up.
    """
    folder = home / "server"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    until = time.monotonic() + timeout
    with FileLock(folder / "launch.lock") as lock:
        while True:
            endpoint = find(home)
            if endpoint is not None:
                return endpoint
            try:
                taken = lock.take()
            except OSError as e:
                raise LedgerError(f"{folder}: {e.strerror}") from e
            if taken:
                endpoint = find(home)  # who held the lock before may have started it
                return endpoint or _start(home, folder, until)
            if time.monotonic() > until:
                raise ConnectionFailedError(
                    f"another process is starting the server of {home}, and has not come to an "
                    "end with it"
                )
            time.sleep(_TICK)


def find(home: Path) -> Endpoint | None:
    """The server of this home, if it is alive and takes our token."""
    path = home / "server" / "endpoint.json"
    known = _read(path)
    if not known or _is_copy(path, known):
        return None
    endpoint = Endpoint(str(known["base_url"]), str(known["token"]))
    return endpoint if _answers(endpoint) else None


def stop(home: Path, *, timeout: float = 10.0) -> bool:
    """Stop the server of this home; whether there was one. Open batches continue at its next start."""
    endpoint = find(home)
    known = _read(home / "server" / "endpoint.json")
    if endpoint is None or not known:
        return False
    os.kill(int(known["pid"]), signal.SIGTERM)
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        with FileLock(home / "server" / "lock") as lock:
            if lock.take():
                return True
        time.sleep(_TICK)
    raise ConnectionFailedError(
        f"the server of {home} (process {known['pid']}) didn't stop within {timeout:g} s"
    )


def _start(home: Path, folder: Path, until: float) -> Endpoint:
    known = _read(folder / "endpoint.json") or {}
    token = str(known.get("token") or secrets.token_urlsafe(24))
    port = urlsplit(str(known.get("base_url", ""))).port or 0
    announced = folder / "endpoint.json"
    command = [
        sys.executable,
        "-m",
        "jupyter_batch.server",
        "--state",
        str(folder),
        "--announce",
        str(announced),
        "--exit-when-idle",
        str(IDLE),
        "--prefer-port",
        str(port),
    ]
    log = folder / "server.log"
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=folder,
            env=_environment(token),
            start_new_session=True,
        )
    threading.Thread(target=process.wait, name="jupyter_batch server's end", daemon=True).start()
    while time.monotonic() < until:
        now = _read(announced)
        if now and now.get("pid") == process.pid:
            endpoint = find(home)
            if endpoint is not None:
                return endpoint
        if process.poll() is not None:
            raise ConnectionFailedError(
                f"the server of {home} did not start (exit code {process.returncode}):\n"
                f"{_tail(log)}"
            )
        time.sleep(_TICK)
    process.terminate()
    raise ConnectionFailedError(f"the server of {home} was not ready in time:\n{_tail(log)}")


def _environment(token: str) -> dict[str, str]:
    """Return this environment with the token and this package's path, without the user's folder."""
    paths = [os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[2])]
    return {
        **os.environ,
        TOKEN_VARIABLE: token,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONSAFEPATH": "1",
    }


def _answers(endpoint: Endpoint) -> bool:
    where = urlsplit(endpoint.base_url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=3)
    try:
        connection.request(
            "GET", "/jupyter_batch/stats", headers={"Authorization": f"Bearer {endpoint.token}"}
        )
        return connection.getresponse().status == 200  # noqa: PLR2004 - HTTP's own
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) and _is_ours(known) else None


def _is_ours(known: dict[str, Any]) -> bool:
    """Whether an announcement can be our server's. A ledger may be someone else's, and name another host."""
    pid, token = known.get("pid"), known.get("token")
    whole = type(pid) is int and pid > 1 and isinstance(token, str)
    return whole and is_own_server(str(known.get("base_url")))


def _is_copy(path: Path, known: dict[str, Any]) -> bool:
    """Whether an announcement was copied with its folder: that server has the other folder's files."""
    try:
        return known.get("inode") not in (None, path.stat().st_ino)
    except OSError:
        return True


def _tail(log: Path) -> str:
    try:
        return (
            log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].strip()
            or "(its log is empty)"
        )
    except OSError:
        return "(it has no log)"
