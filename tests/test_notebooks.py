"""The notebooks that are shipped, run from top to bottom as a person would, without a key."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from jupyter_batch import demo
from jupyter_batch.server import launch

ROOT = Path(__file__).parent.parent
QUICKSTART = ROOT / "notebooks" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The quickstart after a run in a fresh kernel, on a ledger of its own."""
    home = tmp_path_factory.mktemp("notebooks") / "home"
    notebook = nbformat.read(QUICKSTART, as_version=4)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "JUPYTER_BATCH_"))}
    env |= {"JUPYTER_BATCH_HOME": str(home), "PYTHONPATH": str(ROOT)}
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(env=env)
    yield {cell.id: cell for cell in notebook.cells}
    launch.stop(home)


def texts(cell):
    """All that a cell printed or showed, as text."""
    shown = []
    for output in cell.outputs:
        shown.append(output.get("text", ""))
        shown.append(output.get("data", {}).get("text/plain", ""))
    return "".join(shown)


def test_the_quickstart_runs_without_an_error(ran):
    """No cell fails, and nothing is written to stderr."""
    for cell in ran.values():
        for output in cell.get("outputs", []):
            assert output.output_type != "error", (cell.source, output)
            assert output.get("name") != "stderr", (cell.source, output)


def test_the_quickstart_fills_both_columns(ran):
    """The accessor's column and the magic's are there, with the labels that the prompts offer."""
    assert "sentiment" in texts(ran["wait"])
    assert "positive" in texts(ran["compare"])
    assert "topic" in texts(ran["magic-wait"])
    assert "succeeded=60" in texts(ran["results"])
    assert "Empty DataFrame" in texts(ran["errors"])


def test_the_quickstart_comes_back_to_the_same_job(ran):
    """The same call is the same job; a fresh frame gets the same answers."""
    assert texts(ran["again"]).strip() == "True"
    assert texts(ran["open"]).strip().endswith("True")
    assert texts(ran["list"]).count("completed") == 2


def test_the_quickstart_is_kept_without_outputs():
    """What is in the repository has no outputs, no counts and no machine's traces."""
    for cell in nbformat.read(QUICKSTART, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_demo_finds_the_quickstart():
    """`jupyter batch demo --lab` opens this very notebook, from a checkout and from a wheel."""
    assert demo.quickstart().read_bytes() == QUICKSTART.read_bytes()
