"""The server's refusals, each in the exact shape of api.openai.com."""

from __future__ import annotations

import json
import socket

import httpx
import pytest
from server_asking import jsonl, line, until


def refusal(answer: httpx.Response) -> tuple[int, str, str | None, str | None]:
    """(status, type, param, code); the shape itself is checked."""
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    return answer.status_code, body["error"]["type"], body["error"]["param"], body["error"]["code"]


BAD = "invalid_request_error"


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"input_file_id": None}, "input_file_id", "missing_required_parameter"),
        ({"endpoint": None}, "endpoint", "missing_required_parameter"),
        ({"completion_window": None}, "completion_window", "missing_required_parameter"),
        ({"input_file_id": 5}, "input_file_id", "invalid_type"),
        ({"endpoint": "/v1/nonsense"}, "endpoint", "invalid_value"),
        ({"completion_window": "1h"}, "completion_window", "invalid_value"),
        ({"completion_window": ""}, "completion_window", "invalid_value"),
        ({"metadata": ["a"]}, "metadata", "invalid_type"),
        ({"metadata": {"tags": ["a", "b"]}}, "metadata.tags", "invalid_type"),
        ({"metadata": {"n": 5}}, "metadata.n", "invalid_type"),
        (
            {"metadata": {f"k{i}": "v" for i in range(17)}},
            "metadata",
            "object_above_max_properties",
        ),
        ({"metadata": {"k" * 65: "v"}}, "metadata", "property_name_above_max_length"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length"),
        (
            {"output_expires_after": {"anchor": "now", "seconds": 3600}},
            "output_expires_after.anchor",
            "invalid_value",
        ),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 3599}},
            "output_expires_after.seconds",
            "integer_below_min_value",
        ),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 2592001}},
            "output_expires_after.seconds",
            "integer_above_max_value",
        ),
        (
            {"output_expires_after": {"anchor": "created_at"}},
            "output_expires_after.seconds",
            "missing_required_parameter",
        ),
        ({"surprise": 1}, "surprise", "unknown_parameter"),
    ],
)
def test_a_bad_batch_is_refused_and_names_the_parameter(ask, change, param, code):
    """A create with one bad parameter is a 400 that names it, and no batch comes into being."""
    body = {
        "input_file_id": "file-x",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        **change,
    }
    body = {name: value for name, value in body.items() if value is not None}
    assert refusal(ask.call("POST", "/batches", json=body)) == (400, BAD, param, code)
    assert ask.call("GET", "/batches").json()["data"] == []


def test_the_limits_of_metadata_are_inclusive(ask):
    """16 pairs with keys of 64 and values of 512 characters are taken, and come back."""
    metadata = {f"{i:02}" + "k" * 62: "v" * 512 for i in range(16)}
    assert ask.run(jsonl(line()), metadata=metadata)["metadata"] == metadata


def test_the_words_of_wrong_values_and_types_are_openais(ask):
    """The messages are those that api.openai.com was recorded with."""
    body = {
        "input_file_id": "file-x",
        "endpoint": "/v1/chat/completions",
        "completion_window": "48h",
    }
    assert ask.call("POST", "/batches", json=body).json()["error"]["message"] == (
        "Invalid value: '48h'. Supported values are: '24h'."
    )
    body |= {"completion_window": "24h", "metadata": {"tags": ["a"]}}
    assert ask.call("POST", "/batches", json=body).json()["error"]["message"] == (
        "Invalid type for 'metadata.tags': expected a string, but got an array instead."
    )


@pytest.mark.parametrize("data", [b"{nonsense", b"[1]", b'"text"', b""])
def test_a_body_that_is_no_json_object_is_refused(ask, data):
    """Malformed JSON is a 400 in OpenAI's shape."""
    for path in ("/batches", "/chat/completions", "/embeddings"):
        assert refusal(ask.call("POST", path, content=data)) == (400, BAD, None, None)


def test_an_unknown_url_and_a_wrong_method_are_reported_in_openais_shape(ask):
    """404 `Invalid URL (GET /v1/xyz)`, with or without a key; 405 with the methods that are allowed."""
    for answer in (ask.call("GET", "/xyz"), httpx.get(ask.server.base_url + "/xyz")):
        assert refusal(answer) == (404, BAD, None, None)
        assert answer.json()["error"]["message"] == "Invalid URL (GET /v1/xyz)"
    answer = ask.call("DELETE", "/batches")
    assert refusal(answer)[:2] == (405, BAD)
    assert answer.headers["allow"] == "GET, HEAD, POST"


