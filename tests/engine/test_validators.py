"""A Pydantic class's validators decide which answers are in the frame, and what they become there."""

from __future__ import annotations

import pandas as pd
import pydantic

import jupyter_batch
from tests.ledgers import forget

from .test_escalation import answered, azure, sent  # noqa: F401 - a fixture among them


class Code(pydantic.BaseModel):
    code: str
    share: float

    @pydantic.field_validator("code")
    @classmethod
    def known(cls, value: str) -> str:
        """Only codes that end in a number are right."""
        if not value[-1].isdigit():
            raise ValueError("no number at the end")
        return value.upper()


def test_a_class_from_the_answer_to_the_cell(azure, home):  # noqa: F811 - the fixture
    """Accepted answers are in the column, refused ones are sent again with the error; the same after a restart."""
    fake, call = azure
    df = pd.DataFrame({"t": ["a", "b"]})
    job = sent(fake, df.llm.batch("{t}", schema=Code, **call), 1)
    answered(fake, ['{"code": "a1", "share": "0.5"}', '{"code": "b", "share": 1}'])
    job.wait(60)
    assert (job.counts.succeeded, job.counts.failed) == (1, 1)
    assert df["code"].iloc[0] == "A1"
    assert df["share"].iloc[0] == 0.5
    assert job.errors["_error"].tolist() == ["code: Value error, no number at the end"]
    again = sent(fake, job.retry(invalid=True), 2)
    (body,) = answered(fake, ['{"code": "b2", "share": 1}'])
    assert "no number at the end" in body["messages"][-1]["content"]
    assert again.wait(60).is_successful
    assert df["code"].tolist() == ["A1", "B2"]
    forget(home)
    fresh = pd.DataFrame({"t": ["a", "b"]})
    fresh.llm.batch("{t}", schema=Code, **call).wait(60)
    assert fresh["code"].tolist() == ["A1", "B2"]
    assert fake.asked["create"] == 2


def test_several_models_and_a_list(server, call, home):
    """A class is a class for a group, too, and for a list of prompts."""
    prompts = ["x", "y"]
    group = jupyter_batch.batch(prompts, schema=Code, **{**call, "model": [call["model"]]})
    assert all(job._record().lax for job in group.wait(60).jobs)
    job = jupyter_batch.batch(prompts, schema=Code.model_json_schema(), **call)
    assert not job.wait(60)._record().lax
