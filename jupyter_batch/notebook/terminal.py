"""IPython in a terminal: detection, and output of lines above its prompt."""

from __future__ import annotations

import sys
from typing import Any, TextIO, cast

from jupyter_batch.notebook import kernel


def is_terminal(ip: Any = None) -> bool:
    """Whether IPython has a prompt; false in a script, a notebook or nbclient."""
    return hasattr(ip or kernel.shell(), "simple_prompt")


def is_kernel() -> bool:
    """Whether cells are run by a kernel, so that each output belongs to a cell."""
    return getattr(kernel.shell(), "kernel", None) is not None


def cell_number() -> int | None:
    """Return the number of the cell that runs, or ran last, in this shell; None without IPython."""
    gap = kernel.between()
    return None if gap is None else gap.begun


def may_print(cell: int | None) -> bool:
    """Whether output may be written now about a job that was shown in that cell (a `cell_number()`).

    Not while another cell runs or is about to, nor after it in a kernel; above a terminal's prompt always.
    """
    gap = kernel.between()
    if gap is None:
        return True
    if gap.is_idle:
        return not (is_kernel() or gap.is_in_cell)
    return gap.begun == cell


def stream() -> TextIO:
    """Return the stream for lines, looked up for each: standard output, which IPython replaces.

    The usual prompt shows output above itself and keeps the typed text. A plain one
    (`--simple-prompt`) does not: it is redrawn below.
    """
    ip = kernel.shell()
    if not getattr(ip, "simple_prompt", False) or kernel.is_main_thread():
        return sys.stdout
    gap = kernel.between(ip)
    return cast("TextIO", _AbovePrompt(ip)) if gap is not None and gap.is_idle else sys.stdout


class _AbovePrompt:
    """Standard output while a plain prompt waits; each write consists of whole lines."""

    def __init__(self, ip: Any) -> None:
        self._ip = ip
        self._stream = sys.stdout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, lines: str) -> None:
        prompt = "".join(text for _, text in self._ip.prompts.in_prompt_tokens())
        self._stream.write(f"\n{lines}{prompt}{_typed()}")


def _typed() -> str:
    """Return the typed text where readline reads it; else "" (the terminal echoes it itself).

    readline is not imported: that alone would change how input is read.
    """
    readline = sys.modules.get("readline")
    return str(readline.get_line_buffer()) if readline is not None else ""
