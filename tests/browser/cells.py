"""Cells of the browser tests' notebooks, and what a reader sees of their panels."""

import re

START = "from driver import Job\njob = Job()"
"""A job of 1,000 rows that runs until driver.py stops it."""

FRAME = """
%load_ext jupyter_batch
import pandas as pd
df = pd.DataFrame({"feedback": [f"row {n} is great" for n in range(200)]})
"""
SUBMIT = """
job = df.llm.batch("Sentiment (positive/negative)? {feedback}", out="sentiment", model="openai/local/echo")
job
"""
LOST = "Error displaying widget"


def answered(lab):
    """The rows of START's job that are done, as the page shows it."""
    found = re.search(r"([\d,]+) of 1,000 rows", lab.output(0))
    return int(found[1].replace(",", "")) if found else -1


def static(lab):
    """The static card of the first cell, as it would be saved."""
    shown = (output.get("data", {}).get("text/html", "") for output in lab.cells()[0]["outputs"])
    return "".join("".join(markup) for markup in shown)


def moves(lab):
    """Wait until the page shows three more rows than now."""
    now = answered(lab)
    lab.until(lambda: answered(lab) >= now + 3, "the panel to move")
