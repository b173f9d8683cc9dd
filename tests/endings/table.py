"""The table: which endings, which files, who has them, and what must come of each. It knows no server and no job."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

LIKE_OPENAI = ("groq", "deepinfra", "dashscope", "moonshot", "siliconflow")
"""Hosts whose API is OpenAI's: what differs is their facts, so that each ending is enough."""
PAGED = ("xai", "openrouter")
"""Providers whose results are pages of three."""
ONE_FILE = ("xai", "anthropic", "gemini", "fireworks_ai", "openrouter")
NO_UPLOAD = ("anthropic", "openrouter")
NO_CANCEL = ("fireworks_ai", "openrouter")
PROVIDERS = (
    "openai",
    "azure",
    "xai",
    "mistral",
    "anthropic",
    "gemini",
    "together_ai",
    "fireworks_ai",
    "openrouter",
    *LIKE_OPENAI,
)
ENDINGS = ("completed", "failed", "expired", "cancelled")
OUTPUTS = {
    "present": "it is there at the end",
    "late": "the batch has ended, its counts promise answers, and it is named three polls later",
    "absent": "it is never named, whatever the counts promise",
    "gone": "it is named, and there is none of that id",
    "cut": "its first download breaks in mid-line",
    "short": "the file itself breaks in mid-line, however often it is fetched",
    "none": "no row was answered, so that there is none",
}
ERRORS = {
    "errors": "the failed row is in the error file",
    "no errors": "there is no error file; of a completed batch a row failed all the same, as OpenAI's have",
    "all failed": "no row was answered; those that were reached are in the error file",
}
ROWS = "abcd"
PRICE = {"input": 100.0, "output": 1000.0, "cached": 100.0}
"""US dollars per million tokens, in a batch."""
WHY = "the model fell over"
REFUSED = "stopped in the middle"

LEFT_OUT = {
    **{
        (name, output): "its results are pages under the batch's own id, there from the end on"
        for name in PAGED
        for output in ("late", "absent")
    },
    **{(name, "short"): "a page is one JSON object: half of it is a cut page" for name in PAGED},
    ("fireworks_ai", "late"): "its results are in a data set that the job names from the start",
    ("fireworks_ai", "absent"): "its results are in a data set that the job names from the start",
    **{
        (name, output): "the states of its files are OpenAI's"
        for name in LIKE_OPENAI
        for output in ("late", "absent", "gone", "cut", "short", "no errors", "all failed")
    },
    ("together_ai", "late"): "it has no counts that would promise a file",
    ("together_ai", "absent"): "it has no counts that would promise a file",
    **{(name, "no errors"): "its errors stand among its results" for name in ONE_FILE},
    (
        "anthropic",
        "failed",
    ): "its batches end in one way; what is wrong with one as a whole is refused at the create",
}
"""The cells that a provider can't have, by what of them it lacks."""

_PAIRED = ("present", "absent", "none")
"""The states of the output file that are crossed with every state of the errors; the others meet `errors` alone."""
GONE_TRIES = 3
_SILENT = {
    "completed": "no result",
    "failed": REFUSED,
    "expired": "expired",
    "cancelled": "cancelled",
}
_STATUS = {
    "completed": "failed",
    "failed": "failed",
    "expired": "expired",
    "cancelled": "cancelled",
}
_TOKENS = {"anthropic": (12, 3)}


@dataclass(frozen=True)
class Cell:
    """One provider, one ending, one state of the output file and one of the errors."""

    provider: str
    ending: str
    output: str
    errors: str

    def __str__(self):
        return f"{self.provider}-{self.ending}-{self.output}-{self.errors}".replace(" ", "_")

    @property
    def one_file(self):
        """Answers and errors come in one file."""
        return self.provider in ONE_FILE

    @property
    def answered(self):
        """The rows that the provider answered, and bills."""
        if self.errors == "all failed":
            return ""
        return "abc" if self.ending == "completed" else "ab"

    @property
    def failed(self):
        """The rows that failed there."""
        if self.errors == "all failed":
            return ROWS if self.ending == "completed" else "ab"
        if self.errors == "no errors" and self.ending != "completed":
            return ""
        return "d" if self.ending == "completed" else "c"

    @property
    def filled(self):
        """The rows that have their answer."""
        if self.output in ("absent", "gone"):
            return ""
        if self.output == "short":  # the line that is broken is the file's last
            return (
                self.answered[1:]
                if self.provider in ("anthropic", "gemini")
                else self.answered[:-1]
            )  # of their reversed order
        return self.answered

    def reasons(self):
        """(status, words of the reason) of each row that is not filled."""
        there = self.errors != "no errors" and not (
            self.one_file and self.output in ("absent", "gone")
        )
        why = "bad prompt" if self.provider == "anthropic" else WHY
        shown = dict.fromkeys(self.failed if there else "", ("failed", why))
        if self.provider == "anthropic" and there:  # which has a line for every row
            shown |= {
                row: (_STATUS[self.ending], _SILENT[self.ending])
                for row in ROWS
                if row not in self.failed + self.answered
            }
        silent = (_STATUS[self.state], _SILENT[self.state])
        return {row: shown.get(row, silent) for row in ROWS if row not in self.filled}

    @property
    def downloads(self):
        """(GETs of the output file, GETs of the error file); for one file the second is 0."""
        lines = len(self.answered) + (len(self.failed) if self.one_file else 0)
        out = {
            "present": 1,
            "late": 1,
            "absent": 0,
            "gone": GONE_TRIES + 1,
            "cut": 2,
            "short": 4,
            "none": 1 if self.one_file else 0,
        }[self.output]
        if self.provider in PAGED and self.output != "gone":
            out += lines // 4  # three to a page
        return out, 0 if self.one_file or self.errors == "no errors" else 1

    @property
    def state(self):
        """The job's report of it."""
        if self.provider == "anthropic" and self.ending == "expired":
            return "completed"  # it has no word for it: the rows have
        return self.ending

    @property
    def tokens(self):
        """(input, output) tokens of what is filled; None where nothing is."""
        into, out = _TOKENS.get(self.provider, (3, 2))
        return (into * len(self.filled), out * len(self.filled)) if self.filled else None

    @property
    def cost(self):
        """US dollars at PRICE; None, "unknown", where answers that are billed never came, or may not have come."""
        silent = self.ending == "completed" and self.errors == "no errors"
        if silent or self.filled != self.answered:
            return None
        into, out = self.tokens or (0, 0)
        return (into * PRICE["input"] + out * PRICE["output"]) / 1e6


def cells():
    """Every cell that there can be."""
    for provider, ending, output, errors in product(PROVIDERS, ENDINGS, OUTPUTS, ERRORS):
        if (output == "none") != (errors == "all failed") or (
            errors != "errors" and output not in _PAIRED
        ):
            continue
        if not any((provider, word) in LEFT_OUT for word in (ending, output, errors)):
            yield Cell(provider, ending, output, errors)
