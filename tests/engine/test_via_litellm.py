"""What a provider's odd answer is on its way through litellm's types."""

from __future__ import annotations

from openai.types import Batch
from openai.types.batch_request_counts import BatchRequestCounts

from jupyter_batch.providers import via_litellm


def test_an_odd_batch_object_is_read_without_a_word():
    """Floats where the SDK has ints, and a status that is new to it: read, and no warning on the person's stderr."""
    counts = BatchRequestCounts.construct(total=4.0, completed=3.0, failed=1.0)
    view = via_litellm._view(Batch.construct(id="b", status="paused", request_counts=counts))
    assert (view.id, view.ending, view.total, view.completed, view.failed) == ("b", None, 4, 3, 1)
