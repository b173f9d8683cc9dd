"""Bedrock's batch inference over boto3, which signs requests and finds credentials.

litellm's calls (1.106) are not used: its create carries a new name and no `clientRequestToken`,
so a create whose response was lost is paid twice; it can't list jobs, so a lost batch can't be
found; its upload holds the file in memory several times; it blocks the event loop while signing;
and models of makers other than Anthropic and Amazon get OpenAI's body, which they don't take
(wire/clouds/bedrock.py).

Particular to Bedrock (AWS: API reference, batch inference): requests and results are objects in
a bucket of the user, accessed under a role; a job is identified by its name and by the token of
its create, and a second create with that token returns the same job; results are in a folder
named after the job's id, below the output's. Failed records are among the others: one file.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import BadRequestError, NotFoundError, ProviderDownError
from jupyter_batch.http.address import is_near
from jupyter_batch.http.network import bundle
from jupyter_batch.providers.bedrock.errors import provider_error
from jupyter_batch.providers.bedrock.record import RECORDS
from jupyter_batch.providers.cloud_file import BLOCK, as_sent, copied, own_folder, parts_of
from jupyter_batch.providers.http_api import CALL_SECONDS, LIST_PAGES, TRANSFER_SECONDS
from jupyter_batch.providers.protocol import TAG, Facts
from jupyter_batch.providers.record import Connection
from jupyter_batch.providers.windows import hours_of
from jupyter_batch.wire.clouds import bedrock

NAME = "jupyter-batch-"
"""Prefix of our jobs' names."""
PAGE = 1000
_ABOUT = "about"


