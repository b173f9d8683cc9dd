"""Spans and counters as OTLP over HTTP, by the standard exporters, as Logfire and Langfuse document them."""

from __future__ import annotations

import base64
import contextlib
import gzip
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pandas as pd
import pytest
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from jupyter_batch.server.embedded import Embedded

TEXT = "a sentence that nobody else may read"
LANGFUSE = base64.b64encode(b"pk-lf-1:sk-lf-2").decode()
BACKENDS = {
    # logfire.pydantic.dev/docs/how-to-guides/alternative-clients
    "logfire": ("", "Authorization=write-token", {"authorization": "write-token"}),
    # langfuse.com/integrations/native/opentelemetry: Basic, and version 4 of the ingestion
    "langfuse": (
        "/api/public/otel",
        f"Authorization=Basic%20{LANGFUSE},x-langfuse-ingestion-version=4",
        {"authorization": f"Basic {LANGFUSE}", "x-langfuse-ingestion-version": "4"},
    ),
}


@contextlib.contextmanager
def receiver():
    """(the address of a receiver, the requests that it got: path, headers, body)."""
    got = []

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Receive) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_job_arrives_at_a_backend(backend, tmp_path, home, monkeypatch):
    """One trace: its batch alone is a call to a model, with usage and the cost of a batch; counters; no content."""
    path, given, headers = BACKENDS[backend]
    with receiver() as (address, got), Embedded(tmp_path / "server") as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address + path)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", given)
        traces, meters = (
            TracerProvider(),
            MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(), 3_600_000)]),
        )
        traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: traces)
        monkeypatch.setattr(metrics, "get_meter_provider", lambda: meters)
        df = pd.DataFrame({"text": [f"{TEXT} {n}" for n in range(3)]})
        call = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        prices = {"openai/echo": {"input": 1.0, "output": 2.0}}
        job = df.llm.batch("{text}", out="out", prices=prices, **call).wait(60)
        traces.shutdown()
        meters.shutdown()
    assert {sent for sent, _, _ in got} == {f"{path}/v1/traces", f"{path}/v1/metrics"}
    for _, sent, body in got:
        assert sent["content-type"] == "application/x-protobuf"
        assert {name: sent[name] for name in headers} == headers
        assert TEXT.encode() not in body
    spans = [
        (one, {pair.key: pair.value for pair in one.attributes})
        for sent, _, body in got
        if sent.endswith("traces")
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for one in scope.spans
    ]
    assert len({one.trace_id for one, _ in spans}) == 1
    names = [
        "chat echo",
        *(f"jupyter_batch.{part}" for part in ("fetch", "job", "merge", "plan", "submit")),
    ]
    assert sorted(one.name for one, _ in spans) == names
    calls = [
        (one.name, about)
        for one, about in spans
        if {"gen_ai.operation.name", "gen_ai.request.model"} & about.keys()
    ]
    [(name, about)] = calls
    assert name == "chat echo"
    assert about["gen_ai.usage.input_tokens"].int_value == job.usage.input_tokens
    for cost in ("gen_ai.usage.cost", "operation.cost"):
        assert about[cost].double_value == pytest.approx(job.cost)
    counted = {
        metric.name
        for sent, _, body in got
        if sent.endswith("metrics")
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert counted == {"jupyter_batch.rows", "jupyter_batch.tokens", "jupyter_batch.cost"}
