"""The user's call at Vertex AI: the column, `retry`, missing settings reported at once, the source of the token."""

from __future__ import annotations

import json
import sys
import time

import pandas as pd
import pytest

from jupyter_batch import jobs
from jupyter_batch.core.errors import KeyMissingError, ModelError, OptionError
from jupyter_batch.providers import clouds
from tests.clouds.conftest import VERTEX as SETTINGS
from tests.clouds.vertex import BUCKET, Vertex
from tests.ledgers import assert_nowhere, lose
from tests.messages import messages
from tests.waiting import wait_for


@pytest.fixture
def fake(monkeypatch):
    """Vertex AI and Cloud Storage, the latter where Google's own clients would look for an emulator."""
    with Vertex(time.time) as made:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", made.url)
        yield made


def frame():
    """Four rows."""
    return pd.DataFrame({"t": ["a", "b", "c", "d"]}, index=list("wxyz"))


def test_a_column_and_its_retry(fake, home):
    """Three answers and a failure; run again, nothing is sent; `retry` sends one request, and the column is whole."""
    call = {
        "model": "vertex_ai/gemini-2.5-flash",
        "api_base": fake.url,
        "api_key": fake.key,
        "max_tokens": 50,
        "system": "Be loud",
        **SETTINGS,
    }
    df = frame()
    job = df.llm.batch("{t}", out="out", **call)
    wait_for(lambda: fake.jobs, job)
    sent = list(fake.only_job.requests.values())
    assert [one["labels"] for one in sent] == [
        {"jupyter_batch_row": f"{job.id}-{n}"} for n in range(4)
    ]
    assert sent[0]["contents"] == [{"role": "user", "parts": [{"text": "a"}]}]
    assert sent[0]["system_instruction"] == {"parts": [{"text": "Be loud"}]}
    assert sent[0]["generationConfig"] == {"max_output_tokens": 50}
    fake.finish(
        answers={"a": "A", "b": "B", "c": "C"},
        failed={"d": 'Bad Request: {"error": {"message": "too odd"}}'},
    )
    job.wait(60)
    assert job.is_complete
    assert df["out"].tolist()[:3] == ["A", "B", "C"]
    assert job.errors["_error"].tolist() == ["too odd"]
    assert df.llm.batch("{t}", out="out", **call) is job
    first = fake.jobs.popitem()[1]
    again = job.retry()
    wait_for(lambda: fake.jobs, again)
    assert len(fake.only_job.requests) == 1
    fake.finish(answers={"d": "D"})
    again.wait(60)
    assert again.is_successful
    assert df["out"].tolist() == ["A", "B", "C", "D"]
    assert again.results()["_status"].tolist() == ["reused", "reused", "reused", "succeeded"]
    assert len(first.requests) == 4


def test_everything_from_the_environment(fake, home, monkeypatch):
    """A cell that names a model and nothing else; a bucket with a folder in it."""
    for name, value in {
        "VERTEXAI_PROJECT": SETTINGS["vertex_project"],
        "VERTEXAI_LOCATION": "us-central1",
        "GCS_BUCKET_NAME": f"{BUCKET}/team/red",
        "VERTEXAI_API_BASE": fake.url,
    }.items():
        monkeypatch.setenv(name, value)
    df = frame()
    job = df.llm.batch("{t}", out="out", model="vertex_ai/gemini-2.5-flash", api_key=fake.key)
    wait_for(lambda: fake.jobs, job)
    assert f"team/red/jupyter_batch/{job.id}/0.jsonl" in fake.objects
    fake.finish(answers={"a": "A", "b": "B", "c": "C", "d": "D"})
    assert job.wait(60).is_successful
    assert df["out"].tolist() == ["A", "B", "C", "D"]


def service_account(fake, email="me@my-project.iam.gserviceaccount.com"):
    """A service account's file, as the console gives it; its private key is made here."""
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    from cryptography.hazmat.primitives import serialization

    key = (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )
    return {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "1",
        "private_key": key,
        "client_email": email,
        "client_id": "1",
        "token_uri": f"{fake.url}/token",
    }


@pytest.mark.parametrize("way", ["path", "json", "adc"])
def test_googles_own_library_gets_the_token(way, fake, home, tmp_path, monkeypatch):
    """A service account as a file, as its JSON, or where Google's library looks; a token is good for many calls."""
    pytest.importorskip("google.auth")
    account = service_account(fake)
    call = {"model": "vertex_ai/gemini-2.5-flash", "api_base": fake.url, **SETTINGS}
    if way == "json":
        call["vertex_credentials"] = account
    else:
        path = tmp_path.parent / f"{tmp_path.name}.json"
        path.write_text(json.dumps(account))
        if way == "path":
            call["vertex_credentials"] = str(path)
        else:
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    df = frame()
    job = df.llm.batch("{t}", out="out", **call)
    wait_for(lambda: fake.jobs, job)
    fake.finish(answers={"a": "A", "b": "B", "c": "C", "d": "D"})
    assert job.wait(60).is_successful
    assert fake.tokens <= 2 < sum(fake.asked.values()) - fake.tokens
    assert_nowhere(account["private_key"][40:80], home)


def test_credentials_that_are_none_pause_the_job(fake, home):
    """Google's library finds no account in them: the job waits and says how to give some; the text is not quoted."""
    pytest.importorskip("google.auth")
    job = frame().llm.batch(
        "{t}",
        out="out",
        model="vertex_ai/gemini-2.5-flash",
        api_base=fake.url,
        vertex_credentials={"type": "service_account", "private_key": "a-secret-text"},
        **SETTINGS,
    )
    wait_for(lambda: job.blocked == "key", job)
    assert "gcloud auth application-default login" in messages(job.snapshot())
    assert_nowhere("a-secret-text", home)
    assert not fake.objects


