"""OpenTelemetry: a job's spans and counters with the SDK's in-memory exporters, and nothing without a provider."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pandas as pd
import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import jupyter_batch
from jupyter_batch.core.version import VERSION
from jupyter_batch.server.embedded import Embedded
from tests.ledgers import forget
from tests.waiting import wait_for

TEXT = "a sentence that nobody else may read"


@pytest.fixture
def server(tmp_path):
    """The embedded server, without any pause."""
    with Embedded(tmp_path / "server") as running:
        yield running


@pytest.fixture
def call(server):
    """The options that send a job to `server`."""
    return {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}


@pytest.fixture
def spans(monkeypatch):
    """The spans that have ended, of a provider for this test alone."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter.get_finished_spans
    provider.shutdown()


@pytest.fixture
def totals(monkeypatch):
    """`totals()`: each counter -> {its attribute that differs: the sum}."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)

    def read():
        found = {}
        data = reader.get_metrics_data()
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
            for point in metric.data.data_points:
                kind = point.attributes.get("jupyter_batch.status") or point.attributes.get(
                    "gen_ai.token.type", ""
                )
                number = point.value if hasattr(point, "value") else point.count
                found.setdefault(metric.name, {})[kind] = number
        return found

    yield read
    provider.shutdown()


def frame(rows=3):
    """A frame whose texts can be searched for."""
    return pd.DataFrame({"text": [f"{TEXT} {n}" for n in range(rows)]})


def named(spans, name):
    """The spans of that name."""
    return [one for one in spans() if one.name == name]


def test_one_trace_for_a_job_with_the_life_of_each_batch(call, home, spans):
    """Plan, submit, fetch, merge, the batch as a GenAI call with its usage, and the whole job: children of the plan."""
    job = frame().llm.batch("{text}", out="out", shard_size=2, **call).wait(60)
    found = spans()
    assert {one.name for one in found} == {
        "jupyter_batch.plan",
        "jupyter_batch.submit",
        "jupyter_batch.fetch",
        "jupyter_batch.merge",
        "jupyter_batch.job",
        "chat echo",
    }
    assert len({one.context.trace_id for one in found}) == 1
    [plan] = named(spans, "jupyter_batch.plan")
    assert {one.parent.span_id for one in found if one is not plan} == {plan.context.span_id}
    lives = named(spans, "chat echo")
    batches = [life.attributes["jupyter_batch.batch.id"] for life in lives]
    assert sorted(batches) == sorted(job.batches)
    for life in lives:
        assert life.kind is trace.SpanKind.CLIENT
        about = life.attributes
        assert about["gen_ai.operation.name"] == "chat"
        assert about["gen_ai.provider.name"] == "openai"
        assert about["gen_ai.request.model"] == "echo"
        assert about["jupyter_batch.job.id"] == job.id
        assert about["gen_ai.usage.input_tokens"] > 0
        assert life.end_time >= life.start_time
    assert sum(life.attributes["jupyter_batch.rows.succeeded"] for life in lives) == 3
    assert {one.instrumentation_scope.version for one in found} == {VERSION}


def test_it_is_a_part_of_the_user_s_own_trace(call, home, spans):
    """Called within a span of the user's, the job's spans are its descendants."""
    with trace.get_tracer_provider().get_tracer("mine").start_as_current_span("cell") as mine:
        frame(1).llm.batch("{text}", out="out", **call).wait(60)
    [plan] = named(spans, "jupyter_batch.plan")
    assert plan.parent.span_id == mine.get_span_context().span_id
    assert len({one.context.trace_id for one in spans()}) == 1


def test_the_trace_goes_on_after_a_restart(tmp_path, home, spans, monkeypatch):
    """Sent here, fetched and merged by another session: the same trace, by the context in the ledger."""
    with Embedded(tmp_path / "slow", pace=0.5) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", server.token)
        job = frame(2).llm.batch("{text}", out="out", model="openai/echo")
        wait_for(lambda: job.batches, job)
        assert not job.is_complete
        before = {one.context.trace_id for one in spans()}
        forget(home)
        again = jupyter_batch.open(job.id)
        again.wait(60)
        again.merge(frame(2))
    assert {one.context.trace_id for one in spans()} == before
    assert len(before) == 1
    assert [one.name for one in spans()].count("jupyter_batch.submit") == 1
    for name in ("jupyter_batch.fetch", "chat echo", "jupyter_batch.job", "jupyter_batch.merge"):
        assert len(named(spans, name)) == 1, name


def test_no_content_unless_the_user_asks_for_it(call, home, spans, monkeypatch):
    """Calls in real time have a span with parameters and usage; prompt and answer with the standard variable alone."""
    variable = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    monkeypatch.delenv(variable, raising=False)
    given = {**call, "mode": "realtime", "temperature": 0.5}
    frame(2).llm.batch("{text}", out="out", **given).wait(60)
    calls = [one for one in named(spans, "chat echo") if "gen_ai.response.model" in one.attributes]
    assert len(calls) == 2
    for one in calls:
        assert one.attributes["gen_ai.request.temperature"] == 0.5
        assert one.attributes["gen_ai.usage.output_tokens"] > 0
        assert one.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert not any(TEXT in one.to_json() for one in spans())
    monkeypatch.setenv(variable, "SPAN_ONLY")
    frame(1).llm.batch("Say: {text}", out="out", **given).wait(60)
    [asked] = [one for one in spans() if "gen_ai.input.messages" in one.attributes]
    messages = json.loads(asked.attributes["gen_ai.input.messages"])
    assert messages == [{"role": "user", "parts": [{"type": "text", "content": f"Say: {TEXT} 0"}]}]
    [answer] = json.loads(asked.attributes["gen_ai.output.messages"])
    assert (answer["role"], answer["finish_reason"]) == ("assistant", "stop")
    assert TEXT in answer["parts"][0]["content"]


def test_counters(call, home, totals):
    """Rows by status, tokens by type and US dollars, once, though the job is opened again."""
    given = {**call, "prices": {"openai/echo": {"input": 1.0, "output": 2.0}}}
    job = frame(3).llm.batch("{text}", out="out", **given).wait(60)
    frame(3).llm.batch("{text}", out="out", **given).wait(60)
    jupyter_batch.open(job.id).wait(60)
    found = totals()
    assert found["jupyter_batch.rows"] == {"succeeded": 3}
    usage = job.usage
    assert found["jupyter_batch.tokens"] == {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
    }
    assert job.cost > 0
    assert found["jupyter_batch.cost"] == {"": pytest.approx(job.cost)}


def test_a_failed_batch_is_an_error(tmp_path, home, spans):
    """Its ending is the error's type; the rows that failed are counted."""
    with Embedded(tmp_path / "faulty", faults="expire_after=0") as server:
        given = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        job = frame(1).llm.batch("{text}", out="out", **given).wait(60)
    assert job.state == "expired"
    [life] = named(spans, "chat echo")
    assert not life.status.is_ok
    assert life.attributes["error.type"] == "expired"
    assert TEXT not in life.to_json()


