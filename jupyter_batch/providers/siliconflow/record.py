"""The facts about SiliconFlow."""

from __future__ import annotations

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import EVERY_ENDING, Record

RECORDS = (
    Record(
        name="siliconflow",
        title="SiliconFlow",
        litellm="openai",  # litellm has no provider of this name
        source="docs.siliconflow.cn: batch guide",
        key=("SILICONFLOW_API_KEY",),  # our choice: its documentation names no variable
        base=("SILICONFLOW_API_BASE",),
        default_base="https://api.siliconflow.cn/v1",
        hosts=(r"api\.siliconflow\.cn",),
        requests=5_000,
        bytes=1_000_000_000,
        pack=Limits(requests=5_000, bytes=200_000_000),
        any_window=True,
        keeps="1 month",
        discount="50%",
        price=0.5,
        plain_params=True,
        note="one model a file",
        caveats="at most 5,000 requests a file; which models take batches is in its documentation alone",
        connect="jupyter_batch.providers.openai.batches:connect",
        carried="httpx",
        proven=EVERY_ENDING,
        compatible=True,
        files=2,
    ),
)