CALL = {
    "model": "vertex_ai/gemini-2.5-flash",
    "api_key": "k",
    "api_base": "http://127.0.0.1:1",
    **SETTINGS,
}
REFUSED = {
    "all that is missing": (
        OptionError,
        dict.fromkeys(SETTINGS),
        ("vertex_project=", "vertex_location=", "gcs_bucket_name=", "GCS_BATCH_BUCKET_NAME"),
    ),
    "a model of another maker": (
        ModelError,
        {"model": "vertex_ai/claude-sonnet-4-5"},
        ("Gemini", 'mode="realtime"'),
    ),
    "a bucket that is none": (OptionError, {"gcs_bucket_name": "My Bucket"}, ("gcs_bucket_name",)),
    "a label that is none": (
        OptionError,
        {"metadata": {"Team": "Red & Co"}},
        ("metadata", "lower-case"),
    ),
    "another window": (OptionError, {"completion_window": "7d"}, ("24h",)),
    "an address that is none": (OptionError, {"api_base": "https://me:pw@host"}, ("password",)),
    "a parameter that Gemini does not have": (
        OptionError,
        {"logit_bias": {"1": 2}},
        ("logit_bias",),
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_can_not_go_there_is_reported_at_once(name, home):
    """One sentence that says what to give; nothing is sent, nothing is kept."""
    kind, options, words = REFUSED[name]
    with pytest.raises(kind) as raised:
        frame().llm.batch("{t}", **{**CALL, **options})
    assert all(word in str(raised.value) for word in words), raised.value
    assert not list(home.rglob("*.jsonl"))


def test_a_missing_library_is_reported_with_its_line(home, monkeypatch):
    """google-auth is not there: how to install it, before anything is kept. With a token it is not needed."""
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(OptionError, match=r"pip install 'jupyter_batch\[vertex\]'"):
        frame().llm.batch("{t}", **{**CALL, "api_key": None})
    assert not home.exists()
    clouds.check_package("vertex_ai", "a-token")


def test_secrets_and_settings_are_kept_apart(tmp_path):
    """A file's path is a setting; its text, keys and tokens are secrets, as one text for this process's memory."""

    class Given:
        api_key = "sk-1"
        vertex_project = "p"
        vertex_credentials = '{"private_key": "x"}'
        aws_secret_access_key = None

    secret = clouds.secret_of(Given)
    assert clouds.secrets_in(secret) == {"vertex_credentials": '{"private_key": "x"}'}
    assert clouds.settings_of("vertex_ai", clouds.given_of(Given), {}) == {"vertex_project": "p"}
    Given.vertex_credentials = str(tmp_path / "account.json")
    (tmp_path / "account.json").write_text("{}")
    assert clouds.secret_of(Given) == "sk-1"
    assert clouds.secrets_in("sk-1") == {"api_key": "sk-1"}
    assert clouds.secrets_in('{"odd": "key"}') == {"api_key": '{"odd": "key"}'}
    assert clouds.settings_of("vertex_ai", clouds.given_of(Given), {})[
        "vertex_credentials"
    ].endswith("account.json")
    assert clouds.settings_of("openai", {}, {}) == {}


@pytest.mark.parametrize(
    ("location", "address"),
    [
        ("us-central1", "https://us-central1-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_the_address_of_a_region(location, address):
    """As Google names them."""
    assert clouds.base_of("vertex_ai", {"vertex_location": location}, None, {}) == address


def test_a_model_without_a_key_of_its_own_is_no_missing_key(home):
    """KeyMissingError is for providers that have keys."""
    with pytest.raises(OptionError) as raised:
        frame().llm.batch("{t}", model="vertex_ai/gemini-2.5-flash")
    assert not isinstance(raised.value, KeyMissingError)


def test_a_lost_ledger_is_no_loss(fake, home, monkeypatch):
    """The ledger is gone: the job is found by its label, taken up, and its answers are there; nothing is sent again."""
    for name, value in {
        "VERTEXAI_PROJECT": SETTINGS["vertex_project"],
        "VERTEXAI_LOCATION": "us-central1",
        "GCS_BUCKET_NAME": BUCKET,
        "VERTEXAI_API_BASE": fake.url,
    }.items():
        monkeypatch.setenv(name, value)
    df = frame()
    job = df.llm.batch("{t}", out="loud", model="vertex_ai/gemini-2.5-flash", api_key=fake.key)
    wait_for(lambda: job.batches, job)
    lose(home)
    found = jobs.orphans(provider="vertex_ai", api_key=fake.key)
    assert [(one.job, one.number, one.shards, one.rows) for one in found] == [(job.id, 0, 1, 4)]
    jobs.adopt(job.id, provider="vertex_ai", api_key=fake.key).follow()
    fake.finish(answers={"a": "A", "b": "B", "c": "C", "d": "D"})
    adopted = jobs.open_job(job.id).wait(60)
    assert adopted.is_successful
    assert adopted.results()["loud"].tolist() == ["A", "B", "C", "D"]
    again = frame()
    again.llm.attach(adopted, by_position=True)
    assert again["loud"].tolist() == ["A", "B", "C", "D"]
    assert fake.asked["create"] == 1
