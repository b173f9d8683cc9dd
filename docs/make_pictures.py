"""Make docs/monitor.png, panel.png and plot.png: real jobs, real reviews, a real JupyterLab in a headless Chromium.

`python docs/make_pictures.py` needs the `test` extra and a Chromium.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tests" / "browser")]

from lab import Lab, notebook_of  # noqa: E402  # the harness is among the browser tests

from jupyter_batch.server.embedded import Embedded  # noqa: E402

LOAD = """%load_ext jupyter_batch
price = {"input": 0.2, "output": 0.8, "realtime": {"input": 0.4, "output": 1.6}}
%config LLMBatch.prices = {"openai/local/echo": price}
from jupyter_batch import demo
df = demo.reviews()
df.head(3)"""
SUBMIT = """%%llm_batch df --out sentiment --max-tokens 5
Classify the sentiment (positive/negative/neutral): {feedback}"""
OTHERS = """summaries = df.head(120).llm.batch("Summarize: {feedback}", out="summary")
summaries.wait()
topics = df.head(60).llm.batch("Name the topic: {feedback}", out="topic", name="topics, first try")
topics.cancel().wait()"""
MEANWHILE = """df["feedback"].str.len().describe().round(1).to_frame().T"""


def main() -> None:
    """All, or those that are named."""
    for draw in (monitor, panel, plot):
        if not sys.argv[1:] or draw.__name__ in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                draw(Path(folder))
                shutil.copy(Path(folder) / f"{draw.__name__}.png", REPO / "docs")


def monitor(folder: Path) -> None:
    """A batch that is a third done."""
    with (
        Embedded(folder / "server", pace=40.0, faults="row_errors=0.02,seed=5") as server,
        Lab(
            notebook_of(LOAD, SUBMIT, MEANWHILE), env=_env(server), shots=folder, size=(1100, 760)
        ) as lab,
    ):
        lab.command("application:toggle-left-area")
        lab.run_all()
        lab.until(lambda: re.search(r"\b1\d\d of 295 rows", lab.output(1)), "a third of the rows")
        lab.shot("monitor.png")


def panel(folder: Path) -> None:
    """A job that runs with its kernel shut, two that have ended, and the notification of one."""
    with (
        Embedded(folder / "server", pace=30.0, faults="row_errors=0.02,seed=5") as server,
        Lab(
            notebook_of(LOAD, OTHERS, SUBMIT),
            env={**_env(server), **_home(folder)},
            shots=folder,
            size=(1100, 760),
            config=("--JupyterBatch.watch=True",),
        ) as lab,
    ):
        lab.command("jupyter_batch:show")
        lab.run_all()
        lab.until(
            lambda: re.search(r"\b\d+ of 295 rows", lab.output(2)), "the last job to run", 120
        )
        lab.shutdown()
        row = lab.page.locator("[aria-label='Open LLM batches'] .jb-job")
        lab.until(
            lambda: re.search(r"\b1\d\d of 295 rows", row.inner_text()), "a third of the rows"
        )
        lab.shot("panel.png")


def _home(folder: Path) -> dict[str, str]:
    """The panel names the ledger as a person's is named."""
    return {
        "HOME": str(folder),
        "JUPYTER_BATCH_HOME": str(folder / ".local" / "share" / "jupyter_batch"),
    }


def plot(folder: Path) -> None:
    """`job.plot()` of a job in five batches whose failed rows were sent again."""
    run = (
        "job = df.llm.batch('Classify the sentiment: {feedback}', out='sentiment', shard_size=60,\n"
        "                   prices={'openai/local/echo': {'input': 0.2, 'output': 0.8}})\n"
        "job.wait().retry().wait()"
    )
    save = f"job.plot().savefig({str(folder / 'plot.png')!r}, dpi=110, facecolor='white')"
    with (
        Embedded(folder / "server", pace=20.0, faults="row_errors=0.04,seed=5") as server,
        Lab(notebook_of(LOAD, run, save), env=_env(server), size=(1100, 760)) as lab,
    ):
        lab.run_all()
        lab.until((folder / "plot.png").exists, "the figure", 180)
        lab.wait_idle()


def _env(server: Embedded) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": server.token,
        "JUPYTER_BATCH_MODEL": "openai/local/echo",
    }


if __name__ == "__main__":
    main()
