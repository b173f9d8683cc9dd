"""Where a cloud's batches run: project, region, bucket, role; read from a call and the environment, without any SDK.

Vertex AI and Bedrock have no key and no address of the usual kind. What says where they are is kept with the job; what
is secret never is: it stays in memory, as one text (`secret_of`), or where the cloud's own library looks for it.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from jupyter_batch.core.errors import BadRequestError, ModelError, OptionError
from jupyter_batch.wire.clouds.vertex import gemini_name

VERTEX, BEDROCK = "vertex_ai", "bedrock"


class Setting(NamedTuple):
    """One thing to know of a cloud: its name as litellm has it, the environment variables that may say it."""

    name: str
    environ: tuple[str, ...] = ()
    needed: str = ""  # what it is, in words, where nothing goes without it


SETTINGS: Mapping[str, tuple[Setting, ...]] = {
    VERTEX: (
        Setting("vertex_project", ("VERTEXAI_PROJECT", "GOOGLE_CLOUD_PROJECT"), "the project's id"),
        Setting(
            "vertex_location",
            ("VERTEXAI_LOCATION", "VERTEX_LOCATION", "GOOGLE_CLOUD_LOCATION"),
            'the region, such as "us-central1"',
        ),
        Setting(
            "gcs_bucket_name",
            ("GCS_BATCH_BUCKET_NAME", "GCS_BUCKET_NAME"),
            "a Cloud Storage bucket of yours",
        ),
        Setting("vertex_credentials", ("VERTEXAI_CREDENTIALS",)),
    ),
    BEDROCK: (
        Setting(
            "aws_region_name",
            ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"),
            'the region, such as "us-east-1"',
        ),
        Setting("s3_bucket_name", ("AWS_S3_BUCKET_NAME",), "an S3 bucket of yours"),
        Setting(
            "aws_batch_role_arn",
            ("AWS_BATCH_ROLE_ARN",),
            "the role under which Bedrock reads and writes there",
        ),
        Setting("s3_output_bucket_name", ("AWS_S3_OUTPUT_BUCKET_NAME",)),
        Setting("s3_encryption_key_id", ("AWS_S3_ENCRYPTION_KEY_ID",)),
        Setting("aws_profile_name", ("AWS_PROFILE_NAME",)),
    ),
}
"""By provider, what may be given for it."""
NEEDS: Mapping[str, tuple[str, ...]] = {VERTEX: ("google.auth", "requests"), BEDROCK: ("boto3",)}
"""The modules that a provider's batches want; they come with the extras `vertex` and `bedrock`."""
SECRETS = ("vertex_credentials", "aws_access_key_id", "aws_secret_access_key", "aws_session_token")
"""What may be given and is not written down."""
LEAST_HOURS, MOST_HOURS = 24, 168
"""Bedrock's shortest and longest window (API reference: timeoutDurationInHours)."""
_ROLE = re.compile(
    r"arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+"
)  # AWS: CreateModelInvocationJob, roleArn
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_BUCKET = re.compile(
    r"[a-z0-9][-._a-z0-9]{1,220}[a-z0-9](/[-!_*'().a-z0-9A-Z]+)*"
)  # as AWS's S3Uri; GCS's are alike
_LABEL = (
    re.compile(r"[a-z][a-z0-9_-]{0,62}"),
    re.compile(r"[a-z0-9_-]{0,63}"),
)  # Google Cloud: labels, key and value
_TAG = (
    re.compile(r"[a-zA-Z0-9\s._:/=+@-]{1,128}"),
    re.compile(r"[a-zA-Z0-9\s._:/=+@-]{0,256}"),
)  # Bedrock: Tag


def given_of(options: object) -> dict[str, str]:
    """What a call's options say of clouds, by name."""
    names = {*SECRETS, *(setting.name for settings in SETTINGS.values() for setting in settings)}
    return {name: str(value) for name in sorted(names) if (value := getattr(options, name, None))}


def secret_of(options: object) -> str | None:
    """What of a call is secret, as one text for this process's memory: the key, or a cloud's credentials as JSON."""
    held = {
        name: value
        for name, value in given_of(options).items()
        if name in SECRETS and not _is_path(value, name)
    }
    key: str | None = getattr(options, "api_key", None)
    return msgspec.json.encode(held).decode() if held else key


def secrets_in(secret: str | None) -> dict[str, str]:
    """What `secret_of` put together: by name; a plain text is `api_key`."""
    if not secret:
        return {}
    try:
        held = msgspec.json.decode(secret, type=dict[str, str])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return {"api_key": secret}
    return held if held.keys() <= set(SECRETS) else {"api_key": secret}


