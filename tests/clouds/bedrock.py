"""Bedrock's batch inference and S3, after AWS's API references alone; requests are held against AWS's own descriptions.

What it holds to. Bedrock (CreateModelInvocationJob and its sisters): a `clientRequestToken` that was seen before gives
the job of then, another job of the same name a ConflictException; patterns of names, tokens, roles and models; times as
ISO texts; list by part of a name, newest first, in pages; stop, which answers {} and refuses a job that is over; errors
with their name in `x-amzn-ErrorType`. Batch inference (user guide): records of an alphanumeric `recordId` and a
`modelInput`; at least 100 of them, else the job fails when it is validated; results below OUTPUT/JOB-ID/ in
INPUT.jsonl.out, next to a manifest.json.out, in no order, with `error` in the place of `modelOutput`. A Converse input
is checked with botocore's description of Converse. S3: PUT, GET, HEAD and ListObjectsV2, path style; user metadata.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from aiohttp import web

from tests.providers.fakes.host import Host

ACCOUNT, REGION, BUCKET = "123456789012", "us-east-1", "rows-of-mine"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/batch"
_NAME = re.compile(r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}")
_TOKEN = re.compile(r"[a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256}")
_URI = re.compile(
    r"s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](?:/[-!_*'().a-z0-9A-Z]+(?:/[-!_*'().a-z0-9A-Z]+)*)?/?"
)
_OPEN = ("Submitted", "Validating", "Scheduled", "InProgress")
_ERRORS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    409: "ConflictException",
    429: "ThrottlingException",
    500: "InternalServerException",
}
_BEDROCK = ("create", "list", "poll", "stop")


def _converse():
    import botocore.session  # one and a half seconds of CPU, of the process that comes here alone

    model = botocore.session.Session().get_service_model("bedrock-runtime")
    return model.operation_model("Converse").input_shape


@dataclass
class Job:
    """A model invocation job."""

    arn: str
    order: dict
    submitted: float
    records: dict[str, dict]
    status: str = "Submitted"
    message: str = ""
    counts: dict = field(default_factory=dict)


class Bedrock(Host):
    """One account in one region, with one bucket. page: objects and jobs in a page of a list."""

    key = "AKIDOFTHETESTS000000"
    secret = "secret/of/the/tests+0123456789"

    def __init__(self, clock):
        super().__init__(clock)
        self.jobs: dict[str, Job] = {}
        self.objects: dict[str, tuple[bytes, dict]] = {}
        self.page = 1000
        self.least = 100
        self._shape = _converse()

    def allowed(self, request):
        """A signature of version 4, for the service that is called."""
        service = "bedrock" if request.path.startswith("/model-invocation-job") else "s3"
        head = request.headers.get("Authorization", "")
        return re.match(
            rf"AWS4-HMAC-SHA256 Credential={self.key}/\d+/{REGION}/{service}/aws4_request", head
        )

    def routes(self):
        """The verbs' paths."""
        return [
            web.post("/model-invocation-job", self.create),
            web.get("/model-invocation-jobs", self.list),
            web.get("/model-invocation-job/{arn:[^/]+}", self.poll),
            web.post("/model-invocation-job/{arn:[^/]+}/stop", self.stop),
            web.put("/{bucket}/{key:.+}", self.upload),
            web.head("/{bucket}/{key:.+}", self.about),
            web.get("/{bucket}/{key:.+}", self.fetch, allow_head=False),
            web.get("/{bucket}", self.objects_list),
        ]

    def no(self, status, message, headers=None):
        """A refusal, as the service that is called says it."""
        verb = self._verb
        if verb in _BEDROCK:
            name = (
                "UnrecognizedClientException"
                if status == 401
                else _ERRORS.get(status, "InternalServerException")
            )
            return web.json_response(
                {"message": message},
                status={401: 403, 409: 400}.get(status, status),
                headers={"x-amzn-ErrorType": f"{name}:http://internal", **(headers or {})},
            )
        code = {
            401: "InvalidAccessKeyId",
            403: "AccessDenied",
            404: "NoSuchKey",
            429: "SlowDown",
        }.get(status, "InternalError" if status >= 500 else "InvalidRequest")
        if message.startswith("NoSuchBucket"):
            code = "NoSuchBucket"
        text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>'
        status = {401: 403, 429: 503}.get(status, status)
        return web.Response(
            text=text, status=status, content_type="application/xml", headers=headers
        )

    @web.middleware
    async def _gate(self, request, handler):
        self._verb = getattr(handler, "__name__", "nothing")
        return await Host._gate(self, request, handler)

    # -- for tests -----------------------------------------------------------------------------------------

    @property
    def only_job(self) -> Job:
        """The one job that there is."""
        (job,) = self.jobs.values()
        return job

    def finish(self, status="Completed", answers=None, failed=None, job=None, message="", split=1):
        """End a job. answers: by text, the answer (a text, or a whole message); failed: by text, the error."""
        job = job or self.only_job
        answers, failed = answers or {}, failed or {}
        lines = []
        for record, sent in job.records.items():
            text = sent["messages"][-1]["content"][-1]["text"]
            line = {"modelInput": sent}
            if text in answers:
                shown = answers[text]
                line["modelOutput"] = converse(shown) if isinstance(shown, str) else shown
            elif text in failed:
                line["error"] = failed[text]
            else:
                continue
            lines.append({**line, "recordId": record})
        lines.reverse()
        wrong = sum("error" in line for line in lines)
        job.counts = {
            "totalRecordCount": len(job.records),
            "processedRecordCount": len(lines),
            "successRecordCount": len(lines) - wrong,
            "errorRecordCount": wrong,
        }
        source = job.order["inputDataConfig"]["s3InputDataConfig"]["s3Uri"].rpartition("/")[2]
        folder = (
            job.order["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
            .removeprefix(f"s3://{BUCKET}/")
            .rstrip("/")
            + "/"
            + job.arn.rpartition("/")[2]
        )
        for at in range(split if lines else 0):
            part = "".join(json.dumps(line) + "\n" for line in lines[at::split])
            self.objects[f"{folder}/{f'{at}-' if split > 1 else ''}{source}.out"] = (
                part.encode(),
                {},
            )
        self.objects[f"{folder}/manifest.json.out"] = json.dumps(job.counts).encode(), {}
        job.status, job.message = status, message

    # -- S3 --------------------------------------------------------------------------------------------------

    async def upload(self, request):
        """PUT an object."""
        if request.match_info["bucket"] != BUCKET:
            return self.no(404, "NoSuchBucket: The specified bucket does not exist")
        meta = {
            name: value
            for name, value in request.headers.items()
            if name.lower().startswith("x-amz-meta-")
        }
        self.objects[request.match_info["key"]] = await request.read(), meta
        return web.Response(headers={"ETag": '"1"'})

    async def about(self, request):
        """HEAD an object."""
        if request.match_info["key"] not in self.objects:
            return web.Response(status=404)
        return web.Response(headers=self.objects[request.match_info["key"]][1])

    async def fetch(self, request):
        """GET an object."""
        if request.match_info["key"] not in self.objects:
            return self.no(404, "The specified key does not exist.")
        return web.Response(
            body=self.objects[request.match_info["key"]][0], content_type="binary/octet-stream"
        )

    async def objects_list(self, request):
        """GET the objects below a prefix."""
        if request.query.get("list-type") != "2":
            raise ValueError("list-type")
        keys = sorted(
            key for key in self.objects if key.startswith(request.query.get("prefix", ""))
        )
        start = int(request.query.get("continuation-token", 0))
        more = len(keys) > start + self.page
        inside = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>1</Size></Contents>"
            for key in keys[start : start + self.page]
        )
        token = (
            f"<NextContinuationToken>{start + self.page}</NextContinuationToken>" if more else ""
        )
        return web.Response(
            content_type="application/xml",
            text=(
                '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<Name>{BUCKET}</Name><IsTruncated>{str(more).lower()}</IsTruncated>{token}{inside}</ListBucketResult>"
            ),
        )

    # -- Bedrock ---------------------------------------------------------------------------------------------

    async def create(self, request):
        """POST model-invocation-job."""
        order = await request.json()
        for name, pattern in (("jobName", _NAME), ("clientRequestToken", _TOKEN)):
            if not pattern.fullmatch(order[name]) or len(order[name]) > 63:
                raise ValueError(f"{name}: {order[name]}")
        if not 24 <= order.get("timeoutDurationInHours", 24) <= 168 or order["roleArn"] != ROLE:
            raise ValueError("timeoutDurationInHours, roleArn")
        uris = (
            order["inputDataConfig"]["s3InputDataConfig"]["s3Uri"],
            order["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"],
        )
        if not all(_URI.fullmatch(uri) for uri in uris):
            raise ValueError(f"s3Uri: {uris}")
        for job in self.jobs.values():
            if job.order["clientRequestToken"] == order["clientRequestToken"]:
                return web.json_response({"jobArn": job.arn})
            if job.order["jobName"] == order["jobName"]:
                return self.no(409, "The provided job name is currently in use")
        lines = self.objects[uris[0].removeprefix(f"s3://{BUCKET}/")][0].splitlines()
        job = Job(
            f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/{len(self.jobs):012d}",
            order,
            self.clock(),
            {},
        )
        for line in map(json.loads, lines):
            self._check(line, order)
            job.records[line["recordId"]] = line["modelInput"]
        if len(lines) < self.least or len(job.records) != len(lines):
            job.status, job.message = (
                "Failed",
                f"Batch inference job contains {len(lines)} records (at least 100)",
            )
        self.jobs[job.arn] = job
        return web.json_response({"jobArn": job.arn})

    def _check(self, line, order):
        if line.keys() != {"recordId", "modelInput"} or not re.fullmatch(
            r"[a-zA-Z0-9]{11,}", line["recordId"]
        ):
            raise ValueError(f"a record: {line}")
        if order.get("modelInvocationType") != "Converse":
            raise ValueError("this fake knows Converse alone")
        from botocore.validate import ParamValidator

        found = ParamValidator().validate(
            {"modelId": order["modelId"], **line["modelInput"]}, self._shape
        )
        if found.has_errors():
            raise ValueError(found.generate_report())

    async def list(self, request):
        """GET model-invocation-jobs."""
        query = request.query
        since = datetime.fromisoformat(query["submitTimeAfter"]).timestamp()
        found = [
            job
            for job in reversed(self.jobs.values())
            if query.get("nameContains", "") in job.order["jobName"] and job.submitted >= since
        ]
        start, size = int(query.get("nextToken", 0)), min(int(query["maxResults"]), self.page)
        page = {
            "invocationJobSummaries": [self._document(job) for job in found[start : start + size]]
        }
        if found[start + size :]:
            page["nextToken"] = str(start + size)
        return web.json_response(page)

    async def poll(self, request):
        """GET a job."""
        return web.json_response(self._document(self.jobs[request.match_info["arn"]]))

    async def stop(self, request):
        """POST stop."""
        job = self.jobs[request.match_info["arn"]]
        if job.status not in _OPEN:
            return self.no(409, f"The job is {job.status}")
        job.status = "Stopping"
        return web.json_response({})

    def _document(self, job):
        document = {
            "jobArn": job.arn,
            **{key: value for key, value in job.order.items() if key != "tags"},
            "status": job.status,
            "submitTime": _time(job.submitted),
            "lastModifiedTime": _time(job.submitted),
            "jobExpirationTime": _time(job.submitted + 3600 * job.order["timeoutDurationInHours"]),
            **job.counts,
        }
        return {**document, "message": job.message} if job.message else document


def _time(seconds):
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def converse(text, stop="end_turn", blocks=None, **usage):
    """A Converse response."""
    return {
        "output": {"message": {"role": "assistant", "content": blocks or [{"text": text}]}},
        "stopReason": stop,
        "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5, **usage},
        "metrics": {"latencyMs": 551},
    }