def test_without_a_provider_nothing_is_imported_or_done(server, home):
    """A process that runs a job: `opentelemetry` is not imported; where it is imported, but not configured, no span."""
    code = f"""
        import sys
        import pandas as pd, jupyter_batch
        df = pd.DataFrame({{"text": ["a"]}})
        given = dict(model="openai/echo", api_base={server.base_url!r}, api_key={server.token!r})
        df.llm.batch("{{text}}", out="out", **given).wait(60)
        ours = [name for name in sys.modules if name.startswith("opentelemetry")]
        assert not ours, ours
        from opentelemetry import trace
        df.llm.batch("again {{text}}", out="two", **given).wait(60)
        assert not any(name.startswith("opentelemetry.sdk") for name in sys.modules)
        assert jupyter_batch.jobs()[0]._record().trace == ""
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_a_round_of_tools_and_each_execution_have_a_span(call, home, spans, monkeypatch):
    """The round, in it each call, and the follow-up: one trace; content with the variable alone."""

    def look_up(n: int) -> str:
        """Look a thing up."""
        return f"{TEXT} {n}"

    df = pd.DataFrame({"text": ['look_up({"n": 1})', "plain"]})
    df.llm.batch("{text}", out="out", tools=[look_up], **call).wait(60).run_tools()
    [tools] = named(spans, "jupyter_batch.tool_round")
    [one] = named(spans, "execute_tool look_up")
    assert tools.attributes["jupyter_batch.tool_round"] == 1
    assert one.parent.span_id == tools.context.span_id
    assert one.attributes["gen_ai.operation.name"] == "execute_tool"
    assert one.attributes["gen_ai.tool.name"] == "look_up"
    assert "gen_ai.tool.call.arguments" not in one.attributes
    assert len(named(spans, "chat echo")) == 2
    assert len({span.context.trace_id for span in spans()}) == 1
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    df = pd.DataFrame({"text": ['look_up({"n": 2})']})
    df.llm.batch("{text}", out="out", tools=[look_up], **call).wait(60).run_tools()
    about = named(spans, "execute_tool look_up")[1].attributes
    assert json.loads(about["gen_ai.tool.call.arguments"]) == {"n": 2}
    assert json.loads(about["gen_ai.tool.call.result"]) == f"{TEXT} 2"
