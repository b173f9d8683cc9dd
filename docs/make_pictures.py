"""Make docs/monitor.png: the live monitor of a real job, on real reviews, in a real JupyterLab in a headless Chromium.

`python docs/make_pictures.py` needs the `test` extra and a Chromium.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tests" / "browser")]

from lab import Lab, notebook_of  # noqa: E402  # the harness lies beside the browser tests

from jupyter_batch.server.embedded import Embedded  # noqa: E402

LOAD = """%load_ext jupyter_batch
from jupyter_batch import demo
df = demo.reviews()
df.head(3)"""
SUBMIT = """%%llm_batch df --out sentiment
Classify the sentiment (positive/negative/neutral): {feedback}"""
MEANWHILE = """df["feedback"].str.len().describe().round(1).to_frame().T"""


def main() -> None:
    """One picture, of a batch that is a third done."""
    with tempfile.TemporaryDirectory() as folder, Embedded(Path(folder) / "server", pace=40.0,
                                                           faults="row_errors=0.02,seed=5") as server:
        env = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.token,
               "JUPYTER_BATCH_MODEL": "openai/local/echo"}
        with Lab(notebook_of(LOAD, SUBMIT, MEANWHILE), env=env, shots=Path(folder), size=(1100, 760)) as lab:
            lab.command("application:toggle-left-area")
            lab.run_all()
            lab.until(lambda: re.search(r"\b1\d\d of 295 rows", lab.output(1)), "a third of the rows")
            lab.shot("monitor.png")
        shutil.copy(Path(folder) / "monitor.png", REPO / "docs" / "monitor.png")


if __name__ == "__main__":
    main()
