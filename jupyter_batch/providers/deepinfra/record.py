"""The facts about DeepInfra."""

from __future__ import annotations

from jupyter_batch.providers.record import EVERY_ENDING, Record

RECORDS = (
    Record(
        name="deepinfra",
        title="DeepInfra",
        litellm="deepinfra",
        source="deepinfra.com: blog of the batch API; docs: batch endpoints",
        key=("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"),
        base=("DEEPINFRA_API_BASE",),
        default_base="https://api.deepinfra.com/v1/openai",
        hosts=(r"api\.deepinfra\.com",),
        requests=50_000,
        bytes=200_000_000,
        windows=("24h",),
        output_life=(3600, 2_592_000),  # it has the field; the bounds are OpenAI's
        discount="20%",
        price=0.8,
        cancel=True,
        listed=True,
        serves=("deepseek", "qwen", "kimi-", "llama", "meta-llama", "gpt-oss"),
        note="one model a file",
        caveats="the discount is 20%, less than elsewhere",
        connect="jupyter_batch.providers.openai.batches:connect",
        carried="httpx",
        proven=EVERY_ENDING,
        compatible=True,
        files=2,
    ),
)
