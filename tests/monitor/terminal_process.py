"""A real process at a real terminal (a pty), to be typed at and read: for the tests of what a person sees there."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

from tests.prepared import python

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds until a test gives up; none waits for them
ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]")


def environment(home, **more):
    """The environment of a process whose ledger is `home`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENAI_", "JUPYTER_BATCH_"))
    }
    return {
        **kept,
        "JUPYTER_BATCH_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "IPYTHONDIR": str(home / "ipython"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "TERM": "xterm",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        **more,
    }


class Terminal:
    """`python WORDS...` in a terminal of 200 columns."""

    def __init__(self, *words, home, rows=40, columns=200):
        home.mkdir(parents=True, exist_ok=True)
        self._end, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [*python(), *words],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            cwd=home,
            env=environment(home),
            start_new_session=True,
        )
        os.close(inner)
        self._raw = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self._end)

    @property
    def raw(self):
        """All that it wrote."""
        return self._raw

    @property
    def text(self):
        """The same without colours and moves of the cursor."""
        return ANSI.sub("", self._raw)

    def type(self, keys):
        """As at the keyboard; its return key is chr(13)."""
        os.write(self._end, keys.encode())

    def until(self, text, *, after=0):
        """Read until this text comes, behind the first `after` characters of `.text`; where it ends there."""
        end = time.monotonic() + PATIENCE
        while (at := self.text.find(text, after)) < 0:
            assert time.monotonic() < end, f"no {text!r} in {self.text!r}"
            assert self._read(), f"it ended without {text!r}: {self.text!r}"
        return at + len(text)

    def until_end(self):
        """Read until it is over; its exit code."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def run(self, line, number):
        """Type a line at IPython's prompt, and read until the prompt of that number; what came until then."""
        before = len(self.text)
        self.type(f"{line}\r")
        end = self.until(f"In [{number}]:", after=before)
        return self.text[before:end]

    def _read(self):
        """Whether anything may come yet; it waits for a moment."""
        if select.select([self._end], [], [], 0.2)[0]:
            try:
                came = os.read(self._end, 65536)
            except OSError:  # Linux's word for an end
                return False
            self._raw += came.decode("utf-8", "replace")
            return bool(came)
        return True
