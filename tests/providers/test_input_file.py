"""Refusals about the uploaded file, in the words of several providers."""

from __future__ import annotations

import pytest

from jupyter_batch.core.refusals.input_file import InputFile, of_file
from jupyter_batch.providers.failures import by_status
from jupyter_batch.wire.openai_batches import read_batch


@pytest.mark.parametrize(
    "message",
    [
        "Input file not found",
        "No such File object: file-abc123",
        "invalid_request_error Input file with id file-abc123 does not exist.",
        "The file 'file-1' could not be found.",
        "File not found: 0a1b2c",
        "input_file_not_found",
        "The provided input_file_id file-abc does not exist",
        "Unable to find file file-abc",
        "Invalid input_file_id",
    ],
)
def test_a_file_that_is_not_there(message):
    """A create's refusal because the file is unknown is recognised, with 400 as with 404."""
    assert of_file(message) is InputFile.ABSENT
    assert by_status(400, message).input_file is InputFile.ABSENT
    assert by_status(404, message).input_file is InputFile.ABSENT


@pytest.mark.parametrize(
    "message",
    [
        "The input file is not in a processed state.",
        "File file-1 is not processed yet",
        "The file is still being processed. Please try again later.",
        "Input file file-1 is not ready, its status is 'pending'",
        "invalidFile: the file must be in the processed state to create a batch",
        "The specified file has not been fully processed",
        "file_not_ready",
    ],
)
def test_a_file_that_is_not_processed(message):
    """A create's refusal because the file is not processed yet is recognised."""
    assert of_file(message) is InputFile.UNREADY
    assert by_status(400, message).input_file is InputFile.UNREADY


@pytest.mark.parametrize(
    "message",
    [
        "The model `gpt-9` does not exist",
        "Invalid file format. Input file must be in JSONL",
        "File is too large. Maximum file size is 200 MB",
        "invalid_json_line: This line is not parseable as valid JSON.",
        "Unknown parameter: 'metadata'",
        "quota exceeded",
    ],
)
def test_other_refusals(message):
    """A refusal that time does not mend is none of these."""
    assert of_file(message) is None


def test_a_batch_that_failed_for_its_file():
    """A batch that was created and then failed because its file was not found says so in a field."""
    error = {"code": "invalid_request", "message": "Input file not found", "line": None}
    failed = {"id": "b", "status": "failed", "errors": {"object": "list", "data": [error]}}
    assert read_batch(failed).input_file is InputFile.ABSENT
    assert read_batch({"id": "b", "status": "failed"}).input_file is None
