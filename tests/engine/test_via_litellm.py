"""A batch object with types of its own."""

from __future__ import annotations

from jupyter_batch.wire.openai_batches import read_batch


def test_an_odd_batch_object_is_read_without_a_word():
    """Floats where OpenAI has ints, and a status that is new."""
    counts = {"total": 4.0, "completed": 3.0, "failed": 1.0}
    view = read_batch({"id": "b", "status": "paused", "request_counts": counts})
    assert (view.id, view.ending, view.total, view.completed, view.failed) == ("b", None, 4, 3, 1)
