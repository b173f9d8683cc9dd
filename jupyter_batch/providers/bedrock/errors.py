"""Conversion of botocore's exceptions to ProviderError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyter_batch.core.errors import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitError,
)
from jupyter_batch.core.refusals.quota import is_spent
from jupyter_batch.core.refusals.sentence import Refusal, read_refusal, short
from jupyter_batch.providers.failures import by_refusal, by_status, no_connection, normalise

HOW = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, run `aws sso login`, or give aws_profile_name= or "
    "aws_access_key_id= and aws_secret_access_key="
)

# By the error code: AWS returns "400" for many errors that are transient or can be corrected.
_SLOW = {
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "ServiceQuotaExceededException",
    "SlowDown",
    "RequestLimitExceeded",
    "LimitExceededException",
}
_WHO = {
    "AccessDenied",
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "RequestTimeTooSkewed",
    "InvalidToken",
}
_GONE = {"ResourceNotFoundException", "NoSuchKey", "404"}


def provider_error(error: Exception, place: str) -> ProviderError:
    """Return the equivalent ProviderError. It holds no key: botocore quotes none."""
    if isinstance(error, ProviderError):
        return error
    names = {kind.__name__ for kind in type(error).__mro__}
    answer: Any = getattr(error, "response", None)
    if "ClientError" in names and isinstance(answer, Mapping):
        return _refused(answer, place)
    words = short(str(error))
    if names & {
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "ProfileNotFound",
        "SSOError",
        "TokenRetrievalError",
        "NoAuthTokenError",
        "LoginError",
    }:
        return AuthenticationError(f"no credentials for AWS ({words}); {HOW}")
    if names & {"ReadTimeoutError", "ConnectTimeoutError"}:
        return ProviderTimeoutError(f"no answer from {place} in time")
    if names & {
        "HTTPClientError",
        "EndpointConnectionError",
        "IncompleteReadError",
        "ResponseStreamingError",
    }:
        return no_connection(place, words)
    if names & {
        "ParamValidationError",
        "UnknownRegionError",
        "InvalidRegionError",
        "NoRegionError",
        "InvalidEndpointConfigurationError",
    }:
        return BadRequestError(f"AWS can't take this: {words}")
    return normalise(error, place)


def _refused(answer: Mapping[str, Any], place: str) -> ProviderError:
    detail: Mapping[str, Any] = answer.get("Error") or {}
    meta: Mapping[str, Any] = answer.get("ResponseMetadata") or {}
    code, status = str(detail.get("Code") or ""), meta.get("HTTPStatusCode")
    status = status if isinstance(status, int) else 500
    words = short(f"{code}: {read_refusal(detail.get('Message') or '').message}".strip(": "))
    message = f"{place}: {words} (HTTP {status})"
    if is_spent(words):
        return by_refusal(status, Refusal(words, code), place, meta.get("HTTPHeaders") or {})
    if code in _SLOW:
        seconds = by_status(429, "", headers=meta.get("HTTPHeaders")).retry_after
        return RateLimitError(message, status=status, retry_after=seconds)
    if code in _WHO:
        return AuthenticationError(message, status=status)
    if code in _GONE:
        return NotFoundError(message, status=status)
    if code == "NoSuchBucket":  # waiting does not create it
        return BadRequestError(message, status=status)
    if status == 400:  # noqa: PLR2004 - its text may mention quotas, and mean the request
        return BadRequestError(message, status=status)
    return by_status(status, f"{place}: {words}", headers=meta.get("HTTPHeaders"))
