"""The way of one row, there and back: what echoes a row's key lands on that row, whatever the frame is made of."""

import json

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_batch.core.request import Limits, custom_id, position_of
from jupyter_batch.frames.frame import Keys, align, blocks, fill, index_from_bytes, index_to_bytes
from jupyter_batch.row_files.request_files import pack
from jupyter_batch.templates.template import parse
from jupyter_batch.templates.values import RowError
from jupyter_batch.wire.openai import CHAT, Encoder, Hole, decode_lines, whole_lines
from tests.test_frame_align import frames

JOB = "jb3f9c2k7a1q"


def send(frame, prompt):
    """The request files of a frame, and its keys."""
    template = parse(prompt, frame.columns.tolist())
    encoder = Encoder(CHAT, {"model": "m", "messages": [{"role": "user", "content": Hole("user")}]})
    fingerprints, skipped = bytearray(), []

    def lines():
        for block in blocks(frame, template.columns, 5):
            fingerprints.extend(b"".join(block.fingerprints))
            ids = [custom_id(JOB, block.start + at) for at in range(block.rows)]
            texts = template.render(block.values, block.rows)
            for at, line in enumerate(encoder.encode(ids, {"user": texts})):
                if at in block.missing or isinstance(line, RowError):
                    skipped.append(block.start + at)
                else:
                    yield block.start + at, line

    files = {}
    for part in pack(lines(), Limits(requests=4, bytes=10_000), part_bytes=300):
        files[part.shard] = files.get(part.shard, b"") + part.data
    return files, Keys.of(frame.index, fingerprints, skipped), template.columns


def answer(file, random):
    """The results of a provider that echoes: in any order, one in five of them an error."""
    lines = []
    for line in file.splitlines():
        request = json.loads(line)
        messages = {
            "choices": [
                {"message": {"content": "echo " + request["body"]["messages"][0]["content"]}}
            ]
        }
        code = 200 if random.random() < 0.8 else 500
        body = (
            messages if code == 200 else {"error": {"message": "no luck", "code": "server_error"}}
        )
        lines.append(
            json.dumps(
                {"custom_id": request["custom_id"], "response": {"status_code": code, "body": body}}
            )
        )
    random.shuffle(lines)
    return "\n".join(lines).encode()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames(), st.integers(0, 2**32 - 1))
def test_each_echo_is_on_its_own_row(frame, seed):
    """A hundred frames of random length, index and dtypes: a value, or a reason, on each row and no other."""
    random = np.random.default_rng(seed)
    frame["key"] = [f"row {n} “é😀”\n" for n in range(len(frame))]
    files, keys, columns = send(frame, "{key} {a} {0}")
    values, reasons = [None] * len(frame), {}
    for file in files.values():
        for block in whole_lines([answer(file, random)], 200):
            for result in decode_lines(block, CHAT):
                position = position_of(JOB, result.custom_id)
                assert values[position] is None
                assert position not in reasons
                values[position], reasons[position] = result.value, result.error
    assert sorted([*reasons, *np.flatnonzero(keys.skipped)]) == list(range(len(frame))), (
        "one result for each request"
    )
    shuffled = frame.iloc[random.permutation(len(frame))]
    fill(shuffled, "out", values, align(shuffled, columns, Keys.from_bytes(keys.to_bytes())))
    for key, out in zip(shuffled["key"], shuffled["out"], strict=True):
        assert pd.isna(out) or out.startswith(f"echo {key} ")
    answered = sum(value is not None for value in values)
    assert shuffled["out"].notna().sum() == answered
    if len(frame):
        pd.testing.assert_index_equal(
            index_from_bytes(index_to_bytes(frame.index)), frame.index, exact="equiv"
        )
