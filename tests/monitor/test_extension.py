"""%load_ext, %unload_ext, %reload_ext, %config, each twice, with a job under way too; and Tab in a real kernel."""

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from real_kernel import Notebook
from traitlets.config import Config

from jupyter_batch import magics
from jupyter_batch.config import settings
from jupyter_batch.server.embedded import Embedded
from tests.waiting import wait_for


@pytest.fixture
def held(tmp_path):
    """A server that takes no batch until it is released."""
    with Embedded(tmp_path / "server", faults="open_batches=0") as server:
        yield server


@pytest.fixture
def ip(monkeypatch):
    """A shell without anything of ours, and a frame."""
    monkeypatch.delenv("JUPYTER_BATCH_MODEL", raising=False)
    config = Config()
    config.HistoryManager.enabled = False
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(config=config)
    made.user_ns["df"] = pd.DataFrame({"text": ["a", "b", "c"]})
    yield made
    magics.unload(made)
    InteractiveShell.clear_instance()


def run(ip, cell):
    """As a front end does; an error is raised here as it was there."""
    ip.run_cell(cell, store_history=False).raise_error()


def ours(ip):
    """Our calls around a cell, by name, and the numbers of magics, matchers and configurables."""
    called = [
        f"{event} {type(callback.__self__).__name__}"
        for event, callbacks in ip.events.callbacks.items()
        for callback in callbacks
        if type(getattr(callback, "__self__", None)).__module__.startswith("jupyter_batch")
    ]
    return (
        sorted(called),
        sum("llm_batch" in kind for kind in ip.magics_manager.magics.values()),
        sum(
            getattr(one, "matcher_identifier", "") == "jupyter_batch"
            for one in ip.Completer.custom_matchers
        ),
        sum(type(one).__name__ == "LLMBatch" for one in ip.configurables),
    )


def test_twice_while_a_job_is_under_way(ip, held, capsys):
    """Reloaded, unloaded and loaded twice, nothing is doubled, the screen goes on, and the answers land once."""
    run(ip, "%load_ext jupyter_batch")
    ip.user_ns["call"] = {
        "model": "openai/echo",
        "api_base": held.base_url,
        "api_key": held.token,
        "poll_interval": 0.05,
    }
    run(ip, "job = df.llm.batch('{text}', out='said', **call)")
    run(ip, "job._ipython_display_()")
    job, one = ip.user_ns["job"], ours(ip)
    assert one[1:] == (2, 1, 1)
    assert len(set(one[0])) == len(one[0]) == 4
    monitor, watchers = job._monitor, len(job._here.worker.watchers.of(job.id))
    capsys.readouterr()
    for _ in range(2):
        run(ip, "%reload_ext jupyter_batch")
        assert ours(ip) == one
        lines = [  # but for the job's own
            line
            for line in capsys.readouterr().out.splitlines()
            if not line.startswith(("said: ", "  waiting for quota: "))
        ]
        assert lines == ["1 LLM batch is still running: %llm_batch list"]
        run(ip, "%load_ext jupyter_batch")
        assert "already loaded" in capsys.readouterr().out
    for _ in range(2):
        run(ip, "%unload_ext jupyter_batch")
        assert ours(ip)[1:] == (0, 0, 0)
        assert len(ours(ip)[0]) == 2, "what merges between two cells stays as long as jobs go on"
    with pytest.raises(Exception, match=r"llm_batch"):
        ip.run_line_magic("llm_batch", "list")
    run(ip, "%load_ext jupyter_batch")
    assert ours(ip) == one
    assert job._monitor is monitor
    assert len(job._here.worker.watchers.of(job.id)) == watchers
    held.set_faults("")
    wait_for(lambda: job.is_complete, job)
    run(ip, "pass")
    assert ip.user_ns["df"]["said"].tolist() == ["a", "b", "c"]
    printed = capsys.readouterr().out
    assert printed.count("said: completed") == 1
    assert printed.count("3 of 3 rows have their answer") == 1
    assert held.stats()["batches_created"] == 1


def test_a_job_that_ends_while_the_extension_is_unloaded_lands_too(ip, held):
    """%unload_ext takes the magics away, not the jobs, nor df.llm."""
    run(ip, "%load_ext jupyter_batch")
    ip.user_ns["call"] = {
        "model": "openai/echo",
        "api_base": held.base_url,
        "api_key": held.token,
        "poll_interval": 0.05,
    }
    run(ip, "job = df.llm.batch('{text}', out='said', **call)")
    run(ip, "%unload_ext jupyter_batch")
    held.set_faults("")
    wait_for(lambda: ip.user_ns["job"].is_complete, ip.user_ns["job"])
    run(ip, "pass")
    assert ip.user_ns["df"]["said"].tolist() == ["a", "b", "c"]


