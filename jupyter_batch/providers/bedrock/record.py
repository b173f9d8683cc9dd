"""The facts about Amazon Bedrock."""

from __future__ import annotations

from collections.abc import Mapping

from jupyter_batch.providers.record import Metadata, Proof, Record, Setting

RECORDS = (
    Record(
        name="bedrock",
        otel="aws.bedrock",
        title="Amazon Bedrock",
        dialect="bedrock",
        litellm="bedrock",
        proven=Proof("whole cycle", "a server written from its API reference", "November 2026"),
        carried="boto3, translated by litellm",
        login="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        base=("AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL"),
        # AWS: service endpoints. Other names below amazonaws.com are its customers' machines.
        hosts=(
            r"bedrock(-runtime)?(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?",
            r"bedrock(-runtime)?(-fips)?\.[a-z0-9-]+\.api\.aws",
        ),
        source="AWS: batch inference, quotas, API reference",
        requests=50_000,
        bytes=1_000_000_000,
        minimum=100,  # quotas, by model; these are the defaults
        idempotent=True,  # API reference: CreateModelInvocationJob, clientRequestToken
        keeps="your own bucket",
        discount="about 50%",
        cancel=True,
        listed=True,
        tagged=True,  # API reference: ListModelInvocationJobs, nameContains
        windows=("24h", "7d"),
        window_hours=(24, 168),  # API reference: timeoutDurationInHours, 24 to 168
        files=1,
        caveats="a batch has at least 100 requests: fewer are refused",
        note="needs aws_region_name=, s3_bucket_name=, aws_batch_role_arn=, and "
        "`pip install 'jupyter_batch[bedrock]'`",
        connect="jupyter_batch.providers.bedrock.batches:connect",
        schema_as_tool=True,
        nested_extra="jupyter_batch.wire.clouds.bedrock:ConverseTranslation",
        settings=(
            Setting(
                "aws_region_name",
                ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"),
                'the region, such as "us-east-1"',
                form="region",
                call=True,
            ),
            Setting(
                "s3_bucket_name", ("AWS_S3_BUCKET_NAME",), "an S3 bucket of yours", form="bucket"
            ),
            Setting(
                "aws_batch_role_arn",
                ("AWS_BATCH_ROLE_ARN",),
                "the role under which Bedrock reads and writes there",
                form="role",
            ),
            Setting("s3_output_bucket_name", ("AWS_S3_OUTPUT_BUCKET_NAME",), form="bucket"),
            Setting("s3_encryption_key_id", ("AWS_S3_ENCRYPTION_KEY_ID",)),
            Setting("aws_profile_name", ("AWS_PROFILE_NAME",), call=True),
        ),
        needs=("boto3",),
        extra="bedrock",
        metadata=Metadata(  # API reference: Tag
            r"[a-zA-Z0-9\s._:/=+@-]{1,128}",
            r"[a-zA-Z0-9\s._:/=+@-]{0,256}",
            "tags of letters, digits, spaces and . _ : / = + @ -",
        ),
        base_of="jupyter_batch.providers.bedrock.record:base_of",
        bare=r"(us|eu|apac|jp|au|global)\.(anthropic|amazon|meta|mistral)\.",
    ),
)


def base_of(settings: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """The API's address: from the environment, or the region (as litellm forms it)."""
    region = settings["aws_region_name"]
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return (
        environ.get("AWS_ENDPOINT_URL_BEDROCK")
        or environ.get("AWS_ENDPOINT_URL")
        or f"https://bedrock.{region}.{suffix}"
    )
