"""Input of users, and the messages about it."""

from __future__ import annotations

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch.config import settings
from jupyter_batch.config.magic_line import read_line
from jupyter_batch.config.settings import read
from jupyter_batch.core.errors import InputError, JobNotFoundError, ModelError, OptionError
from jupyter_batch.group import Group
from jupyter_batch.job import Job
from jupyter_batch.providers.table import full_name

NAMED = [
    ("gpt-4o-mini", "openai/gpt-4o-mini"),
    ("gpt-5-mini", "openai/gpt-5-mini"),
    ("o4-mini", "openai/o4-mini"),
    ("o3", "openai/o3"),
    ("text-embedding-3-small", "openai/text-embedding-3-small"),
    ("ft:gpt-4o-mini:acme::1", "openai/ft:gpt-4o-mini:acme::1"),
    ("claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
    ("claude-unknown-9", "anthropic/claude-unknown-9"),
    ("gemini-2.5-flash", "gemini/gemini-2.5-flash"),
    ("mistral-small-latest", "mistral/mistral-small-latest"),
    ("codestral-latest", "mistral/codestral-latest"),
    ("grok-4", "xai/grok-4"),
    ("us.anthropic.claude-haiku-4-5-v1:0", "bedrock/us.anthropic.claude-haiku-4-5-v1:0"),
    ("openai:gpt-4o-mini", "openai/gpt-4o-mini"),
    ("anthropic:claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
    ("groq:openai/gpt-oss-20b", "groq/openai/gpt-oss-20b"),
    ("together:meta-llama/Llama-3.3-70B", "together_ai/meta-llama/Llama-3.3-70B"),
    ("google-gla:gemini-2.5-flash", "gemini/gemini-2.5-flash"),
    ("bedrock/us.anthropic.claude:0", "bedrock/us.anthropic.claude:0"),
    ("openai/gpt-4o-mini", "openai/gpt-4o-mini"),
    ("local/echo", "local/echo"),
]


@pytest.mark.parametrize(("typed", "full"), NAMED)
def test_a_bare_name_is_the_model_that_litellm_calls(typed, full):
    """Resolved by a table, without litellm; a full name stays as it is."""
    assert full_name(typed, api_base=None, environ={}) == full


def test_google_s_models_are_vertex_s_only_where_its_settings_alone_are_there():
    """A Gemini key, or nothing, means the Gemini API; a Vertex project without such a key means Vertex."""
    vertex = {"VERTEXAI_PROJECT": "p"}
    assert full_name("gemini-2.5-flash", api_base=None, environ=vertex).startswith("vertex_ai/")
    both = {**vertex, "GEMINI_API_KEY": "k"}
    assert full_name("gemini-2.5-flash", api_base=None, environ=both).startswith("gemini/")


def test_with_an_address_a_bare_name_is_a_model_of_that_server():
    """Every server of OpenAI's API is called so."""
    for name in ("llama-3.3-70b", "claude-haiku-4-5", "my-model"):
        assert full_name(name, api_base="http://h/v1", environ={}) == f"openai/{name}"


@pytest.mark.parametrize(
    ("name", "environ", "message"),
    [
        ("deepseek-chat", {"DEEPSEEK_API_KEY": "k"}, 'keys are here: "deepseek/deepseek-chat"'),
        ("gpt-oss-20b", {"GROQ_API_KEY": "k"}, '"groq/gpt-oss-20b"'),
        ("gpt-oss-20b", {"DEEPINFRA_API_KEY": "k"}, 'keys are here: "deepinfra/gpt-oss-20b"'),
        ("llama-3.3-70b-versatile", {}, "several hosts"),
        ("my-model", {}, "PROVIDER/my-model"),
    ],
)
def test_a_name_of_several_hosts_is_refused_with_those_whose_keys_are_there(name, environ, message):
    """An ambiguous name is never guessed, and Claude is never sent to OpenAI."""
    with pytest.raises(ModelError) as refused:
        full_name(name, api_base=None, environ=environ)
    assert message in str(refused.value)


def test_the_full_name_is_what_is_stored(home):
    """So both spellings are one request."""
    df = pd.DataFrame({"text": ["a"]})
    assert df.llm.preview("{text}", model="claude-haiku-4-5").model == "anthropic/claude-haiku-4-5"
    for models in (["gpt-4o-mini", "openai/gpt-4o-mini"], []):
        with pytest.raises(OptionError, match="different ones"):
            df.llm.preview("{text}", model=models)


def test_the_list_of_jobs_takes_a_limit(home):
    """`jobs(2)` and `jobs(limit=2)` are the newest two; what is no number is refused."""
    for text in "abc":
        pd.DataFrame({"text": [text]}).llm.batch("{text}", model="local/echo").wait(60)
    newest = [job.id for job in jupyter_batch.jobs()]
    assert [job.id for job in jupyter_batch.jobs(2)] == newest[:2]
    assert [job.id for job in jupyter_batch.jobs(limit=1)] == newest[:1]
    with pytest.raises(OptionError, match="limit"):
        jupyter_batch.jobs(limit="2")
    df = pd.DataFrame({"text": ["c"]})
    for name in (5, "", None):
        for opened in (jupyter_batch.open, df.llm.attach):
            with pytest.raises(JobNotFoundError, match="by its id or its name"):
                opened(name)
    job = df.llm.attach(newest[0])
    for other, why in (("text", "not a str"), (df["text"], "not a Series"), (df[[]], "no column")):
        with pytest.raises(InputError, match=why):
            job.merge(other)
        assert list(job.frame()) == ["text", "response"], "still of the frame that it has"


def test_too_many_metadata_are_counted(home):
    """16 given, 12 at most."""
    with pytest.raises(OptionError, match=r"at most 12.*not 16 of them"):
        settings.resolve(
            {"model": "local/echo", "metadata": {str(n): "x" for n in range(16)}}, read()
        )


def test_system_on_a_line_takes_a_variable_or_a_text_in_quotes():
    """`--system NAME` is the text that NAME holds; a word that is no name is refused, quotes make it a text."""
    names = {"RULES": "Be brief.", "n": 3}
    assert read_line("df --system RULES", names)[1]["system"] == "Be brief."
    assert read_line("df --system=RULES", names)[1]["system"] == "Be brief."
    assert read_line("df --system 'RULES'", names)[1]["system"] == "RULES"
    assert read_line('df --system "Be kind."', names)[1]["system"] == "Be kind."
    for word, content in (("OTHER", "not defined"), ("n", "holds a int")):
        with pytest.raises(OptionError, match=content):
            read_line(f"df --system {word}", names)


def test_json_on_a_line_without_quotes_says_how_to_quote_it():
    """The shell's rules take the double quotes away."""
    with pytest.raises(OptionError, match="single quotes"):
        read_line('df --response-format {"type":"json_object"}', {})
    given = read_line("""df --response-format '{"type":"json_object"}'""", {})[1]
    assert given["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("library", "make", "says"),
    [
        ("polars", "LazyFrame", r"LazyFrame .*: give df\.collect\(\)"),
        ("polars", "Series", r"Series .*: give series\.to_list\(\)"),
        ("pyarrow", "array", r"StringArray .*: give a pyarrow\.table"),
    ],
)
def test_a_frame_of_another_library_is_named(home, library, make, says):
    """What is no frame of polars and pyarrow is refused by its name, with what to give."""
    module = pytest.importorskip(library)
    data = ["a"] if make in {"Series", "array"} else {"text": ["a"]}
    for ask in (jupyter_batch.batch, jupyter_batch.embed):
        with pytest.raises(InputError, match=f"^{library} {says}"):
            ask(getattr(module, make)(data), "{text}", model="local/echo")


def test_a_sum_over_the_jobs_counts_each_dollar_once(home):
    """A job that two groups share has its cost in the older one alone."""
    prices = {"": {"input": 2.0, "output": 8.0}}
    df = pd.DataFrame({"text": ["a", "b"]})
    call = {"prices": prices, "wait": True, "timeout": 60}
    df.llm.batch("{text}", model=["local/echo", "local/local/echo"], **call)
    whole = jupyter_batch.jobs().to_frame()["cost"].sum()
    df.llm.batch("{text}", model=["local/echo", "local/local/local/echo"], **call)
    found = jupyter_batch.jobs()
    ids = {job.id: job.cost for group in found for job in group.jobs}
    assert whole > 0
    assert found.to_frame()["cost"].sum() == pytest.approx(sum(ids.values()))


def test_cached_tokens_have_a_column(home):
    """`_input_tokens` are all; those of the cache are in `_cached_tokens`."""
    job = pd.DataFrame({"text": ["a"]}).llm.batch("{text}", model="local/echo").wait(60)
    assert job.results()["_cached_tokens"].tolist() == [0]


def test_a_group_has_what_a_job_has():
    """Each public name, and each argument of the methods that both have."""
    import inspect

    missing = {name for name in vars(Job) if not name.startswith("_")} - set(dir(Group))
    assert missing <= {"salvaged"}, missing
    for name in ("finish", "run_tools", "retry", "resume", "cancel", "merge"):
        ours = inspect.signature(getattr(Group, name)).parameters
        assert set(inspect.signature(getattr(Job, name)).parameters) == set(ours), name


@pytest.mark.parametrize(
    ("prompt", "more"),
    [
        ("{a} {key}", {}),
        ("{{ key }}", {"template": "jinja"}),
        ("{a}", {"images": "key"}),
        ("{a}", {"system": "{key}"}),
    ],
)
def test_a_name_of_the_index_in_a_prompt_names_the_way_out(home, prompt, more):
    """The index is no column, and one call makes it one."""
    frame = pd.DataFrame({"a": ["x"]}, index=pd.Index([7], name="key"))
    with pytest.raises(InputError, match=r"'key' is a name of the index: \.reset_index\(\)"):
        frame.llm.preview(prompt, model="local/echo", **more)
    frame.reset_index().llm.preview("{a} {key}", model="local/echo")


def test_a_prompt_function_that_reads_no_column_has_the_columns_as_its_reason(home):
    """Other KeyErrors are the function's own, and a default works as with any mapping."""
    frame = pd.DataFrame({"a": ["x"]}, index=pd.Index([7], name="key"))
    with pytest.raises(InputError, match=r"reads 'key', .* Columns: a \(\.reset_index\(\)"):
        frame.llm.preview(lambda row: row["key"], model="local/echo")
    with pytest.raises(InputError, match="KeyError: 'x'"):
        frame.llm.preview(lambda row: {}[row["a"]], model="local/echo")
    frame.llm.preview(lambda row: row.get("key", "none"), model="local/echo")
