"""Processes as holders of leases and drafts: their names, and whether they live."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def machine() -> str:
    """The scope of a process id: this host, and on Linux this container (its PID namespace)."""
    try:
        space = f".{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        space = ""
    return f"{socket.gethostname().replace(':', '.')}{space}"


def has_died(holder: str, here: str) -> bool:
    """Whether the holder of a lease, "machine:pid:...", is a dead process of the machine `here`."""
    where, _, rest = holder.partition(":")
    pid = rest.partition(":")[0]
    return where == here and pid.isdecimal() and not process_alive(int(pid))


def holds(holder: str | None, until: float, now: float) -> bool:
    """Whether a lease is valid: it has not expired, and its holder has not died on this machine."""
    return holder is not None and until > now and not has_died(holder, machine())


def process_alive(pid: int) -> bool:
    """Whether a process with that id runs on this machine."""
    if os.name == "nt":  # os.kill(pid, 0) would end it; the lease's expiry decides instead
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
