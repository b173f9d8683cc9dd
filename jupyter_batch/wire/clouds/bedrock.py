"""Bedrock's dialect: chat requests -> batch records, result records -> Results, jobs -> BatchViews. No network.

A record that is sent is {"recordId", "modelInput"}, and what comes back repeats both, with "modelOutput" or "error", in
no order. Input and output are the Converse API's, whatever the model (`modelInvocationType` Converse, since February
2026): one form for all. The other type, InvokeModel, has a body of its own for each maker's models, and litellm's batch
upload makes it for Anthropic's and Amazon's alone; the rest it sends as they are, which those models don't take.
On this disk each line has its id first, as in all dialects: `sent` makes of it what goes out, `slim` makes it of what
comes, without the repeated input.
"""

from __future__ import annotations

import copy
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.refusals.sentence import short
from jupyter_batch.core.result import Result, Status, ToolCalls, Usage
from jupyter_batch.core.status import State
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.anthropic import requests as anthropic_requests
from jupyter_batch.wire.anthropic.requests import Translation, refused, sentence, unsupported
from jupyter_batch.wire.anthropic.results import JSON_TOOL
from jupyter_batch.wire.row_error import code_of, cut, reason_of
from jupyter_batch.wire.translated import answered, failed, mapping, refuse_downloads, time_of
from jupyter_batch.wire.whole import Refused

MODEL_INVOCATION = "Converse"
_GUARDRAIL = "guardrail_intervened"  # the text is then the guardrail's own, not the model's
_FILTERS = {
    "content_filtered": "content_filter: the provider's filter held the answer back",
    _GUARDRAIL: "content_filter: a guardrail held the answer back",
}
_DASH = b"Z"  # in a recordId; no job's id has a capital


# --- requests -------------------------------------------------------------------------------------------------------


class Encoder(anthropic_requests.Encoder):
    """Records of Bedrock's batches; see there how few of them are translated one by one."""

    taker = "Bedrock"

    def _translate(self, litellm: Any, model: str) -> Translation:
        return ConverseTranslation(litellm, model)

    def _request(self, custom_id: bytes, params: bytes) -> bytes:
        return b'{"custom_id":%b,"modelInput":%b}\n' % (custom_id, params)


def sent(line: bytes) -> bytes:
    """A record as it goes out, out of a line as it is kept. A recordId is alphanumeric (AWS: batch-inference-data)."""
    head, comma, rest = line.partition(b",")
    return b'{"recordId":%b%b%b' % (
        head.removeprefix(b'{"custom_id":').replace(b"-", _DASH),
        comma,
        rest,
    )


def kept(line: bytes) -> bytes:
    """What `sent` made a line of."""
    head, comma, rest = line.partition(b",")
    return b'{"custom_id":%b%b%b' % (
        head.removeprefix(b'{"recordId":').replace(_DASH, b"-"),
        comma,
        rest,
    )


def model_id(model: str) -> str:
    """A model's id or ARN, without litellm's routes before it."""
    for route in ("bedrock/", "converse/", "invoke/"):
        model = model.removeprefix(route)
    return model


