"""Chaos with a seed: whatever the server does and wherever the client dies, each line is paid once, each cell right."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests import forking

from .client import TEXTS

pytestmark = pytest.mark.heavy

SEEDS = os.environ.get("JUPYTER_BATCH_CHAOS", "1").split()
"""JUPYTER_BATCH_CHAOS="17" plays a seed once more."""
LIVES = 40
KILLS = 7
START = 1_790_000_000.0
SICK = [text for text in TEXTS if text.startswith("sick")]


@pytest.fixture(scope="module")
def host():
    """The forking process of the clients."""
    with forking.host("tests.chaos.client") as run:
        yield run


@pytest.fixture
def server(request):
    """The server's address; a process of its own."""
    seed = " ".join(str(part) for part in request.node.callspec.params.values())
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("faulty_server.py")), seed],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


def asked(root):
    """The requests that the server received, and those that it answered for money."""
    with urllib.request.urlopen(f"{root}/paid") as answer:
        return json.load(answer)


class Life:
    """The days of a user who runs one cell; direct: the requests in real time that may have been asked twice."""

    def __init__(self, host, server, order, dice):
        self.host, self.server, self.order, self.dice = host, server, order, dice
        self.now = START
        self.report = None
        self.again = False
        self.direct = {}

    def day(self, kill=0, *, later=False):
        """Run the cell; None where the process died, else its report."""
        shown = Path(self.order["report"])
        shown.unlink(missing_ok=True)
        before = asked(self.server)["direct"]
        code = self.host(now=self.now, kill=kill, again=self.again, later=later, **self.order)
        self.again = False
        assert code in (0, -9), code
        after = asked(self.server)
        self.now = max(self.now, after["now"]) + self.dice.choice([1.0, 5.0, 90.0])
        if code != 0:
            for key, count in after["direct"].items():
                self.direct[key] = self.direct.get(key, 0) + count - before.get(key, 0)
            return None
        return json.loads(shown.read_text())

    def go(self):
        """The job run to its end: its last report."""
        for number in range(LIVES):
            kill = self.dice.randint(1, 70) if number < KILLS else 0
            ending = self.day(kill, later=number >= 2)
            if ending is None:
                continue
            if ending["done"]:
                return ending
            if ending["blocked"] and not ending["allowed"]:
                self.look()
        raise AssertionError(f"not at an end in {LIVES} lives: {ending}")

    def look(self):
        """The user looks at the provider: nothing was sent again, and nothing is there that the list will yet show."""
        before = asked(self.server)
        ending = self.day()
        after = asked(self.server)
        if ending["blocked"] == "unknown create":
            resent = Counter(after["lines"]) - Counter(before["lines"])
            assert not resent.keys() & set(before["lines"]), "what can't be known is not resent"
            self.again = not after["pending"]


@pytest.mark.timeout(170)
@pytest.mark.parametrize("way", ["batch", "group", "retry", "finish", "tools"])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("seed", SEEDS)
def test_paid_once_and_every_cell_right(seed, wire, way, host, server, tmp_path):
    """Resets, slow creates, list lag, lost metadata, wrong files, 429 and 5xx, under SIGKILLs."""
    print(f"chaos seed {seed} ({wire}, {way}): JUPYTER_BATCH_CHAOS={seed} plays it again")
    order = {
        "home": str(tmp_path / "home"),
        "root": server,
        "wire": wire,
        "way": way,
        "report": str(tmp_path / "report.json"),
    }
    life = Life(host, server, order, random.Random(f"{seed} {wire} {way}"))
    ending = life.go()
    bought = asked(server)
    models = ["m", "n"] if way == "group" else ["m"]
    paid, second = bought["paid"], {}
    if way == "tools":
        second = {key: paid.pop(key) for key in set(paid) if key.startswith(("m/told", "m/Error"))}
        assert sum(second.values()) == len(TEXTS) - len(SICK)
        assert all(count == 1 for key, count in second.items() if key.startswith("m/told"))
    assert set(paid) == {f"{model}/{text}" for model in models for text in TEXTS}
    for key, count in paid.items():
        assert count <= 1 + life.direct.get(key, 0), f"{key} was paid {count} times"
    assert all(count or key.endswith(tuple(SICK)) for key, count in paid.items())
    assert way != "retry" or all(paid.values())
    answers = list(ending["cells"].values())
    assert len(answers) == len(models)
    for model, cells in zip(models, answers, strict=True):
        for text, cell in zip(TEXTS, cells, strict=True):
            right = text.upper() if paid[f"{model}/{text}"] else None
            assert cell == (last_turn(text, second) if second and right else right)


def last_turn(text, second):
    """A row's answer after its tool's result; a call whose process was killed is reported as of unknown outcome."""
    if f"m/told {text}" in second:
        return f"TOLD {text.upper()}"
    return next(key for key in second if key.startswith("m/Error")).removeprefix("m/").upper()
