"""Detection of the process's end in errors: no threads can start, the job is intact."""

from __future__ import annotations

WORDS = ("interpreter shutdown", "new futures after shutdown", "Executor shutdown has been called")
"""Python's messages at shutdown, also found in libraries' errors for failed calls."""


def is_ending(error: BaseException) -> bool:
    """Whether an error is due to the process's end; another process resumes the job."""
    return any(words in str(error) for words in WORDS)
