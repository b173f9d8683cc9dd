"""A process with the heavy imports done that forks a fresh child for each order; and where such a child may die.

An order is a line of JSON on its stdin, the answer is the child's exit code. It must not know what a child does.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

from jupyter_batch.http.litellm import load_litellm
from jupyter_batch.providers import table
from tests.loopback_only import no_certificates
from tests.prepared import python

ROOT = Path(__file__).parents[1]

# -- in the host ---------------------------------------------------------------------------------------------


def serve(cell, *, ours=True):
    """Fork for each line; the child does `cell(order)`. The modules it imported are imported for the next one.

    ours: the servers on this machine are known as our own, whose list surely shows what was created.
    """
    no_certificates()
    load_litellm()
    if ours:  # a create that a kill kept from it is surely not there
        table._NEAR = table._OURS
    print("ready", flush=True)
    for line in sys.stdin:
        pipe, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            _child(cell, json.loads(line), tell)
        os.close(tell)
        with os.fdopen(pipe) as file:
            imported = file.read().split()
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        for name in imported:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _child(cell, order, tell):
    code, there = 1, set(sys.modules)
    try:
        os.environ["JUPYTER_BATCH_HOME"] = order["home"]
        with contextlib.redirect_stdout(io.StringIO()):
            cell(order)
        others = (name for name in set(sys.modules) - there if not name.startswith("tests"))
        os.write(tell, "\n".join(others).encode())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        from jupyter_batch.runner import process as session

        for held in session._sessions.values():
            held.close()
        os._exit(code)


def die(*_, **__):
    """The power is gone."""
    os.kill(os.getpid(), signal.SIGKILL)


def _replace(owner, name, new):
    """Put a function in the place of another, also where modules have imported that by its name."""
    real = getattr(owner, name)
    setattr(owner, name, new)
    if getattr(real, "__module__", None) != getattr(owner, "__name__", ""):
        return
    for module in [one for place, one in sys.modules.items() if place.startswith("jupyter_batch")]:
        for bound in [bound for bound, value in vars(module).items() if value is real]:
            setattr(module, bound, new)


def after(owner, name):
    """Die when the function has done its work, or the generator has given its first item."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*args, **named):
        made = real(*args, **named)
        if hasattr(made, "__next__"):
            next(made)
        die()

    _replace(owner, name, wrapped)


def before(owner, name):
    """Die instead of calling the function."""
    _replace(owner, name, die)


def after_async(owner, name):
    """Die when the coroutine has done its work."""
    real = getattr(owner, name)

    async def wrapped(*args, **named):
        await real(*args, **named)
        die()

    _replace(owner, name, wrapped)


# -- in the test -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def host(module):
    """A host that was started with `python -m module`: `run(**order)` gives the child's exit code."""
    process = subprocess.Popen(
        [*python(), "-m", module],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline().strip() == "ready"

    def run(**order):
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait(60)
    process.stdout.close()


def killed_and_gone_on(run, point, order):
    """A child that dies at the point, and a new one that goes on: the latter's report in the order's `answers`."""
    answers = Path(order["answers"])
    assert run(kill=point, **order) == -signal.SIGKILL, "the first process died there"
    assert not answers.exists()
    assert run(**order) == 0
    return json.loads(answers.read_text())
