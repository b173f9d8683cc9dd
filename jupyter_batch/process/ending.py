"""The end of a process, as it shows in errors: from then on no thread is started, and nothing is wrong with a job."""

from __future__ import annotations

WORDS = ("interpreter shutdown", "new futures after shutdown", "Executor shutdown has been called")
"""Python's words for it, which also stand in a library's reason why a provider could not be asked."""


def is_ending(error: BaseException) -> bool:
    """Whether an error is due to the end of this process: the job has no fault, and another process continues it."""
    return any(words in str(error) for words in WORDS)
