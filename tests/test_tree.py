"""Sizes of the tree: how many files a folder has, how long a file and a function may be."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from pkgutil import resolve_name

import pytest
import radon.complexity

from benchmarks.stages import STAGES
from jupyter_batch.core.status import MOVES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jupyter_batch"
FILES_A_FOLDER = 16
LINES_A_FILE = 400
LINES_A_FUNCTION = 60
COMPLEXITY = 15


def modules():
    """The package's modules."""
    return sorted(PACKAGE.rglob("*.py"))


def test_a_folder_has_few_files():
    """No folder of the package has more than 16 modules."""
    folders = {path.parent for path in modules()}
    counts = {
        folder.relative_to(ROOT).as_posix(): len(list(folder.glob("*.py"))) for folder in folders
    }
    assert {name: count for name, count in counts.items() if count > FILES_A_FOLDER} == {}


def test_a_file_is_short():
    """No module has more than 400 lines."""
    lines = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in modules()
    }
    assert {name: count for name, count in lines.items() if count > LINES_A_FILE} == {}


def test_a_function_is_short():
    """No function has more than 60 lines."""
    found = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(PACKAGE).as_posix()}:{node.name}"
                found[name] = node.end_lineno - node.lineno + 1
    too_long = {name: count for name, count in found.items() if count > LINES_A_FUNCTION}
    assert too_long == {}


def test_a_function_is_simple():
    """No function has a cyclomatic complexity above 15, comprehensions counted (radon)."""
    found: dict[str, int] = {}
    for path in modules():
        for block in radon.complexity.cc_visit(path.read_text(encoding="utf-8")):
            for function in getattr(block, "methods", [block]):
                name = f"{path.relative_to(PACKAGE).as_posix()}:{function.name}"
                found[name] = max(found.get(name, 0), function.complexity)
    too_complex = {name: count for name, count in found.items() if count > COMPLEXITY}
    assert too_complex == {}


def diagram():
    """The states of a shard as Mermaid draws them."""
    lines = ["[*] --> planned"]
    lines += [f"{step} --> {to}" for step in MOVES for to in sorted(MOVES[step])]
    return "\n".join(f"    {line}" for line in [*lines, "collected --> [*]"])


def test_the_diagram_shows_the_table_of_moves():
    """docs/architecture.md draws the states of a shard as core/status.py has them."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert f"stateDiagram-v2\n{diagram()}\n```" in page


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md"])
def test_the_readme_links_the_pages_for_contributors(page):
    """Each page is there, and the README links to it."""
    assert (ROOT / page).is_file()
    assert f"({page})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_profiles_stages_exist():
    """Each function that `python -m benchmarks profile` clocks is there."""
    for path in itertools.chain.from_iterable(STAGES.values()):
        assert callable(resolve_name(f"jupyter_batch.{path}")), path
