"""Fireworks' datasets and batch inference jobs, after its API reference, its SDK, and responses that were published."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from tests.providers.fakes.host import Batch, Host, completion, jsonl

ACCOUNT = "accounts/the-team"
_STATES = {
    "completed": "JOB_STATE_COMPLETED",
    "failed": "JOB_STATE_FAILED",
    "expired": "JOB_STATE_EXPIRED",
    "cancelled": "JOB_STATE_CANCELLED",
}


class Fireworks(Host):
    """One account. accounts: those of the key; ready: whether a dataset that was uploaded is ready at once.

    Result files are at signed addresses, where a key would be a leak.
    """

    shown = {401: 403}
    lacks = ("cancel",)

    def __init__(self, clock):
        super().__init__(clock)
        self.accounts = [ACCOUNT]
        self.ready = True
        self.page = 2
        self.models = set()

    def results_of(self, batch_id):
        """Its output dataset."""
        return f"{ACCOUNT}/datasets/out-of-{batch_id.rpartition('/')[2]}"

    def routes(self):
        """The verbs' paths."""
        root = "/v1/accounts/the-team"
        return [
            web.get("/v1/accounts", self.account),
            web.post(f"{root}/datasets", self.dataset),
            web.post(f"{root}/datasets/{{id:[^:]+}}:upload", self.upload),
            web.get(f"{root}/datasets/{{id:[^:]+}}:getDownloadEndpoint", self.urls),
            web.get(f"{root}/datasets/{{id}}", self.file),
            web.post(f"{root}/batchInferenceJobs", self.create),
            web.get(f"{root}/batchInferenceJobs", self.list),
            web.get(f"{root}/batchInferenceJobs/{{id}}", self.poll),
            web.get("/signed/out/{id}", self.fetch),
            web.get("/signed/err/{id}", self.errors),
            web.get("/signed/given/{id}", self.given),
        ]

    def allowed(self, request):
        """The key, which is not sent to a signed address."""
        if request.path.startswith("/signed/"):
            return "Authorization" not in request.headers
        return super().allowed(request)

    def no(self, status, message, headers=None):
        """A refusal; a wrong key is a 403."""
        body = self.refusal(status, message)
        return web.json_response(body, status=self.shown.get(status, status), headers=headers)

    def refusal(self, status, message):
        """A google.rpc.Status; of a wrong key it has another form."""
        if status == 401:
            content = "The API key you provided is invalid."
            return {
                "error": {
                    "message": content,
                    "param": None,
                    "code": "UNAUTHORIZED",
                    "type": "error",
                }
            }
        return {"code": {404: 5, 409: 6}.get(status, 3), "details": [], "message": message}

    async def account(self, request):
        """GET accounts: those of the key."""
        return web.json_response(
            {"accounts": [{"name": name} for name in self.accounts], "nextPageToken": ""}
        )

    async def dataset(self, request):
        """POST datasets: an id and a count are needed."""
        order = await request.json()
        if set(order) != {"datasetId", "dataset"} or not order["dataset"].get("exampleCount"):
            raise ValueError("example_count is required for uploaded datasets")
        name = order["datasetId"]
        if not (0 < len(name) <= 63 and name.replace("-", "a").isalnum() and name == name.lower()):
            raise ValueError(f"invalid dataset id {name}")
        self.files[name] = b""
        return web.json_response(self._dataset(name))

    async def upload(self, request):
        """POST :upload: one multipart file of at most 150 MB."""
        name = request.match_info["id"]
        form = await request.post()
        self.files[name] = form["file"].file.read()
        lines = self.lines(name)
        if any(set(line) != {"custom_id", "body"} or "model" in line["body"] for line in lines):
            raise ValueError(f"a line of {sorted(lines[0])}")
        return web.json_response(
            {
                "bytes": len(self.files[name]),
                "created_at": int(self.clock()),
                "filename": form["file"].filename,
                "id": f"{ACCOUNT}/datasets/{name}",
                "object": "file",
                "purpose": "dataset",
            }
        )

    async def file(self, request):
        """GET a dataset."""
        return web.json_response(self._dataset(request.match_info["id"]))

    def _dataset(self, name):
        state = "READY" if self.files[name] and self.ready else "UPLOADING"
        return {
            "name": f"{ACCOUNT}/datasets/{name}",
            "createTime": _time(self.clock()),
            "exampleCount": "3",
            "state": state,
            "status": {"code": "OK", "message": ""},
            "userUploaded": {},
        }

    async def create(self, request):
        """POST batchInferenceJobs: the caller chooses its id, which is new."""
        order = await request.json()
        dataset = order["inputDatasetId"].rpartition("/")[2]
        name = f"{ACCOUNT}/batchInferenceJobs/{request.query['batchInferenceJobId']}"
        if name in self.batches:
            return self.no(409, f"batch inference job {name} already exists")
        if not self.ready or not order["model"].startswith("accounts/"):
            raise ValueError("the dataset is not ready, or no such model")
        self.models.add(order["model"])
        self.batches[name] = Batch(
            name,
            dataset,
            {line["custom_id"]: line["body"] for line in self.lines(dataset)},
            order["displayName"],
            self.clock(),
            order,
        )
        return web.json_response(self._document(self.batches[name]))

    async def list(self, request):
        """GET batchInferenceJobs, in pages, oldest first."""
        start = int(request.query.get("pageToken") or 0)
        held = list(self.batches.values())
        size = min(self.page, int(request.query.get("pageSize") or 50))
        token = str(start + size) if held[start + size :] else ""
        jobs = [self._document(one) for one in held[start : start + size]]
        return web.json_response(
            {"batchInferenceJobs": jobs, "nextPageToken": token, "totalSize": len(held)}
        )

    async def poll(self, request):
        """GET a job."""
        name = f"{ACCOUNT}/batchInferenceJobs/{request.match_info['id']}"
        return web.json_response(self._document(self.batches[name]))

    async def urls(self, request):
        """GET :getDownloadEndpoint: a signed address for each file of a dataset."""
        name = request.match_info["id"]
        if name in self.files:
            return web.json_response(
                {
                    "filenameToSignedUrls": {
                        f"dataset/{name}/a.jsonl": f"{self.url}/signed/given/{name}"
                    }
                }
            )
        job = self.batches[f"{ACCOUNT}/batchInferenceJobs/{name.removeprefix('out-of-')}"]
        if job.ending is None:
            raise KeyError(name)
        there = {
            f"dataset/{name}/BIJOutputSet.jsonl": f"{self.url}/signed/out/{name}",
            f"dataset/{name}/error-data": f"{self.url}/signed/err/{name.replace('out-', 'err-')}",
        }
        return web.json_response({"filenameToSignedUrls": there})

    async def given(self, request):
        """GET a dataset that was uploaded."""
        return web.Response(body=self.files[request.match_info["id"]])

    async def fetch(self, request):
        """GET the answers, without OpenAI's envelope."""
        job = self._job(request)
        lines = [
            {"custom_id": one, "response": completion(text, job.order["model"])}
            for one, text in job.answers.items()
        ]
        return web.Response(body=jsonl(lines), content_type="application/octet-stream")

    async def errors(self, request):
        """GET error-data."""
        lines = [
            {"custom_id": one, "error": {"code": "internal", "message": why}}
            for one, why in self._job(request).errors.items()
        ]
        return web.Response(body=jsonl(lines), content_type="application/octet-stream")

    def _job(self, request):
        name = request.match_info["id"].partition("-of-")[2]
        return self.batches[f"{ACCOUNT}/batchInferenceJobs/{name}"]

    def _document(self, batch):
        done, failed = len(batch.answers), len(batch.errors)
        ended = batch.ending is not None
        status = {"code": "OK", "message": ""}
        if batch.reason:
            status = {"code": "INVALID_ARGUMENT", "message": batch.reason}
        return {
            "name": batch.id,
            "displayName": batch.named,
            "createTime": _time(batch.created),
            "expireTime": _time(batch.created + 86400),
            "createdBy": "user@example.com",
            "inputDatasetId": f"{ACCOUNT}/datasets/{batch.file}",
            "outputDatasetId": self.results_of(batch.id),
            "model": batch.order["model"],
            "jobProgress": {
                "totalInputRequests": 1,
                "totalProcessedRequests": done + failed,
                "successfullyProcessedRequests": done,
                "failedRequests": failed,
            },
            "lifecycle": {"endTime": _time(self.clock()) if ended else None},
            "state": _STATES.get(batch.ending, "JOB_STATE_RUNNING"),
            "status": status,
        }


def _time(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
