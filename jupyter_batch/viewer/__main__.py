"""The row view's server for another process: prints its address, and ends with its standard input."""

from __future__ import annotations

import sys

from jupyter_batch.config import settings
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.viewer.server import HOST, Viewer


def main() -> None:
    """Serve until the process that started this one closes the pipe, or is dead."""
    viewer = Viewer(Ledger(settings.home(), upgrade=False)).start()
    sys.stdout.write(f"http://{HOST}:{viewer.port}/{viewer.access.token}\n")
    sys.stdout.flush()
    sys.stdin.read()
    viewer.stop()


if __name__ == "__main__":
    main()
