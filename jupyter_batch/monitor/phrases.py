"""Phrases for truncated answers, for costs (so far, expected, at most, saved), and for the price of an action. Pure."""

from __future__ import annotations

from jupyter_batch.core.cost import Spend, money
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
    phrases = []
    for word, answers in shot.cuts:
        finish = Finish(word) if word in _FINISHES else Finish.ERROR
        were = "answer was" if answers == 1 else "answers were"
        them = "it" if answers == 1 else "them"
        again = f"; job.retry(max_tokens=...) sends {them} again" if finish is Finish.LENGTH else ""
        phrases.append(
            f"{answers:,} {were} cut off: {_CUT[finish]}{again if shot.is_complete else ''}"
        )
    return phrases


def cost(shot: Snapshot) -> str:
    """`cost $0.0123, saved $0.0123`: of the results so far, and against realtime."""
    bill = shot.bill
    if bill is None:
        return ""
    so_far = "" if shot.is_complete else " so far"
    if bill.cost is not None:
        saved = f", saved {money(bill.saved)}" if bill.saved and bill.saved > 0 else ""
        return f"cost {money(bill.cost)}{so_far}{saved}"
    if not bill.known:
        return f"cost unknown{so_far}"
    rows = "row" if bill.unknown == 1 else "rows"
    return f"cost at least {money(bill.known)}{so_far}, unknown for {bill.unknown:,} {rows}"


def estimate(shot: Snapshot) -> str:
    """`about $0.12, at most $0.40 in all`; "" where neither is known, or the job is complete."""
    if shot.is_complete:
        return ""
    about = f"about {money(shot.expected)}" if shot.expected else ""
    most = f"at most {money(shot.most)}" if shot.most else ""
    both = ", ".join(filter(None, (about, most)))
    without = "" if shot.limited or not shot.most else " without max_tokens"
    return f"{both} in all{without}" if both else ""


def price(spend: Spend) -> str:
    """`36 rows, about $0.02 (at most $0.05)`."""
    rows = f"{spend.rows:,} {'row' if spend.rows == 1 else 'rows'}"
    about, most = spend.about, spend.most
    if most == 0 or (about == 0 and most is None):
        return f"{rows}, free of charge"
    bound = "" if most is None else f"at most {money(most)}"
    if bound and not spend.limited:
        bound += " without max_tokens"
    if about is None:
        return f"{rows}, {bound or 'price unknown'}"
    return f"{rows}, about {money(about)}" + (f" ({bound})" if bound else "")
