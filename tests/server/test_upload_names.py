"""Uploads as clients make them who have no file: the SDK names bytes `upload`."""

from __future__ import annotations

import io

import pytest
from server_asking import jsonl, line

ROWS = jsonl(line("r-0", "hello"))


@pytest.mark.parametrize(
    "file", [ROWS, io.BytesIO(ROWS), ("upload", ROWS), ("rows.JSONL", ROWS), ("a.b.jsonl", ROWS)]
)
def test_an_upload_without_an_extension_is_a_batch_file(ask, file):
    """A batch's input needs no `.jsonl` in its name; only another extension is refused."""
    uploaded = ask.sdk.files.create(file=file, purpose="batch")
    made = ask.sdk.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert ask.ended(made.id)["status"] == "completed"
