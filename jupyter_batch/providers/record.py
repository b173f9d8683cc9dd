"""Records: the facts about each provider, from its folder in this package or from an entry point.

An unknown fact is None, shown as "?": nothing in a record is a guess. The entry points are those of the group
`jupyter_batch.providers`; the object of one is a Record, or several.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.core.request import Limits
from jupyter_batch.providers.protocol import Access, Facts

CHAT = "/v1/chat/completions"


class Setting(NamedTuple):
    """A setting of a cloud: its name in litellm, and the environment variables that may set it.

    needed: a description, if the setting is required. form: what its value is checked as. call:
    whether litellm's real-time call takes it.
    """

    name: str
    environ: tuple[str, ...] = ()
    needed: str = ""
    form: str = ""
    call: bool = False


class Metadata(NamedTuple):
    """The metadata that a cloud takes: patterns of a key and a value, and their description."""

    key: str
    value: str
    takes: str


class Proof(NamedTuple):
    """A proof by the tests: the part that was tested, against which counterpart, and when it last passed (a month)."""

    part: str
    against: str
    month: str

    def __str__(self) -> str:
        return f"{self.part}, against {self.against}, {self.month}"


EVERY_ENDING = Proof(
    "whole cycle and every ending", "a server written from its documentation", "November 2026"
)


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of a provider's `connect`, for one job.

    model: the bare name. headers: for the batch as a whole. requests_of: the path of a shard's
    request file, by number. settings, secrets: of a cloud.
    """

    facts: Facts
    access: Access
    model: str
    headers: Mapping[str, str]
    requests_of: Callable[[int], Path]
    api_version: str = ""
    settings: Mapping[str, str] = {}
    secrets: Mapping[str, str] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One provider. Byte counts are decimal; None is "unknown", as is () for windows.

    Fields that name code ("module:name") are imported where they are used, by `load`.
    """

    name: str
    """The prefix of models, as in "name/model"."""
    title: str
    source: str
    shown: bool = True
    """Whether the table of providers has a row for it."""

    batch: bool = True
    """Whether jupyter_batch can send batches there."""
    instead: str = ""
    """The alternative to a batch."""
    connect: str = ""
    """The function from a Connection to the Provider."""
    embedded: bool = False
    """Whether it is the embedded server, which the runner starts."""
    proven: Proof | None = None
    """The proof that its batches work; None where none are sent."""
    carried: str = ""
    """How its batches are called."""
    otel: str = ""
    """Its `gen_ai.provider.name` in OpenTelemetry's conventions, where that is not its name."""
    litellm: str | None = None
    """litellm's custom_llm_provider."""
    dialect: str | None = "openai"
    """The format of its request and result lines (wire/dialects.py)."""

    key: tuple[str, ...] = ()
    """Environment variables; of these, `base` and `version` the first that is set counts."""
    base: tuple[str, ...] = ()
    version: tuple[str, ...] = ()
    login: str = ""
    """How to provide credentials for a cloud's own library."""
    litellm_keys: tuple[str, ...] | None = None
    """Attributes of litellm in which a user may have set a key; None: the provider's name + _key."""
    litellm_base: bool = False
    """Whether `litellm.api_base` is its address, where a user has set it."""
    default_base: str | None = None
    """None where an address must be given."""
    hosts: tuple[str, ...] = ()
    """Its own hosts, as regular expressions of the full name: its key may be sent there."""
    compatible: bool = False
    """Whether its address is one for `openai/...`, too: its own key is sent there."""
    free: str = ""
    """Where a request is free: at a server on this machine ("near"), also without an address
    ("default")."""

    chat: str = CHAT
    """The url in a line."""
    requests: int | None = None
    bytes: int | None = None
    minimum: int | None = None
    """The fewest requests in a batch."""
    pack: Limits | None = None
    """Our own file limits where the documented ones are unknown or impractical."""
    windows: tuple[str, ...] = ()
    window_hours: tuple[int, int] | None = None
    """The shortest and the longest window, where any number of hours or days is taken."""
    any_window: bool = False
    """Whether windows are left to the server, since there are other servers of its API."""
    keeps: str | None = None
    """How long results can be fetched."""
    keeps_days: int | None = None
    keeps_from: str = "end"
    """Where `keeps_days` begins: at the batch's "creation" or its "end"."""
    output_life: tuple[int, int] | None = None
    """The shortest and the longest time for which result files can be kept on request, in seconds."""
    cancel: bool | None = None
    listed: bool | None = None
    """Whether batches can be listed."""
    tagged: bool | None = None
    """Whether batches can be found by our tag."""
    batch_ids: str = ""
    """The beginning of its batches' ids, where a batch is looked up by its id alone."""
    files: int | None = None
    """Results are in one file or in two (answers, errors)."""
    checks_file: bool = False
    """Whether the state of an uploaded file is checked before its batch is created."""
    tells_all: bool = False
    """Whether the one result file has a line for each request, whatever the outcome."""
    idempotent: bool = False
    """Whether a create repeated with the same token returns the same batch."""

    flex: bool = False
    """Whether it has the service tier "flex" in real time, at the price of a batch."""
    sheds: tuple[int, ...] = ()
    """The statuses by which that tier refuses a request for lack of capacity, besides those that say
    so (core/refusals/quota.py)."""
    no_flex: str = ""
    """Why its tier of that name is not one at the price of a batch."""

    discount: str | None = None
    price: float | None = None
    """A batch's price as a fraction of real time, if certain for all models."""
    prices: Mapping[str, Mapping[str, float]] = {}
    """By model: US dollars per million tokens in real time, where litellm's list has none."""
    long_inclusive: bool = False
    """Whether long requests are billed from the threshold on, not above it."""
    names_cost: bool = False
    """Whether an answer names its own cost (`usage.cost`), in US dollars."""
    cached_apart: bool = False
    """Whether cached tokens have a price of their own, even where litellm's list has none."""

    responses: bool = False
    """Whether its batches take /v1/responses."""
    responses_names: bool = False
    """Whether litellm's "responses/" in a model's name is understood."""
    bridged: bool = False
    """Whether litellm uses /v1/responses for some requests to its chat models."""
    vectors: bool = False
    """Whether its batches take /v1/embeddings."""
    packed_vectors: bool = False
    """Whether base64 vectors are known to be supported, at its own address."""
    further: tuple[str, ...] = ()
    """Other endpoints that its batches take, for ready files of requests."""
    listed_bare: bool = False
    """Whether a bare name in litellm's model list is its model, whatever the entry's provider."""
    unstructured: str = ""
    """A regular expression of the models without structured output."""
    schema_as_tool: bool = False
    """Whether litellm (1.106) sends a schema as a tool for models without schema support: it forces
    a call of that tool, and no other, unless tool_choice is given."""
    limited_schemas: bool = False
    """Whether schemas have no references, and Anthropic's limits."""
    cache_marks: bool = False
    """Whether caching needs markers in the request."""
    renamed: Mapping[str, str] = {}
    """Parameters of embeddings that have another name there."""
    plain_params: bool = False
    """Whether litellm passes plain parameters of its models on unchanged."""
    openai_rules: bool = False
    """Whether requests to its own hosts are checked by OpenAI's rules for parameters."""
    checked_by: str = ""
    """litellm's translation of its requests, where parameters in real time are checked by it."""
    nested_extra: str = ""
    """The same, where litellm nests `extra_body`."""
    realtime_base: str = ""
    """The function from an address of ours to litellm's form of it."""

    settings: tuple[Setting, ...] = ()
    """A cloud's settings, in place of a key and an address."""
    needs: tuple[str, ...] = ()
    """The modules that its batches need; not where `api_key` is given, with `token_alone`."""
    extra: str = ""
    """The package's extra that installs them."""
    token_alone: bool = False
    metadata: Metadata | None = None
    base_of: str = ""
    """The function from a cloud's settings, and the environment, to its address."""
    check_model: str = ""
    """The function that raises ModelError for a model without batches."""

    bare: str = ""
    """A regular expression of the names, in lower case, that mean its model without a prefix."""
    also: tuple[str, ...] = ()
    """Its names before the colon of "name:model" in other libraries."""
    serves: tuple[str, ...] = ()
    """Beginnings of the names of models that it serves, as others do."""
    models: tuple[str, ...] = ()
    """Names of models that completion offers first."""
    note: str = ""
    caveats: str = ""
    """What may surprise a user of its batches: what is lost, billed, refused or late."""

    def limits(self) -> Limits | None:
        """The limits of one request file; None if unknown."""
        if self.pack is not None:
            return self.pack
        if self.requests is None or self.bytes is None:
            return None
        return Limits(requests=self.requests, bytes=self.bytes, minimum=self.minimum or 1)


