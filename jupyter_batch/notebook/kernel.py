"""The shell that runs this process: its front end, work between its cells, output in a terminal.

IPython is used only if already imported. Private names of ipykernel are checked first; where
missing, the plain way is used. Comments describe versions, as seen with ipykernel 6.31 to 7.4.
"""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import io
import os
import re
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, TextIO, cast

from jupyter_batch.notebook import marimo_cells
from jupyter_batch.process.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BETWEEN = "jupyter_batch_between"
_VOILA = "VOILA_PREHEAT"
"""Environment variable of Voila's kernels, whether they are started for a page or before."""

_log = logger()


def shell() -> Any:
    """Return the running IPython shell, or None; IPython is not imported for it."""
    module = sys.modules.get("IPython")
    found = module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None
    return found if hasattr(found, "meta") else None  # Solara has a stand-in, which runs no cells


def is_main_thread() -> bool:
    """Whether this is the thread that runs cells, not a subshell or a worker."""
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay an interrupt of the main thread to the end of this block, which must be short."""
    before = signal.getsignal(signal.SIGINT) if is_main_thread() else None
    if before is None:  # another thread, or a handler that is not Python's
        yield
        return
    caught: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if caught:
            signal.raise_signal(signal.SIGINT)


# -- frontend --------------------------------------------------------------------------------------------------------


def _parent(ip: Any) -> dict[str, Any]:
    try:
        parent = ip.kernel.get_parent()
    except (AttributeError, LookupError):  # a terminal; ipykernel 7.0 in a bare thread
        return {}
    return parent if isinstance(parent, dict) else {}


def has_frontend(ip: Any = None) -> bool:
    """Whether a notebook frontend shows this cell; not in terminals, nbclient or papermill."""
    parent = _parent(ip or shell())
    if parent.get("content", {}).get("allow_stdin"):
        return True
    # Voila runs the cells with nbclient, and then shows them with their widgets.
    return (bool(parent) and _VOILA in os.environ) or is_marimo()


def is_marimo() -> bool:
    """Whether this thread runs the cells of a marimo notebook that a page shows; False in a script."""
    marimo = sys.modules.get("marimo")
    running = getattr(marimo, "running_in_notebook", None)
    return running is not None and bool(running())


def current_cell(ip: Any = None) -> str | None:
    """Return an id of the running cell or terminal input; None without IPython.

    The id changes once a cell has cleared its output.
    """
    ip = ip or shell()
    if ip is not None and getattr(ip, "kernel", None) is None:
        return f"In [{ip.execution_count}]"
    ident = _parent(ip).get("header", {}).get("msg_id")
    cleared = getattr(getattr(ip, "meta", {}).get(_BETWEEN), "cleared", 0)
    return f"{ident} {cleared}" if isinstance(ident, str) else None


def notebook_path(ip: Any = None) -> str | None:
    """Return the notebook's path as its server reports it (JupyterLab and VS Code)."""
    ip = ip or shell()
    if getattr(ip, "kernel", None) is None:
        return None
    path = os.environ.get("JPY_SESSION_NAME") or ip.user_ns.get("__vsc_ipynb_file__")
    return path if isinstance(path, str) else None


def frame_names(ip: Any, frame: object) -> list[str]:
    """Return the user's names for this object, in order of creation; not IPython's (`_`, `_3`)."""
    hidden = getattr(ip, "user_ns_hidden", {})
    names = getattr(ip, "user_ns", {})
    return [
        name
        for name, held in list(names.items())
        if held is frame and not name.startswith("_") and name not in hidden
    ]


def is_held(ip: Any, frame: object) -> bool:
    """Whether a user variable leads to this object, in the notebook or at the call.

    A variable may be the object itself, or a list, a dict or an object that holds it.
    """
    spaces: list[dict[str, Any]] = [getattr(ip, "user_ns", {})]
    caller = inspect.currentframe()
    while caller is not None:
        module = caller.f_globals.get("__name__", "")
        if module.partition(".")[0] not in ("jupyter_batch", "pandas", "IPython"):
            spaces.append(caller.f_locals)
            spaces.append(caller.f_globals)
        caller = caller.f_back
    for space in spaces:
        for name, held in list(space.items()):
            if not _OF_IPYTHON.fullmatch(name) and _leads_to(held, frame):
                return True
    return False


