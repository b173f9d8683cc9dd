"""The notebooks that are shipped, run from top to bottom as a person would, without a key."""

import os
from itertools import pairwise
from pathlib import Path

import pytest

from jupyter_batch import demo
from jupyter_batch.server import launch
from tests.kernels import apart

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
QUICKSTART = NOTEBOOKS / "quickstart.ipynb"
COMING_FROM = NOTEBOOKS / "coming_from.ipynb"
SHORT = 16  # lines of a cell, blank ones and imports too


def read(path):
    """A notebook's file."""
    import nbformat

    return nbformat.read(path, as_version=4)


def run(path, folder):
    """Its cells by their ids, after a run in a fresh kernel, on a ledger of its own; the ledger's server is stopped."""
    from nbclient import NotebookClient  # seconds of CPU, of the process that comes here alone

    home = folder / "home"
    notebook = read(path)
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENAI_", "ANTHROPIC_", "JUPYTER_BATCH_"))
    }
    env |= {
        "JUPYTER_BATCH_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "DSPY_CACHEDIR": str(folder / "dspy"),
    }  # where dspy imports litellm
    try:
        NotebookClient(notebook, timeout=120, kernel_name="python3", config=apart()).execute(
            env=env
        )
    finally:
        launch.stop(home)
    return {cell.id: cell for cell in notebook.cells}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The quickstart after a run."""
    return run(QUICKSTART, tmp_path_factory.mktemp("notebooks"))


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    """The flows of other systems after a run."""
    return run(COMING_FROM, tmp_path_factory.mktemp("notebooks"))


def texts(cell):
    """All that a cell printed or showed, as text."""
    shown = []
    for output in cell.outputs:
        shown.append(output.get("text", ""))
        shown.append(output.get("data", {}).get("text/plain", ""))
    return "".join(shown)


def result(cell):
    """The value of a cell's last expression, as text."""
    return next(
        output.data["text/plain"]
        for output in cell.outputs
        if output.output_type == "execute_result"
    )


def check_clean(cells):
    """No cell failed, and nothing was written to stderr."""
    for cell in cells.values():
        for output in cell.get("outputs", []):
            assert output.output_type != "error", (cell.source, output)
            assert output.get("name") != "stderr", (cell.source, output)


def test_the_quickstart_runs_without_an_error(ran):
    """No cell fails, and nothing is written to stderr."""
    check_clean(ran)


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


def test_the_flows_run_without_an_error(flows):
    """No cell fails, nothing is written to stderr, and each one shows what came of it."""
    check_clean(flows)
    for name, cell in flows.items():
        if cell.cell_type == "code" and name not in ("setup", "servers", "end"):
            assert texts(cell).strip(), cell.source


def test_the_flows_are_short_and_each_is_reported():
    """A code cell has a line above it that says what it is for, and fits on a glance."""
    cells = read(COMING_FROM).cells
    for before, cell in pairwise(cells):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown", cell.source
            assert len(cell.source.splitlines()) <= SHORT, cell.source


def test_dspy_step_by_step(flows):
    """Files and their metadata, submit, status, typed predictions, the raw answers; and all of it in one line."""
    assert "feedback -> label" in texts(flows["dspy-module"])
    assert "40 requests in 1 file" in result(flows["dspy-build"])
    assert "nothing sent" in result(flows["dspy-build"])
    reported = result(flows["dspy-metadata"])
    for name in (
        "created_at",
        "endpoint",
        "versions",
        "'python'",
        "'model': 'local/echo'",
        "custom_id",
        "'inputs'",
    ):
        assert name in reported
    assert "door" not in reported
    assert result(flows["dspy-retrieve"]).startswith(
        ("('planned'", "('submitting'", "('running'", "('completed'")
    )
    predictions = result(flows["dspy-predictions"])
    assert "label" in predictions
    assert "score" in predictions
    assert "<NA>" not in predictions
    assert "'output-0.jsonl'" in result(flows["dspy-download"])
    assert '"custom_id"' in result(flows["dspy-download"])
    assert len(result(flows["dspy-one-liner"]).splitlines()) == 6


def test_litellm_file_create_poll_results(flows):
    """The line that would be uploaded, the batch, its end, its answers; also of a file that is there already."""
    assert "'max_tokens': 10" in result(flows["litellm-file"])
    assert "rows (" in texts(flows["litellm-create"])
    assert result(flows["litellm-poll"]).startswith("('completed'")
    assert "succeeded=40" in result(flows["litellm-poll"])
    assert "_input_tokens" in result(flows["litellm-results"])
    assert len(result(flows["litellm-own-file"]).splitlines()) == 4
    assert "NaN" not in result(flows["litellm-own-file"])


def test_files_batches_and_models_of_others(flows):
    """A ready file, a batch by its id, a model for each row, failed rows at another model, dspy's examples."""
    assert len(result(flows["dspy-examples"]).splitlines()) == 3
    assert result(flows["litellm-ready"]).startswith("custom_id")
    assert len(result(flows["litellm-ready"]).splitlines()) == 4
    assert result(flows["litellm-model"]) == "['one', 'two']"
    failed, left = result(flows["litellm-escalate"]).strip("()").split(", ")
    assert int(failed) > 0
    assert left == "0"
    assert result(flows["litellm-theirs"]) == "(True, {'greeting': 'Good day'})"


