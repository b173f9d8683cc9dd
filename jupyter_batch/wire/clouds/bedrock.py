"""Bedrock's dialect: chat requests -> batch records, result records -> Results, jobs -> BatchViews.

No network. A request record is {"recordId", "modelInput"}; a result record repeats both, with
"modelOutput" or "error", in no order. Input and output are the Converse API's for every model
(`modelInvocationType` Converse, since February 2026). The other type, InvokeModel, has a body for
each maker's models, which litellm's batch upload creates for Anthropic's and Amazon's only; the
rest it sends unchanged, which those models don't take. On this disk each line has its id first,
as in all dialects: `sent` converts a line for upload, `slim` converts a result, without the input.
"""

from __future__ import annotations

import copy
import importlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.refusals.sentence import short
from jupyter_batch.core.request import Result, Status, Usage
from jupyter_batch.core.status import State
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.anthropic import requests as anthropic_requests
from jupyter_batch.wire.row_error import code_of, cut, reason_of
from jupyter_batch.wire.translated import (
    StopWords,
    answered,
    calls_of,
    dicts_in,
    failed,
    json_of,
    mapping,
    refuse_downloads,
    slimmed,
    time_of,
    value_of,
)
from jupyter_batch.wire.whole import Translation, merged, without_developers

MODEL_INVOCATION = "Converse"
_GUARDRAIL = "guardrail_intervened"  # the text is then the guardrail's own, not the model's
_FILTERS = {
    "content_filtered": "content_filter: the provider's filter held the answer back",
    _GUARDRAIL: "content_filter: a guardrail held the answer back",
}
_STOP_WORDS = StopWords("stopReason", "max_tokens", ("end_turn", "stop_sequence"))
_DASH = b"Z"  # in a recordId; job ids have no capital letters


# --- requests -------------------------------------------------------------------------------------------------------


class Encoder(anthropic_requests.Encoder):
    """Encodes records of Bedrock's batches; see its parent for how few are translated singly."""

    taker = "Bedrock"
    line = b'{"custom_id":%b,"modelInput":%b}\n'

    def _translate(self, litellm: Any, model: str) -> Translation:
        return ConverseTranslation(litellm, model)


def sent(line: bytes) -> bytes:
    """The record for a stored line. A recordId is alphanumeric (AWS: batch-inference-data)."""
    head, comma, rest = line.partition(b",")
    return b'{"recordId":%b%b%b' % (
        head.removeprefix(b'{"custom_id":').replace(b"-", _DASH),
        comma,
        rest,
    )


def kept(line: bytes) -> bytes:
    """Return the line from which `sent` made a record."""
    head, comma, rest = line.partition(b",")
    return b'{"custom_id":%b%b%b' % (
        head.removeprefix(b'{"recordId":').replace(_DASH, b"-"),
        comma,
        rest,
    )


def model_id(model: str) -> str:
    """A model's id or ARN, without litellm's route prefixes."""
    for route in ("bedrock/", "converse/", "invoke/"):
        model = model.removeprefix(route)
    return model


