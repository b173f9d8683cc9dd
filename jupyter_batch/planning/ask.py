"""Ask: all that is known of a job before its rows are read, checked and with its defaults filled in."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_batch.core.cost import Price
from jupyter_batch.core.request import Limits
from jupyter_batch.core.schema import Schema
from jupyter_batch.wire.openai import CHAT


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked: everything about a job but its rows. na: skip, send, raise. place: the address, if known.

    samples: requests for each row.
    cache: what is marked for the provider's cache (prompts/cache_control.py). taken: the columns to fill that the
    frame has already, of which only our own cells may be replaced.
    """

    prompt: Any
    params: dict[str, Any]
    model: str
    provider: str
    dialect: str
    body_model: str
    limits: Limits
    out: str
    taken: tuple[str, ...] = ()
    schema: Schema | None = None
    keep: dict[str, str] = {}
    samples: int = 1
    cache: str | None = None
    na: str = "skip"
    name: str | None = None
    api_base: str | None = None
    keyless: bool = False
    place: str | None = None
    completion_window: str = "24h"
    poll_interval: float | None = None
    shard_size: int | None = None
    metadata: dict[str, str] = {}
    notebook: str | None = None
    framed: bool = True
    endpoint: str = CHAT
    mode: str = "batch"
    pace: dict[str, float] = {}
    api_version: str | None = None
    cloud: dict[str, str] = {}
    price: Price | None = None
    max_cost: float | None = None
    deadline: float | None = None
    versions: dict[str, str] = {}
