"""The host of `prepared.py`: it imports what most commands need, and forks for each one. NAME PID: it ends with PID."""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import struct
import sys
import termios
import threading
import traceback
import types
import warnings
from pathlib import Path

from tests.prepared import LENGTH

IMPORTED = (
    "pandas",
    "IPython.core.interactiveshell",
    "prompt_toolkit.shortcuts",
    "jupyter_batch.cli",
    "jupyter_batch.jobs",
)


def main(name: str, session: str) -> None:
    """Serve commands until the test session is over."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(f"\0{name}")
        except OSError:  # another process of this session was first
            return
        listener.listen(32)
        print("listens", flush=True)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        _prepare()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        over = os.pidfd_open(int(session))
        while over not in (ready := select.select([listener, over], [], [])[0]) and ready:
            line, _ = listener.accept()
            with line:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    listener.close()
                    _supervise(line)


def _prepare() -> None:
    from jupyter_batch.http.litellm import load_litellm
    from tests.loopback_only import no_certificates

    no_certificates()
    load_litellm()
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()


def _supervise(line: socket.socket) -> None:
    """Fork a child for the command on this line, kill it where the line breaks, and report its exit code."""
    try:
        who = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        assert who[1] == os.getuid()
        size, files, _, _ = socket.recv_fds(line, LENGTH, 3)
        with line.makefile("rb") as reader:
            words, env, folder = json.loads(reader.read(int.from_bytes(size, "big")))
        pid = os.fork()
        if pid == 0:
            line.close()
            _child(words, env, folder, files)
        for file in files:
            os.close(file)
        line.sendall(b"%d\n" % pid)
        if line in select.select([line, ended := os.pidfd_open(pid)], [], [])[0]:
            signal.pidfd_send_signal(ended, signal.SIGKILL)
        line.sendall(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    finally:
        os._exit(0)


def _child(words: list[str], env: dict[str, str], folder: str, files: list[int]) -> None:
    """Run as `python WORDS...` and end as it does."""
    code = 1
    try:
        _become(env, folder, files)
        code = _ended(words)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _become(env: dict[str, str], folder: str, files: list[int]) -> None:
    os.setsid()
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    own = [path for path in sys.path[1:] if path not in inherited]
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.path[:] = ["", *filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *own]
    for name in [name for name in sys.modules if name.startswith("IPython.terminal")]:
        del sys.modules[name]  # its import looks for a terminal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        buffering = 1 if number == 2 else -1  # by lines
        how = {"encoding": "utf-8", "errors": "backslashreplace" if number == 2 else "strict"}
        stream = os.fdopen(number, mode, buffering, closefd=False, **how)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _ended(words: list[str]) -> int:
    """The exit code of the command's main module."""
    options = list(filter(None, os.environ.get("PYTHONWARNINGS", "").split(",")))
    while words[0] == "-W":
        options.append(words[1])
        del words[:2]
    warnings._processoptions(options)  # type: ignore[attr-defined]
    try:
        _main(words)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    else:
        return 0
    return 1


def _main(words: list[str]) -> None:
    first, *rest = words
    if first == "-c":
        main = types.ModuleType("__main__")
        sys.modules["__main__"], sys.argv = main, [first, *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), vars(main))
    elif first == "-m":
        sys.path[0], sys.argv = str(Path.cwd()), rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0], sys.argv = str(Path(first).resolve().parent), words
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