class ViaBedrock:
    """One account and region. settings: see record.py. model: a model's id or ARN.

    secrets: `aws_access_key_id` and the like; without them boto3 finds them (environment, profile,
    role). api_base: of Bedrock's API; S3's is boto3's (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL).
    """

    def __init__(
        self,
        facts: Facts,
        *,
        api_base: str,
        model: str,
        settings: Mapping[str, str],
        secrets: Mapping[str, str],
    ) -> None:
        self.facts = facts
        self._base = api_base
        self._model = bedrock.model_id(model)
        self._settings = dict(settings)
        self._secrets = {name: value for name, value in secrets.items() if name.startswith("aws_")}
        self._clients: dict[str, Any] = {}
        self._turn = asyncio.Lock()
        bucket = settings["s3_bucket_name"]
        self._bucket, self._folder = own_folder(bucket)
        self._output = own_folder(settings.get("s3_output_bucket_name") or bucket)

    def __repr__(self) -> str:
        return f"ViaBedrock({self._base!r}, {self._bucket!r})"

    async def submit(
        self,
        requests: Path,
        tag: Mapping[str, str],
        *,
        endpoint: str,
        window: str,
        uploaded: str | None,
        on_upload: Callable[[str], Awaitable[None]],
    ) -> BatchView:
        """See Provider.submit. window: whole hours or days, from 24h to 7d."""
        del endpoint
        hours = hours_of(window, RECORDS[0])
        if uploaded is None:
            uploaded = await self._put(f"{self._folder}/{tag[TAG]}.jsonl", requests, tag)
            await on_upload(uploaded)
        key = self._settings.get("s3_encryption_key_id")
        bucket, folder = self._output
        order: dict[str, Any] = {
            "jobName": name_of(tag),
            "clientRequestToken": name_of(tag),
            "modelId": self._model,
            "roleArn": self._settings["aws_batch_role_arn"],
            "modelInvocationType": bedrock.MODEL_INVOCATION,
            "timeoutDurationInHours": hours,
            "inputDataConfig": {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": uploaded}},
            "outputDataConfig": {
                "s3OutputDataConfig": {
                    "s3Uri": f"s3://{bucket}/{folder}/{tag[TAG]}/",
                    **({"s3EncryptionKeyId": key} if key else {}),
                }
            },
        }
        tags = [
            {"key": key, "value": value} for key, value in tag.items() if not key.startswith(TAG)
        ]
        if tags:  # without tags, the permission to tag is not needed
            order["tags"] = tags
        made = await self._call("bedrock", "create_model_invocation_job", **order)
        if not made.get("jobArn"):
            raise ProviderDownError("Bedrock answered a create without the job's ARN")
        return BatchView(
            id=str(made["jobArn"]), status="submitted", input_file_id=uploaded, tag=dict(tag)
        )

    async def find(
        self, tag: Mapping[str, str], *, since: float, file_id: str | None = None
    ) -> list[BatchView]:
        """See Provider.find. Searches by the job's name, which Bedrock always keeps."""
        del file_id
        return [
            view
            for view in await self._listed(name_of(tag), since)
            if view.tag.get(TAG) == tag[TAG]
        ]

    async def tagged(self, *, since: float) -> list[BatchView]:
        """See Listed.tagged. The rest of a batch's tag is stored next to its request file."""
        found = []
        for view in await self._listed(NAME, since):
            if TAG in view.tag:
                about = await self._about(view)
                found.append(msgspec.structs.replace(view, tag={**about, **view.tag}))
        return found

    async def requests(self, batch: BatchView, write: Callable[[bytes], object]) -> None:
        """See Listed.requests."""
        if batch.input_file_id is None:
            raise NotFoundError(f"Bedrock names no request file of {batch.id}")
        uris = [batch.input_file_id]
        await copied(uris, self._download, lambda line: bedrock.kept(line) + b"\n", write)

    async def poll(self, batch_id: str) -> BatchView:
        """See Provider.poll. For a finished job, its folder is listed for result files."""
        view = _view(
            await self._call("bedrock", "get_model_invocation_job", jobIdentifier=batch_id)
        )
        folder = None if view.ending is None else view.output_file_id
        if folder is not None and await self._results(folder):
            return view
        return msgspec.structs.replace(view, output_file_id=None)

    async def fetch(self, file_id: str, write: Callable[[bytes], object]) -> None:
        """Stream all result files below the folder `file_id`, one after another."""
        uris = await self._results(file_id)
        if not uris:
            raise NotFoundError(f"there are no results in {file_id}")
        await copied(uris, self._download, bedrock.slim, write)

    async def cancel(self, batch_id: str) -> BatchView:
        """See Provider.cancel. Bedrock refuses for a finished job, whose state is then returned."""
        with contextlib.suppress(BadRequestError):
            await self._call("bedrock", "stop_model_invocation_job", jobIdentifier=batch_id)
        return await self.poll(batch_id)

    async def aclose(self) -> None:
        """See Provider.aclose."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()

    # --- the wire -----------------------------------------------------------------------------

    async def _client(self, service: str) -> Any:
        async with self._turn:
            if service not in self._clients:
                self._clients[service] = await asyncio.to_thread(self._made, service)
            return self._clients[service]

    def _made(self, service: str) -> Any:
        """A client without retries; its creation reads credentials and a service description."""
        import boto3
        import botocore.session
        from botocore.config import Config

        with self._translated_errors():
            inner = botocore.session.Session()
            inner.register_component("data_loader", _descriptions())
            keys = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
            session = boto3.Session(
                botocore_session=inner,
                region_name=self._settings["aws_region_name"],
                profile_name=self._settings.get("aws_profile_name"),
                **{name: self._secrets.get(name) for name in keys},
            )
            storage = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            client = session.client(
                service,
                endpoint_url=self._base if service == "bedrock" else None,
                verify=bundle(),  # None: from AWS's own variables
                config=Config(
                    proxies=_proxies(self._base if service == "bedrock" else storage),
                    connect_timeout=CALL_SECONDS,
                    read_timeout=CALL_SECONDS,
                    retries={"total_max_attempts": 1},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                ),
            )
            if service == "bedrock":
                shape = client.meta.service_model.operation_model(
                    "CreateModelInvocationJob"
                ).input_shape
                if "modelInvocationType" not in shape.members:
                    raise BadRequestError(
                        "this boto3 is too old for Bedrock's Converse batches: "
                        "pip install -U 'jupyter_batch[bedrock]'"
                    )
            return client

    async def _call(
        self, service: str, verb: str, *, seconds: float = CALL_SECONDS, **arguments: Any
    ) -> dict[str, Any]:
        """Send one call, without retries, in a thread: boto3 is not asynchronous."""
        client = await self._client(service)
        with self._translated_errors():
            async with asyncio.timeout(seconds + 5):
                answer: dict[str, Any] = await asyncio.to_thread(getattr(client, verb), **arguments)
                return answer

    async def _listed(self, name: str, since: float) -> list[BatchView]:
        """List the jobs whose names contain `name`, newest first."""
        found: list[BatchView] = []
        more: dict[str, Any] = {}
        for _ in range(LIST_PAGES):
            page = await self._call(
                "bedrock",
                "list_model_invocation_jobs",
                nameContains=name,
                maxResults=PAGE,
                sortBy="CreationTime",
                sortOrder="Descending",
                submitTimeAfter=datetime.fromtimestamp(since, UTC),
                **more,
            )
            found += [_view(job) for job in page.get("invocationJobSummaries") or []]
            if not page.get("nextToken"):
                return found
            more = {"nextToken": page["nextToken"]}
        raise ProviderDownError(
            f"the list of jobs at {self._base} did not end after {LIST_PAGES} pages"
        )

    async def _put(self, key: str, requests: Path, tag: Mapping[str, str]) -> str:
        """Upload a request file, streamed from disk; the same name overwrites the same object."""
        about = json.dumps(
            {name: value for name, value in tag.items() if name.startswith(f"{TAG}_")}
        )
        with contextlib.ExitStack() as stack:
            file = await asyncio.to_thread(stack.enter_context, as_sent(requests, bedrock.sent))
            await self._call(
                "s3",
                "put_object",
                seconds=TRANSFER_SECONDS,
                Bucket=self._bucket,
                Key=key,
                Body=file,
                ContentType="application/jsonl",
                Metadata={_ABOUT: about},
            )
        return f"s3://{self._bucket}/{key}"

    async def _about(self, view: BatchView) -> dict[str, str]:
        bucket, key = parts_of(view.input_file_id or "")
        with contextlib.suppress(NotFoundError, msgspec.DecodeError):
            head = await self._call("s3", "head_object", Bucket=bucket, Key=key)
            return msgspec.json.decode(
                (head.get("Metadata") or {}).get(_ABOUT, "{}"), type=dict[str, str]
            )
        return {}

    async def _results(self, folder: str) -> list[str]:
        """List the result files below a folder, except the manifest."""
        bucket, prefix = parts_of(folder)
        uris: list[str] = []
        more: dict[str, Any] = {}
        for _ in range(LIST_PAGES):
            page = await self._call("s3", "list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            uris += [
                f"s3://{bucket}/{item['Key']}"
                for item in page.get("Contents") or []
                if item["Key"].endswith(".jsonl.out")
            ]
            if not page.get("IsTruncated"):
                return sorted(uris)
            more = {"ContinuationToken": page["NextContinuationToken"]}
        raise ProviderDownError(
            f"the list of objects in {folder} did not end after {LIST_PAGES} pages"
        )

    async def _download(self, uri: str, write: Callable[[bytes], None]) -> None:
        bucket, key = parts_of(uri)
        there = await self._call("s3", "get_object", Bucket=bucket, Key=key)
        with contextlib.closing(there["Body"]) as body:
            while block := await self._block(body):
                write(block)

    async def _block(self, body: Any) -> bytes:
        with self._translated_errors():
            async with asyncio.timeout(CALL_SECONDS + 5):
                return bytes(await asyncio.to_thread(body.read, BLOCK))

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Convert exceptions of boto3 to ProviderError."""
        try:
            yield
        except Exception as e:
            raise provider_error(e, self._base) from None


def _proxies(base: str | None) -> dict[str, str] | None:
    """No proxy for this machine (a mock of AWS); None: as set in the environment."""
    return {} if base and is_near(base) else None


@functools.cache
def _descriptions() -> Any:
    """AWS's service descriptions, loaded once: otherwise 0.1 s of CPU for each client."""
    from botocore.loaders import create_loader

    return create_loader()


def name_of(tag: Mapping[str, str]) -> str:
    """A job's name, also the token of its create, so at most one job has it."""
    return NAME + tag[TAG].replace("/", "-")


def _view(job: Mapping[str, Any]) -> BatchView:
    view = bedrock.read_job(job)
    if not view.id:
        raise ProviderDownError("Bedrock answered with a job without its ARN")
    name = str(job.get("jobName") or "")
    of, dash, number = name.removeprefix(NAME).rpartition("-")
    ours = name.startswith(NAME) and dash
    return msgspec.structs.replace(view, tag={TAG: f"{of}/{number}"} if ours else {})


def connect(to: Connection) -> ViaBedrock:
    """The provider of one job."""
    return ViaBedrock(
        to.facts,
        api_base=to.access.api_base,
        model=to.model,
        settings=to.settings,
        secrets=to.secrets,
    )
