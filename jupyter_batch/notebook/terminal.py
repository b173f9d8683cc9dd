"""IPython in a terminal: whether this is one, and how a line comes above its prompt. It knows no job and no screen."""

from __future__ import annotations

import sys
from typing import Any, TextIO, cast

from jupyter_batch.notebook import kernel


def is_terminal(ip: Any = None) -> bool:
    """A person sits, or may sit, at a prompt of IPython; in a script, a notebook or nbclient nobody does."""
    return hasattr(ip or kernel.shell(), "simple_prompt")


def stream() -> TextIO:
    """Where lines go, to be asked for at each of them: standard output, which IPython exchanges.

    The usual prompt takes what is written meanwhile and puts it above itself, and what was typed stays. A plain one
    (`--simple-prompt`) knows nothing of that: it is written anew below.
    """
    ip = kernel.shell()
    if not getattr(ip, "simple_prompt", False) or kernel.is_main_thread():
        return sys.stdout
    gap = kernel.between(ip)
    return cast("TextIO", _AbovePrompt(ip)) if gap is not None and gap.is_idle else sys.stdout


class _AbovePrompt:
    """Standard output while a plain prompt waits; each write is whole lines."""

    def __init__(self, ip: Any) -> None:
        self._ip = ip
        self._stream = sys.stdout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, lines: str) -> None:
        prompt = "".join(text for _, text in self._ip.prompts.in_prompt_tokens())
        self._stream.write(f"\n{lines}{prompt}{_typed()}")


def _typed() -> str:
    """What stands behind the prompt, where readline reads it; else the terminal keeps it, and shows it no second time.

    Not by an import: that alone would change how input is read.
    """
    readline = sys.modules.get("readline")
    return str(readline.get_line_buffer()) if readline is not None else ""