def test_rows_endpoints_and_endings(flows):
    """Parameters and endpoints by row, vectors, images, demos; expired rows, late files, a fallback, a test before."""
    assert "'assistant', 'content': 'negative'" in result(flows["dspy-demos"])
    bodies = result(flows["litellm-by-row"])
    assert bodies.count("'temperature'") == bodies.count("'response_format'") == 1
    assert result(flows["litellm-mixed"]) == "(2, [str, numpy.ndarray])"
    assert result(flows["litellm-embeddings"]).startswith("(3, ")
    assert "'type': 'image_url'" in result(flows["litellm-images"])
    ended = "".join(result(flows["litellm-ended"]).split())
    assert ended.startswith("(('expired',30,10,'batch_expired")
    assert ended.endswith(",40)")
    assert result(flows["litellm-late"]) == "('completed', ['Not there yet'])"
    assert result(flows["litellm-fallback"]) == "['In a hurry']"
    assert result(flows["litellm-sample"]) == "(2, 2)"
    assert "'label': 'category', 'score': 'Float64'" in result(flows["pydantic-output"])
    assert "'chat echo'" in result(flows["pydantic-traces"])


def test_what_is_beyond_the_four(flows):
    """A pydantic class as a tool, an error for a failed batch, callbacks, a row, notices, a file from the terminal."""
    assert "'Weather'" in result(flows["pydantic-class"])
    assert result(flows["pydantic-raise"]).startswith("('JobFailedError'")
    assert result(flows["beyond-done"]) == "(['completed'], 'Good evening')"
    assert "No notices" in texts(flows["beyond-notify"])
    assert result(flows["beyond-file"]) == "['feedback', 'tone']"


def test_no_flow_says_that_it_is_missing():
    """Each flow of the four systems has its cell."""
    for cell in read(COMING_FROM).cells:
        assert "missing" not in cell.source.lower().replace("missing values", "")
        assert "not supported" not in cell.source.lower()


def test_litellm_errors_cost_list_proxy(flows):
    """Failed rows have reasons and go again alone; the cost is half; the jobs are listed; a proxy is an address."""
    assert "server_error" in result(flows["litellm-errors"])
    assert "failed=0" in result(flows["litellm-retry"])
    assert "reused=0" not in result(flows["litellm-retry"]), "what was answered is not asked again"
    spent, saved = result(flows["litellm-cost"]).rstrip(")").split(",")[-2:]
    assert float(spent) == pytest.approx(float(saved))
    assert 0 < float(spent) < 0.01
    assert result(flows["litellm-list"]).count("completed") == 18
    assert "positive" in result(flows["litellm-proxy"])


def test_deluge_waits_comes_back_and_goes_in_chunks(flows):
    """Wait or not, several at once, again in another process, chunks of one job, progress to the end."""
    assert result(flows["deluge-wait"]) == "['What is the capital of France?', 'And of Peru?']"
    assert result(flows["deluge-no-wait"]) == "(False, True)"
    assert "['Lima in spring', 'Oslo in spring']" in result(flows["deluge-several"])
    assert "of last night: completed, 1 of 1" in texts(flows["deluge-back"])
    assert result(flows["deluge-back"]) == "['Good night']"
    assert result(flows["deluge-conversation"]).count("Repeat: ") == 2
    assert result(flows["deluge-chunks"]).startswith("(3, ")
    assert "40" in result(flows["deluge-chunks"])
    assert result(flows["deluge-progress"]).startswith("(1.0,")
    assert "completed, 20 of 20 rows (100%)" in result(flows["deluge-progress"])


def test_deluge_tools_caching_errors(flows):
    """Functions are run and their answers come back; the marks are in the request; a failed row has its reason."""
    assert result(flows["deluge-tools"]) == "['It rains in Lima.', 'It rains in Oslo.']"
    assert result(flows["deluge-cache"]).count("'cache_control': {'type': 'ephemeral'}") == 2
    reported = result(flows["deluge-errors"])
    assert "succeeded" in reported
    assert "failed" in reported
    assert "server_error" in reported


def test_pydantic_ai_one_call_and_ids(flows):
    """The answers of one awaited call, in order; an id for each request."""
    assert result(flows["pydantic-one"]) == "['What is 2 + 2?', 'What is gravity?']"
    assert "('q1', 'succeeded', 'What is AI?')" in result(flows["pydantic-ids"])


def test_pydantic_ai_timeout_and_cancellation(flows):
    """Waiting ends without the job, the job ends when it is released."""
    assert result(flows["pydantic-timeout"]) == "('cancelled', ['cancelled', 'cancelled'])"
    on_its_way = "planned", "submitting", "running"
    assert result(flows["pydantic-wait-for"]) in (
        f"('{state}', 'cancelled')" for state in on_its_way
    )
    assert result(flows["pydantic-cancel"]) == "'cancelled'"


def test_pydantic_ai_tools_and_low_level(flows):
    """Calls are the answer until they are run; a loop of one's own comes to the results; the status has its figures."""
    reported = result(flows["pydantic-tools"])
    assert "'arguments': {'expression': '15 * 23'}" in reported
    assert "15 * 23 = 345" in reported
    assert result(flows["pydantic-low"]) == "['What is 4 + 4?', 'What is 5 + 5?']"
    assert result(flows["pydantic-status"]) == "(True, True, 'completed', 2, 2, 0)"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path):
    """The notebooks in the repository have no outputs, no counts and no machine's traces."""
    for cell in read(path).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_demo_finds_the_quickstart():
    """`jupyter batch demo --lab` opens this very notebook, from a checkout and from a wheel."""
    assert demo.quickstart().read_bytes() == QUICKSTART.read_bytes()
