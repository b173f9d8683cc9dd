"""dspy's modules of one call over a frame: what dspy would ask is asked, what it would read is read, in typed columns.

Skipped where dspy is not installed: it is an extra.
"""

import subprocess
import sys
import time
from typing import Literal

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.core.errors import ColumnError, InputError, OptionError
from jupyter_batch.core.request import Result, Status
from jupyter_batch.prompts.signature import spelled_out
from jupyter_batch.schema import Parser
from tests.engine.conftest import call, server  # noqa: F401 - fixtures
from tests.ledgers import forget
from tests.providers.fakes.mistral import Mistral
from tests.waiting import wait_for

pytestmark = pytest.mark.filterwarnings("ignore")  # dspy's own
dspy = pytest.importorskip("dspy", exc_type=ImportError)

SIGNATURE = (
    "question, context -> answer, confidence: float, kind: Literal['good', 'bad'], tags: list[str], "
    "n: int | None"
)
ANSWER = """[[ ## reasoning ## ]]
It says so.

[[ ## answer ## ]]
yes,
really

[[ ## confidence ## ]]
0.9

[[ ## kind ## ]]
good

[[ ## tags ## ]]
["a", "b"]

[[ ## n ## ]]
7

[[ ## completed ## ]]"""
VALUES = {
    "reasoning": "It says so.",
    "answer": "yes,\nreally",
    "confidence": 0.9,
    "kind": "good",
    "tags": ["a", "b"],
    "n": 7,
}


@pytest.fixture(autouse=True)
def unconfigured():
    """No test leaves dspy configured."""
    yield
    dspy.settings.configure(lm=None, adapter=None)


def frame():
    """Two rows, with what a template would trip over."""
    return pd.DataFrame({"question": ["is it?", "1 or 2"], "context": ["a\nb", "c {d}"]})


def module():
    """With instructions, and with a demo, as an optimizer leaves it."""
    made = dspy.ChainOfThought(dspy.Signature(SIGNATURE, "Answer as a judge would."))
    made.predict.demos = [
        dspy.Example(
            question="q",
            context="c",
            reasoning="r",
            answer="a",
            confidence=0.5,
            kind="bad",
            tags=["x"],
            n=None,
        )
    ]
    return made


@pytest.mark.parametrize("adapter", ["ChatAdapter", "JSONAdapter", "XMLAdapter"])
def test_what_dspy_would_ask_is_asked(adapter):
    """Instructions, demos and inputs: message for message what the adapter itself makes of each row."""
    made = getattr(dspy, adapter)()
    dspy.settings.configure(adapter=made)
    cot, df = module(), frame()
    prompt, _ = spelled_out(df, cot, {"model": "m/m"})
    asked = prompt.holes(0, [df["question"].tolist(), df["context"].tolist()], 2)["messages"]
    assert asked == [
        made.format(cot.predict.signature, cot.predict.demos, dict(row)) for _, row in df.iterrows()
    ]
    assert "Answer as a judge would." in asked[1][0]["content"]
    assert len(asked[0]) == 4


def parsed(text, given=None):
    """The result of an answer with that text."""
    _, options = spelled_out(frame(), given or module(), {"model": "m/m"})
    return Parser(options["schema"]).one(Result("j-0", Status.SUCCEEDED, text))


def test_its_adapter_reads():
    """Each field in its own type, as dspy reads them."""
    assert parsed(ANSWER).value == VALUES
    assert parsed(ANSWER.replace("\n7\n", "\nnull\n")).value == {**VALUES, "n": None}
    assert parsed(ANSWER.replace("\ngood\n", "\n'good'\n")).value == VALUES


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("0.9", "high", "field confidence"),
        ("\ngood\n", "\nmeh\n", "field kind"),
        ("[[ ## kind ## ]]\ngood\n", "", "`kind`"),
        (ANSWER, "I can't help.", "`reasoning`, `answer`"),
        ('["a", "b"]', "3", "tags"),
        ("\n7\n", "\nseven\n", "n"),
    ],
)
def test_what_it_can_not_read_is_a_failed_row(old, new, says):
    """One sentence, and the text is kept."""
    text = ANSWER.replace(old, new)
    result = parsed(text)
    assert result.status is Status.FAILED
    assert says in result.error
    assert "\n" not in result.error
    assert len(result.error) < 200
    assert result.raw == text