FOLDERS = (
    "openai",
    "azure",
    "compatible",
    "local",
    "anthropic",
    "xai",
    "mistral",
    "vertex",
    "bedrock",
    "gemini",
    "groq",
    "together_ai",
    "deepinfra",
    "dashscope",
    "moonshot",
    "siliconflow",
    "fireworks_ai",
    "openrouter",
    "realtime_only",
)
"""In the order of the table."""
GROUP = "jupyter_batch.providers"
"""The group of entry points."""


class Registry(Mapping[str, Record]):
    """The records by name. Entry points are loaded when a name is not ours, or all are listed."""

    @cached_property
    def _ours(self) -> dict[str, Record]:
        modules = [importlib.import_module(f"{__package__}.{folder}.record") for folder in FOLDERS]
        return {record.name: record for module in modules for record in module.RECORDS}

    @cached_property
    def _all(self) -> dict[str, Record]:
        found = dict(self._ours)
        for point in entry_points(group=GROUP):
            try:
                loaded = point.load()
                records = (loaded,) if isinstance(loaded, Record) else tuple(loaded)
                _check(records, found)
            except Exception as e:
                warnings.warn(
                    f"the provider {point.name!r} ({point.value}) can't be used: {e or type(e).__name__}; "
                    "update or uninstall its package",
                    stacklevel=2,
                )
            else:
                found.update((record.name, record) for record in records)
        return found

    def __getitem__(self, name: str) -> Record:
        return self._ours[name] if name in self._ours else self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def _check(records: Iterable[Any], known: Mapping[str, Record]) -> None:
    for record in records:
        if not isinstance(record, Record):
            raise TypeError(f"expected a Record, got {type(record).__name__}")
        if record.name in known:
            raise ValueError(f"there is a provider {record.name!r} already")


RECORDS: Mapping[str, Record] = Registry()
"""Every provider that is known, by name, in the order of the table."""


def record_of(provider: str) -> Record | None:
    """A provider's record; None for one that is known to litellm alone."""
    return RECORDS.get(provider)


def is_embedded(provider: str) -> bool:
    """Whether a provider's models are served by the embedded server."""
    record = RECORDS.get(provider)
    return record is not None and record.embedded


def is_cloud(provider: str) -> bool:
    """Whether a provider has settings of a cloud in place of a key and an address."""
    record = RECORDS.get(provider)
    return record is not None and bool(record.settings)


def load(name: str) -> Any:
    """Import what a field of a record names."""
    return pkgutil.resolve_name(name)
