"""Where a test's kernel is spoken to: sockets in a folder of its own, not ports.

jupyter_client looks for five free ports and the kernel opens them a second later; where much goes on, another process
has one of them by then, now and again.
"""

import atexit
import shutil
import tempfile
from pathlib import Path

from traitlets.config import Config


def apart():
    """The config of one KernelManager, or of the NotebookClient that makes one. A socket's path has to be short."""
    folder = tempfile.mkdtemp(prefix="kernel-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Config(
        {"KernelManager": {"transport": "ipc", "connection_file": str(Path(folder) / "it.json")}}
    )
