"""Webhooks of providers that follow the Standard Webhooks specification (OpenAI's `batch.completed`).

A webhook only makes the next poll due at once: what has happened is read from the provider, so that a forged, late or
lost one does no harm. https://www.standardwebhooks.com, https://platform.openai.com/docs/guides/webhooks
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from jupyter_batch.core.errors import OptionError
from jupyter_batch.ledger.store import Ledger

SECRET = "OPENAI_WEBHOOK_SECRET"  # noqa: S105 - the name of the variable, as in OpenAI's SDK
PREFIX = "whsec_"
TOLERANCE = 300.0
"""Seconds by which a webhook's time may differ from this machine's, as in OpenAI's SDK."""
MOST_DIGITS = 15
"""Of that time: Python refuses to compute with thousands of them."""
MOST_BYTES = 1 << 16
"""Of a webhook's body; an event of a batch has about 150."""


def key_of(secret: str) -> bytes:
    """The signing key of a secret `whsec_...`. Raises OptionError, without repeating the secret."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise OptionError(f"${SECRET} takes the webhook's secret, {PREFIX}...; it is not valid")
    return key


def is_signed(body: bytes, headers: Mapping[str, str], key: bytes, now: float) -> bool:
    """Whether the headers hold a signature of the body and its id, not older than TOLERANCE.

    headers: in any case of letters. now: seconds since the epoch.
    """
    given = {name.lower(): value for name, value in headers.items()}
    ident, sent = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    is_time = sent.isascii() and sent.isdigit() and len(sent) <= MOST_DIGITS
    if not (ident and is_time and abs(now - int(sent)) <= TOLERANCE):
        return False
    digest = hmac.new(key, f"{ident}.{sent}.".encode() + body, hashlib.sha256).digest()
    expected = base64.b64encode(digest)
    signatures = [word.partition(",") for word in given.get("webhook-signature", "").split()]
    return any(
        version == "v1" and hmac.compare_digest(signature.encode(), expected)
        for version, _, signature in signatures
    )


def batch_of(body: bytes) -> str | None:
    """The id of the batch that ended; None for events about other things."""
    try:
        event: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not str(event.get("type", "")).startswith("batch."):
        return None
    data = event.get("data")
    batch = data.get("id") if isinstance(data, dict) else None
    return batch if isinstance(batch, str) else None


def wake(ledger: Ledger, batch: str) -> str | None:
    """Make the next poll of this batch's job due now; return the job, None where no open job has the batch."""
    for job in ledger.jobs(unfinished=True):
        if any(shard.batch_id == batch for shard in ledger.shards(job.id)):
            ledger.wake(job.id)
            return job.id
    return None
