"""Several answers a row (`n=`): outcomes of requests -> of rows.

Position = row x n + sample.
"""

from __future__ import annotations

from jupyter_batch.core.request import CUT, Status
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.results.columns import CODES
from jupyter_batch.results.outcomes import Outcomes

_ANSWERED, _REUSED = CODES.index(Status.SUCCEEDED), CODES.index(Status.REUSED)
_RUNNING = CODES.index(Status.RUNNING)
_GOOD = (_ANSWERED, _REUSED)


def by_row(job: JobRecord, found: Outcomes) -> Outcomes:
    """One outcome per row of the frame: the answers as a list, the tokens and costs as sums.

    A row with some answers missing has None in their places, and the reason; a row without answers
    has no list. The finish reason is that of a truncated answer, if any.
    """
    n = job.samples
    if n == 1:
        return found
    made = Outcomes(0, job.frame_rows - 1, values=True, job=job)
    made.answers = [None] * job.frame_rows
    made.finishes, made.usage = found.finishes, found.usage
    made.strange, made.billed = found.strange, found.billed
    cut = {code for code, finish in enumerate(found.finishes) if finish in CUT}
    for row in range(job.frame_rows):
        span = slice(row * n, row * n + n)
        codes = found.status[span]
        made.status[row] = _status(codes)
        good = sum(code in _GOOD for code in codes)
        made.answers[row] = list(found.answers[span]) if good else None
        made.finish[row] = next(
            (one for one in found.finish[span] if one in cut), found.finish[span.start]
        )
        made.costs.paid[row] = sum(found.costs.paid[span])
        _add_reasons(made, found, row, n, good)
        for ours, theirs in (
            (made.input_tokens, found.input_tokens),
            (made.output_tokens, found.output_tokens),
            (made.cached_tokens, found.cached_tokens),
        ):
            known = [tokens for tokens in theirs[span] if tokens >= 0]
            ours[row] = sum(known) if known else -1
    made.kept = {
        name: [_whole(values[row * n : row * n + n]) for row in range(job.frame_rows)]
        for name, values in found.kept.items()
    }
    return made


def _status(codes: bytearray) -> int:
    """The status of a row: running while any sample is; else that of the first missing one."""
    bad = [code for code in codes if code not in _GOOD]
    if not bad:
        return _REUSED if set(codes) == {_REUSED} else _ANSWERED
    return _RUNNING if _RUNNING in bad else bad[0]


def _add_reasons(made: Outcomes, found: Outcomes, row: int, n: int, good: int) -> None:
    places = range(row * n, row * n + n)
    reasons = [found.reasons[at] for at in places if at in found.reasons]
    if reasons:
        were = "is" if n - good == 1 else "are"
        some = f"{n - good} of {n} answers {were} missing: " if good else ""
        made.reasons[row] = some + reasons[0]
    raws = [found.raws[at] for at in places if at in found.raws]
    if raws:
        made.raws[row] = raws[0]


def _whole(values: list[object]) -> list[object] | None:
    return None if all(value is None for value in values) else values
