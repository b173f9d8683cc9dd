"""The reason of a failed row, whatever the shape of the error in its result line."""

import json

import pytest

from jupyter_batch.core.errors import NoBatchApiError, ProviderDownError
from jupyter_batch.core.refusals.sentence import read_refusal
from jupyter_batch.core.request import Status
from jupyter_batch.providers.failures import by_status, object_in
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.anthropic import results
from jupyter_batch.wire.clouds import bedrock, gemini
from jupyter_batch.wire.openai_batches import read_batch

PAGE = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
XML = "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>No access</Message></Error>"
SHAPES = [
    ({"error": {"message": {"error": {"message": "deep words"}}}}, "deep words"),
    ({"error": {"message": json.dumps({"error": {"message": "inner words"}})}}, "inner words"),
    ({"error": {"message": PAGE}}, "502 Bad Gateway"),
    ({"error": ["first", "second"]}, "first; second"),
    ({"error": True, "message": "really this"}, "really this"),
    ({"error": {"file": ["is too large"]}}, "file: is too large"),
    (
        {"detail": [{"loc": ["body", "model"], "msg": "field required"}]},
        "body.model: field required",
    ),
    ({"detail": {"error": "inner detail"}}, "inner detail"),
    (
        {"type": "https://x/p", "title": "No credit", "detail": "Balance is 0"},
        "No credit: Balance is 0",
    ),
    ({"errors": [{"message": "one"}, {"message": "two"}]}, "one; two"),
    ({"success": False, "msg": "bad thing"}, "bad thing"),
    ([{"error": {"code": 400, "message": "not valid"}}], "400: not valid"),
    ({"__type": "a.b#ThrottlingException", "Message": "slow"}, "ThrottlingException: slow"),
    (PAGE, "502 Bad Gateway"),
    (XML, "AccessDenied: No access"),
]


@pytest.mark.parametrize(("body", "sentence"), SHAPES, ids=lambda value: str(value)[:40])
def test_a_failed_row_shows_the_servers_sentence(body, sentence):
    """An error of a row is read as the errors of calls are, and its reason holds no raw JSON or markup."""
    line = {"custom_id": "a", "response": {"status_code": 500, "body": body}}
    result = tolerant.read(json.dumps(line).encode())
    assert result.status is Status.FAILED
    assert result.error in (sentence, f"HTTP 500: {sentence}")
    line["response"]["status_code"] = 200
    assert sentence.rpartition(": ")[2] in tolerant.read(json.dumps(line).encode()).error


@pytest.mark.parametrize(
    "error", [{"error": {"message": "told"}}, ["told"], {"detail": "told"}, PAGE]
)
@pytest.mark.parametrize(
    "decode",
    [
        lambda error: tolerant.read(_line(error=error)),
        lambda error: results.decode(_line(result={"type": "errored", "error": error}), {}),
        lambda error: bedrock.decode(_line(error=error), {}),
        lambda error: gemini.decode(_line(status=error)),
    ],
    ids=["openai", "anthropic", "bedrock", "vertex"],
)
def test_every_dialect_reads_an_error_of_any_shape(decode, error):
    """For each provider's result lines."""
    assert decode(error).error == ("502 Bad Gateway" if error == PAGE else "told")


def test_an_error_with_a_200_is_not_taken_as_billed():
    """A row whose 200 is an error was not billed, so that running the cell again may send it."""
    for body in (
        {"success": False, "msg": "busy"},
        [{"error": {"message": "busy"}}],
        {"errors": ["busy"]},
    ):
        result = tolerant.read(_line(response={"status_code": 200, "body": body}))
        assert (result.error, result.unbilled) == ("busy", True)


@pytest.mark.parametrize(
    "errors", [["told"], [{"error": {"message": "told"}}], [{"detail": "told"}], "told"]
)
def test_a_failed_batch_shows_its_errors_of_any_shape(errors):
    """A batch object's `errors`, masked like any other text of a provider."""
    assert read_batch({"id": "b", "status": "failed", "errors": errors}).errors == "told"
    leaked = [{"message": "bad key sk-abcdefghijklmnopqrstuvwxyz123456"}]
    assert "sk-abcdef" not in read_batch({"id": "b", "status": "failed", "errors": leaked}).errors


def test_an_error_does_not_steer_the_terminal():
    """Control characters and bidi overrides of a server's text are left out."""
    assert read_refusal("a\x1b[31mb\x00c\u202ed").message == "a [31mb c d"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "5"}, 5.0),
        ({"Retry-After-Ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "1e12"}, 86_400.0),
        ({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}, 86_400.0),
        ({"retry-after-ms": "soon", "retry-after": "-1"}, None),
    ],
)
def test_a_wait_that_a_server_asks_for_is_bounded(headers, seconds):
    """No retry-after makes a job wait for years; milliseconds are read where a server sends them."""
    assert by_status(429, "slow down", headers=headers).retry_after == seconds


def test_an_unknown_path_with_a_200_is_no_batch_api():
    """LM Studio answers 200 to each path that it does not have; the job is blocked at once, and does not wait."""
    words = "Unexpected endpoint or method. (POST /v1/files). Returning 200 anyway"
    with pytest.raises(NoBatchApiError, match="Unexpected endpoint"):
        object_in(json.dumps({"error": words}).encode(), "http://h/v1")
    with pytest.raises(ProviderDownError, match="busy"):
        object_in(b'{"error": "the model is busy"}', "http://h/v1")


def _line(**fields: object) -> bytes:
    return json.dumps({"custom_id": "a", **fields}).encode()