_OF_IPYTHON = re.compile(r"_+|_+i*\d*|_[ioh]*h?|In|Out")
_MOST_LOOKED = 1000


def _leads_to(held: Any, frame: object) -> bool:
    if held is frame:
        return True
    if isinstance(held, (list, tuple)):
        return any(item is frame for item in held[:_MOST_LOOKED])
    if isinstance(held, dict):
        return len(held) <= _MOST_LOOKED and any(item is frame for item in list(held.values()))
    if type(held).__module__.partition(".")[0] in ("jupyter_batch", "pandas", "builtins"):
        return False
    try:
        return any(item is frame for item in list(vars(held).values()))
    except Exception:  # an object without attributes, or with dynamic ones
        return False


def widget_context(ip: Any = None) -> contextvars.Context:
    """Return a context for a monitor's widgets: a copy of the submitting cell's.

    From ipykernel 7.0 on the cell that output belongs to is a context variable. From 7.4 on a
    widget's clicks go to the shell that last published on it, so they would wait while a cell runs;
    with an empty parent it is not pinned, and JupyterLab's own subshell handles the click at once.
    """
    context = contextvars.copy_context()
    variable = getattr(getattr(ip or shell(), "kernel", None), "_shell_parent", None)
    if isinstance(variable, contextvars.ContextVar) and "ipykernel" in sys.modules:
        from ipykernel.comm.comm import BaseComm

        if hasattr(BaseComm, "_reply_subshell_for"):
            context.run(variable.set, {})
    return context


def leave_none_unread(kernel: Any) -> None:
    """Make ipykernel 7.0 to 7.3 send its replies as 7.4 does; on the main thread.

    They bypass the stream that reads requests, so that a request arriving then is left unread, with
    all later ones from that page: a cell or a click hangs. kernel: an ipykernel, or None.
    """
    manager: Any = getattr(getattr(kernel, "shell_channel_thread", None), "_manager", None)
    stream = getattr(kernel, "shell_stream", None)
    if stream is not None and getattr(manager, "_shell_socket", None) is stream.socket:
        manager._shell_socket = stream  # noqa: SLF001  # no public API; only send_multipart is used


# -- between cells ---------------------------------------------------------------------------------------------------


class BetweenCells:
    """Runs functions on the main thread between cells: never during one, not even one that awaits.

    Just before or after a cell or, if the kernel is idle, at once. One per shell (`between`).
    """

    def __init__(self, ip: Any) -> None:
        self._lock = threading.Lock()
        self._queue: list[Callable[[], object]] = []
        self._in_cell = True  # made in a cell; the one that loads an extension lacks pre_run_cell
        self._before_cell = False
        self.begun = 0
        self._loop = getattr(
            getattr(getattr(ip, "kernel", None), "io_loop", None), "asyncio_loop", None
        )
        leave_none_unread(getattr(ip, "kernel", None))
        ip.events.register("pre_run_cell", self._before)
        ip.events.register("post_run_cell", self._after)
        self.cleared = 0
        publisher: Any = getattr(ip, "display_pub", None)
        if hasattr(publisher, "register_hook"):  # in a kernel
            publisher.register_hook(self._on_output)

    @property
    def is_idle(self) -> bool:
        """Whether no cell runs."""
        return not self._in_cell

    @property
    def is_in_cell(self) -> bool:
        """Whether output belongs to a cell: it runs, or waits for the work that is done before it."""
        return self._in_cell or self._before_cell

    @property
    def has_loop(self) -> bool:
        """Whether work is run as soon as no cell runs; a terminal's waits for the next input."""
        return self._loop is not None

    def put(self, work: Callable[[], object]) -> None:
        """Run `work` at the next moment between cells. Callable from any thread."""
        with self._lock:
            self._queue.append(work)
        if (
            self._loop is not None
        ):  # no loop runs between a terminal's prompts: there it is at the next cell
            with contextlib.suppress(RuntimeError):  # the kernel is shutting down
                self._loop.call_soon_threadsafe(self._when_idle)

    def _on_output(self, message: dict[str, Any]) -> dict[str, Any]:
        """Count how often the main thread has cleared its cell's output."""
        self.cleared += message.get("msg_type") == "clear_output"
        return message

    def _when_idle(self) -> None:
        if not self._in_cell:
            self._drain()

    def _before(self, _info: object = None) -> None:
        if is_main_thread():
            self._before_cell = True
            try:
                self._drain()
            finally:
                self._before_cell = False
            self._in_cell = True
            self.begun += 1

    def _after(self, _result: object = None) -> None:
        if is_main_thread():
            self._in_cell = False
            self._drain()

    def _drain(self) -> None:
        with self._lock:
            todo, self._queue = self._queue, []
        while todo:
            try:
                todo.pop(0)()
            except Exception:  # one job's failed merge must not prevent another's
                _log.exception("between two cells")
            except KeyboardInterrupt:
                for work in todo:
                    self.put(work)
                raise