class ConverseTranslation(Translation):
    """litellm's translation of chat requests for one model to the Converse API."""

    provider = "bedrock"

    def __init__(self, litellm: Any, model: str) -> None:
        super().__init__(litellm, model_id(model))
        module = importlib.import_module(
            f"{litellm.__name__}.llms.bedrock.chat.converse_transformation"
        )
        self._config = module.AmazonConverseConfig()

    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Translate parameters to Converse's. Raises OptionError (unknown), Refused (bad value)."""
        if params.get("extra_headers"):
            raise OptionError("extra_headers: a batch at Bedrock takes none")
        extra = params.get("extra_body")
        given = {key: value for key, value in params.items() if key not in ("extra_body", "stream")}
        made = self._mapped(given, route="converse/")  # the route: else some models' own form
        # litellm makes these request fields, which no model has.
        options = {key: value for key, value in made.items() if key not in ("stream", "json_mode")}
        return {**options, "extra_body": extra} if extra else options

    def body(self, messages: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the Converse request. Raises Refused."""
        refuse_downloads(messages, lambda _: False)
        given = copy.deepcopy(dict(options))
        extra = given.pop("extra_body", None) or {}
        converted = without_developers(messages)
        try:
            data: dict[str, Any] = dict(
                self._config.transform_request(
                    model=self._model,
                    messages=converted,
                    optional_params=copy.deepcopy(given),
                    litellm_params={},
                    headers={},
                )
            )
        except Exception as e:
            raise self._refused(e) from None
        self._note_names(given.get("tools"), data)
        return merged(data, extra)

    def _note_names(self, tools: Any, data: Mapping[str, Any]) -> None:
        """Record the tool names that litellm changed to letters that Bedrock takes."""
        given = [
            tool.get("function", tool).get("name")
            for tool in tools or []
            if isinstance(tool, Mapping)
        ]
        specs = [
            tool["toolSpec"]
            for tool in (data.get("toolConfig") or {}).get("tools", [])
            if "toolSpec" in tool
        ]
        if len(given) == len(specs):
            self.tool_names.update(
                {
                    str(spec.get("name")): str(name)
                    for name, spec in zip(given, specs, strict=True)
                    if name and spec.get("name") != name
                }
            )


# --- results --------------------------------------------------------------------------------------------------------


class _Came(msgspec.Struct, gc=False):
    recordId: str  # noqa: N815 - Bedrock's name
    modelOutput: msgspec.Raw = msgspec.Raw()  # noqa: N815
    error: msgspec.Raw = msgspec.Raw()


_came = msgspec.json.Decoder(_Came).decode


def slim(line: bytes) -> bytes:
    """Reduce a result record to {"custom_id", "modelOutput" or "error"}; keep an unreadable one."""
    try:
        came = _came(line)
        custom_id = came.recordId.replace(_DASH.decode(), "-")
        return slimmed(custom_id, {"modelOutput": came.modelOutput, "error": came.error})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line.rstrip(b"\n") + b"\n"


def decode(line: bytes, tool_names: Mapping[str, str]) -> Result:
    """Decode one stored line. Never raises: an unreadable line is a failed Result."""
    try:
        data = tolerant.loads(line)
        custom_id = data["custom_id"]
    except Exception:  # not JSON, or not Bedrock's; the other dialect's reader reports it
        return tolerant.read(line)
    custom_id = custom_id if isinstance(custom_id, str) else None
    try:
        return _outcome(custom_id, data, tool_names)
    except Exception as error:  # an unknown shape must not lose the other rows
        return failed(custom_id, f"a line that can't be read: {error!r}")


def decode_lines(block: bytes, tool_names: Mapping[str, str]) -> Iterator[Result]:
    r"""Decode a block of whole lines; a line ends at b"\n" only, and empty lines are skipped."""
    for line in block.split(b"\n"):
        if line and not line.isspace():
            yield decode(line, tool_names)


def _outcome(custom_id: str | None, data: dict[str, Any], tool_names: Mapping[str, str]) -> Result:
    error, output = data.get("error"), data.get("modelOutput")
    if error or not isinstance(output, dict):
        return _wrong(custom_id, error)
    usage = usage_of(output.get("usage"))
    value, reason = _answer(output, tool_names)
    if value is None:
        return failed(custom_id, reason, usage, stop=output.get("stopReason"))
    return answered(custom_id, value, usage, output.get("stopReason"))


def _wrong(custom_id: str | None, error: Any) -> Result:
    """{"errorCode": 400, "errorMessage": "bad request", "expired": false, "retryable": false}, as documented."""
    if not error:
        return failed(custom_id, "neither an answer nor an error came back")
    reason = reason_of({"error": error}, code_of(error))
    if isinstance(error, dict) and error.get("expired"):
        return failed(custom_id, f"expired: {reason}", status=Status.EXPIRED)
    return failed(custom_id, reason)


def _answer(output: dict[str, Any], tool_names: Mapping[str, str]) -> tuple[Any, str]:
    """Return (value, "") or (None, reason)."""
    stop = str(output.get("stopReason") or "")
    message = mapping(mapping(output.get("output")).get("message"))
    blocks = dicts_in(message.get("content"))
    text = "".join(map(_text, blocks))
    if stop in _FILTERS and (stop == _GUARDRAIL or not text):
        return None, _FILTERS[stop]
    calls = dicts_in([block.get("toolUse") for block in blocks])
    if (value := json_of(calls)) is not None:
        return value, ""
    return value_of(text, calls_of(calls, "toolUseId", tool_names), stop, _STOP_WORDS)


def _text(block: Mapping[str, Any]) -> str:
    """The answer text in a block: cited text is included, thinking is not."""
    if isinstance(block.get("text"), str):
        return str(block["text"])
    cited = block.get("citationsContent")
    parts = cited.get("content") if isinstance(cited, dict) else None
    return "".join(str(part.get("text") or "") for part in parts or [] if isinstance(part, dict))


def usage_of(usage: Any) -> Usage | None:
    """Tokens as billed: cache reads and writes are counted in addition to the input's."""
    if not isinstance(usage, Mapping) or usage.get("inputTokens") is None:
        return None

    def of(key: str) -> int:
        return tolerant.count(usage.get(key))

    read, put = of("cacheReadInputTokens"), of("cacheWriteInputTokens")
    return Usage(of("inputTokens") + read + put, of("outputTokens"), read, cache_write_tokens=put)


# --- jobs -----------------------------------------------------------------------------------------------------------

# API reference, GetModelInvocationJob, status. PartiallyCompleted: "not all of your records could be processed in
# time"; Expired: "timed out because it was scheduled but didn't begin before the set timeout duration".
_ENDINGS = {
    "Completed": State.COMPLETED,
    "PartiallyCompleted": State.EXPIRED,
    "Expired": State.EXPIRED,
    "Failed": State.FAILED,
    "Stopped": State.CANCELLED,
}
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def read_job(job: Mapping[str, Any]) -> BatchView:
    """Convert an invocation job; fields may be missing or null, an unknown status is running.

    output_file_id: the folder of its results; whether they exist yet is not checked here.
    """
    status = str(job.get("status") or "unknown")
    arn = str(job.get("jobArn") or "")
    source = mapping(mapping(job.get("inputDataConfig")).get("s3InputDataConfig")).get("s3Uri")
    target = mapping(mapping(job.get("outputDataConfig")).get("s3OutputDataConfig")).get("s3Uri")
    done, lost = (
        tolerant.count(job.get("successRecordCount")),
        tolerant.count(job.get("errorRecordCount")),
    )
    return BatchView(
        id=arn,
        status=_WORDS.sub("_", status).lower(),
        ending=_ENDINGS.get(status),
        input_file_id=str(source) if source else None,
        output_file_id=f"{str(target).rstrip('/')}/{arn.rpartition('/')[2]}/"
        if target and arn
        else None,
        total=tolerant.count(job.get("totalRecordCount")),
        completed=done,
        failed=lost,
        created_at=_time(job.get("submitTime")),
        expires_at=_time(job.get("jobExpirationTime")),
        errors=cut(short(str(job.get("message") or ""))),
    )


def _time(value: Any) -> float | None:
    return value.timestamp() if isinstance(value, datetime) else time_of(value)
