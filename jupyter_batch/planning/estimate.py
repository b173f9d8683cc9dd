"""Cost estimates of drafted requests: tokens counted in the request files, exactly or by sample.

Uses litellm's token_counter, which is exact for OpenAI's models and approximate for others.
"""

from __future__ import annotations

import contextlib
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson

from jupyter_batch.core.cost import FREE, Pattern, Price, Range, estimate
from jupyter_batch.core.request import Usage
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.reading import opened
from jupyter_batch.ledger.records import JobRecord, ShardRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.process.warnings_context import quiet

EXACT = 2000
"""Up to this many requests are all counted; of more, this many: the largest, and a sample."""
LARGEST = 200
"""The number of largest requests counted, as a sample may miss a few far larger ones."""
LONGEST = 128_000
"""Most tokens of an answer of an unknown model: the maximum of OpenAI's and Anthropic's largest."""
TYPICAL = 200
"""Tokens of an answer that are assumed where no earlier answer is known."""
EARLIER_JOBS = 50
"""The most earlier jobs read for the usual length of an answer, the newest first."""
_BYTES_A_TOKEN = 4
_PICTURE = 50_000
"""Above any provider's tokens for a picture (OpenAI's guide: gpt-4o-mini, 2,833 + 8 x 5,667)."""
_HELD = frozenset({"url", "image_url", "file_data", "data", "bytes"})
"""The keys of pictures and files in a request, in all dialects."""
_LONG = 4096
_BLOCK = 1 << 20
_NEWLINE = ord("\n")
_CUT = "data:cut-"
_PDF = "JVBERi0"  # the beginning of a PDF in base64
_SURE = 3.0  # standard errors: the true value is within 997 of 1,000 times

_LIMITS = (
    ("max_completion_tokens",),
    ("max_tokens",),
    ("max_output_tokens",),
    ("generationConfig", "maxOutputTokens"),
    ("generationConfig", "max_output_tokens"),  # litellm's spelling
    ("inferenceConfig", "maxTokens"),
)
"""The keys of the limit on an answer's length, in all dialects."""
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
"""Count the input tokens of a request's body."""


class Tokens(msgspec.Struct, frozen=True):
    """Input tokens: `count`, and its error (997 of 1,000 times); 0 where all were counted."""

    count: int
    error: int
    longest: int

    @property
    def exact(self) -> bool:
        """Whether each request was counted."""
        return not self.error

    @property
    def range(self) -> Range:
        """The least and the most tokens."""
        return Range(float(max(0, self.count - self.error)), float(self.count + self.error))

    def __str__(self) -> str:
        return f"{self.count:,}" + ("" if self.exact else f" ± {self.error:,}")


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The estimate of drafted requests; costs in US dollars, None where not known.

    output: tokens of the answers; `high` is the limit by max_tokens, else by the model. usual:
    tokens of an earlier answer of such a job, if any. cost: in the job's mode; batch, flex,
    realtime: in each mode. likely: the cost with usual answers. longest: the most tokens of an answer.
    unlimited: some request has no max_tokens. assumed: the model's own limit is not known either,
    LONGEST was used.
    """

    requests: int
    tokens: Tokens
    output: Range
    usual: float | None
    cost: Range
    batch: Range
    flex: Range
    realtime: Range
    likely: float | None
    longest: int
    unlimited: bool
    assumed: bool

    @property
    def expected(self) -> float | None:
        """The cost compared with `max_cost`: the likely cost where known, else the maximum."""
        if self.likely is None or self.cost.high is None:
            return self.cost.high
        return min(self.likely, self.cost.high)


class _Sampled(NamedTuple):
    """largest: the bodies that are all counted. bytes, requests, longest: of the others.

    lines: (bytes, body) of the sampled requests among the others.
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
    others: Sequence[Path] = (),
) -> Estimate:
    """Estimate a job's request files. usual: mean tokens of an earlier answer of such a job.

    others: files of requests that are in none of the shards.
    """
    seen = _sample([*(folder.requests(shard.number) for shard in shards), *others])
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
    cost, batch, flex, live = (
        estimate(
            tariff,
            requests,
            input_tokens=tokens.range,
            longest_input=tokens.longest,
            output_tokens=output,
        )
        for tariff in (record.tariff, price.batch, price.flex, price.standard)
    )
    return Estimate(
        requests=requests,
        tokens=tokens,
        output=output,
        usual=usual,
        cost=cost,
        batch=batch,
        flex=flex,
        realtime=live,
        likely=_likely(record, requests, tokens, usual),
        longest=max(each, default=0) if most else 0,
        unlimited=None in limits,
        assumed=price.longest is None and None in limits,
    )


def _likely(record: JobRecord, requests: int, tokens: Tokens, usual: float | None) -> float | None:
    if usual is None:
        return None
    return estimate(
        record.tariff,
        requests,
        input_tokens=Range(tokens.count, tokens.count),
        longest_input=0,
        output_tokens=Range(usual * requests, usual * requests),
    ).high


def is_free(record: JobRecord) -> bool:
    """Whether requests cost nothing, whatever their number."""
    return record.tariff == FREE


