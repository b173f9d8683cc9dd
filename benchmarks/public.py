"""The public paths, each measured in a process of its own: what a user pays from the call to the column.

A case is a function of the rows and an empty folder; it returns figures in the units of FIGURES. The provider's own
time is left out: its files are on this disk, and its endpoint is on loopback.
"""

from __future__ import annotations

import compileall
import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.answers import KEY, Notebook, Peak, naive, source


class Message(msgspec.Struct):
    """The fields of a result line that a column needs."""

    content: str | None = None


class Choice(msgspec.Struct):
    """See Message."""

    message: Message


class Body(msgspec.Struct):
    """See Message."""

    choices: list[Choice] = []


class Response(msgspec.Struct):
    """See Message."""

    body: Body


class Line(msgspec.Struct):
    """See Message."""

    custom_id: str
    response: Response


Figures = dict[str, float]
PROMPT = "Is it good? {text} {number} {kind}"
MODEL = "openai/gpt-4.1-mini"


@contextlib.contextmanager
def clocked(rows: int, found: Figures) -> Iterator[None]:
    """Note CPU microseconds a row, wall seconds, and the most memory over the start in MB."""
    with Peak() as peak:
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    found |= {"cpu": cpu / rows * 1e6, "wall": wall, "memory": peak.memory}


def _call(frame: Any) -> Any:
    return frame.llm.batch(PROMPT, model=MODEL, out="out", api_key=KEY)


def _alone(home: Path) -> None:
    """Import what a first call imports, and let no worker send anything."""
    import jupyter_batch  # noqa: F401 - the accessor
    from jupyter_batch import jobs  # noqa: F401 - imported by the first call
    from jupyter_batch.runner import process

    os.environ["JUPYTER_BATCH_HOME"] = str(home / "ledger")
    process.Session.move = lambda *_, **__: None  # type: ignore[method-assign]


def out(rows: int, home: Path) -> Figures:
    """`df.llm.batch`: plan, hash, files, fsync, ledger; nothing is sent."""
    return _out(rows, home, source(10).assign(text="of none of the rows"))


def partly_reused(rows: int, home: Path) -> Figures:
    """The same, where another job asks ten of the rows: their requests are not sent again."""
    return _out(rows, home, source(10))


