"""The endings that there are in real time: no file is late, absent or cut, since the answers are written here."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.realtime.realtime_endpoint import HANG, Endpoint

REFUSAL = 400


def asked(endpoint, harness, **more):
    """A job of four rows, one call at once."""
    df = harness.frame()
    call = {
        "model": "openai/m",
        "api_base": endpoint.base,
        "api_key": "k",
        "mode": "realtime",
        "concurrency": 1,
    }
    return df, df.llm.batch("{t}", out="out", **{**call, **more})


@pytest.mark.parametrize("bad", ["", "d", "abcd"], ids=["none failed", "one failed", "all failed"])
def test_completed(bad, harness):
    """Rows that are refused have their reason, the others their answer; `retry` asks for those that are left alone."""
    with Endpoint(
        lambda text, before: REFUSAL if text in bad and before == 0 else None
    ) as endpoint:
        df, job = asked(endpoint, harness)
        harness.until(lambda: job.is_complete)
        job.wait(60)
        assert job.state == "completed"
        assert df["out"].dropna().tolist() == [row.upper() for row in "abcd" if row not in bad]
        assert job.errors["_error"].str.contains("told 400 about").sum() == len(bad)
        assert endpoint.asked == dict.fromkeys("abcd", 1)
        harness.rest()
        assert endpoint.asked.total() == 4, "nothing is asked once it is over"
        if bad:
            again = job.retry()
            harness.until(lambda: again.is_complete)
            assert again.wait(60).is_successful
            assert df["out"].tolist() == list("ABCD")
            assert endpoint.asked == {row: 2 if row in bad else 1 for row in "abcd"}


def test_cancelled(harness):
    """Rows answered or in progress are kept; the row that was not sent has a reason, and is retried."""
    with Endpoint(lambda text, before: HANG if text == "c" else None) as endpoint:
        df, job = asked(endpoint, harness)
        harness.until(lambda: endpoint.asked["c"])
        job.cancel()
        harness.until(lambda: job._shards()[0].step == "cancelling")
        harness.until(lambda: list(harness.home.rglob("*.cancel")))
        endpoint.release()
        harness.until(lambda: job.is_complete)
        job.wait(60)
        assert job.state == "cancelled"
        assert df["out"].tolist()[:3] == ["A", "B", "C"]
        assert pd.isna(df["out"].iloc[3])
        assert job.errors.loc["z", "_status"] == "cancelled"
        again = job.retry()
        harness.until(lambda: again.is_complete)
        assert again.wait(60).is_successful
        assert df["out"].tolist() == list("ABCD")
        assert endpoint.asked == dict.fromkeys("abcd", 1)