def test_config_twice(ip, capsys):
    """Each %config counts from there on; it is listed once; it survives reload and unload; without us it is unknown."""
    run(ip, "%load_ext jupyter_batch")
    for _ in range(2):
        for model in ("openai/a", "openai/b"):
            run(ip, f"%config LLMBatch.model = '{model}'")
            assert settings.read({}).model == model
            run(ip, "%config LLMBatch.model")
        run(ip, "%config LLMBatch.prices = {'openai/b': {'input': 1, 'output': 2}}")
        run(ip, "%reload_ext jupyter_batch")
        assert settings.read({}).model == "openai/b"
        assert settings.read({}).prices == {"openai/b": {"input": 1, "output": 2}}
        capsys.readouterr()
        run(ip, "%config LLMBatch")
        assert capsys.readouterr().out.count("LLMBatch.model") == 1
        run(ip, "%config")
        assert capsys.readouterr().out.count("LLMBatch") == 1
        run(ip, "%unload_ext jupyter_batch")
        assert settings.read({}).model is None
        run(ip, "%config")
        assert "LLMBatch" not in capsys.readouterr().out
        run(ip, "%load_ext jupyter_batch")
        assert settings.read({}).model == "openai/b"


def test_the_cells_own_help_is_whole(ip, capsys):
    """`%%llm_batch?` and `%llm_batch?` show every option, and what the line magic takes."""
    from jupyter_batch.config import magic_line as line

    run(ip, "%load_ext jupyter_batch")
    for question in ("%%llm_batch?", "%llm_batch?"):
        capsys.readouterr()
        run(ip, question)
        printed = capsys.readouterr().out
        for flag in line.flags():
            assert flag in printed or flag.startswith("--no-")
        for verb in line.VERBS:
            assert f"%llm_batch {verb}" in printed


# -- in a real kernel, as JupyterLab asks it ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A kernel with the extension and two frames."""
    book = Notebook()
    try:
        book.run(f"""
            import os
            os.environ["JUPYTER_BATCH_HOME"] = {str(tmp_path_factory.mktemp("ledger"))!r}
            %load_ext jupyter_batch
            import pandas as pd
            df = pd.DataFrame({{"text": ["a"], "Customer Feedback": ["b"], "\\x1b[31mred": ["c"]}})
            other = pd.DataFrame({{"Total": [1]}})
        """)
        yield book
    finally:
        book.close()


def tab(book, cell, mark="|"):
    """The cells that come of each completion where the mark stands: the whole cell and the cursor are sent."""
    at = cell.index(mark)
    code = cell.replace(mark, "", 1)
    content = book.reply(book.client.complete(code, at))["content"]
    assert content["status"] == "ok"
    return [
        code[: content["cursor_start"]] + match + code[content["cursor_end"] :]
        for match in content["matches"]
    ]


@pytest.mark.parametrize(
    ("cell", "comes"),
    [
        ("%%llm_batch df --out x\nSay {te| it", ["%%llm_batch df --out x\nSay {text it"]),
        ("%%llm_batch df\nSay {Customer F|} it", ["%%llm_batch df\nSay {Customer Feedback} it"]),
        ("%%llm_batch df\n{|", ["%%llm_batch df\n{text", "%%llm_batch df\n{Customer Feedback"]),
        ("%%llm_batch other\nthe 💰 of {T|", ["%%llm_batch other\nthe 💰 of {Total"]),
        ("%%llm_batch ot|\n{text}", ["%%llm_batch other\n{text}"]),
        ("%%llm_batch df --max-tok|\n{text}", ["%%llm_batch df --max-tokens\n{text}"]),
        ("%%llm_batch df -m local/|\n{text}", ["%%llm_batch df -m local/echo\n{text}"]),
        (
            "%%llm_batch df --template jinja\n{{ Cust| }}",
            ['%%llm_batch df --template jinja\n{{ row["Customer Feedback"] }}'],
        ),
    ],
)
def test_a_kernel_completes_the_whole_cell(notebook, cell, comes):
    """In the line and in the body, with text behind the cursor, and behind characters beyond the first plane."""
    assert tab(notebook, cell) == comes