def half_repeated(rows: int, home: Path) -> Figures:
    """The same, where every second row asks what another row asks: it is sent once."""
    import pandas as pd

    half = source(rows // 2)
    twice = pd.concat([half, half]).sample(frac=1, random_state=1).reset_index(drop=True)
    return _out(rows, home, source(10).assign(text="of none of the rows"), twice)


def _out(rows: int, home: Path, before: Any, frame: Any = None) -> Figures:
    _alone(home)
    _call(before)
    frame, found = source(rows) if frame is None else frame, Figures()
    with clocked(rows, found):
        _call(frame)
    return found


def build(rows: int, home: Path) -> Figures:
    """`df.llm.build`: the request files and their metadata."""
    _alone(home)
    _build(source(10), home / "first")
    frame, found = source(rows), Figures()
    with clocked(rows, found):
        _build(frame, home / "built")
    return found


def _build(frame: Any, folder: Path) -> None:
    frame.llm.build(PROMPT, folder=folder, model=MODEL, api_key=KEY)


def into(rows: int, home: Path) -> Figures:
    """From the provider's files to the column: fetch, check, decode, count, price, align, fill."""
    book, found = Notebook(home, source(rows)), Figures()
    with clocked(rows, found):
        book.answered()
    return found | {"held": book.held * 1e3, "column": _column(book.frame)}


def _column(frame: Any) -> float:
    """The memory of the answers' column, in MB."""
    return float(frame["out"].memory_usage(index=False, deep=True)) / 2**20


def again(rows: int, home: Path) -> Figures:
    """The same cell again in the same kernel, its job complete."""
    book, found = Notebook(home, source(rows)), Figures()
    book.answered()
    with clocked(rows, found):
        book.run()
    return found


def restarted(rows: int, home: Path) -> Figures:
    """The same cell in a new process, which has the frame without the answers; the column is there at the end."""
    book = Notebook(home, source(rows))
    book.answered()
    book.job._here.close()  # noqa: SLF001
    code = f"from benchmarks import public; public.print_again({rows}, {str(home)!r})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def print_again(rows: int, home: str) -> None:
    """Print the figures of a new kernel, in which no file of the ledger was read.

    A first call imported what it needs, with another ledger.
    """
    _alone(Path(home) / "another")
    _call(source(10))
    _alone(Path(home))
    frame, found = source(rows), Figures()
    with clocked(rows, found):
        job = _call(frame)
        job._merge_frames()  # noqa: SLF001
    assert frame["out"].notna().any()
    print(json.dumps(found | {"column": _column(frame)}))


def grown(rows: int, home: Path) -> Figures:
    """Ten rows more than a complete job has: they alone are sent. disk: MB written, links not counted."""
    import pandas as pd

    book, found = Notebook(home, source(rows)), Figures()
    book.answered()
    more = source(rows + 10).iloc[rows:]
    book.frame = pd.concat([book.frame.drop(columns="out"), more], ignore_index=True)
    with clocked(rows, found):
        book.run()
    folder = book.job._here.ledger.folders.of(book.job.id).path  # noqa: SLF001
    stats = [path.stat() for path in folder.rglob("*")]
    found["disk"] = sum(one.st_size for one in stats if one.st_nlink == 1) / 1e6
    assert book.job.counts.reused >= rows - rows // 50 - 1
    return found


def naive_out(rows: int, home: Path) -> Figures:
    """A loop over `to_dict("records")` with `json.dumps`, written to a file."""
    frame, found = source(rows), Figures()
    with clocked(rows, found), (home / "requests.jsonl").open("w", encoding="utf-8") as file:
        for position, row in enumerate(frame.to_dict("records")):
            message = {"role": "user", "content": PROMPT.format(**row)}
            body = {"model": "gpt-4.1-mini", "messages": [message]}
            line = {"custom_id": f"jb-{position}", "method": "POST", "url": "/v1/chat/completions"}
            file.write(json.dumps({**line, "body": body}) + "\n")
    return found


def orjson_out(rows: int, home: Path) -> Figures:
    """The floor of a Python loop: columns to lists, f-strings, orjson of the text alone, one write a block."""
    import orjson

    frame, found = source(rows), Figures()
    head = (
        b'","method":"POST","url":"/v1/chat/completions",'
        b'"body":{"model":"gpt-4.1-mini","messages":[{"role":"user","content":'
    )
    with clocked(rows, found), (home / "requests.jsonl").open("wb") as file:
        columns = [frame[name].tolist() for name in ("text", "number", "kind")]
        for start in range(0, rows, 8192):
            block = zip(*(column[start : start + 8192] for column in columns), strict=True)
            file.write(
                b"".join(
                    b'{"custom_id":"jb-%d%b%b}]}}\n'
                    % (position, head, orjson.dumps(f"Is it good? {text} {number} {kind}"))
                    for position, (text, number, kind) in enumerate(block, start)
                )
            )
        os.fsync(file.fileno())
    return found


def raw_out(rows: int, home: Path) -> Figures:
    """The same bytes written from memory."""
    orjson_out(rows, home)
    data, found = (home / "requests.jsonl").read_bytes(), Figures()
    with clocked(rows, found), (home / "copy").open("wb") as file:
        file.write(data)
        os.fsync(file.fileno())
    return found


def _answered_files(rows: int, home: Path) -> tuple[Path, Notebook]:
    book = Notebook(home, source(rows))
    book.answered()
    del book.frame["out"]
    return home / "ledger" / "jobs" / book.job.id, book


def naive_in(rows: int, home: Path) -> Figures:
    """A loop with `json.loads`, a dict by custom_id, and a list for the column."""
    folder, book = _answered_files(rows, home)
    found = Figures()
    with clocked(rows, found):
        naive(folder, book.job.id, book.frame)
    return found | {"column": _column(book.frame)}


def msgspec_in(rows: int, home: Path) -> Figures:
    """The floor of a Python loop: msgspec decodes the few fields of whole blocks of lines into one list."""
    folder, book = _answered_files(rows, home)
    decoder, found = msgspec.json.Decoder(Line), Figures()
    with clocked(rows, found):
        values: list[str | None] = [None] * rows
        skip = len(book.job.id) + 1
        for path in folder.glob("output-*.jsonl"):
            with path.open("rb") as file:
                rest = b""
                while chunk := file.read(1 << 18):
                    whole, _, rest = (rest + chunk).rpartition(b"\n")
                    for line in decoder.decode_lines(whole):
                        choices = line.response.body.choices
                        values[int(line.custom_id[skip:])] = (
                            choices[0].message.content if choices else None
                        )
        book.frame["out"] = values
    return found | {"column": _column(book.frame)}


def raw_in(rows: int, home: Path) -> Figures:
    """The same files read."""
    folder, _ = _answered_files(rows, home)
    found = Figures()
    with clocked(rows, found):
        for path in folder.glob("output-*.jsonl"):
            with path.open("rb") as file:
                while file.read(1 << 18):
                    pass
    return found


# -- single calls, in milliseconds -------------------------------------------------------------------------------------

_IMPORT = (
    "import time; t = time.process_time(); import jupyter_batch; print(time.process_time() - t)"
)
_LOAD = """
import pandas
from IPython.core.interactiveshell import InteractiveShell
ip = InteractiveShell.instance()
import time; t = time.process_time(); ip.run_line_magic("load_ext", "jupyter_batch"); print(time.process_time() - t)
"""
_FIRST = """
import time, pandas as pd, jupyter_batch
df = pd.DataFrame({"text": ["a", "b", "c"]})
c, t = time.process_time(), time.perf_counter()
job = df.llm.batch("Echo {text}", model="anthropic/claude-haiku-4-5", api_key="k", api_base="http://127.0.0.1:9")
repr(job)
print(time.process_time() - c, time.perf_counter() - t)
"""

_LITELLM = """
import threading, time, IPython, pandas
from jupyter_batch.http import litellm
coming = litellm._begun()
[thread] = [one for one in threading.enumerate() if one.name == "jupyter_batch litellm"]
clock, before, held = time.pthread_getcpuclockid(thread.ident), 0.0, 0.0
while thread.is_alive():
    time.sleep(0.001)
    try:
        now = time.clock_gettime(clock)
    except OSError:  # it has ended
        break
    before, held = now, max(held, now - before)
coming.result()
print(before, held)
"""


@functools.cache
def _compile() -> None:
    """Write the package's bytecode, as pip does for one that is installed."""
    compileall.compile_dir(Path(__file__).parents[1] / "jupyter_batch", quiet=2)


def _fresh(code: str, home: Path) -> list[float]:
    _compile()
    environment = {**os.environ, "JUPYTER_BATCH_HOME": str(home / "ledger")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    return [float(word) for word in done.stdout.split()[:2]]


def imported(rows: int, home: Path) -> Figures:
    """`import jupyter_batch` in a fresh process: milliseconds of CPU."""
    del rows
    return {"ms": _fresh(_IMPORT, home)[0] * 1e3}


def loaded(rows: int, home: Path) -> Figures:
    """`%load_ext jupyter_batch` where pandas and IPython are there: milliseconds of CPU."""
    del rows
    return {"ms": _fresh(_LOAD, home)[0] * 1e3}


def first_call(rows: int, home: Path) -> Figures:
    """The first cell of a kernel, three texts for Anthropic, to the panel's words: CPU; wall seconds."""
    del rows
    cpu, wall = _fresh(_FIRST, home)
    return {"ms": cpu * 1e3, "wall": wall}


def litellm_imported(rows: int, home: Path) -> Figures:
    """The import of litellm by its thread: its CPU, and the most of it between two ticks of the main thread.

    By CPU and not by the clock, so that other processes do not count.
    """
    del rows
    cpu, held = _fresh(_LITELLM, home)
    return {"ms": cpu * 1e3, "held": held * 1e3}


CASES: dict[str, dict[str, Callable[[int, Path], Figures]]] = {
    "out: frame to request files": {
        "jupyter_batch, df.llm.batch": out,
        "jupyter_batch, ten rows asked before": partly_reused,
        "jupyter_batch, every row there twice": half_repeated,
        "jupyter_batch, df.llm.build": build,
        "loop: to_dict and json.dumps": naive_out,
        "floor: orjson in one loop": orjson_out,
        "floor: the bytes written": raw_out,
    },
    "in: result files to column": {
        "jupyter_batch, worker and merge": into,
        "loop: json.loads": naive_in,
        "floor: msgspec in one loop": msgspec_in,
        "floor: the bytes read": raw_in,
    },
    "again: a complete job": {
        "same cell, same kernel": again,
        "same cell, new kernel": restarted,
        "ten rows more": grown,
    },
    "first use": {
        "import jupyter_batch": imported,
        "%load_ext jupyter_batch": loaded,
        "first cell, Anthropic": first_call,
        "litellm's import": litellm_imported,
    },
}
"""Groups of the table, and their rows."""
