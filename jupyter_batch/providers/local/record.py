"""The facts about the embedded server, which the runner starts where it is needed."""

from __future__ import annotations

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import Proof, Record

RECORDS = (
    Record(
        name="local",
        title="the embedded server",
        shown=False,
        embedded=True,
        source="docs/server.md",
        proven=Proof("whole cycle", "itself", "November 2026"),
        carried="httpx",
        pack=Limits(requests=50_000, bytes=200_000_000),
        files=2,
        output_life=(3600, 2_592_000),
        flex=True,
        cancel=True,
        listed=True,
        tagged=True,
        any_window=True,
        responses=True,
        responses_names=True,
        vectors=True,
        packed_vectors=True,
    ),
)