def _sample(paths: list[Path]) -> _Sampled:
    import numpy as np  # imported here: `jupyter batch list` imports this module, too

    ends = [_line_ends(path) for path in paths]
    each = [np.diff(held, prepend=0) for held in ends]
    sizes = np.concatenate(each) if each else np.zeros(0, dtype=np.int64)
    chosen, largest = np.ones(len(sizes), dtype=bool), np.zeros(len(sizes), dtype=bool)
    if len(sizes) > EXACT:  # seeded, so that a repeated estimate is the same
        largest[np.argpartition(sizes, -LARGEST)[-LARGEST:]] = True
        others = np.flatnonzero(~largest)
        chosen = largest.copy()
        chosen[others[random.Random(len(sizes)).sample(range(len(others)), EXACT - LARGEST)]] = True
    whole, lines, first = [], list[tuple[int, Mapping[str, Any]]](), 0
    for path, held in zip(paths, ends, strict=True):
        numbers = np.flatnonzero(chosen[first : first + len(held)])
        with opened(path) as file:
            for number in numbers.tolist():
                size = int(sizes[first + number])
                file.seek(int(held[number]) - size)
                line = file.read(size)
                body = request_of(orjson.loads(line))
                body = light(body) if size > _LONG else body  # else no string in it is as long
                if largest[first + number]:
                    whole.append(body)
                else:
                    lines.append((size, body))
        first += len(held)
    rest = sizes[~largest]
    return _Sampled(whole, int(rest.sum()), len(rest), int(rest.max(initial=0)), lines)


def _line_ends(path: Path) -> Any:
    """The offsets at which the lines of a request file end."""
    import numpy as np

    found, start = [], 0
    with opened(path) as file:
        while block := file.read(_BLOCK):
            found.append(np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == _NEWLINE) + start)
            start += len(block)
    ends = np.concatenate([*found, np.zeros(0, dtype=np.int64)]) + 1
    return ends if start == (ends[-1] if len(ends) else 0) else np.append(ends, start)


def request_of(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request in a line, in all dialects."""
    for key in ("body", "params", "request", "modelInput"):
        if isinstance(line.get(key), dict):
            body: Mapping[str, Any] = line[key]
            return body
    return line


def _counted(seen: _Sampled, count: Count) -> Tokens:
    """Extrapolate by the ratio of tokens to bytes, which varies far less by row than tokens."""
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
    for path in (one for one in _LIMITS if one[0] in body):
        held: Any = body
        for key in path:
            held = held.get(key) if isinstance(held, dict) else None
        if isinstance(held, int) and held > 0:
            return held
    return None


def text_of(value: Any) -> str:
    """Return the text of a request's body, without pictures and files, also long strings."""
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
    """Return a request with each picture and file replaced by its token bound, to save memory."""
    if isinstance(value, Mapping):
        return {name: light(held, name) for name, held in value.items()}
    if isinstance(value, list):
        return [light(held, key) for held in value]
    if isinstance(value, str) and key in _HELD and len(value) > _LONG:
        return f"{_CUT}{len(value) if _PDF in value[:100] else _PICTURE}"
    return value


def counter(model: str, load_litellm: Callable[[], Any]) -> Count:
    """Return a counter by litellm's token_counter.

    litellm is imported here: it takes seconds, once.
    """
    litellm = load_litellm()

    @quiet()
    def count(body: Mapping[str, Any]) -> int:
        messages = body.get("messages")
        if isinstance(messages, list) and "system" not in body:
            with contextlib.suppress(
                Exception
            ):  # a shape that its counter does not support: only the text is counted
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
    """An upper bound of a body's tokens: one a byte, and a maximum for each picture.

    Needs no litellm.
    """
    data = orjson.dumps(body)
    if len(data) > _LONG:
        data = orjson.dumps(light(body))
    pictures = _PICTURE * data.count(b'"type":"image')
    cut = re.findall(rb'"%b(\d+)"' % _CUT.encode(), data) if _CUT.encode() in data else ()
    return len(data) + sum(map(int, cut)) + pictures


def pattern_of(shards: list[ShardRecord]) -> Pattern | None:
    """The answered requests of a job with their tokens; None without any."""
    usage, answers, size = Usage(), 0, 0.0
    for shard in shards:
        if shard.usage is not None and shard.counts is not None and shard.counts.succeeded:
            usage += shard.usage
            answers += shard.counts.succeeded
            size += shard.bytes * min(1.0, shard.counts.succeeded / max(1, shard.requests))
    return Pattern(usage, answers, round(size)) if answers else None


def assumed_pattern(bound: Estimate) -> Pattern:
    """Requests like those of a bound by `at_most`, with answers of TYPICAL tokens, before any is known."""
    answers = max(1, bound.requests)
    read = bound.tokens.count // _BYTES_A_TOKEN
    usage = Usage(input_tokens=read, output_tokens=min(TYPICAL, bound.longest) * answers)
    return Pattern(usage, answers, 0)


def usual_answer(ledger: Ledger, like: JobRecord) -> float | None:
    """Mean tokens of an answer of the last job of this kind; None without one."""
    found = earlier_pattern(ledger, like)
    return None if found is None else found.output


def earlier_pattern(ledger: Ledger, like: JobRecord) -> Pattern | None:
    """The answers of the last other job with the same model and columns; None without one.

    Reads the newest EARLIER_JOBS of them.
    """
    same = (like.model, like.endpoint, like.fills, like.columns)
    every = (
        job.id
        for job in ledger.jobs()
        if job.id != like.id and (job.model, job.endpoint, job.fills, job.columns) == same
    )
    alike = list(islice(every, EARLIER_JOBS))
    shards = ledger.shards_of_all(alike) if alike else {}
    found = (pattern_of(shards.get(job, [])) for job in alike)
    return next((pattern for pattern in found if pattern is not None), None)
