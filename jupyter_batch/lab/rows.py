"""The row view's server (viewer/) in a process of its own: pandas and numpy never load into the Jupyter server."""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path


class RowsServer:
    """A process that is started when it is first needed, and ends with this one."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._address = ""
        atexit.register(self.close)

    def address(self) -> str:
        """The address on loopback, below which each job has a folder. Blocks while it starts. Raises OSError."""
        with self._lock:
            if self._child is None or self._child.poll() is not None:
                self._child = subprocess.Popen(
                    [sys.executable, "-P", "-m", "jupyter_batch.viewer"],
                    env={
                        **os.environ,
                        "JUPYTER_BATCH_HOME": str(self._home),
                        "MALLOC_ARENA_MAX": "2",  # else glibc keeps freed memory for each thread
                    },
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
                self._address = self._child.stdout.readline().strip() if self._child.stdout else ""
            if not self._address:
                raise OSError(
                    "the process that serves the rows did not start; see the server's log"
                )
            return self._address

    @property
    def pid(self) -> int | None:
        """The id of the process, while there is one."""
        return None if self._child is None else self._child.pid

    def close(self) -> None:
        """End the process: its standard input is closed."""
        with self._lock:
            if self._child is None:
                return
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            try:
                self._child.wait(5)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
