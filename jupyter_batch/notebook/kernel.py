"""Scheduling on the main thread of a notebook or a shell: between cells, and during waits.

IPython is used only if already imported. Private names of ipykernel are checked first; where
missing, the plain way is used. Comments describe versions, as seen with ipykernel 6.31 to 7.4.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from jupyter_batch.notebook import marimo_cells
from jupyter_batch.notebook.comm_pump import answering, leave_none_unread
from jupyter_batch.process.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SLICE = 0.1
"""Poll interval of a blocking wait in seconds: the delay of a Ctrl-C or a click."""
AWAIT_SLICE = 0.25
"""The same while awaiting. SIGINT does not wake an idle kernel's loop, so the wait wakes itself."""

_BETWEEN = "jupyter_batch_between"
_VOILA = "VOILA_PREHEAT"
"""Environment variable of Voila's kernels, whether they are started for a page or before."""

T = TypeVar("T")
_log = logger()


class Done(Protocol):
    """A `threading.Event`, or an object with its interface."""

    def is_set(self) -> bool:
        """Whether it is done."""

    def wait(self, timeout: float | None = None) -> bool:
        """Block for at most `timeout` seconds; True if it is done."""


def shell() -> Any:
    """Return the running IPython shell, or None; IPython is not imported for it."""
    module = sys.modules.get("IPython")
    found = module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None
    return found if hasattr(found, "meta") else None  # Solara has a stand-in, which runs no cells


def is_main_thread() -> bool:
    """Whether this is the thread that runs cells, not a subshell or a worker."""
    return threading.current_thread() is threading.main_thread()


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
    return (bool(parent) and _VOILA in os.environ) or marimo_cells.is_running()


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


# -- waiting ---------------------------------------------------------------------------------------------------------


STOPPED = "Stopped waiting. The batch goes on."


def wait_blocking(
    done: Done,
    timeout: float | None = None,
    on_slice: Callable[[], object] | None = None,
    *,
    stopped: str | None = STOPPED,
) -> bool:
    """Block until `done`, for at most `timeout` seconds; True if it is done.

    on_slice is called about ten times a second on this thread. Ctrl-C and the kernel's interrupt
    end the wait, print one line, and return False; without that line (None) they are raised. If
    this thread runs a loop that is not a kernel's, its other tasks continue during the wait.
    """
    try:
        loop = _foreign_loop()
        if loop is not None and not done.is_set():
            with contextlib.suppress(_NotNestableError):
                return run_nested(await_done(done, timeout, on_slice), loop)
        return _wait_in_slices(done, timeout, on_slice)
    except KeyboardInterrupt:
        if stopped is None:
            raise
        print(stopped, flush=True)  # noqa: T201  # for the user who pressed Ctrl-C
        return False


def _wait_in_slices(
    done: Done, timeout: float | None, on_slice: Callable[[], object] | None
) -> bool:
    end = None if timeout is None else time.monotonic() + timeout
    with answering(_kernel_here()) as answer:
        while True:
            left = SLICE if end is None else min(SLICE, end - time.monotonic())
            if done.wait(max(0.0, left)):
                return True
            if on_slice is not None:
                on_slice()
            answer()
            if end is not None and time.monotonic() >= end:
                return done.is_set()


async def await_done(
    done: Done,
    timeout: float | None = None,  # noqa: ASYNC109  # it ends the wait and cancels nothing
    on_slice: Callable[[], object] | None = None,
) -> bool:
    """Wait until `done` without blocking the loop; True if it is done, False after `timeout` seconds.

    It wakes itself (see AWAIT_SLICE), so interrupts are noticed, and it is safe to cancel.
    """
    end = None if timeout is None else time.monotonic() + timeout
    pause = 0.01
    with answering(_kernel_here()) as answer:
        while not done.is_set():
            left = AWAIT_SLICE if end is None else end - time.monotonic()
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(AWAIT_SLICE, pause * 1.5)
            if on_slice is not None:
                on_slice()
            answer()
    return True


def _kernel_here() -> Any:
    """Return the kernel, if this is the thread of its cells."""
    return getattr(shell(), "kernel", None) if is_main_thread() else None


class _NotNestableError(RuntimeError):
    """This loop can't run nested."""


def _foreign_loop() -> asyncio.AbstractEventLoop | None:
    """Return this thread's running loop, unless it is a kernel's or unsafe with nest_asyncio."""
    if getattr(shell(), "kernel", None) is not None or sys.version_info >= (3, 14):
        return None
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return loop if isinstance(loop, asyncio.BaseEventLoop) else None


def run_nested(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Run a coroutine to its end inside this thread's running loop, whose other tasks continue.

    The only use of nest_asyncio: in a kernel it would drop queued cells and lose clicks, on Python
    3.14 it breaks anyio, and it can't patch uvloop (then _NotNestableError, and nothing has run).
    """
    try:
        import nest_asyncio

        nest_asyncio.apply(loop)
    except Exception as error:
        coroutine.close()
        raise _NotNestableError(str(error)) from error
    return loop.run_until_complete(coroutine)
