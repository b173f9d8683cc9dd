"""The facts about Alibaba Cloud Model Studio (DashScope)."""

from __future__ import annotations

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.record import EVERY_ENDING, Record

RECORDS = (
    Record(
        name="dashscope",
        title="Alibaba DashScope",
        litellm="dashscope",
        source="alibabacloud.com: Model Studio, batch inference (February 2026)",
        key=("DASHSCOPE_API_KEY",),
        base=("DASHSCOPE_API_BASE",),
        default_base="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        hosts=(r"dashscope(-intl|-us)?\.aliyuncs\.com",),
        pack=Limits(requests=50_000, bytes=100_000_000),  # not documented where we looked
        windows=("24h", "14d"),
        window_hours=(24, 336),
        discount="50%",
        price=0.5,
        serves=("qwen",),
        note="models differ by region (China: api_base=https://dashscope.aliyuncs.com/compatible-mode/v1)",
        caveats="a model without batches fails after the upload",
        connect="jupyter_batch.providers.openai.batches:connect",
        carried="httpx",
        proven=EVERY_ENDING,
        compatible=True,
        files=2,
    ),
)
