"""Vertex AI's batch prediction, Cloud Storage and Google's token server, after their public references alone.

What it holds to. Vertex AI (REST reference, batchPredictionJobs; job_service.proto, JobState): create, get, list with
`filter` and pages, cancel, which answers {}; names as projects/NUMBER/...; int64 as texts; labels of at most 64
lower-case letters, digits, _ and -; errors as google.rpc.Status. Batch prediction for Gemini: a line is
{"request": GenerateContentRequest}; results lie in a folder prediction-MODEL-TIME, which is named in `outputInfo` when
they are there; a line repeats the request, with `response`, or with what went wrong in `status`; in no order.
Cloud Storage JSON API: media uploads, lists by prefix in pages, downloads with alt=media.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from tests.providers.fakes.host import Host

PROJECT, NUMBER, LOCATION, BUCKET = "my-project", "510528649030", "us-central1", "rows-of-mine"
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
# generateContent, request body; JSON of a proto may use either form of a name
_REQUEST = {
    "contents",
    "systemInstruction",
    "system_instruction",
    "tools",
    "toolConfig",
    "tool_config",
    "labels",
    "safetySettings",
    "safety_settings",
    "generationConfig",
    "generation_config",
    "cachedContent",
}
_JOB = {
    "displayName",
    "model",
    "inputConfig",
    "outputConfig",
    "labels",
    "instanceConfig",
    "modelParameters",
}


@dataclass
class Job:
    """A BatchPredictionJob."""

    number: str
    order: dict
    created: float
    requests: dict[str, dict]
    state: str = "JOB_STATE_PENDING"
    output: str = ""
    stats: dict | None = None
    error: dict | None = None
    partial: list = field(default_factory=list)


class Vertex(Host):
    """One project in one region, with one bucket. page: objects and jobs in a page of a list."""

    key = "ya29.secret-of-the-tests"

    def __init__(self, clock):
        super().__init__(clock)
        self.jobs: dict[str, Job] = {}
        self.objects: dict[str, bytes] = {}
        self.page = 2
        self.tokens = 0
        self.heads = []

    def allowed(self, request):
        """A bearer token on every call but the one that gets it."""
        self.heads.append((request.path, dict(request.headers)))
        return request.path == "/token" or super().allowed(request)

    def routes(self):
        """The verbs' paths."""
        jobs = "/v1/projects/{project}/locations/{location}/batchPredictionJobs"
        return [
            web.post("/token", self.token),
            web.post(jobs, self.create),
            web.get(jobs, self.list),
            web.get(jobs + r"/{number:\d+}", self.poll),
            web.post(jobs + r"/{number:\d+}:cancel", self.cancel),
            web.post("/upload/storage/v1/b/{bucket}/o", self.upload),
            web.get("/storage/v1/b/{bucket}/o", self.objects_list),
            web.get("/storage/v1/b/{bucket}/o/{name:.+}", self.fetch),
        ]

    def refusal(self, status, message):
        """A google.rpc.Status."""
        content = {
            400: "INVALID_ARGUMENT",
            401: "UNAUTHENTICATED",
            403: "PERMISSION_DENIED",
            404: "NOT_FOUND",
            409: "ALREADY_EXISTS",
            429: "RESOURCE_EXHAUSTED",
        }.get(status, "INTERNAL")
        return {"error": {"code": status, "message": message, "status": content}}

    # -- for tests -----------------------------------------------------------------------------------------

    @property
    def only_job(self) -> Job:
        """The one job that there is."""
        (job,) = self.jobs.values()
        return job

    def finish(
        self, state="JOB_STATE_SUCCEEDED", answers=None, failed=None, job=None, shards=1, named=True
    ):
        """End a job. answers: by text, the answer (a text, or a whole response); failed: by text, the status."""
        job = job or self.only_job
        answers, failed = answers or {}, failed or {}
        lines = []
        for request in job.requests.values():
            text = request["contents"][-1]["parts"][-1]["text"]
            line = {
                "status": "",
                "processed_time": "2026-04-13T10:18:18.102004+00:00",
                "request": request,
            }
            if text in answers:
                shown = answers[text]
                line["response"] = response(shown) if isinstance(shown, str) else shown
            elif text in failed:
                line["status"] = failed[text]
            else:
                continue
            lines.append(line)
        lines.reverse()
        if lines:
            prefix = job.order["outputConfig"]["gcsDestination"]["outputUriPrefix"].removeprefix(
                f"gs://{BUCKET}/"
            )
            folder = f"{prefix}/prediction-model-2026-04-13T10:18:18.102004Z"
            for at in range(shards):
                name = "predictions.jsonl" if shards == 1 else f"predictions_{at + 1:04}.jsonl"
                part = lines[at::shards]
                self.objects[f"{folder}/{name}"] = "".join(
                    json.dumps(line) + "\n" for line in part
                ).encode()
            job.output = f"gs://{BUCKET}/{folder}" if named else ""
        job.stats = {
            "successfulCount": str(sum(1 for line in lines if not line["status"])),
            "failedCount": str(sum(1 for line in lines if line["status"])),
            "incompleteCount": str(len(job.requests) - len(lines)),
        }
        job.state = state

    # -- the token server ------------------------------------------------------------------------------------

    async def token(self, request):
        """POST token: a signed assertion for an access token."""
        form = await request.post()
        if (
            form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer"
            or form["assertion"].count(".") != 2
        ):
            return web.json_response(
                {"error": "invalid_grant", "error_description": "no"}, status=400
            )
        self.tokens += 1
        return web.json_response(
            {"access_token": self.key, "expires_in": 3599, "token_type": "Bearer"}
        )

    # -- Cloud Storage ---------------------------------------------------------------------------------------

    async def upload(self, request):
        """POST an object."""
        if request.match_info["bucket"] != BUCKET:
            return self.no(404, "The specified bucket does not exist.")
        if request.query["uploadType"] != "media" or request.content_length is None:
            return self.no(411, "Length Required")
        name = request.query["name"]
        self.objects[name] = await request.read()
        return web.json_response(
            {
                "kind": "storage#object",
                "id": f"{BUCKET}/{name}/1579287380533984",
                "name": name,
                "bucket": BUCKET,
                "size": str(len(self.objects[name])),
            }
        )

    async def objects_list(self, request):
        """GET the objects below a prefix."""
        if request.match_info["bucket"] != BUCKET:
            return self.no(404, "The specified bucket does not exist.")
        names = sorted(
            name for name in self.objects if name.startswith(request.query.get("prefix", ""))
        )
        start = int(request.query.get("pageToken", 0))
        page = {"kind": "storage#objects"}
        if names[start:]:
            page["items"] = [{"name": name} for name in names[start : start + self.page]]
        if names[start + self.page :]:
            page["nextPageToken"] = str(start + self.page)
        return web.json_response(page)

    async def fetch(self, request):
        """GET an object's content."""
        name = request.match_info["name"]
        if name not in self.objects or request.query.get("alt") != "media":
            return self.no(404, f"No such object: {BUCKET}/{name}")
        return web.Response(body=self.objects[name], content_type="application/octet-stream")

    # -- Vertex AI -------------------------------------------------------------------------------------------

    async def create(self, request):
        """POST batchPredictionJobs."""
        self._place(request)
        order = await request.json()
        if not {"displayName", "model", "inputConfig", "outputConfig"} <= order.keys() <= _JOB:
            raise ValueError(f"Invalid JSON payload received. Unknown name in {sorted(order)}")
        if not re.fullmatch(r"publishers/google/models/gemini-[a-z0-9.-]+", order["model"]):
            raise ValueError(f"Model {order['model']} does not support batch prediction")
        if not all(
            _LABEL.fullmatch(part) for pair in order.get("labels", {}).items() for part in pair
        ):
            raise ValueError("labels: only lower-case letters, digits, underscores and dashes")
        (uri,) = order["inputConfig"]["gcsSource"]["uris"]
        lines = [
            json.loads(line)
            for line in self.objects[uri.removeprefix(f"gs://{BUCKET}/")].splitlines()
        ]
        requests = {}
        for at, line in enumerate(lines):
            sent = line.pop("request")
            if line or not sent.keys() <= _REQUEST or not sent["contents"]:
                raise ValueError(f"line {at}: {sorted(line)} {sorted(sent)}")
            if not all(
                _LABEL.fullmatch(part) for pair in sent.get("labels", {}).items() for part in pair
            ):
                raise ValueError(f"line {at}: labels")
            requests[str(at)] = sent
        job = Job(str(3814889423749775360 + len(self.jobs)), order, self.clock(), requests)
        self.jobs[job.number] = job
        return web.json_response(self._document(job))

    async def list(self, request):
        """GET batchPredictionJobs: by label, in no promised order."""
        self._place(request)
        match = re.fullmatch(r'labels\.([a-z_-]+)(?:="([a-z0-9_-]*)"|:\*)', request.query["filter"])
        if match is None:
            raise ValueError(f"invalid filter {request.query['filter']}")
        key, value = match.groups()
        found = [
            job
            for job in self.jobs.values()
            if key in job.order["labels"] and value in (None, job.order["labels"][key])
        ]
        start = int(request.query.get("pageToken") or 0)
        page = (
            {
                "batchPredictionJobs": [
                    self._document(job) for job in found[start : start + self.page]
                ]
            }
            if found
            else {}
        )
        if found[start + self.page :]:
            page["nextPageToken"] = str(start + self.page)
        return web.json_response(page)

    async def poll(self, request):
        """GET a job."""
        self._place(request)
        return web.json_response(self._document(self.jobs[request.match_info["number"]]))

    async def cancel(self, request):
        """POST :cancel; a job that is over can't be."""
        self._place(request)
        job = self.jobs[request.match_info["number"]]
        if job.state not in (
            "JOB_STATE_PENDING",
            "JOB_STATE_RUNNING",
            "JOB_STATE_QUEUED",
            "JOB_STATE_PAUSED",
        ):
            raise ValueError(f"The job is in state {job.state}, which can't be cancelled")
        job.state = "JOB_STATE_CANCELLING"
        return web.json_response({})

    def _place(self, request):
        if (
            request.match_info["project"] not in (PROJECT, NUMBER)
            or request.match_info["location"] != LOCATION
        ):
            raise KeyError(request.path)

    def _document(self, job):
        document = {
            "name": f"projects/{NUMBER}/locations/{LOCATION}/batchPredictionJobs/{job.number}",
            **job.order,
            "state": job.state,
            "createTime": datetime.fromtimestamp(job.created, UTC).isoformat(),
        }
        if job.output:
            document["outputInfo"] = {"gcsOutputDirectory": job.output}
        if job.stats:
            document["completionStats"] = job.stats
        if job.error:
            document["error"] = job.error
        if job.partial:
            document["partialFailures"] = job.partial
        return document


def response(text, **usage):
    """A GenerateContentResponse, as a batch's line has it."""
    return {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": text}]},
                "finishReason": "STOP",
                "avgLogprobs": -0.1,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 3,
            "candidatesTokenCount": 2,
            "totalTokenCount": 5,
            **usage,
        },
        "modelVersion": "gemini-2.5-flash",
        "createTime": "2026-04-13T10:18:18.102004Z",
        "responseId": "x",
    }
