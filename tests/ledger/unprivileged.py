"""Root without its right to pass over file modes, so that tests of them hold for root as for any user (Linux)."""

from __future__ import annotations

import ctypes
import os

_SET_CAPABILITIES = {"x86_64": 126, "aarch64": 91}
_VERSION_3 = 0x20080522


def become() -> bool:
    """Give up all capabilities for this process and its threads to come; whether file modes count from now on."""
    if os.geteuid():
        return True
    number = _SET_CAPABILITIES.get(os.uname().machine) if os.uname().sysname == "Linux" else None
    if number is None:
        return False
    head = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    return ctypes.CDLL(None, use_errno=True).syscall(number, head, none) == 0
