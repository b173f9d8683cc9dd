"""The user's call at Bedrock: the column, `retry`, the least number of rows, and missing settings reported at once."""

from __future__ import annotations

import sys
import time

import pandas as pd
import pytest

from jupyter_batch import jobs
from jupyter_batch.core.errors import InputError, OptionError
from jupyter_batch.providers import clouds
from tests.clouds.bedrock import BUCKET, ROLE, Bedrock
from tests.clouds.conftest import BEDROCK as SETTINGS
from tests.clouds.conftest import BEDROCK_KEYS as SECRETS
from tests.clouds.conftest import CLAUDE as MODEL
from tests.ledgers import lose
from tests.messages import messages
from tests.waiting import wait_for


@pytest.fixture
def fake(monkeypatch):
    """Bedrock and S3, where botocore is configured to look for all of AWS."""
    with Bedrock(time.time) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        yield made


def frame(rows=100):
    """Rows that say who they are."""
    return pd.DataFrame({"t": [f"text {n}" for n in range(rows)]})


def answers(texts):
    """The prompt of each row."""
    return {text: text.upper() for text in texts}


CALL = {"model": f"bedrock/{MODEL}", "max_tokens": 50, "system": "Be loud", **SETTINGS}


def test_a_column_and_its_retry(fake, home):
    """Row 0 to 109 fail; run again, nothing is sent; `retry` sends those alone, and the column is whole."""
    df = frame(250)
    job = df.llm.batch("{t}", out="out", **CALL, **SECRETS)
    wait_for(lambda: fake.jobs, job)
    sent = fake.only_job.records
    assert list(sent) == [f"{job.id}Z{n}" for n in range(250)]
    assert next(iter(sent.values())) == {
        "messages": [{"role": "user", "content": [{"text": "text 0"}]}],
        "inferenceConfig": {"maxTokens": 50},
        "system": [{"text": "Be loud"}],
    }
    wrong = {"errorCode": 500, "errorMessage": "the model fell over"}
    fake.finish(answers=answers(df["t"][110:]), failed=dict.fromkeys(df["t"][:110], wrong))
    job.wait(60)
    assert job.is_complete
    assert job.counts.failed == 110
    assert job.errors["_error"].iloc[0] == "500: the model fell over"
    assert df.llm.batch("{t}", out="out", **CALL, **SECRETS) is job
    first = fake.jobs.popitem()[1]
    again = job.retry()
    wait_for(lambda: fake.jobs, again)
    assert len(fake.only_job.records) == 110
    fake.finish(answers=answers(df["t"]))
    again.wait(60)
    assert again.is_successful
    assert (df["out"] == df["t"].str.upper()).all()
    assert len(first.records) == 250


