"""Each state of a job as a panel that stands still, for the tests of its looks and for the pictures in docs/."""

from __future__ import annotations

import time

from jupyter_batch.core.cost import Bill, Spend
from jupyter_batch.core.status import Answer, Counts, ShardView, Snapshot, State, Step
from jupyter_batch.monitor.live import open_monitor
from jupyter_batch.notebook import kernel

ANSWERS = (
    Answer(
        row=0, asked="The zipper broke on day two, and nobody answered my mail.", answer="negative"
    ),
    Answer(
        row=3,
        asked="Arrived early, fits perfectly, and the colour is even nicer than in the pictures.",
        answer="positive",
    ),
    Answer(row=4, asked="It is a bag. It holds things.", answer="neutral"),
)
REASONS = (
    ("rate limit reached, gave up after 5 tries", 380),
    ("content filter: the prompt was refused", 32),
)
EXAMPLES = (
    (REASONS[0][0], Answer(row=17, asked="Do not buy this. The handle came off.", answer="")),
    (
        REASONS[1][0],
        Answer(row=2041, asked="I would like to tell you what I think of it.", answer=""),
    ),
)
RUNNING = (
    ShardView(
        number=0,
        step=Step.RUNNING,
        batch_id="batch_68a1f0c2d4b881908e",
        counts=Counts(succeeded=412, failed=3, running=585),
    ),
)
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> \x1b[31mred \u202eevil"


def _course(began, until, rows, *, waited=0.1, base=0):
    """Rows that were done by and by: nothing for a while, then in bursts, as batches are answered."""
    parts = [
        (0.02, 0.02),
        (0.1, 0.08),
        (0.2, 0.16),
        (0.26, 0.31),
        (0.4, 0.36),
        (0.5, 0.52),
        (0.62, 0.6),
        (0.7, 0.78),
        (0.85, 0.86),
        (0.93, 0.95),
        (1.0, 1.0),
    ]
    sent = began + waited * (until - began)
    done = [
        (sent + when * (until - sent), base + int(part * (rows - base))) for when, part in parts
    ]
    return ((began, base), (sent, base), *done)


def _shards() -> tuple[ShardView, ...]:
    """Seven batches: two at their end, three that run, two that wait."""

    def one(number, step, **fields):
        return ShardView(
            number=number, step=step, batch_id=f"batch_68a1f0c2d4b88190{number}", **fields
        )

    done = Counts(succeeded=49_800, failed=200)
    quota = "2,000,000 tokens may be enqueued: it is sent when one of the others ends"
    return (
        one(0, Step.COLLECTED, ending=State.COMPLETED, counts=done),
        one(1, Step.ENDED, ending=State.COMPLETED, counts=done),
        *(
            one(n, Step.RUNNING, counts=Counts(succeeded=7_952, failed=4, running=42_044))
            for n in (2, 3, 4)
        ),
        *(
            ShardView(
                number=n,
                step=Step.WAITING,
                counts=Counts(running=50_000),
                held="queue",
                note=quota,
            )
            for n in (5, 6)
        ),
    )


def _cases() -> dict[str, dict[str, object]]:
    now = time.time()
    ended = {"collected": True, "created_at": now - 9_700, "finished_at": now - 100, "offers": ()}
    bill = Bill(known=0.2134, standard=0.4268)
    return {
        "submitting": {
            "state": State.SUBMITTING,
            "counts": Counts(running=1000),
            "shards": (),
            "most": 0.0834,
            "created_at": now - 4,
        },
        "running": {
            "expected": 0.0412,
            "most": 0.0834,
            "offers": ("finish",),
            "prices": (Spend(action="finish", rows=585, about=0.0482, most=0.0976),),
            "history": _course(now - 1500, now, 415),
        },
        "large": {
            "name": "Feedback of the third quarter, all regions and all languages",
            "shards": _shards(),
            "counts": Counts(
                succeeded=123_456, failed=412, reused=20_000, skipped=310, running=205_822
            ),
            "reasons": REASONS,
            "examples": EXAMPLES,
            "answers": ANSWERS,
            "bill": bill,
            "most": 1.92,
            "input_tokens": 8_123_456,
            "output_tokens": 412_345,
            "deadline": now + 7_200,
            "offers": ("merge", "finish"),
            "prices": (Spend(action="finish", rows=205_822, about=0.71, most=2.2, limited=False),),
            "history": _course(now - 1500, now, 144_178, waited=0.3, base=20_310),
        },
        "waiting": {
            "state": State.WAITING,
            "counts": Counts(running=1000),
            "shards": (),
            "message": "paused: the key was refused (401). Set OPENAI_API_KEY and run the cell again "
            "(or give api_key=); nothing was lost",
        },
        "completed": {
            **ended,
            "counts": Counts(succeeded=1000),
            "answers": ANSWERS,
            "bill": bill,
            "state": State.COMPLETED,
            "history": _course(now - 9_700, now - 100, 1000),
            "merged": "1,000 of 1,000 rows have their answer in 'sentiment'",
        },
        "failures": {
            **ended,
            "counts": Counts(succeeded=588, failed=412),
            "answers": ANSWERS,
            "bill": bill,
            "state": State.COMPLETED,
            "reasons": REASONS,
            "examples": EXAMPLES,
            "merged": "588 of 1,000 rows have their answer in 'sentiment'",
            "again": (
                Snapshot(
                    id="jb7k2m9x4c1d",
                    name=None,
                    state=State.RUNNING,
                    counts=Counts(running=412),
                    model="openai/gpt-4.1-mini",
                    provider="openai",
                    out="sentiment",
                    created_at=now - 60,
                    now=now,
                ),
            ),
        },
        "expired": {
            **ended,
            "state": State.EXPIRED,
            "counts": Counts(succeeded=640, expired=350, failed=10),
            "history": _course(now - 9_700, now - 100, 1000, waited=0.5),
            "reasons": (("the batch expired before this row was answered", 350), REASONS[1]),
            "offers": ("retry",),
            "prices": (Spend(action="retry", rows=360, about=0.02, most=0.05),),
        },
        "cancelled": {
            **ended,
            "state": State.CANCELLED,
            "counts": Counts(succeeded=640, cancelled=360),
        },
    }


CASES = tuple(_cases())


def evil() -> dict[str, object]:
    """Hostile text wherever a person, a model or a provider may have written it."""
    answer = Answer(row=1, asked=EVIL, answer="javascript:alert(1) " + EVIL, of="m")
    shards = tuple(
        ShardView(number=n, step=Step.WAITING, batch_id=f"{EVIL}{n}", note=EVIL) for n in range(3)
    )
    return {
        "name": EVIL,
        "model": EVIL,
        "provider": EVIL,
        "out": EVIL,
        "message": EVIL,
        "merged": EVIL,
        "unbound": (EVIL,),
        "attach": EVIL,
        "reasons": ((EVIL, 3),),
        "examples": ((EVIL, answer),),
        "answers": (answer,),
        "shards": shards,
        "offers": ("merge", "finish", "retry"),
    }


def shot(case: str = "running", **fields: object) -> Snapshot:
    """The job in that state."""
    now = time.time()
    return Snapshot(
        **{
            "id": "jb3f9c2k7a1q",
            "name": None,
            "state": State.RUNNING,
            "model": "openai/gpt-4.1-mini",
            "provider": "openai",
            "out": "sentiment",
            "created_at": now - 1500,
            "now": now,
            "counts": Counts(succeeded=412, failed=3, running=585),
            "shards": RUNNING,
            "expires_at": now + 80_000,
            "attach": 'job = jupyter_batch.open("jb3f9c2k7a1q")',
            **(evil() if case == "evil" else _cases()[case]),
            **fields,
        }
    )


def still(case: str = "running", **fields: object) -> None:
    """Display it."""
    text = {
        name: lambda name=name: f"{name} was clicked"
        for name in ("refresh", "retry", "merge", "finish", "cancel")
    }
    monitor = open_monitor(
        shot(case, **fields),
        actions=text,
        frontend=kernel.has_frontend(),
        context=kernel.widget_context(),
    )
    monitor.show(kernel.current_cell())