def test_who_has_no_key_or_a_wrong_one_stays_out(ask):
    """401: no key has a message of its own and no code; a wrong key is `invalid_api_key`, and isn't shown whole."""
    url = ask.server.base_url
    for path in ("/files", "/batches", "/models", "/batches/batch_x"):
        answer = httpx.get(url + path)
        assert refusal(answer) == (401, BAD, None, None)
        assert "You didn't provide an API key" in answer.json()["error"]["message"]
        wrong = httpx.get(
            url + path, headers={"Authorization": "Bearer sk-wrong-but-long-enough-1234"}
        )
        assert refusal(wrong) == (401, BAD, None, "invalid_api_key")
        assert "wrong-but" not in wrong.text
    assert httpx.get(url.removesuffix("/v1") + "/jupyter_batch/stats").status_code == 401
    for headers in (
        {"api-key": ask.server.token},
        {"x-api-key": ask.server.token},
        {"Authorization": f"bearer {ask.server.token}"},
    ):
        assert httpx.get(url + "/models", headers=headers).status_code == 200


def test_a_server_without_a_token_answers_to_loopback_names_only(started):
    """Without a token any key will do, but a page that reaches us under another name is refused."""
    ask = started(token=None)
    assert httpx.get(ask.server.base_url + "/models").status_code == 200
    strange = httpx.get(ask.server.base_url + "/models", headers={"Host": "evil.example"})
    assert refusal(strange) == (403, BAD, None, None)