def between(ip: Any = None) -> BetweenCells | None:
    """Return this shell's BetweenCells, made at the first call; None without IPython."""
    ip = ip or shell()
    if ip is None:
        return None
    held = ip.meta.get(_BETWEEN)  # `meta` is IPython's store for extensions
    if not isinstance(held, BetweenCells):
        held = ip.meta[_BETWEEN] = BetweenCells(ip)
    return held


def is_busy() -> bool:
    """Whether a cell runs; False without IPython and marimo."""
    held = getattr(shell(), "meta", {}).get(_BETWEEN)
    return (isinstance(held, BetweenCells) and not held.is_idle) or marimo_cells.is_busy()


def on_main(work: Callable[[], object]) -> bool:
    """Run `work` between cells; False without IPython: the caller then does it in its wait()."""
    gap = between()
    if gap is not None:
        gap.put(work)
    return gap is not None


def on_idle_kernel(work: Callable[[], object]) -> bool:
    """Run `work` between cells; False where that would wait for the user's next input, or for ever."""
    gap = between()
    if gap is None or not gap.has_loop:
        return False
    gap.put(work)
    return True


# -- output in a terminal -------------------------------------------------------------------------------------------


def is_terminal(ip: Any = None) -> bool:
    """Whether IPython has a prompt; false in a script, a notebook or nbclient."""
    return hasattr(ip or shell(), "simple_prompt")


def is_kernel() -> bool:
    """Whether cells are run by a kernel, so that each output belongs to a cell."""
    return getattr(shell(), "kernel", None) is not None


def cell_number() -> int | None:
    """Return the number of the cell that runs, or ran last, in this shell; None without IPython."""
    gap = between()
    return None if gap is None else gap.begun


def may_print(cell: int | None) -> bool:
    """Whether output may be written now about a job that was shown in that cell (a `cell_number()`).

    Not while another cell runs or is about to, nor after it in a kernel; above a terminal's prompt always.
    """
    gap = between()
    if gap is None:
        return True
    if gap.is_idle:
        return not (is_kernel() or gap.is_in_cell)
    return gap.begun == cell


def stream() -> TextIO:
    """Return the stream for lines, looked up for each: standard output, which IPython replaces.

    The usual prompt shows output above itself and keeps the typed text. A plain one
    (`--simple-prompt`) does not: it is redrawn below. Without standard output, lines go nowhere.
    """
    ip = shell()
    out = sys.stdout or cast("TextIO", _Nowhere())
    if not getattr(ip, "simple_prompt", False) or is_main_thread():
        return out
    gap = between(ip)
    return cast("TextIO", _AbovePrompt(ip)) if gap is not None and gap.is_idle else out


class _Nowhere(io.StringIO):
    """Standard output of a process without one (pythonw, some services)."""

    def write(self, text: str) -> int:
        return len(text)


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