def test_json_and_xml():
    """The other adapters read in their own way; JSON is asked for as the provider's structured output."""
    dspy.settings.configure(adapter=dspy.JSONAdapter())
    assert parsed(
        '{"answer": "x", "score": 1}', dspy.Predict("question -> answer, score: float")
    ).value == {"answer": "x", "score": 1.0}
    dspy.settings.configure(adapter=dspy.XMLAdapter())
    assert parsed(
        "<answer>x</answer>\n<score>1</score>", dspy.Predict("question -> answer, score: float")
    ).value == {"answer": "x", "score": 1.0}


def test_a_large_frame_is_rendered_at_once():
    """The messages that are the same for all rows are made once: some tenths of a millisecond a row."""
    prompt, _ = spelled_out(frame(), module(), {"model": "m/m"})
    rows = ["text"] * 1000
    began = time.process_time()
    asked = prompt.holes(0, [rows, rows], 1000)["messages"]
    assert time.process_time() - began < 3
    assert asked[999] == asked[0]


def test_from_the_module_to_its_columns(home):
    """`df.llm.batch(predict)`: each field a column; another process needs no module."""
    with Mistral(time.time) as fake:
        dspy.settings.configure(
            lm=dspy.LM(
                "mistral/the-model",
                temperature=0.25,
                max_tokens=77,
                api_key=fake.key,
                api_base=fake.url,
            )
        )
        df = frame()
        job = df.llm.batch(module())
        wait_for(lambda: fake.batches, job)
        body = next(iter(fake.only.requests.values()))
        assert (body["temperature"], body["max_tokens"]) == (0.25, 77)
        assert "response_format" not in body
        ids = sorted(fake.only.requests, key=lambda one: int(one.rpartition("-")[2]))
        fake.end(answers=dict(zip(ids, [ANSWER, "no"], strict=True)))
        job.wait(60)
        assert df.loc[0, list(VALUES)].to_dict() == VALUES
        assert {name: str(df[name].dtype) for name in VALUES} == {
            "reasoning": "string",
            "answer": "string",
            "confidence": "Float64",
            "kind": "category",
            "tags": "object",
            "n": "Int64",
        }
        assert job.results()["_raw"].iloc[1] == "no"
        assert df.llm.batch(module()) is job
        results = job.results()
        forget(home)
        pd.testing.assert_frame_equal(jupyter_batch.open(job.id).results(), results)
        assert fake.asked["create"] == 1


def test_options_come_before_the_lms(server, call, home):  # noqa: F811 - fixtures
    """Options of the call take precedence, then the module's own configuration, then its LM's."""
    lm = dspy.LM("openai/other", temperature=0.5, max_tokens=20, api_key="x")
    predict = dspy.Predict("question -> answer", temperature=0.75)
    predict.lm = lm
    _, options = spelled_out(frame(), predict, {"max_tokens": 30, "model": "a/b"})
    assert {name: options[name] for name in ("model", "temperature", "max_tokens", "api_key")} == {
        "model": "a/b",
        "temperature": 0.75,
        "max_tokens": 30,
        "api_key": "x",
    }
    job = frame().llm.batch(predict, **call).wait(60)
    assert job.state == "completed"
    assert all(error.startswith("length: the answer was cut off") for error in job.errors["_error"])


class Twice(dspy.Module if hasattr(dspy, "Module") else object):
    def __init__(self):
        super().__init__()
        self.first, self.second = (
            dspy.Predict("question -> answer"),
            dspy.Predict("answer -> again"),
        )


class Own(dspy.ChatAdapter if hasattr(dspy, "ChatAdapter") else object):
    pass


