"""What drafted requests will cost, before any is sent: tokens counted in the request files, exactly or by a sample.

The counting is litellm's token_counter, which is exact for OpenAI's models and near for others. It sends nothing.
"""

from __future__ import annotations

import contextlib
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import orjson

from jupyter_batch.core.cost import FREE, Price, Range, estimate
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.reading import opened
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.process.warnings_context import quiet

EXACT = 2000
"""So many requests are all counted; of more, as many are: the largest ones, and a sample of the others."""
LARGEST = 200
"""Of the counted ones: a few requests that are far larger than all others may be in no sample of them."""
LONGEST = 128_000
"""Tokens of one answer at the most, where nothing is known of a model: what OpenAI's and Anthropic's largest give."""
_PICTURE = 50_000
"""More tokens than any provider bills for one picture (OpenAI's vision guide: gpt-4o-mini, 2,833 + 8 x 5,667)."""
_HELD = frozenset({"url", "image_url", "file_data", "data", "bytes"})
"""Where a request holds pictures and files, in all dialects."""
_LONG = 4096
_CUT = "data:cut-"
_PDF = "JVBERi0"  # how one begins in base64
_SURE = 3.0  # standard errors: 997 of 1,000 times the truth is within

_LIMITS = (
    ("max_completion_tokens",),
    ("max_tokens",),
    ("max_output_tokens",),
    ("generationConfig", "maxOutputTokens"),
    ("inferenceConfig", "maxTokens"),
)
"""Where a request says how long its answer may be, in all dialects."""
_TEXTS = (
    "messages",
    "input",
    "contents",
    "system",
    "systemInstruction",
    "system_instruction",
    "instructions",
)

Count = Callable[[Mapping[str, Any]], int]
"""A request's body -> its tokens of input."""


class Tokens(msgspec.Struct, frozen=True):
    """Tokens of input: `count`, and by how much it may be off (997 of 1,000 times); 0 where each was counted."""

    count: int
    error: int
    longest: int

    @property
    def exact(self) -> bool:
        """Each request was counted."""
        return not self.error

    @property
    def range(self) -> Range:
        """From the fewest to the most."""
        return Range(float(max(0, self.count - self.error)), float(self.count + self.error))

    def __str__(self) -> str:
        return f"{self.count:,}" + ("" if self.exact else f" ± {self.error:,}")


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Of requests that are ready to be sent; costs in US dollars, None where not known.

    output: tokens of the answers: `high` is what max_tokens allows, else the longest answers of the model. usual: what
    earlier answers of such a job took, if there are any. cost: as the job is sent; batch, realtime: in either way.
    likely: the cost with the usual answers. assumed: nothing says how long an answer may be, LONGEST was taken.
    """

    requests: int
    tokens: Tokens
    output: Range
    usual: float | None
    cost: Range
    batch: Range
    realtime: Range
    likely: float | None
    assumed: bool

    @property
    def expected(self) -> float | None:
        """What `max_cost` is held against: the likely cost where it is known, else the most it can be."""
        if self.likely is None or self.cost.high is None:
            return self.cost.high
        return min(self.likely, self.cost.high)


class _Sampled(NamedTuple):
    """largest: the bodies of those that are all counted. bytes, requests, longest: of the others.

    lines: (bytes, body) of the sampled ones among these.
    """

    largest: list[Mapping[str, Any]]
    bytes: int
    requests: int
    longest: int
    lines: list[tuple[int, Mapping[str, Any]]]


def estimated(
    record: JobRecord,
    shards: list[ShardRecord],
    folder: JobFolder,
    count: Count,
    *,
    usual: float | None = None,
) -> Estimate:
    """The estimate of a job's request files; usual: tokens of an earlier answer of such a job, on the average."""
    seen = _sample(shards, folder)
    tokens = _counted(seen, count)
    price = record.price or Price()
    requests = len(seen.largest) + seen.requests
    limits = [_limit(body) for body in (*seen.largest, *(body for _, body in seen.lines))]
    longest = price.longest or LONGEST
    each = [longest if limit is None else limit for limit in limits]
    sampled = each[len(seen.largest) :]
    most = math.ceil(
        sum(each[: len(seen.largest)]) + sum(sampled) / max(1, len(sampled)) * seen.requests
    )
    if record.endpoint.endswith("/embeddings"):
        most, usual, limits = 0, None, [0]
    output = Range(0.0, float(most))
    batch, live = (
        estimate(
            tariff,
            requests,
            input_tokens=tokens.range,
            longest_input=tokens.longest,
            output_tokens=output,
        )
        for tariff in (price.batch, price.standard)
    )
    answers = None if usual is None else usual * requests
    likely = (
        None
        if answers is None
        else estimate(
            price.paid(record.mode),
            requests,
            input_tokens=Range(tokens.count, tokens.count),
            longest_input=0,
            output_tokens=Range(answers, answers),
        ).high
    )
    return Estimate(
        requests=requests,
        tokens=tokens,
        output=output,
        usual=usual,
        cost=live if price.paid(record.mode) is price.standard else batch,
        batch=batch,
        realtime=live,
        likely=likely,
        assumed=price.longest is None and None in limits,
    )


def is_free(record: JobRecord) -> bool:
    """Whether requests cost nothing, however many they are."""
    return record.price is not None and record.price.paid(record.mode) == FREE


