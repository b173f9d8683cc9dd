"""Python with the heavy imports done: commands in processes that are forked from a host, each in a session of its own.

`[*python(), "-m", "module"]` stands in the place of `[sys.executable, "-m", "module"]`. This file is also that command:
it passes its arguments, environment, folder and standard streams to the host, forwards signals, and ends as the fork
ends. Where it is killed, so is the fork. Not for tests of what is imported, of warnings at an import, or of hash seeds.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import sys

LENGTH = 8


def python() -> list[str]:
    """The words of such a Python; the plain one where the system is no Linux. The host ends with the test session."""
    if sys.platform != "linux":
        return [sys.executable]
    return [sys.executable, "-I", "-S", __file__, _host()]


@functools.cache
def _host() -> str:
    """The name of the host's socket: one for the processes of a session."""
    import subprocess
    from pathlib import Path

    session = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    name = f"prepared-python-{session}"
    host = subprocess.Popen(
        [sys.executable, "-m", "tests.prepared_host", name, str(session)],
        cwd=Path(__file__).parents[1],
        env={n: value for n, value in os.environ.items() if not n.startswith("PYTHONWARN")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert host.stdout is not None
    with host.stdout:
        host.stdout.readline()  # it listens, or another one does
    host.returncode = 0  # it outlives this process
    return name


def _run(name: str, words: list[str]) -> int:
    """The exit code of these words."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(f"\0{name}")
        here = os.getcwd()  # noqa: PTH109 - pathlib's import takes as long as all the others
        order = json.dumps([words, dict(os.environ), here]).encode("utf-8", "surrogateescape")
        socket.send_fds(line, [len(order).to_bytes(LENGTH, "big")], [0, 1, 2])
        line.sendall(order)
        with line.makefile() as answers:
            pid = int(answers.readline())
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, functools.partial(_forward, pid))
            return int(answers.readline())


def _forward(pid: int, number: int, _: object) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    code = _run(sys.argv[1], sys.argv[2:])
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
