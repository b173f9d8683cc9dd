"""The Gemini API's files and batches, after ai.google.dev (Batch API, Files API, their references) and google-genai.

A batch is a long-running operation: state, counts (int64, as texts) and output are in its metadata, the output again
in `response`; a failed, cancelled or expired one has an `error`. Uploads are resumable: a start, whose answer's header
names an address, and the bytes. A wrong key is a 400 with a reason in its details.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

from aiohttp import web

from tests.providers.fakes.host import Batch, Host, jsonl

# generateContent, request body; JSON of a proto may use either form of a name. It has no labels.
_GENERATE = {
    "model",
    "contents",
    "systemInstruction",
    "system_instruction",
    "tools",
    "toolConfig",
    "tool_config",
    "safetySettings",
    "safety_settings",
    "generationConfig",
    "generation_config",
    "cachedContent",
    "serviceTier",
}
_EMBED = {"model", "content", "taskType", "task_type", "title"} | {
    "outputDimensionality",
    "output_dimensionality",
}
_STATES = {
    "completed": "SUCCEEDED",
    "failed": "FAILED",
    "expired": "EXPIRED",
    "cancelled": "CANCELLED",
}
_STATUS = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


class Gemini(Host):
    """One project. file_states: what the next looks at a file find, then ACTIVE. page: batches in a page of the list.

    answer: (a request, the text in upper case) -> the response of a row. host: where uploads are sent to, if elsewhere.
    has_files: False for a gateway without the Files API, where requests come inline.
    """

    def __init__(self, clock):
        super().__init__(clock)
        self.file_states: list[str] = []
        self.page = 2
        self.heads: list[tuple[str, dict]] = []
        self.host = ""
        self.has_files = True
        self.answer = lambda request, text: response(text)
        self._numbers = itertools.count(1)
        self._uploads: dict[str, bytearray] = {}

    shown = {401: 400}

    def results_of(self, batch_id):
        """The id of its file, whose name is Google's choice."""
        return f"files/out-of-{batch_id.removeprefix('batches/')}"

    def routes(self):
        """The verbs' paths."""
        return [
            web.post("/upload/v1beta/files", self.start),
            web.post("/upload/v1beta/resumable", self.upload),
            web.get("/download/v1beta/files/{id:[^:]+}:download", self.fetch),
            web.get("/v1beta/files/{id:[^:]+}:download", self.fetch),
            web.get("/v1beta/files/{id}", self.file),
            web.post("/v1beta/models/{model:[^:]+}:batchGenerateContent", self.create),
            web.post("/v1beta/models/{model:[^:]+}:asyncBatchEmbedContent", self.create),
            web.get("/v1beta/batches", self.list),
            web.get("/v1beta/batches/{id}", self.poll),
            web.post("/v1beta/batches/{id:[^:]+}:cancel", self.cancel),
            web.post("/v1beta/models/{model:[^:]+}:generateContent", self.ask),
            web.post("/v1beta/models/{model:[^:]+}:batchEmbedContents", self.ask),
        ]

    def allowed(self, request):
        """The key is a header of its own, which the address of an upload does not need."""
        self.heads.append((request.path, dict(request.headers)))
        key = request.headers.get("x-goog-api-key")
        if "Authorization" in request.headers or "key" in request.query:
            return False
        return key == self.key or (key is None and request.path == "/upload/v1beta/resumable")

    def no(self, status, message, headers=None):
        """A refusal; a wrong key is no 401."""
        body = self.refusal(status, message)
        return web.json_response(body, status=self.shown.get(status, status), headers=headers)

    def refusal(self, status, message):
        """A google.rpc.Status."""
        if status == 401:
            info = {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
            }
            return {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                    "details": [info],
                }
            }
        content = _STATUS.get(status, "INTERNAL")
        return {"error": {"code": status, "message": message, "status": content}}

    # -- files -----------------------------------------------------------------------------------------------

    async def start(self, request):
        """POST a file's name and size: the answer says where to."""
        if not self.has_files:
            return self.no(404, "Requested entity was not found.")
        asked = await request.json()
        head = request.headers
        if (
            head["X-Goog-Upload-Protocol"] != "resumable"
            or head["X-Goog-Upload-Command"] != "start"
            or not set(asked["file"])
            <= {
                "display_name",
                "displayName",
                "name",
                "mimeType",
                "mime_type",
                "sizeBytes",
                "size_bytes",
            }
        ):
            raise ValueError("not a resumable upload")
        number = str(next(self._numbers))
        self._uploads[number] = bytearray()
        place = f"{self.host or self.url}/upload/v1beta/resumable?upload_id={number}&upload_protocol=resumable"
        return web.json_response(
            {}, headers={"X-Goog-Upload-URL": place, "X-Goog-Upload-Status": "active"}
        )

    async def upload(self, request):
        """POST a file's bytes, in one piece or several."""
        held = self._uploads[request.query["upload_id"]]
        if int(request.headers["X-Goog-Upload-Offset"]) != len(held):
            raise ValueError("the offset is not what was received")
        held += await request.read()
        if "finalize" not in request.headers["X-Goog-Upload-Command"]:
            return web.json_response({}, headers={"X-Goog-Upload-Status": "active"})
        name = f"files/in{next(self._numbers)}"
        self.files[name] = bytes(held)
        document = {"file": self._file(name)}
        return web.json_response(document, headers={"X-Goog-Upload-Status": "final"})

    async def file(self, request):
        """GET a file's metadata; one that is not there is a 403."""
        name = f"files/{request.match_info['id']}"
        if name not in self.files:
            return self.no(
                403,
                f"You do not have permission to access the File {name} or it may not exist.",
            )
        return web.json_response(self._file(name))

    def _file(self, name):
        return {
            "name": name,
            "mimeType": "application/jsonl",
            "sizeBytes": str(len(self.files[name])),
            "createTime": _time(self.clock()),
            "expirationTime": _time(self.clock() + 48 * 3600),
            "uri": f"https://generativelanguage.googleapis.com/v1beta/{name}",
            "state": self.file_states.pop(0) if self.file_states else "ACTIVE",
            "source": "UPLOADED",
        }

    # -- batches ---------------------------------------------------------------------------------------------

    async def create(self, request):
        """POST a batch: requests inline, or the name of their file."""
        order = (await request.json())["batch"]
        model = request.match_info["model"]
        vectors = request.path.endswith(":asyncBatchEmbedContent")
        source = order.get("input_config") or order.get("inputConfig")
        name = order.get("display_name") or order.get("displayName")
        file = source.get("file_name") or source.get("fileName")
        if model == "gemini-none":
            return self.no(404, f"models/{model} is not found for API version v1beta")
        if not name or (file is not None and file not in self.files):
            raise ValueError("batch.display_name and batch.input_config are required")
        lines = (
            [
                {"key": one.get("metadata", {}).get("key", str(at)), "request": one["request"]}
                for at, one in enumerate(source["requests"]["requests"])
            ]
            if file is None
            else self.lines(file)
        )
        requests = {}
        for line in lines:
            asked = line["request"]
            if set(line) != {"key", "request"} or not set(asked) <= (
                _EMBED if vectors else _GENERATE
            ):
                raise ValueError(
                    f"Invalid JSON payload received. Unknown name: {sorted(line)} {sorted(asked)}"
                )
            if asked.get("model", f"models/{model}") != f"models/{model}":
                raise ValueError("the model of a request differs from the batch's")
            parts = (asked["content"] if vectors else asked["contents"][-1])["parts"]
            content = {"content": parts[-1].get("text")}
            requests[line["key"]] = {"messages": [content], "request": asked}
        batch = Batch(f"batches/b{next(self._numbers)}", file, requests, name, self.clock(), order)
        batch.order = {**order, "model": model, "vectors": vectors}
        self.batches[batch.id] = batch
        return web.json_response(self._document(batch))

    async def list(self, request):
        """GET batches, in no promised order; there is no filter."""
        if set(request.query) - {"pageSize", "pageToken"}:
            raise ValueError(f"unknown {sorted(request.query)}")
        start = int(request.query.get("pageToken") or 0)
        held = list(self.batches.values())
        size = min(self.page, int(request.query.get("pageSize") or 50))
        page = {"operations": [self._document(one) for one in held[start : start + size]]}
        if held[start + size :]:
            page["nextPageToken"] = str(start + size)
        return web.json_response(page if held else {})

    async def poll(self, request):
        """GET a batch."""
        return web.json_response(
            self._document(self.batches[f"batches/{request.match_info['id']}"])
        )

    async def cancel(self, request):
        """POST :cancel, which ends it."""
        batch = self.batches[f"batches/{request.match_info['id']}"]
        if batch.ending:
            raise ValueError("the batch has ended")
        batch.cancelling, batch.ending = True, "cancelled"
        return web.json_response({})

    async def fetch(self, request):
        """GET a generated file's content; uploaded ones can't be downloaded."""
        if request.query.get("alt") != "media":
            raise ValueError("alt=media")
        kind, _, batch_id = request.match_info["id"].partition("-of-")
        if kind != "out":
            raise ValueError("Only generated files can be downloaded.")
        lines = [
            {"key": key, **reported}
            for key, reported in self._rows(self.batches[f"batches/{batch_id}"])
        ]
        return web.Response(body=jsonl(lines), content_type="application/octet-stream")

    def _rows(self, batch):
        """(key, its response or error) of each row that is over, in reverse order."""
        rows = []
        for key, text in batch.answers.items():
            asked = batch.requests.get(key, {}).get("request")
            rows.append(
                (
                    key,
                    {
                        "response": embedding(asked)
                        if batch.order["vectors"]
                        else self.answer(asked, text)
                    },
                )
            )
        rows += [(key, {"error": _status(why)}) for key, why in batch.errors.items()]
        return reversed(rows)

    def _document(self, batch):
        kind = "EmbedContentBatch" if batch.order["vectors"] else "GenerateContentBatch"
        done, failed = (len(batch.answers), len(batch.errors)) if batch.ending else (0, 0)
        state = _STATES[batch.ending] if batch.ending else "RUNNING"
        source = {"requests": {"requests": []}} if batch.file is None else {"fileName": batch.file}
        metadata = {
            "@type": f"type.googleapis.com/google.ai.generativelanguage.v1main.{kind}",
            "model": f"models/{batch.order['model']}",
            "displayName": batch.named,
            "inputConfig": source,
            "createTime": _time(batch.created),
            "updateTime": _time(self.clock()),
            "batchStats": {
                "requestCount": str(len(batch.requests)),
                "successfulRequestCount": str(done),
                "failedRequestCount": str(failed),
                "pendingRequestCount": str(len(batch.requests) - done - failed),
            },
            "state": f"BATCH_STATE_{state}",
            "name": batch.id,
        }
        document = {"name": batch.id, "metadata": metadata}
        if not batch.ending:
            return document
        document["done"] = True
        metadata["endTime"] = _time(self.clock())
        output = self._output(batch)
        if output:
            metadata["output"] = output
        if batch.ending != "completed":
            document["error"] = {
                "code": 1 if batch.ending == "cancelled" else 13,
                "message": batch.reason or "The operation was ended.",
            }
        elif output:
            document["response"] = {"@type": metadata["@type"] + "Output", **output}
        return document

    def _output(self, batch):
        if not batch.output_named or not (batch.answers or batch.errors):
            return {}
        if batch.file is not None:
            return {"responsesFile": self.results_of(batch.id)}
        inline = [{"metadata": {"key": key}, **reported} for key, reported in self._rows(batch)]
        name = "inlinedEmbedContentResponses" if batch.order["vectors"] else "inlinedResponses"
        return {name: {"inlinedResponses": inline}}

    # -- in real time ------------------------------------------------------------------------------------------

    async def ask(self, request):
        """POST one request."""
        asked = await request.json()
        if request.path.endswith(":batchEmbedContents"):
            return web.json_response(
                {"embeddings": [embedding(one)["embedding"] for one in asked["requests"]]}
            )
        text = asked["contents"][-1]["parts"][-1]["text"]
        return web.json_response(self.answer(asked, text.upper()))


def _status(why):
    return {"code": 13, "message": why}


def _time(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def response(text, finish="STOP", **usage):
    """A GenerateContentResponse."""
    return {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": text}]},
                "finishReason": finish,
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 3,
            "candidatesTokenCount": 2,
            "totalTokenCount": 5,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3}],
            **usage,
        },
        "modelVersion": "gemini-2.5-flash",
        "responseId": "x",
    }


def embedding(asked):
    """An EmbedContentResponse: of the text's length, in as many numbers as were asked for."""
    text = asked["content"]["parts"][0]["text"]
    size = asked.get("outputDimensionality") or asked.get("output_dimensionality") or 4
    return {"embedding": {"values": [float(len(text)), *[0.25] * (size - 1)]}, "tokenCount": "3"}
