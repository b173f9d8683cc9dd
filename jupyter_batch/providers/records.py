"""The provider table: one record per provider, each fact with its source.

An unknown fact is None, shown as "?": nothing here is a guess. Taken from the providers' own
documentation, as of 2026.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from jupyter_batch.core.request import Limits

CHAT = "/v1/chat/completions"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One provider. Byte counts are decimal; None is "unknown", as is () for windows.

    name: prefix of models, as in "name/model". batch: whether jupyter_batch can send batches there;
    `instead`: the alternative if not. litellm: its custom_llm_provider. key, base, version:
    environment variables, the first that is set counts. login: how to provide credentials for a
    cloud's own library. default_base: None where an address must be given. chat: the url in a line.
    minimum: the fewest requests in a batch. pack: our own file limits where the documented ones are
    unknown or impractical. keeps: how long results can be fetched, in words; keeps_days: the same
    as a number, from the batch's "creation" or its "end" (keeps_from), if there is one. discount:
    in words; price: a batch's price as a fraction of real time, if certain for all models. cancel,
    listed, tagged: whether a batch can be cancelled, batches listed, and found by our tag. hosts:
    the provider's own, as regular expressions of the full name: its key may be sent there.
    checks_file: the state of an uploaded file is checked before its batch is created.
    files: results are in one file or in two (answers, errors). tells_all: the one has a line for
    each request, whatever the outcome. idempotent: a create repeated with the same token returns
    the same batch. carried: how its batches are called.
    """

    name: str
    title: str
    source: str
    batch: bool = True
    instead: str = ""
    dialect: str | None = "openai"
    litellm: str | None = None
    key: tuple[str, ...] = ()
    login: str = ""
    base: tuple[str, ...] = ()
    version: tuple[str, ...] = ()
    default_base: str | None = None
    hosts: tuple[str, ...] = ()
    chat: str = CHAT
    requests: int | None = None
    bytes: int | None = None
    minimum: int | None = None
    pack: Limits | None = None
    windows: tuple[str, ...] = ()
    keeps: str | None = None
    keeps_days: int | None = None
    keeps_from: str = "end"
    discount: str | None = None
    price: float | None = None
    cancel: bool | None = None
    listed: bool | None = None
    tagged: bool | None = None
    files: int | None = None
    checks_file: bool = False
    tells_all: bool = False
    idempotent: bool = False
    carried: str = ""
    note: str = ""

    def limits(self) -> Limits | None:
        """The limits of one request file; None if unknown."""
        if self.pack is not None:
            return self.pack
        return (
            None
            if self.requests is None or self.bytes is None
            else Limits(requests=self.requests, bytes=self.bytes, minimum=self.minimum or 1)
        )


