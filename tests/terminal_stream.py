"""A stream that passes for a terminal, in this process."""

import io
import threading


class Terminal(io.StringIO):
    """A stream of a terminal; `written` is set at each write."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def isatty(self):
        return True

    def write(self, text):
        super().write(text)
        self.written.set()
