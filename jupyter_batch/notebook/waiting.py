"""Waits of a cell, during which the kernel's clicks and reloaded pages are handled.

Written for the message queues of ipykernel 6.31 to 7.4. Private names are checked first: where they
are missing, messages are handled after the cell, as usual.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from jupyter_batch.notebook.kernel import is_main_thread, shell
from jupyter_batch.process.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

SLICE = 0.1
"""Poll interval of a blocking wait in seconds: the delay of a Ctrl-C or a click."""
AWAIT_SLICE = 0.25
"""The same while awaiting. SIGINT does not wake an idle kernel's loop, so the wait wakes itself."""
STOPPED = "Stopped waiting. The batch goes on."

ASIDE = frozenset(
    {"comm_msg", "comm_open", "comm_close", "comm_info_request", "kernel_info_request"}
)
"""Messages handled out of turn: widgets', and a reloaded page's queries for widgets."""

T = TypeVar("T")
_log = logger()


class Done(Protocol):
    """A `threading.Event`, or an object with its interface."""

    def is_set(self) -> bool:
        """Whether it is done."""

    def wait(self, timeout: float | None = None) -> bool:
        """Block for at most `timeout` seconds; True if it is done."""


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


# -- messages in a wait ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def answering(kernel: Any) -> Iterator[Callable[[], None]]:
    """Yield a function to call a few times a second during a wait in a cell, on the main thread.

    It handles messages in ASIDE during the wait; others keep their order until after the cell.
    JupyterLab from 4.4 on sends clicks through a subshell of ipykernel 7, but no other frontend
    does, and ipykernel 6 has none. kernel: an ipykernel, or None; then nothing happens.
    """
    try:
        wait = _Wait(kernel)
        door = _Queue(kernel) if hasattr(kernel, "msg_queue") else _Door.of(kernel)
    except Exception:  # another kernel, or removed names
        yield lambda: None
        return
    with door.kept_by(wait):
        yield lambda: _uninterrupted(door.look)


def _uninterrupted(work: Callable[[], None]) -> None:
    """Run `work`, deferring an interrupt to its end; a click's own handler gets it at once.

    Else a message could be lost, or a stream be unable to wake its loop: no cell would run.
    """
    held, came = signal.getsignal(signal.SIGINT), []
    if not callable(held):
        work()
        return
    signal.signal(signal.SIGINT, lambda *interrupt: came.append(interrupt))
    try:
        work()
    finally:
        signal.signal(signal.SIGINT, held)
    for interrupt in came[:1]:
        held(*interrupt)


class _Wait:
    """The waiting cell, whose context is restored after a message was handled."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._context = contextvars.copy_context()
        self._parent = kernel.get_parent("shell")
        self._ident = kernel._parent_ident["shell"]  # noqa: SLF001  # no version has a public API

    def answer(self, handling: Coroutine[Any, Any, Any]) -> None:
        """Run ipykernel's handler for a message, which ends at its first step."""
        # ipykernel saves one SIGINT handler; if lost, an interrupt would end an idle kernel
        held = getattr(self._kernel, "saved_sigint_handler", None)
        try:
            self._context.copy().run(handling.send, None)
        except StopIteration:
            pass
        except Exception:  # a failed click must not end the wait
            _log.debug("a message in a wait failed", exc_info=True)
        finally:
            handling.close()
            self._kernel.saved_sigint_handler = held
            self._context.copy().run(
                self._kernel.set_parent, self._ident, self._parent, channel="shell"
            )
            self._kernel._publish_status("busy", "shell", parent=self._parent)  # noqa: SLF001  # it sent idle


class _Queue:
    """Ipykernel 6: all messages are in one queue."""

    def __init__(self, kernel: Any) -> None:
        self._kernel, self._queue, self._stream = kernel, kernel.msg_queue, kernel.shell_stream

    @contextlib.contextmanager
    def kept_by(self, wait: _Wait) -> Iterator[None]:
        """Do nothing: there is nothing to restore."""
        self._wait = wait
        yield

    def look(self) -> None:
        """Handle the messages in ASIDE from the queue."""
        self._stream.flush()
        for item in [self._queue.get_nowait() for _ in range(self._queue.qsize())]:
            _, dispatch, message = item
            if message and _kind(self._kernel, message[0]) in ASIDE:
                self._wait.answer(dispatch(*message))
            else:
                self._queue.put_nowait(item)


class _Door:
    """Ipykernel 7: its callback makes a task of each message, and the tasks wait for a lock.

    From the first wait on this object precedes it; while no cell waits, it passes everything on.
    """

    def __init__(self, kernel: Any, stream: Any) -> None:
        self._kernel, self._stream, self._own = kernel, stream, stream._recv_callback  # noqa: SLF001  # no public API
        self._waits: list[_Wait] = []
        stream.on_recv(self, copy=False)

    @classmethod
    def of(cls, kernel: Any) -> _Door:
        """Return this kernel's instance, made if there is none."""
        stream = kernel.shell_channel_thread.manager._shell_channel_to_main.to_stream  # noqa: SLF001  # no public API
        if isinstance(stream._recv_callback, cls):  # noqa: SLF001  # as above
            return stream._recv_callback  # noqa: SLF001  # as above
        if not callable(stream._recv_callback) or not inspect.iscoroutinefunction(  # noqa: SLF001
            kernel.dispatch_shell
        ):
            raise TypeError("another ipykernel than those known")
        return cls(kernel, stream)

    def __call__(self, message: Any) -> Any:
        """Handle a message; called by the stream on the main thread."""
        if self._waits and _kind(self._kernel, message) in ASIDE:
            self._waits[-1].answer(self._kernel.dispatch_shell(message))
            return None
        return self._own(message)

    @contextlib.contextmanager
    def kept_by(self, wait: _Wait) -> Iterator[None]:
        """Register a waiting cell; several may wait, in tasks of their own."""
        self._waits.append(wait)
        try:
            yield
        finally:
            self._waits.remove(wait)

    def look(self) -> None:
        """Make the stream deliver its messages; if the loop runs, it has done so already."""
        self._stream.flush()


def _kind(kernel: Any, message: Any) -> str | None:
    try:
        frames = kernel.session.feed_identities(list(message), copy=False)[1]
        kind = kernel.session.deserialize(frames, content=False, copy=False)["header"]["msg_type"]
    except Exception:  # unknown format: left as it is
        return None
    return kind if isinstance(kind, str) else None