class ConverseTranslation(Translation):
    """litellm's translation of chat requests for one model, as the Converse API takes them."""

    def __init__(self, litellm: Any, model: str) -> None:
        self._litellm = litellm
        self._model = model_id(model)
        module = importlib.import_module(
            f"{litellm.__name__}.llms.bedrock.chat.converse_transformation"
        )
        self._config = module.AmazonConverseConfig()
        self.betas: list[str] = []
        self.tool_names: dict[str, str] = {}

    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters in Converse's words. Raises OptionError for those it does not know, Refused for a bad value."""
        if params.get("extra_headers"):
            raise OptionError("extra_headers: a batch at Bedrock takes none")
        extra = params.get("extra_body")
        given = {key: value for key, value in params.items() if key not in ("extra_body", "stream")}
        try:
            made = self._litellm.utils.get_optional_params(  # the route: else some models' own form
                model=f"converse/{self._model}", custom_llm_provider="bedrock", **given
            )
        except self._litellm.UnsupportedParamsError as e:
            raise unsupported(f"bedrock/{self._model}", e) from None
        except Exception as e:
            raise Refused(sentence(e)) from None
        # Of those litellm makes fields of the request that no model knows.
        options = {
            key: value for key, value in dict(made).items() if key not in ("stream", "json_mode")
        }
        return {**options, "extra_body": extra} if extra else options

    def body(self, messages: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """The Converse request. Raises Refused."""
        refuse_downloads(messages, lambda _: False)
        given = copy.deepcopy(dict(options))
        extra = given.pop("extra_body", None) or {}
        said = [
            {**message, "role": "system"} if message.get("role") == "developer" else dict(message)
            for message in copy.deepcopy(messages)
        ]
        try:
            data: dict[str, Any] = dict(
                self._config.transform_request(
                    model=self._model,
                    messages=said,
                    optional_params=copy.deepcopy(given),
                    litellm_params={},
                    headers={},
                )
            )
        except Exception as e:
            raise refused(self._litellm, f"bedrock/{self._model}", e) from None
        self._note_names(given.get("tools"), data)
        for key, value in extra.items():
            both = isinstance(value, Mapping) and isinstance(data.get(key), Mapping)
            data[key] = {**data[key], **value} if both else value
        return data

    def _note_names(self, tools: Any, data: Mapping[str, Any]) -> None:
        """Remember which tools' names litellm wrote in other letters, those that Bedrock takes."""
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
    recordId: str  # noqa: N815 - Bedrock's own word
    modelOutput: msgspec.Raw = msgspec.Raw()  # noqa: N815
    error: msgspec.Raw = msgspec.Raw()


_came = msgspec.json.Decoder(_Came).decode


def slim(line: bytes) -> bytes:
    """A result record as it is kept: {"custom_id", "modelOutput" or "error"}; one that can't be read, as it is."""
    try:
        came = _came(line)
        made = [b'{"custom_id":%b' % msgspec.json.encode(came.recordId).replace(_DASH, b"-")]
        for name, held in ((b"modelOutput", came.modelOutput), (b"error", came.error)):
            if bytes(held):
                made.append(b'"%b":%b' % (name, msgspec.json.format(held, indent=-1)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line.rstrip(b"\n") + b"\n"
    return b",".join(made) + b"}\n"


def decode(line: bytes, tool_names: Mapping[str, str]) -> Result:
    """One kept line. Never raises: what can't be read is a failed Result that says so."""
    try:
        data = tolerant.loads(line)
        custom_id = data["custom_id"]
    except Exception:  # no JSON, or no line of Bedrock's; the other dialect's reader says which
        return tolerant.read(line)
    custom_id = custom_id if isinstance(custom_id, str) else None
    try:
        return _outcome(custom_id, data, tool_names)
    except Exception as error:  # a shape nobody has seen yet must not lose the other rows
        return failed(custom_id, f"a line that can't be read: {error!r}")


def decode_lines(block: bytes, tool_names: Mapping[str, str]) -> Iterator[Result]:
    r"""All lines of a block of whole lines; a line ends at b"\n" and nowhere else, empty lines are passed over."""
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
    """(value, "") or (None, the reason)."""
    stop = str(output.get("stopReason") or "")
    told = output.get("output")
    message = told.get("message") if isinstance(told, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    blocks = [block for block in content or [] if isinstance(block, dict)]
    text = "".join(map(_text, blocks))
    if stop in _FILTERS and (stop == _GUARDRAIL or not text):
        return None, _FILTERS[stop]
    calls = [block["toolUse"] for block in blocks if isinstance(block.get("toolUse"), dict)]
    asked = [call for call in calls if call.get("name") == JSON_TOOL]
    if asked:  # the tool that litellm asks a model to call where it can't be asked for JSON itself
        return json.dumps(asked[0].get("input"), ensure_ascii=False), ""
    if calls:
        return ToolCalls(
            [
                {
                    "id": call.get("toolUseId"),
                    "arguments": tolerant.arguments_of(call.get("input")),
                    "name": tool_names.get(str(call.get("name")), call.get("name")),
                }
                for call in calls
            ],
            text,
        ), ""
    if text:
        return text, ""
    if stop == "max_tokens":
        return (
            None,
            "max_tokens: all the tokens were used up before any text came; allow more (max_tokens)",
        )
    if stop in ("end_turn", "stop_sequence"):
        return "", ""  # the model had nothing to say: an empty text is an answer
    return None, f"the answer has no content (stopReason: {stop or 'none'})"


def _text(block: Mapping[str, Any]) -> str:
    """A block's part of the answer; what was thought is none, what is cited is."""
    if isinstance(block.get("text"), str):
        return str(block["text"])
    cited = block.get("citationsContent")
    parts = cited.get("content") if isinstance(cited, dict) else None
    return "".join(str(part.get("text") or "") for part in parts or [] if isinstance(part, dict))


def usage_of(usage: Any) -> Usage | None:
    """Tokens as they are billed: those read from and written to the cache stand beside the input's."""
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
    """A model invocation job; fields may be missing or null. A status that nobody knows is an open one.

    output_file_id: the folder below which its results will lie; whether they are there yet is not said here.
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