def _sample(shards: list[ShardRecord], folder: JobFolder) -> _Sampled:
    import numpy as np  # here: `jupyter batch list` comes this way, too

    sizes = np.fromiter(map(len, _lines(shards, folder)), dtype=np.int64)
    chosen, largest = np.ones(len(sizes), dtype=bool), np.zeros(len(sizes), dtype=bool)
    if (
        len(sizes) > EXACT
    ):  # the same ones each time: an estimate that is asked for twice is the same
        largest[np.argpartition(sizes, -LARGEST)[-LARGEST:]] = True
        others = np.flatnonzero(~largest)
        chosen = largest.copy()
        chosen[others[random.Random(len(sizes)).sample(range(len(others)), EXACT - LARGEST)]] = True
    whole, lines = [], []
    for number, line in enumerate(_lines(shards, folder)):
        if chosen[number]:
            body = light(request_of(orjson.loads(line)))
            if largest[number]:
                whole.append(body)
            else:
                lines.append((len(line), body))
    rest = sizes[~largest]
    return _Sampled(whole, int(rest.sum()), len(rest), int(rest.max(initial=0)), lines)


def _lines(shards: list[ShardRecord], folder: JobFolder) -> Iterator[bytes]:
    for shard in shards:
        with opened(folder.requests(shard.number)) as file:
            yield from file


def request_of(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request in a line, in all dialects."""
    for key in ("body", "params", "request", "modelInput"):
        if isinstance(line.get(key), Mapping):
            body: Mapping[str, Any] = line[key]
            return body
    return line


def _counted(seen: _Sampled, count: Count) -> Tokens:
    """By the ratio of tokens to bytes, which varies far less from row to row than the tokens do."""
    whole, counts = [count(body) for body in seen.largest], [count(body) for _, body in seen.lines]
    if len(counts) == seen.requests:
        return Tokens(sum(whole) + sum(counts), 0, max([*whole, *counts], default=0))
    sizes = [size for size, _ in seen.lines]
    ratio = sum(counts) / sum(sizes)
    off = math.fsum(
        (tokens - ratio * size) ** 2 for tokens, size in zip(counts, sizes, strict=True)
    )
    spread = math.sqrt(off / (len(counts) - 1) / len(counts) * (1 - len(counts) / seen.requests))
    return Tokens(
        sum(whole) + round(ratio * seen.bytes),
        max(1, math.ceil(_SURE * spread * seen.requests)),
        max(*whole, *counts, round(ratio * seen.longest)),
    )


def _limit(body: Mapping[str, Any]) -> int | None:
    for path in _LIMITS:
        held: Any = body
        for key in path:
            held = held.get(key) if isinstance(held, Mapping) else None
        if isinstance(held, int) and held > 0:
            return held
    return None


def text_of(value: Any) -> str:
    """All that a request's body says in words: pictures and files, which are long texts too, are left out."""
    if isinstance(value, str):
        return "" if value.startswith("data:") else value
    if isinstance(value, Mapping):
        return "\n".join(
            filter(
                None,
                (
                    text_of(held)
                    for key, held in value.items()
                    if key not in ("role", "type", "data", "bytes", "cache_control", "url")
                ),
            )
        )
    if isinstance(value, list):
        return "\n".join(filter(None, map(text_of, value)))
    return ""


def light(value: Any, key: str = "") -> Any:
    """A request without its pictures and files, so that many can be held: of each is left what it counts at most."""
    if isinstance(value, Mapping):
        return {name: light(held, name) for name, held in value.items()}
    if isinstance(value, list):
        return [light(held, key) for held in value]
    if isinstance(value, str) and key in _HELD and len(value) > _LONG:
        return f"{_CUT}{len(value) if _PDF in value[:100] else _PICTURE}"
    return value


def counter(model: str, load_litellm: Callable[[], Any]) -> Count:
    """Count with litellm's token_counter. litellm is imported here: it takes seconds, once."""
    litellm = load_litellm()

    @quiet()
    def count(body: Mapping[str, Any]) -> int:
        messages = body.get("messages")
        if isinstance(messages, list) and "system" not in body:
            with contextlib.suppress(
                Exception
            ):  # a shape that its counter does not know: the words are counted
                return int(
                    litellm.token_counter(
                        model=model,
                        messages=messages,
                        tools=body.get("tools"),
                        use_default_image_token_count=True,
                    )
                )
        words = "\n".join(text_of(body.get(key)) for key in (*_TEXTS, "tools") if body.get(key))
        return int(litellm.token_counter(model=model, text=words))

    return count


def at_most(body: Mapping[str, Any]) -> int:
    """More tokens than any tokenizer makes of it: one a byte, and many a picture. It needs no litellm."""
    data = orjson.dumps(light(body))
    cut = sum(map(int, re.findall(rb'"%b(\d+)"' % _CUT.encode(), data)))
    return len(data) + cut + _PICTURE * data.count(b'"type":"image')


def usual_answer(
    earlier: Iterator[tuple[JobRecord, list[ShardRecord]]], like: JobRecord
) -> float | None:
    """Tokens of an answer of the last job that asked the same model for the same column; None where there is none."""
    for job, shards in earlier:
        if (job.model, job.endpoint, job.fills, job.columns) != (
            like.model,
            like.endpoint,
            like.fills,
            like.columns,
        ):
            continue
        told = [shard for shard in shards if shard.usage is not None and shard.counts is not None]
        answered = sum(shard.counts.succeeded for shard in told if shard.counts is not None)
        if answered:
            return (
                sum(shard.usage.output_tokens for shard in told if shard.usage is not None)
                / answered
            )
    return None