def settings_of(
    provider: str, given: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """Where it runs, as far as anything says so: the call's own, else the environment's. Nothing secret."""
    found: dict[str, str] = {}
    for setting in SETTINGS.get(provider, ()):
        value = given.get(setting.name) or next(
            (environ[name] for name in setting.environ if environ.get(name)), None
        )
        if value and (setting.name not in SECRETS or _is_path(value, setting.name)):
            found[setting.name] = value
    return found


def check_cloud(
    provider: str,
    model: str,
    settings: Mapping[str, str],
    secret: str | None,
    metadata: Mapping[str, str] | None,
) -> None:
    """Whether a batch can go there, before anything is kept or sent: all that is missing is told at once.

    Raises OptionError, ModelError.
    """
    missing = [
        f"{s.name}= ({s.needed}; or {s.environ[0]} in the environment)"
        for s in SETTINGS[provider]
        if s.needed and not settings.get(s.name)
    ]
    if missing:
        raise OptionError(f"a batch of {provider} needs {'; '.join(missing)}")
    for name in ("gcs_bucket_name", "s3_bucket_name", "s3_output_bucket_name"):
        if name in settings and not _BUCKET.fullmatch(settings[name].strip("/")):
            raise OptionError(
                f"{name}={settings[name]!r}: a bucket's name, or a bucket and a folder (bucket/folder)"
            )
    check_region(settings)
    role = settings.get("aws_batch_role_arn")
    if role is not None and not _ROLE.fullmatch(role):
        raise OptionError(
            f"aws_batch_role_arn={role!r} is no role: it looks like "
            "arn:aws:iam::123456789012:role/name"
        )
    if provider == VERTEX and not gemini_name(model).startswith(
        ("gemini-", "?")
    ):  # "?": of no model yet
        raise ModelError(
            f"batches at Vertex AI are sent for Gemini models (vertex_ai/gemini-...), and {model!r} is "
            'none; mode="realtime" asks it at once, at the full price'
        )
    _check_metadata(provider, metadata or {})
    check_package(provider, secret)


def check_package(provider: str, secret: str | None) -> None:
    """Whether what the provider's batches want is installed. Raises OptionError with the line that installs it.

    An access token for Google Cloud that the person gives needs no library to get one.
    """
    needs = (
        () if provider == VERTEX and "api_key" in secrets_in(secret) else NEEDS.get(provider, ())
    )
    for module in needs:
        try:
            there = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # of a package around it
            there = False
        if not there:
            extra = "vertex" if provider == VERTEX else "bedrock"
            raise OptionError(
                f"batches of {provider} need {module}, which is not installed: "
                f"pip install 'jupyter_batch[{extra}]'"
            )


def base_of(
    provider: str, settings: Mapping[str, str], api_base: str | None, environ: Mapping[str, str]
) -> str:
    """The API's address: the call's own, else the environment's, else that of the region (as litellm forms it)."""
    if provider == BEDROCK:
        region = settings["aws_region_name"]
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return (
            api_base
            or environ.get("AWS_ENDPOINT_URL_BEDROCK")
            or environ.get("AWS_ENDPOINT_URL")
            or f"https://bedrock.{region}.{suffix}"
        ).rstrip("/")
    base = api_base or environ.get("VERTEXAI_API_BASE") or environ.get("VERTEX_API_BASE")
    if base:
        return base.rstrip("/")
    location = settings["vertex_location"]
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if "-" not in location:  # a geography: "us", "eu"
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def hours_from_a_day(window: str) -> int:
    """A window as whole hours. Raises BadRequestError for one that Bedrock does not take."""
    number, unit = window[:-1], window[-1:]
    hours = int(number) * {"h": 1, "d": 24}.get(unit, 0) if number.isdecimal() else 0
    if not LEAST_HOURS <= hours <= MOST_HOURS:
        raise BadRequestError(
            f"completion_window={window!r}: Bedrock takes hours or days, from 24h to 7d"
        )
    return hours


def arguments_of(settings: Mapping[str, str], secret: str | None) -> dict[str, str]:
    """What litellm's real-time call takes of all this."""
    known = {setting.name for each in SETTINGS.values() for setting in each} | set(SECRETS)
    held = {**settings, **secrets_in(secret)}  # the settings are from the ledger
    return {
        name: value
        for name, value in held.items()
        if name in known and name.startswith(("vertex_", "aws_")) and name != "aws_batch_role_arn"
    }


def check_region(settings: Mapping[str, str]) -> None:
    """Refuse a region that is no name: it becomes a part of a host. Raises OptionError."""
    for name in ("vertex_location", "aws_region_name"):
        if name in settings and not _REGION.fullmatch(settings[name]):
            raise OptionError(f'{name} is no region: it looks like "us-east1"')


def _is_path(text: str, name: str) -> bool:
    """Whether credentials are given as the path of a file, which is no secret itself."""
    return (
        name == "vertex_credentials" and not text.lstrip().startswith("{") and os.path.isfile(text)  # noqa: PTH113
    )


def _check_metadata(provider: str, metadata: Mapping[str, str]) -> None:
    keys, values = _LABEL if provider == VERTEX else _TAG
    for key, value in metadata.items():
        if not keys.fullmatch(key) or not values.fullmatch(value):
            takes = (
                "labels of lower-case letters, digits, - and _, at most 63 of them"
                if provider == VERTEX
                else "tags of letters, digits, spaces and . _ : / = + @ -"
            )
            raise OptionError(
                f"metadata: {key!r}: {value!r} can't be sent to {provider}, which takes {takes}"
            )
