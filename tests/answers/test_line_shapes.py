"""Lines of one shape, compared at once: the same columns as by decoding each line."""

from __future__ import annotations

import random
import re

import numpy as np
import orjson
import pytest

from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.results import result_files
from jupyter_batch.results.lines import shapes
from jupyter_batch.results.result_files import columns_of, decoded
from tests.example_snapshots import job as made_up

USAGE = b'"usage":{"prompt_tokens":1,"completion_tokens":1,"completion_tokens_details":{"reasoning_tokens":9}}'
TEXTS = [
    "a",
    "“é” 漢字 😀",
    'quoted "x"',
    "two\nlines\\",
    "",
    "\u007f",
    "}],",
    " ",
    '","refusal":null',
]


def line(
    job,
    row,
    *,
    text="an answer",
    thought=0,
    cached=0,
    total=None,
    tier="default",
    finish="stop",
    **more,
):
    """A line as OpenAI writes it."""
    used = {
        "prompt_tokens": 90 + row,
        "completion_tokens": 12,
        "total_tokens": 102 + row if total is None else total,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    message = {"role": "assistant", "content": text, "refusal": None, **more}
    body = {
        "id": f"chatcmpl-{row * 37}",
        "created": 1_700_000_000 + row,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": used,
        "service_tier": tier,
        "system_fingerprint": f"fp_{row % 3}",
    }
    return orjson.dumps(
        {
            "id": f"batch_req_{row}",
            "custom_id": f"{job}-{row}",
            "response": {"status_code": 200, "request_id": f"req_{row}", "body": body},
            "error": None,
        }
    )


def found(path, job):
    """All that the columns of a file have."""
    (made,) = columns_of(path, job)
    finishes, tiers = np.array(made.finishes, object), np.array(made.tiers, object)
    return (
        made.rows.tolist(),
        made.status.tolist(),
        finishes[made.finish].tolist(),
        tiers[made.tier].tolist(),
        made.has_usage.tolist(),
        {kind: tokens.tolist() for kind, tokens in made.usage.items()},
        made.reasons,
        made.answers(np.arange(len(made))),
    )


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A job, its result file, and a function that writes lines and compares both ways to read them."""
    job = made_up(rows=10**6)
    path = JobFolder(tmp_path).output(0)
    monkeypatch.setattr(result_files, "LEAST_BYTES", 10**9)
    decode_each = result_files.chat_answers

    def same(lines, most_decoded):
        path.write_bytes(b"\n".join(lines) + b"\n")
        seen = []
        with monkeypatch.context() as patch:
            patch.setattr(
                result_files,
                "chat_answers",
                lambda block: seen.extend(bytes(block).splitlines()) or decode_each(block),
            )
            ours = found(path, job)
            assert len(seen) <= most_decoded
            patch.setattr(shapes, "_MOST_TRIES", 0)
            seen.clear()
            assert found(path, job) == ours
            assert len(seen) >= len(lines) - 3
        return ours

    return job, path, same


def test_lines_that_differ_in_values_are_not_decoded(there):
    """Texts, ids and counts of any length, a second service tier, tokens of a cache: no line is decoded."""
    job, path, same = there
    lines = [
        line(
            job.id,
            row * 17,
            text=TEXTS[row % 4] * (row + 1),
            tier="flex" if row % 5 == 0 else None,
            cached=row % 7 * 100,
        )
        for row in range(300)
    ]
    rows, *_, answers = same(lines, 0)
    assert rows[9] == 9 * 17
    assert answers[2] == 'quoted "x"' * 3
    results = list(decoded(path, job))
    assert answers == [result.value for result in results]


def test_values_grow_after_many_odd_lines(there):
    """Lines with longer ids and counts than any before are not decoded, also where no shape is sought any more."""
    job, _, same = there
    odd = [line(job.id, row, finish="length") for row in range(40)]
    rows = [*range(9, 1009), *range(9_990, 10_200), *range(99_999, 100_200)]
    some = [line(job.id, row, cached=row % 101, text="x" * 2000) for row in rows]
    same(
        [*some[:100], *odd, *some[100:500], *odd, *some[500:900], *odd, *some[900:]],
        3 * len(odd) + 16,
    )


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b'{"custom_id": "jb1-3", "response": null, "error": {"message": "no"}}',
        b"no JSON",
        b"\xff",
    ],
)
def test_other_lines_stay_in_their_place(there, odd):
    """Lines of another kind among those of a shape are decoded, and the order is that of the file."""
    job, _, same = there
    lines = [line(job.id, row, text=TEXTS[row % len(TEXTS)]) for row in range(300)]
    lines[7:7] = [odd]
    same(lines[:80], 80)
    lines = [line(job.id, row, thought=row % 9, total=103 + row) for row in range(300)]
    lines[200:200] = [odd] * 3
    same(lines, 3)


def test_a_changed_byte_has_the_effect_that_it_has_on_a_decoded_line(there):
    """One byte of a line is another, is gone or comes twice: both ways to read it agree."""
    job, _, same = there
    dice = random.Random(5)
    lines = [line(job.id, row, text="an answer “é”", thought=7) for row in range(1000, 1064)]
    for _ in range(150):
        now, at = list(lines), dice.randrange(64)
        place = dice.randrange(len(now[at]))
        new = dice.choice(
            [b"", b'"', b"\\", b"0", b"9", b",", b"}", b"\x00", b"\xc3", b"-", b"a", b"."]
        )
        now[at] = now[at][:place] + new + now[at][place + dice.randrange(2) :]
        same(now, 64)


@pytest.mark.parametrize(
    "more",
    [
        {"content": "twice"},
        {"tool_calls": [{"id": "x"}]},
        {"refusal": "I won't"},
        {"reasoning_content": "long"},
    ],
)
def test_a_line_with_more_is_read_as_before(there, more):
    """A field that changes the outcome, a key that is there twice, and one that is of no use."""
    job, _, same = there
    lines = [line(job.id, row, **more) for row in range(64)]
    twice = [one.replace(b'"role":', b'"content":"twice","role":') for one in lines]
    for some in (lines, twice):
        same(some, 64)


@pytest.mark.parametrize(
    "numbers", [b"3.0", b"-3", b"12345678901", b"007", b"null", b"1e2", b'"3"']
)
@pytest.mark.parametrize("kind", [b"cached_tokens", b"prompt_tokens", b"total_tokens", b"created"])
def test_odd_numbers_are_read_as_before(there, kind, numbers):
    """Numbers in other forms than digits, in one line and in all."""
    job, _, same = there
    lines = [line(job.id, row, cached=5, thought=3) for row in range(64)]
    odd = [orjson_replaced(one, kind, numbers) for one in lines]
    same(odd, 64)
    same([*lines[:40], *odd[40:41], *lines[41:]], 64)


def orjson_replaced(one, kind, number):
    """The line with another number."""
    start = one.index(b'"%b":' % kind) + len(kind) + 3
    end = min(at for at in (one.find(b",", start), one.find(b"}", start)) if at > 0)
    return one[:start] + number + one[end:]


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b"batch_req_", b"batch\\q"),  # no escape of JSON
        (b"an answer", b"an\x01answer"),
        (b"an answer", b"an\\u12answer"),
        (b"an answer", b"half \\ud83d"),
        (b"an answer", b"\xa9"),
        (b"an answer", b"a\xc3"),
        (b"default", b"\\u0064efault"),
        (b'"content"', b'"\\u0063ontent"'),
        (b'"usage":', USAGE + b',"usage":'),
        (b"custom_id", b"id"),
    ],
)
def test_odd_texts_are_read_as_before(there, was, now):
    """Texts that are no JSON or no UTF-8, and keys that are there twice, in one line and in all."""
    job, _, same = there
    lines = [line(job.id, row) for row in range(64)]
    if b"usage" in was:
        lines = [re.sub(rb',"completion_tokens_details":{.*?}', b"", one) for one in lines]
    odd = [one.replace(was, now) for one in lines]
    assert odd != lines
    same(odd, 64)
    same([*lines[:40], *odd[40:41], *lines[41:]], 64)
