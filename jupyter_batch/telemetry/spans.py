"""Spans with the GenAI semantic conventions (https://opentelemetry.io/docs/specs/semconv/gen-ai/).

Nothing is done, and opentelemetry is not imported, unless the user has imported it and set a provider. A job's spans
are of one trace, also across processes: the ledger has the context of its plan.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from jupyter_batch.core.version import VERSION
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.providers.record import record_of

NAME = "jupyter_batch"
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The conventions' variable for prompts and answers in spans; off unless it is set."""
_OF_A_CALL = ("gen_ai.operation.name", "gen_ai.request.model")
"""Of spans of calls and batches alone: backends take every span that has them for a call to the model."""
_CAPTURED = frozenset({"true", "span_only", "span_and_event"})
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Traced(NamedTuple):
    """The job that the present code works for: the context of its plan, and its spans' attributes."""

    job: str
    trace: str
    attributes: Mapping[str, Any]


class _Asked(Protocol):
    """The fields that a job and its order have in common."""

    @property
    def provider(self) -> str:
        """The provider's name in models."""

    @property
    def body_model(self) -> str:
        """The model's name there."""

    @property
    def endpoint(self) -> str:
        """The url of its requests."""


def attributes_of(asked: _Asked, job: str) -> dict[str, Any]:
    """The attributes of a job's calls and batches."""
    record = record_of(asked.provider)
    return {
        "gen_ai.operation.name": "embeddings" if asked.endpoint.endswith("embeddings") else "chat",
        "gen_ai.provider.name": (record.otel if record is not None else "") or asked.provider,
        "gen_ai.request.model": asked.body_model,
        "jupyter_batch.job.id": job,
    }


def traced(job: JobRecord) -> Traced:
    """The job's trace, for `of_job`."""
    return Traced(job.id, job.trace, attributes_of(job, job.id))


def beyond_calls(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the attributes that a job's other spans have, too."""
    return {name: value for name, value in attributes.items() if name not in _OF_A_CALL}


def of_call() -> dict[str, Any]:
    """The attributes that only calls and batches have, of the job that the present code works for."""
    about = attributes_of_job()
    return {name: about[name] for name in _OF_A_CALL if name in about}


def of_shard(shard: ShardRecord) -> dict[str, Any]:
    """The attributes of a span about one batch."""
    about = {"jupyter_batch.shard": shard.number, "jupyter_batch.requests": shard.requests}
    return {**about, **({"jupyter_batch.batch.id": shard.batch_id} if shard.batch_id else {})}


_job: ContextVar[Traced | None] = ContextVar("jupyter_batch_traced", default=None)


def is_imported() -> bool:
    """Whether the user has imported OpenTelemetry: without it no provider is configured."""
    return "opentelemetry.trace" in sys.modules or "opentelemetry.metrics" in sys.modules


def api() -> Any:
    """The module `opentelemetry.trace`, where a provider is configured; else None."""
    module = sys.modules.get("opentelemetry.trace")
    if module is None or is_default(module.get_tracer_provider()):
        return None
    return module


def is_default(provider: object) -> bool:
    """Whether this is the API's own provider, which does nothing."""
    return not type(provider).__module__.startswith("opentelemetry.sdk.") and type(
        provider
    ).__module__.startswith("opentelemetry.")


def is_captured() -> bool:
    """Whether the user asked for prompts and answers in spans."""
    return os.environ.get(CAPTURE, "").strip().lower() in _CAPTURED


def parts(content: Any) -> str:
    """A content attribute: compact JSON."""
    return json.dumps(content, ensure_ascii=False, default=str, separators=(",", ":"))


@contextlib.contextmanager
def of_job(traced: Traced) -> Iterator[None]:
    """Make the spans in here, and in tasks made here, parts of the job's trace."""
    trace = api()
    if trace is None:
        yield
        return
    from opentelemetry import context

    parent = trace.set_span_in_context(trace.NonRecordingSpan(_parent(trace, traced)))
    token, own = context.attach(parent), _job.set(traced)
    try:
        yield
    finally:
        _job.reset(own)
        context.detach(token)


def _parent(trace: Any, traced: Traced) -> Any:
    """The context of the job's plan. A job that was planned without tracing gets one that is made from its id."""
    found = _TRACEPARENT.fullmatch(traced.trace)
    if found is None:
        digest = blake2b(traced.job.encode(), digest_size=24).digest()
        numbers = int.from_bytes(digest[:16]), int.from_bytes(digest[16:]), 1
    else:
        numbers = int(found[1], 16), int(found[2], 16), int(found[3], 16)
    return trace.SpanContext(
        numbers[0], numbers[1], is_remote=True, trace_flags=trace.TraceFlags(numbers[2])
    )


@contextlib.contextmanager
def span(
    name: str, attributes: Mapping[str, Any] | None = None, *, client: bool = False
) -> Iterator[Any]:
    """A span around the code; yields it, or None without a provider. An exception is named by its type alone."""
    trace = api()
    if trace is None:
        yield None
        return
    tracer = trace.get_tracer(NAME, VERSION)
    kind = trace.SpanKind.CLIENT if client else trace.SpanKind.INTERNAL
    with tracer.start_as_current_span(
        name,
        kind=kind,
        attributes={**beyond_calls(attributes_of_job()), **(attributes or {})},
        record_exception=False,  # its message may quote a row
        set_status_on_exception=False,
    ) as made:
        try:
            yield made
        except BaseException as e:
            made.set_attribute("error.type", type(e).__name__)
            made.set_status(trace.StatusCode.ERROR)
            raise


def past_span(
    name: str,
    start: float,
    end: float,
    attributes: Mapping[str, Any],
    *,
    client: bool = False,
    failed: str = "",
) -> None:
    """Record a span that is over; start, end: seconds since the epoch. failed: the type of its error."""
    trace = api()
    if trace is None:
        return
    made = trace.get_tracer(NAME, VERSION).start_span(
        name,
        kind=trace.SpanKind.CLIENT if client else trace.SpanKind.INTERNAL,
        attributes={**beyond_calls(attributes_of_job()), **attributes},
        start_time=int(start * 1e9),
    )
    if failed:
        made.set_attribute("error.type", failed)
        made.set_status(trace.StatusCode.ERROR)
    made.end(end_time=int(max(start, end) * 1e9))


def here() -> str:
    """The present span as a `traceparent`; "" without a provider, or without a span."""
    trace = api()
    context = None if trace is None else trace.get_current_span().get_span_context()
    if context is None or not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def attributes_of_job() -> Mapping[str, Any]:
    """The attributes of the job that the present code works for; empty outside of one."""
    traced = _job.get()
    return {} if traced is None else traced.attributes


def model_of_job() -> str:
    """The model of the job that the present code works for; "" outside of one."""
    return str(attributes_of_job().get("gen_ai.request.model", ""))


def operation_of_job() -> str:
    """The conventions' name of what its requests are: "chat" or "embeddings"."""
    return str(attributes_of_job().get("gen_ai.operation.name", "chat"))
