"""Cloud settings (project, region, bucket, role), read from options and environment without SDKs.

Vertex AI and Bedrock have no ordinary key and address. Their settings are stored with the job;
secrets never are: they stay in memory, as one text (`secret_of`), or where the cloud's own
library finds them.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Mapping

import msgspec

from jupyter_batch.core.errors import OptionError
from jupyter_batch.providers.record import RECORDS, Record, Setting, load

SECRETS = ("vertex_credentials", "aws_access_key_id", "aws_secret_access_key", "aws_session_token")
"""Options that are never stored."""
_ROLE = re.compile(
    r"arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+"
)  # AWS: CreateModelInvocationJob, roleArn
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_BUCKET = re.compile(
    r"[a-z0-9][-._a-z0-9]{1,220}[a-z0-9](/[-!_*'().a-z0-9A-Z]+)*"
)  # as AWS's S3Uri; GCS's are alike


def _every() -> Iterator[Setting]:
    return (setting for record in RECORDS.values() for setting in record.settings)


def given_of(options: object) -> dict[str, str]:
    """Return the cloud settings in a call's options, by name."""
    names = {*SECRETS, *(setting.name for setting in _every())}
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
    record = RECORDS.get(provider)
    for setting in record.settings if record is not None else ():
        value = given.get(setting.name) or next(
            (environ[name] for name in setting.environ if environ.get(name)), None
        )
        if value and (setting.name not in SECRETS or _is_path(value, setting.name)):
            found[setting.name] = value
    return found


def check_cloud(
    provider: str,
    model: str,
    cloud: Mapping[str, str],
    secret: str | None,
    metadata: Mapping[str, str] | None,
) -> None:
    """Check that a batch can be sent, before anything is stored; report all errors at once.

    Raises OptionError, ModelError.
    """
    record = RECORDS[provider]
    missing = [
        f"{s.name}= ({s.needed}; or {s.environ[0]} in the environment)"
        for s in record.settings
        if s.needed and not cloud.get(s.name)
    ]
    if missing:
        raise OptionError(f"a batch of {provider} needs {'; '.join(missing)}")
    for setting in record.settings:
        if setting.name in cloud:
            _check_form(setting, cloud[setting.name])
    if record.check_model:
        load(record.check_model)(model)
    _check_metadata(record, metadata or {})
    check_package(provider, secret)


def _check_form(setting: Setting, value: str) -> None:
    match setting.form:
        case "bucket" if not _BUCKET.fullmatch(value.strip("/")):
            raise OptionError(
                f"{setting.name}={value!r}: a bucket's name, or a bucket and a folder (bucket/folder)"
            )
        case "region" if not _REGION.fullmatch(value):
            raise OptionError(f'{setting.name} is no region: it looks like "us-east1"')
        case "role" if not _ROLE.fullmatch(value):
            raise OptionError(
                f"{setting.name}={value!r} is no role: it looks like "
                "arn:aws:iam::123456789012:role/name"
            )


def check_package(provider: str, secret: str | None) -> None:
    """Check the provider's libraries. Raises OptionError with the command that installs them.

    An access token for Google Cloud given by the user needs no library.
    """
    record = RECORDS[provider]
    needs = () if record.token_alone and "api_key" in secrets_in(secret) else record.needs
    for module in needs:
        try:
            there = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # of a parent package
            there = False
        if not there:
            raise OptionError(
                f"batches of {provider} need {module}, which is not installed: "
                f"pip install 'jupyter_batch[{record.extra}]'"
            )


def base_of(
    provider: str, cloud: Mapping[str, str], api_base: str | None, environ: Mapping[str, str]
) -> str:
    """The API's address: from the call, the environment, or the region (as litellm forms it)."""
    base: str = api_base or load(RECORDS[provider].base_of)(cloud, environ)
    return base.rstrip("/")


def arguments_of(cloud: Mapping[str, str], secret: str | None) -> dict[str, str]:
    """Return the arguments of litellm's real-time call for these settings."""
    known = {setting.name for setting in _every() if setting.call} | set(SECRETS)
    held = {**cloud, **secrets_in(secret)}  # the settings are from the ledger
    return {name: value for name, value in held.items() if name in known}


def check_region(cloud: Mapping[str, str]) -> None:
    """Reject a malformed region, since it becomes part of a host name. Raises OptionError."""
    for setting in _every():
        if setting.form == "region" and setting.name in cloud:
            _check_form(setting, cloud[setting.name])


def _is_path(text: str, name: str) -> bool:
    """Whether credentials are given as a file's path, which is not secret itself."""
    return (
        name == "vertex_credentials" and not text.lstrip().startswith("{") and os.path.isfile(text)  # noqa: PTH113
    )


def _check_metadata(record: Record, metadata: Mapping[str, str]) -> None:
    form = record.metadata
    if form is None:
        return
    for key, value in metadata.items():
        if not re.fullmatch(form.key, key) or not re.fullmatch(form.value, value):
            raise OptionError(
                f"metadata: {key!r}: {value!r} can't be sent to {record.name}, which takes {form.takes}"
            )