@pytest.mark.parametrize(
    ("name", "form", "param", "code"),
    [
        ("rows.jsonl", {}, "purpose", "missing_required_parameter"),
        ("rows.jsonl", {"purpose": "nonsense"}, "purpose", None),
        ("rows.jsonl", {"purpose": "batch_output"}, "purpose", None),
        ("rows.txt", {"purpose": "batch"}, None, None),
        (
            "rows.jsonl",
            {
                "purpose": "batch",
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "60",
            },
            "expires_after.seconds",
            "integer_below_min_value",
        ),
        (
            "rows.jsonl",
            {
                "purpose": "batch",
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "x",
            },
            "expires_after.seconds",
            "invalid_type",
        ),
        (
            "rows.jsonl",
            {"purpose": "batch", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
            "expires_after.anchor",
            "invalid_value",
        ),
        (
            "rows.jsonl",
            {"purpose": "batch", "expires_after[seconds]": "3600"},
            "expires_after.anchor",
            "missing_required_parameter",
        ),
    ],
)
def test_a_bad_upload_is_refused_and_leaves_nothing(ask, tmp_path, name, form, param, code):
    """A 400 that names the parameter; no file is listed, and no bytes stay on disk."""
    answer = ask.call("POST", "/files", files={"file": (name, jsonl(line()))}, data=form)
    assert refusal(answer) == (400, BAD, param, code)
    assert ask.call("GET", "/files").json()["data"] == []
    assert list((tmp_path / "state" / "files").iterdir()) == []


def test_an_upload_without_a_file_or_a_form_is_refused(ask):
    """A form without `file`, a JSON body and a broken form are 400."""
    answer = ask.call("POST", "/files", data={"purpose": "batch"}, files={"other": ("a", b"b")})
    assert refusal(answer) == (400, BAD, "file", "missing_required_parameter")
    assert refusal(ask.call("POST", "/files", json={"purpose": "batch"}))[:2] == (400, BAD)
    broken = ask.call(
        "POST",
        "/files",
        content=b"nonsense",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert refusal(broken)[:2] == (400, BAD)
    assert (
        refusal(
            ask.call(
                "POST", "/files", content=b"x", headers={"content-type": "multipart/form-data"}
            )
        )[0]
        == 400
    )


def test_a_file_above_the_limit_is_refused(ask, monkeypatch, tmp_path):
    """413 above the limit of batch files and above that of all files; nothing stays on disk."""
    monkeypatch.setattr("jupyter_batch.server.routes.files.MOST_BATCH_BYTES", 1000)
    monkeypatch.setattr("jupyter_batch.server.routes.files.MOST_BYTES", 5000)
    for size, purpose, status in (
        (900, "batch", 200),
        (1100, "batch", 413),
        (4000, "user_data", 200),
        (6000, "user_data", 413),
    ):
        answer = ask.call(
            "POST", "/files", files={"file": ("a.jsonl", b"x" * size)}, data={"purpose": purpose}
        )
        assert answer.status_code == status
    assert len(list((tmp_path / "state" / "files").iterdir())) == 2


def test_the_file_may_come_before_the_purpose(ask):
    """The order of a form's fields does not matter."""
    body = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\n\r\n'
        b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--B--\r\n'
    )
    answer = ask.call(
        "POST", "/files", content=body, headers={"content-type": "multipart/form-data; boundary=B"}
    )
    assert answer.status_code == 200
    assert answer.json()["bytes"] == 3


def test_purposes_and_their_lives(ask):
    """Every documented purpose is taken; batch files live for 30 days, others until they are deleted."""
    for purpose in ("assistants", "batch", "fine-tune", "vision", "user_data", "evals"):
        file = ask.upload(b"{}\n", purpose=purpose)
        life = file["expires_at"] and file["expires_at"] - file["created_at"]
        assert (file["purpose"], life) == (purpose, 2592000 if purpose == "batch" else None)


def test_pages_of_files(ask):
    """`limit`, `after`, `order` and `purpose` page through all files once, also when each page is deleted."""
    ids = [
        ask.upload(b"{}\n", f"{i}.jsonl", "batch" if i % 2 else "user_data")["id"] for i in range(7)
    ]
    page = ask.call("GET", "/files", params={"limit": 3}).json()
    assert (page["object"], page["has_more"]) == ("list", True)
    assert [one["id"] for one in page["data"]] == ids[:3:-1]
    assert (page["first_id"], page["last_id"]) == (ids[6], ids[4])
    last = ask.call("GET", "/files", params={"limit": 3, "after": ids[1], "order": "desc"}).json()
    assert ([one["id"] for one in last["data"]], last["has_more"]) == ([ids[0]], False)
    rising = ask.call(
        "GET", "/files", params={"order": "asc", "after": ids[1], "purpose": "batch"}
    ).json()
    assert [one["id"] for one in rising["data"]] == [ids[3], ids[5]]
    assert [one.id for one in ask.sdk.files.list(limit=2)] == ids[::-1]
    gone = [ask.sdk.files.delete(one.id).id for one in ask.sdk.files.list(limit=2)]
    assert gone == ids[::-1]
    empty = ask.call("GET", "/files").json()
    assert empty == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_pages_of_batches(ask):
    """Newest first, 20 a page by default, at most 100."""
    file_id = ask.upload(jsonl(line()))["id"]
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    ids = [ask.call("POST", "/batches", json=body).json()["id"] for _ in range(23)]
    page = ask.call("GET", "/batches").json()
    assert [one["id"] for one in page["data"]] == ids[:2:-1]
    assert page["has_more"] is True
    rest = ask.call("GET", "/batches", params={"after": page["last_id"], "limit": 100}).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (ids[2::-1], False)
    assert [one.id for one in ask.sdk.batches.list(limit=5)] == ids[::-1]


@pytest.mark.parametrize(
    ("path", "query", "param", "code"),
    [
        ("/batches", {"limit": 0}, "limit", "integer_below_min_value"),
        ("/batches", {"limit": 101}, "limit", "integer_above_max_value"),
        ("/batches", {"limit": "many"}, "limit", "invalid_type"),
        ("/files", {"limit": 0}, "limit", "integer_below_min_value"),
        ("/files", {"limit": 10001}, "limit", "integer_above_max_value"),
        ("/files", {"order": "up"}, "order", "invalid_value"),
    ],
)
def test_a_bad_query_is_refused(ask, path, query, param, code):
    """A limit outside its range and an unknown order are 400s that name the parameter."""
    assert refusal(ask.call("GET", path, params=query)) == (400, BAD, param, code)


def test_what_is_not_there_is_a_404(ask):
    """Files, batches, models and cursors that don't exist."""
    assert refusal(ask.call("GET", "/files/file-x")) == (404, BAD, "id", None)
    assert refusal(ask.call("GET", "/files/file-x/content")) == (404, BAD, "id", None)
    assert refusal(ask.call("DELETE", "/files/file-x")) == (404, BAD, "id", None)
    answer = ask.call("GET", "/batches/batch_x")
    assert refusal(answer) == (404, BAD, None, None)
    assert answer.json()["error"]["message"] == "No batch found with id 'batch_x'."
    assert refusal(ask.call("GET", "/models/none")) == (404, BAD, "model", "model_not_found")
    assert refusal(ask.call("GET", "/files", params={"after": "file-x"}))[0] == 404
    assert refusal(ask.call("GET", "/batches", params={"after": "batch_x"}))[0] == 404
    for path in ("/files/..%2f..%2fstate.db/content", "/files/%2e%2e/content"):
        assert ask.call("GET", path).status_code == 404


def test_a_file_of_another_purpose_is_no_batch_input(ask):
    """The input must have been uploaded with the purpose `batch`."""
    file_id = ask.upload(jsonl(line()), purpose="user_data")["id"]
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    assert refusal(ask.call("POST", "/batches", json=body)) == (
        400,
        BAD,
        "input_file_id",
        "invalid_value",
    )


def test_every_answer_is_signed(ask):
    """`x-request-id`, `openai-version` and `openai-processing-ms` are on every answer, errors and streams too."""
    file_id = ask.upload(b"{}\n")["id"]
    ids = set()
    for method, path in (
        ("GET", "/models"),
        ("GET", "/none"),
        ("GET", f"/files/{file_id}/content"),
        ("POST", "/batches"),
    ):
        headers = ask.call(method, path).headers
        assert headers["openai-version"] == "2020-10-01"
        assert int(headers["openai-processing-ms"]) >= 0
        ids.add(headers["x-request-id"])
    assert len(ids) == 4


def test_a_download_is_byte_for_byte_with_its_name(ask):
    """The content is what was uploaded, as an attachment, whole or by range."""
    data = bytes(range(256)) * 1000
    file = ask.upload(data, 'Größe "x".bin', "user_data")
    answer = ask.call("GET", f"/files/{file['id']}/content")
    assert answer.content == data
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    part = ask.call("GET", f"/files/{file['id']}/content", headers={"range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, data[5:10])


def test_a_client_that_goes_away_in_an_upload_leaves_nothing(ask, tmp_path):
    """An upload that is cut off leaves no file and no bytes."""
    host, port = "127.0.0.1", int(ask.server.base_url.split(":")[2].split("/")[0])
    with socket.create_connection((host, port)) as raw:
        raw.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
            + ask.server.token.encode()
            + b"\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 100000\r\n\r\n--B\r\n"
            b'Content-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + b"x" * 9000
        )
        until(lambda: list((tmp_path / "state" / "files").iterdir()))
    until(lambda: not list((tmp_path / "state" / "files").iterdir()))
    assert ask.call("GET", "/files").json()["data"] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "param", "code"),
    [
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, 400, None, None),
        ("/chat/completions", {"model": "echo"}, 400, "messages", "missing_required_parameter"),
        ("/chat/completions", {"model": "echo", "messages": []}, 400, "messages", "empty_array"),
        ("/chat/completions", {"model": "echo", "messages": "hi"}, 400, "messages", "invalid_type"),
        (
            "/chat/completions",
            {"model": "echo", "messages": [{"content": "x"}]},
            400,
            "messages[0].role",
            "missing_required_parameter",
        ),
        (
            "/chat/completions",
            {"model": "echo", "messages": [{"role": "king", "content": "x"}]},
            400,
            "messages[0].role",
            "invalid_value",
        ),
        (
            "/chat/completions",
            {"model": "none", "messages": [{"role": "user", "content": "x"}]},
            404,
            None,
            "model_not_found",
        ),
        (
            "/chat/completions",
            {"model": "echo", "messages": [{"role": "user", "content": "x"}], "temperature": 3},
            400,
            "temperature",
            "decimal_above_max_value",
        ),
        (
            "/chat/completions",
            {"model": "echo", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0},
            400,
            "max_tokens",
            "integer_below_min_value",
        ),
        ("/embeddings", {"model": "echo"}, 400, "input", "missing_required_parameter"),
        ("/embeddings", {"model": "echo", "input": ""}, 400, "input", "empty_string"),
        (
            "/embeddings",
            {"model": "echo", "input": "x", "dimensions": 0},
            400,
            "dimensions",
            "integer_below_min_value",
        ),
        (
            "/embeddings",
            {"model": "echo", "input": "x", "encoding_format": "hex"},
            400,
            "encoding_format",
            "invalid_value",
        ),
    ],
)
def test_a_bad_request_is_refused_in_real_time(ask, path, body, status, param, code):
    """Chat and embeddings name the parameter that is wrong."""
    assert refusal(ask.call("POST", path, content=json.dumps(body))) == (status, BAD, param, code)