@pytest.mark.parametrize(
    ("prompt", "options", "kind", "says"),
    [
        (Twice, {}, InputError, r"a Twice decides.*\(2 predictors in it\)"),
        (
            lambda: dspy.Predict("gone -> answer"),
            {},
            ColumnError,
            "the column 'gone', which the frame has not",
        ),
        (
            lambda: dspy.Predict("question -> answer"),
            {"schema": {"a": str}},
            OptionError,
            "`schema` is the module's own",
        ),
        (
            lambda: dspy.Predict("question -> answer"),
            {"system": "x"},
            OptionError,
            "`system` is the module's own",
        ),
        (
            lambda: dspy.Predict("question -> answer", odd=1),
            {},
            OptionError,
            "configured with 'odd'",
        ),
    ],
)
def test_what_is_refused(prompt, options, kind, says, home):
    """One sentence, before anything is sent."""
    with pytest.raises(kind, match=says):
        frame().llm.batch(prompt(), model="local/echo", **options)
    assert not home.exists()


def test_an_adapter_of_ones_own_is_refused():
    """It could not be found tomorrow."""
    dspy.settings.configure(adapter=Own())
    with pytest.raises(
        OptionError, match="the adapter Own can't read the answers in another process"
    ):
        spelled_out(frame(), dspy.Predict("question -> answer"), {})


def test_a_signatures_class_is_a_module_of_one_call():
    """`df.llm.batch(Judge)` asks as dspy.Predict(Judge) does."""

    class Judge(dspy.Signature):
        """Judge it."""

        question: str = dspy.InputField()
        verdict: Literal["yes", "no"] = dspy.OutputField()

    prompt, options = spelled_out(frame(), Judge, {})
    assert prompt.columns == ("question",)
    assert options["schema"].name == "Judge"
    assert "Judge it." in prompt.holes(0, [["x"]], 1)["messages"][0][0]["content"]


def test_without_dspy_the_job_says_what_to_install():
    """A process without dspy can't read the answers, and says so."""
    _, options = spelled_out(frame(), module(), {"model": "m/m"})
    code = (
        "import sys, msgspec\nsys.modules['dspy'] = None\n"
        "from jupyter_batch.core.schema import Schema\nfrom jupyter_batch.schema import Parser\n"
        "Parser(msgspec.json.decode(sys.stdin.buffer.read(), type=Schema))"
    )
    import msgspec

    ran = subprocess.run(
        [sys.executable, "-c", code],
        input=msgspec.json.encode(options["schema"]),
        capture_output=True,
        timeout=60,
    )
    assert b'pip install "jupyter_batch[dspy]"' in ran.stderr


def test_examples_as_they_are(call, home):  # noqa: F811 - the fixture
    """Of a list of Examples the module's inputs are asked, and the labels are not; the same call attaches."""
    examples = [
        dspy.Example(question=f"q{n}", context="c", answer="the label").with_inputs(
            "question", "context"
        )
        for n in range(3)
    ]
    predict = dspy.Predict("question, context -> answer")
    lm = dspy.LM(call["model"], api_base=call["api_base"], api_key=call["api_key"])
    with dspy.context(lm=lm):
        job = jupyter_batch.batch(examples, predict).wait(60)
        assert jupyter_batch.batch(examples, predict) is job
        other = jupyter_batch.batch(examples, dspy.ChainOfThought("question -> answer")).wait(60)
    assert job.counts.total == other.counts.total == 3
    assert "q1" in job.row(1).prompt[-1]["content"]
    assert "the label" not in str(job.row(1).prompt)
    assert list(job.results().columns[:1]) == ["answer"]
    assert "no name leads" not in str(job._answers.message)
    results = jupyter_batch.batch(examples, "{question} of {context}", **call).wait(60)
    assert results.results()["response"].tolist() == ["q0 of c", "q1 of c", "q2 of c"]
    with pytest.raises(ColumnError, match="'topic'"):
        jupyter_batch.batch(examples, dspy.Predict("topic -> answer"), **call)