def test_everything_from_the_environment(fake, home, monkeypatch):
    """A cell that names a model and nothing else; requests and results in two places, under a key of their own."""
    for name, value in {
        "AWS_REGION": "us-east-1",
        "AWS_S3_BUCKET_NAME": f"{BUCKET}/team",
        "AWS_BATCH_ROLE_ARN": ROLE,
        "AWS_S3_OUTPUT_BUCKET_NAME": f"{BUCKET}/results",
        "AWS_ACCESS_KEY_ID": Bedrock.key,
        "AWS_SECRET_ACCESS_KEY": Bedrock.secret,
        "AWS_S3_ENCRYPTION_KEY_ID": "alias/mine",
    }.items():
        monkeypatch.setenv(name, value)
    df = frame()
    job = df.llm.batch("{t}", out="out", model=f"bedrock/converse/{MODEL}", completion_window="7d")
    wait_for(lambda: fake.jobs, job)
    order = fake.only_job.order
    assert order["modelId"] == MODEL
    assert order["timeoutDurationInHours"] == 168
    assert (
        order["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
        == f"s3://{BUCKET}/team/jupyter_batch/{job.id}/0.jsonl"
    )
    assert order["outputDataConfig"]["s3OutputDataConfig"] == {
        "s3Uri": f"s3://{BUCKET}/results/jupyter_batch/{job.id}/0/",
        "s3EncryptionKeyId": "alias/mine",
    }
    fake.finish(answers=answers(df["t"]))
    assert job.wait(60).is_successful
    assert (df["out"] == df["t"].str.upper()).all()


def test_no_batch_is_smaller_than_bedrock_takes(fake, home):
    """250 rows in batches of at most 240: not 240 and 10, but two of 125."""
    df = frame(250)
    job = df.llm.batch("{t}", out="out", shard_size=240, **CALL, **SECRETS)
    wait_for(lambda: len(fake.jobs) == 2, job)
    assert [len(one.records) for one in fake.jobs.values()] == [125, 125]
    for one in fake.jobs.values():
        fake.finish(answers=answers(df["t"]), job=one)
    assert job.wait(60).is_successful
    assert (df["out"] == df["t"].str.upper()).all()


def test_a_retry_of_a_few_rows_says_how_they_can_be_asked(fake, home):
    """One row of a hundred failed: too few for a batch; the sentence names real time, and nothing is left behind."""
    df = frame()
    job = df.llm.batch("{t}", out="out", **CALL, **SECRETS)
    wait_for(lambda: fake.jobs, job)
    fake.finish(answers=answers(df["t"][1:]))
    job.wait(60)
    before = sorted(home.rglob("*"))
    with pytest.raises(InputError, match=r'at least 100.*mode="realtime".*full price'):
        job.retry()
    assert sorted(home.rglob("*")) == before


REFUSED = {
    "fewer rows than a batch has": (
        InputError,
        {"rows": 99},
        ("99 requests", "at least 100", 'mode="realtime"'),
    ),
    "no way to split": (
        InputError,
        {"rows": 150, "shard_size": 100},
        ("150 requests in batches of 100", "100"),
    ),
    "a batch size below the least": (OptionError, {"shard_size": 99}, ("shard_size=99", "100")),
    "all that is missing": (
        OptionError,
        dict.fromkeys(SETTINGS),
        ("aws_region_name=", "s3_bucket_name=", "aws_batch_role_arn=", "AWS_S3_BUCKET_NAME"),
    ),
    "a role that is none": (OptionError, {"aws_batch_role_arn": "batch"}, ("arn:aws:iam",)),
    "a bucket that is none": (OptionError, {"s3_bucket_name": "My_Bucket"}, ("s3_bucket_name",)),
    "a tag that is none": (
        OptionError,
        {"metadata": {"team": "red & co"}},
        ("metadata", "tags of letters"),
    ),
    "a window that is too short": (OptionError, {"completion_window": "1h"}, ("24h to 7d",)),
    "a parameter that Converse does not have": (OptionError, {"seed": 3}, ("seed",)),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_can_not_go_there_is_reported_at_once(name, home):
    """One sentence that says what to give; nothing is sent, nothing is kept."""
    kind, options, words = REFUSED[name]
    options = {**CALL, **SECRETS, **options}
    with pytest.raises(kind) as raised:
        frame(options.pop("rows", 100)).llm.batch("{t}", **options)
    assert all(word in str(raised.value) for word in words), raised.value
    assert not list(home.rglob("*.jsonl"))


def test_no_credentials_pause_the_job(fake, home):
    """AWS's own library finds none: the job waits and says how to give some; nothing is sent."""
    job = frame().llm.batch("{t}", out="out", **CALL)
    wait_for(lambda: "aws sso login" in messages(job.snapshot()), job)
    wait_for(lambda: job.blocked == "key", job)
    assert not fake.asked


def test_a_profile_that_is_not_there(fake, home):
    """It is named, and what to do."""
    job = frame().llm.batch("{t}", out="out", aws_profile_name="nobody", **CALL)
    wait_for(lambda: "nobody" in messages(job.snapshot()), job)
    assert job.blocked == "key"


def test_a_missing_library_is_reported_with_its_line(home, monkeypatch):
    """boto3 is not there: how to install it, before anything is kept."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(OptionError, match=r"pip install 'jupyter_batch\[bedrock\]'"):
        frame().llm.batch("{t}", **CALL)
    assert not home.exists()


@pytest.mark.parametrize(
    ("region", "address"),
    [
        ("us-east-1", "https://bedrock.us-east-1.amazonaws.com"),
        ("cn-north-1", "https://bedrock.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_the_address_of_a_region(region, address):
    """As AWS names them; the call's own and the environment's come before."""
    assert clouds.base_of("bedrock", {"aws_region_name": region}, None, {}) == address
    assert (
        clouds.base_of(
            "bedrock", {"aws_region_name": region}, None, {"AWS_ENDPOINT_URL": "http://x/"}
        )
        == "http://x"
    )
    assert (
        clouds.base_of(
            "bedrock", {"aws_region_name": region}, "http://y", {"AWS_ENDPOINT_URL": "z"}
        )
        == "http://y"
    )


def test_a_lost_ledger_is_no_loss(fake, home, monkeypatch):
    """The ledger is gone: the job is found by its name, taken up, and its answers are there; nothing is sent again."""
    for name, value in {
        "AWS_REGION": "us-east-1",
        "AWS_S3_BUCKET_NAME": BUCKET,
        "AWS_BATCH_ROLE_ARN": ROLE,
        "AWS_ACCESS_KEY_ID": Bedrock.key,
        "AWS_SECRET_ACCESS_KEY": Bedrock.secret,
    }.items():
        monkeypatch.setenv(name, value)
    df = frame()
    job = df.llm.batch("{t}", out="loud", model=f"bedrock/{MODEL}")
    wait_for(lambda: job.batches, job)
    lose(home)
    found = jobs.orphans(provider="bedrock")
    assert [(one.job, one.number, one.shards, one.rows) for one in found] == [(job.id, 0, 1, 100)]
    jobs.adopt(job.id, provider="bedrock").follow()
    fake.finish(answers=answers(df["t"]))
    adopted = jobs.open_job(job.id).wait(60)
    assert adopted.is_successful
    assert (adopted.results()["loud"] == df["t"].str.upper()).all()
    again = frame()
    again.llm.attach(adopted, by_position=True)
    assert (again["loud"] == df["t"].str.upper()).all()
    assert fake.asked["create"] == 1
