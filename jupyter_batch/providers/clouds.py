"""Cloud settings (project, region, bucket, role), read from options and environment without SDKs.

Vertex AI and Bedrock have no ordinary key and address. Their settings are stored with the job;
secrets never are: they stay in memory, as one text (`secret_of`), or where the cloud's own
library finds them.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from jupyter_batch.core.errors import BadRequestError, ModelError, OptionError
from jupyter_batch.wire.clouds.gemini import gemini_name

VERTEX, BEDROCK = "vertex_ai", "bedrock"


class Setting(NamedTuple):
    """A cloud setting: its name in litellm, and the environment variables that may set it."""

    name: str
    environ: tuple[str, ...] = ()
    needed: str = ""  # a description, if the setting is required


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
"""The settings of each provider."""
NEEDS: Mapping[str, tuple[str, ...]] = {VERTEX: ("google.auth", "requests"), BEDROCK: ("boto3",)}
"""The modules that a provider's batches need, from the extras `vertex` and `bedrock`."""
SECRETS = ("vertex_credentials", "aws_access_key_id", "aws_secret_access_key", "aws_session_token")
"""Options that are never stored."""
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
    """Return the cloud settings in a call's options, by name."""
    names = {*SECRETS, *(setting.name for settings in SETTINGS.values() for setting in settings)}
    return {name: str(value) for name in sorted(names) if (value := getattr(options, name, None))}


def secret_of(options: object) -> str | None:
    """Return a call's secrets as one text for memory: the key, or a cloud's credentials as JSON."""
    held = {
        name: value
        for name, value in given_of(options).items()
        if name in SECRETS and not _is_path(value, name)
    }
    key: str | None = getattr(options, "api_key", None)
    return msgspec.json.encode(held).decode() if held else key


def secrets_in(secret: str | None) -> dict[str, str]:
    """Return the secrets in the text of `secret_of`, by name; a plain text is `api_key`."""
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
    """Return the known settings, from the call or else the environment, without secrets."""
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
    """Check that a batch can be sent, before anything is stored; report all errors at once.

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
    ):  # "?": no model yet
        raise ModelError(
            f"batches at Vertex AI are sent for Gemini models (vertex_ai/gemini-...), and {model!r} is "
            'none; mode="realtime" asks it at once, at the full price'
        )
    _check_metadata(provider, metadata or {})
    check_package(provider, secret)


def check_package(provider: str, secret: str | None) -> None:
    """Check the provider's libraries. Raises OptionError with the command that installs them.

    An access token for Google Cloud given by the user needs no library.
    """
    needs = (
        () if provider == VERTEX and "api_key" in secrets_in(secret) else NEEDS.get(provider, ())
    )
    for module in needs:
        try:
            there = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # of a parent package
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
    """The API's address: from the call, the environment, or the region (as litellm forms it)."""
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
    """Return a window in whole hours. Raises BadRequestError if Bedrock does not take it."""
    number, unit = window[:-1], window[-1:]
    hours = int(number) * {"h": 1, "d": 24}.get(unit, 0) if number.isdecimal() else 0
    if not LEAST_HOURS <= hours <= MOST_HOURS:
        raise BadRequestError(
            f"completion_window={window!r}: Bedrock takes hours or days, from 24h to 7d"
        )
    return hours


def arguments_of(settings: Mapping[str, str], secret: str | None) -> dict[str, str]:
    """Return the arguments of litellm's real-time call for these settings."""
    known = {setting.name for each in SETTINGS.values() for setting in each} | set(SECRETS)
    held = {**settings, **secrets_in(secret)}  # the settings are from the ledger
    return {
        name: value
        for name, value in held.items()
        if name in known and name.startswith(("vertex_", "aws_")) and name != "aws_batch_role_arn"
    }


def check_region(settings: Mapping[str, str]) -> None:
    """Reject a malformed region, since it becomes part of a host name. Raises OptionError."""
    for name in ("vertex_location", "aws_region_name"):
        if name in settings and not _REGION.fullmatch(settings[name]):
            raise OptionError(f'{name} is no region: it looks like "us-east1"')


def _is_path(text: str, name: str) -> bool:
    """Whether credentials are given as a file's path, which is not secret itself."""
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
