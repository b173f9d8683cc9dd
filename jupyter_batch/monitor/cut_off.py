"""The sentences about truncated answers, by finish reason. Pure."""

from __future__ import annotations

from jupyter_batch.core.finish import Finish
from jupyter_batch.core.status import Snapshot

_CUT = {
    Finish.LENGTH: "allow more (max_tokens)",
    Finish.CONTENT_FILTER: "the provider's filter held back the rest; reword the prompt, or ask another model",
    Finish.CONTEXT_WINDOW: "the model's context was full; send less, or ask a model with a larger one",
    Finish.PAUSE: "the provider paused a long turn; ask for less, or allow fewer tool uses",
    Finish.REFUSAL: "the model refused to go on; reword the prompt, or ask another model",
    Finish.ERROR: "the provider broke them off; send them again with job.retry(...) and a changed parameter",
}
_FINISHES = frozenset(map(str, Finish))


def cuts(shot: Snapshot) -> list[str]:
    """`3 answers were cut off: allow more (max_tokens); ...`, for each finish reason."""
    told = []
    for word, answers in shot.cuts:
        finish = Finish(word) if word in _FINISHES else Finish.ERROR
        were = "answer was" if answers == 1 else "answers were"
        them = "it" if answers == 1 else "them"
        again = f"; job.retry(max_tokens=...) sends {them} again" if finish is Finish.LENGTH else ""
        told.append(
            f"{answers:,} {were} cut off: {_CUT[finish]}{again if shot.is_complete else ''}"
        )
    return told