_OPENAI = Record(
    name="openai",
    title="OpenAI",
    litellm="openai",
    carried="litellm",
    source="OpenAI: batch guide, API reference, help FAQ",
    key=("OPENAI_API_KEY",),
    base=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
    default_base="https://api.openai.com/v1",
    hosts=(r"([a-z]{2}\.)?api\.openai\.com",),  # data residency guide: us., eu., au., ...
    requests=50_000,
    bytes=200_000_000,  # batch guide: 50,000 requests (and embedding inputs), 200 MB a file
    windows=("24h",),  # API reference: "currently only 24h is supported"
    keeps="30 days",
    keeps_days=30,  # API reference: batch files expire after 30 days by default
    discount="50%",
    price=0.5,  # batch guide: half of the synchronous price
    cancel=True,
    listed=True,
    tagged=True,  # API reference: metadata, 16 pairs of 64 and 512 characters
    files=2,  # batch guide: output_file_id, error_file_id
    note="one model and one endpoint a file; tokens enqueued are limited per model; an expired batch keeps, and bills, "
    "what finished",
)
_COMPATIBLE = msgspec.structs.replace(
    _OPENAI,
    name="openai + api_base",
    title="any server of OpenAI's batch API",
    litellm="openai",
    source="the server's own documentation",
    default_base=None,
    hosts=(),
    requests=None,
    bytes=None,
    minimum=None,
    windows=(),
    pack=Limits(requests=50_000, bytes=200_000_000),  # OpenAI's, since it is the same API
    keeps=None,
    keeps_days=None,
    discount=None,
    price=None,
    cancel=None,
    listed=None,
    tagged=None,
    files=2,
    note='give api_base=, and the model as "openai/<the server\'s name for it>"',
)
_ALL = (
    _OPENAI,
    Record(
        name="azure",
        title="Azure OpenAI",
        litellm="azure",
        carried="the openai SDK",
        source="Microsoft Learn: batch how-to, quotas, REST reference 2024-10-21",
        key=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
        base=("AZURE_API_BASE",),  # litellm's own order
        version=("AZURE_API_VERSION",),
        # Names below these are all Azure's own; an API gateway (azure-api.net) is a customer's.
        hosts=(
            r"[a-z0-9-]+\.openai\.azure\.(com|us|cn)",
            r"[a-z0-9-]+\.cognitiveservices\.azure\.(com|us|cn)",
            r"[a-z0-9-]+\.services\.ai\.azure\.com",
        ),
        chat="/chat/completions",  # batch how-to: no /v1 in the lines
        requests=100_000,
        bytes=200_000_000,  # quotas: 100,000 requests, 200 MB
        windows=("24h",),
        keeps="until deleted",  # batch how-to: 500 input files, 10,000 where they expire
        discount="50% of global standard",
        price=0.5,  # batch how-to
        cancel=True,
        listed=True,
        tagged=True,
        files=2,  # REST reference
        checks_file=True,  # batch how-to: a create is refused until the file is processed
        note="the model is the name of a batch deployment; 24 h is a target, late batches are not ended",
    ),
    _COMPATIBLE,
    msgspec.structs.replace(
        _COMPATIBLE,
        name="hosted_vllm",
        key=("HOSTED_VLLM_API_KEY",),  # as litellm
        base=("HOSTED_VLLM_API_BASE",),
        title="vLLM behind a batch server",
        litellm="hosted_vllm",
        note="needs api_base=; vLLM alone has no /v1/files and no /v1/batches",
    ),  # vLLM's documentation
    msgspec.structs.replace(
        _COMPATIBLE,
        name="litellm_proxy",
        key=("LITELLM_PROXY_API_KEY",),  # as litellm
        base=("LITELLM_PROXY_API_BASE",),
        title="a litellm proxy",
        litellm="litellm_proxy",
        note="needs api_base=; limits and prices are those of the provider behind it",
    ),
    Record(
        name="anthropic",
        title="Anthropic",
        dialect="anthropic",
        litellm="anthropic",
        carried="httpx, translated by litellm",
        source="Claude docs: batch processing",
        key=("ANTHROPIC_API_KEY",),
        base=("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
        default_base="https://api.anthropic.com",
        hosts=(r"api\.anthropic\.com",),
        chat="/v1/messages",
        requests=100_000,
        bytes=256_000_000,  # batch processing: 100,000 requests or 256 MB
        pack=Limits(
            requests=100_000, bytes=256_000_000 - 100
        ),  # less: the lines are put into one JSON object
        windows=("24h",),
        keeps="29 days",
        keeps_days=29,
        keeps_from="creation",
        discount="50%",
        price=0.5,
        cancel=True,
        listed=True,
        tagged=False,  # Message Batches API: no metadata on a batch; the custom_ids are in its results
        files=1,
        tells_all=True,  # batch processing: the results list every request, with its result type
        note="no request file: the requests are the create's body",
    ),
    Record(
        name="xai",
        title="xAI",
        litellm="xai",
        carried="httpx",
        source="docs.x.ai: batch API, REST reference",
        key=("XAI_API_KEY",),
        base=("XAI_API_BASE",),
        default_base="https://api.x.ai/v1",
        hosts=(r"([a-z0-9-]+\.)?api\.x\.ai",),  # regions
        # batch API: more than 100,000 requests may be throttled; 25 MB a call that adds requests inline. A JSONL
        # file's limit is not documented, so the same is assumed.
        pack=Limits(requests=50_000, bytes=25_000_000),
        keeps=None,
        discount="differs by model",  # its pages say "reduced pricing", litellm's price map 20%
        cancel=True,
        listed=True,
        tagged=True,  # by the batch's name
        files=1,
        note="no window to choose: most end within 24 h; results are paged, not a file",
    ),
    Record(
        name="mistral",
        title="Mistral",
        litellm="mistral",
        carried="httpx",
        source="docs.mistral.ai: batch inference, API reference",
        key=("MISTRAL_API_KEY",),
        base=("MISTRAL_API_BASE",),
        default_base="https://api.mistral.ai/v1",
        hosts=(r"api\.mistral\.ai", r"codestral\.mistral\.ai"),
        requests=1_000_000,
        bytes=512_000_000,  # 1 M pending requests a workspace; 512 MB a file
        pack=Limits(
            requests=50_000, bytes=50_000_000
        ),  # less: a file is held in memory for the upload
        windows=("24h", "7d"),  # timeout_hours: 24 by default, at most 7 days
        discount="50%",
        price=0.5,
        cancel=True,
        listed=True,
        tagged=True,
        files=2,
        note="one model a batch; completion_window: any number of hours or days, up to 7d",
    ),
    Record(
        name="vertex_ai",
        title="Vertex AI (Gemini)",
        dialect="vertex",
        litellm="vertex_ai",
        carried="httpx and google-auth, translated by litellm",
        login="GOOGLE_APPLICATION_CREDENTIALS",
        base=("VERTEXAI_API_BASE", "VERTEX_API_BASE"),
        hosts=(
            r"([a-z0-9-]+-)?aiplatform\.googleapis\.com",
            r"aiplatform\.[a-z]+\.rep\.googleapis\.com",
        ),
        source="Google Cloud: batch prediction for Gemini, REST reference",
        requests=200_000,
        bytes=1_000_000_000,  # a file in Cloud Storage
        pack=Limits(requests=200_000, bytes=990_000_000),  # less: each line gets a label on upload
        keeps="your own bucket",
        discount="50%, not on top of the cache's",
        price=0.5,
        cancel=True,
        listed=True,
        tagged=True,  # REST reference: labels, and a filter by them
        windows=("24h",),  # 24 h once it runs, up to 72 h in the queue
        files=1,
        note="Gemini models; needs vertex_project=, vertex_location=, gcs_bucket_name=, and "
        "`pip install 'jupyter_batch[vertex]'`",
    ),
    Record(
        name="bedrock",
        title="Amazon Bedrock",
        dialect="bedrock",
        litellm="bedrock",
        carried="boto3, translated by litellm",
        login="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        base=("AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL"),
        # AWS: service endpoints. Other names below amazonaws.com are its customers' machines.
        hosts=(
            r"bedrock(-runtime)?(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?",
            r"bedrock(-runtime)?(-fips)?\.[a-z0-9-]+\.api\.aws",
        ),
        source="AWS: batch inference, quotas, API reference",
        requests=50_000,
        bytes=1_000_000_000,
        minimum=100,  # quotas, by model; these are the defaults
        idempotent=True,  # API reference: CreateModelInvocationJob, clientRequestToken
        keeps="your own bucket",
        discount="about 50%",
        cancel=True,
        listed=True,
        tagged=True,  # API reference: ListModelInvocationJobs, nameContains
        windows=("24h", "7d"),  # API reference: timeoutDurationInHours, 24 to 168
        files=1,
        note="needs aws_region_name=, s3_bucket_name=, aws_batch_role_arn=, and "
        "`pip install 'jupyter_batch[bedrock]'`",
    ),
    Record(
        name="gemini",
        title="Gemini API",
        dialect=None,
        litellm="gemini",
        key=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        hosts=(r"generativelanguage\.googleapis\.com",),
        source="ai.google.dev: batch, limits",
        batch=False,
        instead='mode="realtime"',
        bytes=2_000_000_000,
        discount="50%",
        price=0.5,
        note="a batch API of its own, which litellm does not speak",
    ),
    Record(
        name="groq",
        title="Groq",
        litellm="openai",
        source="console.groq.com: batch",
        batch=False,
        instead='model="openai/<model>", api_base="https://api.groq.com/openai/v1"',
        key=("GROQ_API_KEY",),
        default_base="https://api.groq.com/openai/v1",
        hosts=(r"api\.groq\.com",),
        requests=50_000,
        bytes=200_000_000,
        windows=("24h", "7d"),
        discount="50%, by an older page 25%",
        files=2,
        note="OpenAI's batch API at its own address, with its key as api_key=",
    ),
    Record(
        name="together_ai",
        title="Together",
        litellm="together_ai",
        source="docs.together.ai: batch",
        batch=False,
        instead='mode="realtime"',
        key=("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"),
        hosts=(r"api\.together\.(xyz|ai)",),
        requests=50_000,
        bytes=100_000_000,
        windows=("24h",),
        discount="up to 50%, some models",
    ),
    Record(
        name="fireworks_ai",
        title="Fireworks",
        dialect=None,
        litellm="fireworks_ai",
        source="docs.fireworks.ai: batch",
        batch=False,
        instead='mode="realtime"',
        key=("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
        hosts=(r"api\.fireworks\.ai",),
        bytes=500_000_000,
        windows=("24h",),
        keeps="your own data set",
        discount="50%",
        price=0.5,
    ),
    Record(
        name="openrouter",
        title="OpenRouter",
        dialect=None,
        litellm="openrouter",
        source="openrouter.ai: batch API",
        batch=False,
        instead='mode="realtime"',
        key=("OPENROUTER_API_KEY",),
        hosts=(r"openrouter\.ai",),
        requests=5_000,
        bytes=200_000_000,
        discount="50%, typically",
    ),
    *(
        Record(
            name=name,
            title=title,
            litellm=name,
            dialect=None,
            source="litellm: no batch calls for it",
            batch=False,
            instead='mode="realtime"',
            key=(f"{name.upper()}_API_KEY",) if name != "ollama" else (),
            base=(f"{name.upper()}_API_BASE",),
            hosts=hosts,
        )
        for name, title, hosts in (
            ("cohere", "Cohere", (r"api\.cohere\.(ai|com)",)),
            ("deepseek", "DeepSeek", (r"api\.deepseek\.com",)),
            ("ollama", "Ollama", ()),
        )
    ),
)
RECORDS: Mapping[str, Record] = {record.name: record for record in _ALL}
"""Every provider that is known, by name, in the order of the table."""
