"""Tab in the magics: what may come, in IPython's own completer, in a real kernel, and in the terminal's completer."""

import asyncio
import typing

import pandas as pd
import pydantic
import pytest
from IPython.core.completer import provisionalcompleter, rectify_completions
from IPython.core.interactiveshell import InteractiveShell
from IPython.terminal.ptutils import IPythonPTCompleter
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from traitlets.config import Config

from jupyter_batch import completion, magics
from jupyter_batch.adoption.commands import add_arguments
from jupyter_batch.completion import Sources, complete, job_ids, offers
from jupyter_batch.config import magic_line
from jupyter_batch.core.errors import TemplateError
from jupyter_batch.providers.table import common_models
from jupyter_batch.templates import template

ODD = [
    "Customer Feedback",
    3,
    ("a", "b"),
    "a{b}",
    'the "q"',
    "Größe",
    "<img src=x onerror=alert(1)>",
    "a.b",
    "text",
]
HIDDEN = ["\x1b[31mred", "evil\u202egnp", "bell\x07", "two\nlines", "\ud800"]


class Answer(pydantic.BaseModel):
    """A schema by its name."""

    label: str


class Typed(typing.TypedDict):
    """Another one."""

    label: str


def look_up(word):
    """A tool."""
    return word


NAMES = {
    "df": pd.DataFrame({"text": [1], "Total": [2]}),
    "odd": pd.DataFrame(columns=ODD + HIDDEN),
    "n": 1,
    "_df": 1,
    "Answer": Answer,
    "Typed": Typed,
    "plain": {"label": str},
    "look_up": look_up,
    "MY_TOKEN": "sk-hidden",
    "int": int,
}
SOURCES = Sources(
    lambda: {"openai/x": "", "local/echo": ""},
    lambda verb: ["jb1", "jb2"] if verb != "forget" else ["jb9"],
)


def words(before, names=NAMES):
    """The completions there; None where nothing of ours is."""
    found = offers(before, names, SOURCES)
    if found is None:
        return None
    assert before.endswith(found.typed)
    return found.words


# -- the line ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("%%llm_batch ", ["df", "odd"]),
        ("%%llm_batch d", ["df"]),
        ("%%llm_batch df --te", ["--temperature", "--template"]),
        ("%%llm_batch df --max_t", ["--max-tokens"]),
        ("%%llm_batch df --max-t", ["--max-tokens"]),
        ("%%llm_batch df --no-s", ["--no-store"]),
        ("%%llm_batch df --template ", ["braces", "jinja"]),
        ("%%llm_batch df --template=b", ["braces"]),
        ("%%llm_batch df --na s", ["skip", "send"]),
        ("%%llm_batch df --mode r", ["realtime"]),
        ("%%llm_batch df --cache ", ["system", "system_and_tools"]),
        ("%%llm_batch df --tool-choice n", ["none"]),
        ("%%llm_batch df --reasoning-effort ", ["low", "medium", "high"]),
        ("%%llm_batch df --out T", ["Total"]),
        ("%%llm_batch df --images t", ["text"]),
        ("%%llm_batch df -o T", ["Total"]),
        ("%%llm_batch odd --out Cu", ["'Customer Feedback'"]),
        ('%%llm_batch odd --out "Customer F', ['"Customer Feedback"']),
        ("%%llm_batch --wait df --out T", ["Total"]),
        ("%%llm_batch -m local/echo df --out T", ["Total"]),
        ("%%llm_batch --out T", []),
        ("%%llm_batch nodf --out T", []),
        ("%%llm_batch df -m lo", ["local/echo"]),
        ("%%llm_batch df --model ", ["openai/x", "local/echo"]),
        ("%%llm_batch df --model local/echo,", ["openai/x"]),
        ("%%llm_batch df --model=l", ["local/echo"]),
        ("%%llm_batch df --schema ", ["Answer", "Typed", "plain"]),
        ("%%llm_batch df --tools ", ["look_up"]),
        ("%%llm_batch df --examples ", ["df", "odd"]),
        ("%%llm_batch df --api-key MY", ["MY_TOKEN"]),
        ("%%llm_batch df --system 'Be {T", ["Total"]),
        ("%%llm_batch df --system Be", []),
        ("%%llm_batch df some", []),
        ("%%llm_batch df --job ", []),
        ("%%llm_batch df --max-tokens ", []),
        ("%llm_batch s", ["show"]),
        ("%llm_batch ", list(magic_line.VERBS)),
        ("%llm_batch show ", ["jb1", "jb2"]),
        ("job = %llm_batch show jb2", ["jb2"]),
        ("%llm_batch forget ", ["jb9"]),
        ("%llm_batch list ", []),
        ("%llm_batch attach jb7 ", ["df", "odd"]),
        ("%llm_batch attach jb7 df -", ["--by-position"]),
        ("%llm_batch finish jb1 ", ["--mode", "--max-cost"]),
        ("%llm_batch finish jb1 --mo", ["--mode"]),
        ("%llm_batch finish jb1 --mode ", ["realtime", "flex"]),
        ("%llm_batch finish jb1 --mode f", ["flex"]),
        ("%llm_batch finish jb1 --max-cost ", []),
        ("%llm_batch adopt --m", ["--model"]),
        ("%llm_batch adopt --model o", ["openai/x"]),
        ("x = 1\n%llm_batch sh", ["show"]),
    ],
)
def test_what_may_come_next_in_a_line(text, offered, monkeypatch):
    """Options, their values, frames, columns, models, verbs and ids, each in its place."""
    monkeypatch.delenv("MY_KEY", raising=False)
    assert sorted(words(text)) == sorted(offered)


def test_after_the_frame_every_option_may_come():
    """A blank after the frame offers all of them, as the parser takes them."""
    assert sorted(words("%%llm_batch df ")) == sorted(magic_line.flags())
    for flag in magic_line.flags():
        assert f"{flag}" in magic_line.parser()._option_string_actions


def test_options_come_in_the_order_of_use_with_their_help():
    """`--<Tab>` begins with what a first cell needs, and the menu has the beginning of each option's help."""
    found = offers("%%llm_batch df --", NAMES)
    assert found.words[:4] == ["--out", "--model", "--schema", "--system"]
    assert found.notes["--out"] == "the column to fill; with a schema, how the columns' names begin"
    assert set(found.words) == set(found.notes)


def test_models_come_with_price_and_context_the_users_own_first(monkeypatch):
    """The configured model, then common ones, of the providers that have a key before the others."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setattr(completion, "_used_before", lambda: ["openai/mine"])
    monkeypatch.setattr(completion, "listed_models", lambda: iter(["anthropic/claude-haiku-4-5"]))
    found = completion.models()
    assert list(found)[:2] == ["openai/mine", "anthropic/claude-haiku-4-5"]
    assert found["anthropic/claude-haiku-4-5"] == (
        "$0.50 in, $2.50 out per million in a batch; context 200,000"
    )
    assert all(found[name] for name in found if name in common_models()), (
        "each is in the price list"
    )


def test_the_options_of_adopt_are_its_parsers():
    """The completions after `adopt` are its arguments."""
    made = magic_line.Parser(add_help=False)
    add_arguments(made)
    taken = {flag for flag in made._option_string_actions if flag.startswith("--")}
    assert set(magic_line.ADOPT) == taken | {"--api-key", "--help"}


def test_a_key_is_offered_by_its_name_alone(monkeypatch):
    """Names of variables that may hold one, of Python and of the environment; what they hold is nowhere."""
    monkeypatch.setenv("SOME_API_KEY", "sk-environment")
    offered = words("%%llm_batch df --api-key ")
    assert {"MY_TOKEN", "SOME_API_KEY"} <= set(offered)
    assert "sk-" not in " ".join(offered)


def test_the_flat_form_asks_for_the_same():
    """`complete` is the words alone."""
    assert complete("%%llm_batch df --model ", NAMES, ["openai/x"]) == ["openai/x"]
    assert complete("import x", NAMES) == []


# -- the body ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("%%llm_batch df\nClassify {", ["text", "Total"]),
        ("%%llm_batch df\nClassify: {te", ["text"]),
        ("%%llm_batch df\n{text} and\n\n  {T", ["Total"]),
        ("%%llm_batch df\nx {to", ["Total"]),
        ('%%llm_batch df\n{"label": {T', ["Total"]),
        ("%%llm_batch df\n{{{T", ["Total"]),
        ("%%llm_batch -m local/echo df --wait\n{T", ["Total"]),
        ("%%llm_batch --out x --job j df\n{T", ["Total"]),
        ("\n%%llm_batch df\n{T", ["Total"]),
        ("%%time\n%%llm_batch df\n{T", ["Total"]),
        ("%%llm_batch odd\n{Customer F", ["Customer Feedback"]),
        ("%%llm_batch odd\n{<", ["<img src=x onerror=alert(1)>"]),
        ("%%llm_batch df\n{{T", None),
        ("%%llm_batch df\n{{", None),
        ("%%llm_batch df\nT", None),
        ("%%llm_batch df\n{text} T", None),
        ("%%llm_batch df\n--te", None),
        ("%%llm_batch df\n{nothing", []),
        ("%%llm_batch\n{T", []),
        ("%%llm_batch nodf\n{T", []),
        ("%%other df\n{T", None),
        ("%%llm_batches df\n{T", None),
        ("x = '''\n%%llm_batch df\n{T", None),
    ],
)
def test_columns_are_offered_inside_a_brace(text, offered):
    """After one brace (or three), not after two, which are the text of one; and for the frame that the line names."""
    assert words(text) == offered


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("{{ ", ["text", "Total"]),
        ("{{T", ["Total"]),
        ("{% if T", ["Total"]),
        ("{{ text ~ T", ["Total"]),
        ("{T", None),
        ("{{ text }} T", None),
        ("{{ text.T", None),
        ("{% if x %}T", None),
    ],
)
def test_jinja_templates_take_columns_in_their_own_braces(text, offered):
    """With --template jinja it is `{{ column }}` and `{% ... %}`, and no attribute of a value."""
    for head in ("%%llm_batch df --template jinja", "%%llm_batch --template=jinja df"):
        assert words(f"{head}\n{text}") == offered


def test_jinja_takes_a_name_that_is_no_identifier_from_the_row():
    """Odd names are offered as row["..."], and each of them is what the template takes."""
    head = "%%llm_batch odd --template jinja\n"
    assert words(head + "{{ Cust") == ['row["Customer Feedback"]']
    assert words(head + '{{ row["Cust') == ['row["Customer Feedback"]']
    for label, word in zip(ODD, words(head + "{{ "), strict=True):
        assert template.parse("{{ " + word + " }}", ODD, "jinja").columns == (label,)


def test_each_name_that_is_offered_is_one_that_the_template_takes():
    """Numbers, tuples, braces, dots, blanks: what is offered between braces is a hole for just that column."""
    for label, word in zip(ODD, words("%%llm_batch odd\n{"), strict=True):
        assert template.parse("{" + word + "}", ODD).columns == (label,)


def test_a_name_that_could_act_on_the_screen_is_not_offered():
    """ANSI, bidi overrides, line breaks and broken surrogates reach no menu and no editor; markup is text there."""
    for text in (
        "%%llm_batch odd\n{",
        "%%llm_batch odd --out ",
        "%%llm_batch odd --template jinja\n{{ ",
    ):
        offered = "".join(words(text))
        assert not any(char in offered for char in "\x1b\u202e\x07\n\ud800")
        assert "<img src=x onerror=alert(1)>" in offered
    hostile = Sources(lambda: ["ok/model", "\x1b[31mred"], lambda _: ["jb1", "\x1b]0;x\x07"])
    assert offers("%%llm_batch df -m ", NAMES, hostile).words == ["ok/model"]
    assert offers("%llm_batch show ", NAMES, hostile).words == ["jb1"]


def test_what_doubled_braces_offer_nothing_for_is_text_to_the_template_too():
    """Two braces are text, three a value in braces: the menu says what the template does."""
    assert template.parse("{{text}}", ["text"]).columns == ()
    assert template.parse("{{{text}}}", ["text"]).columns == ("text",)
    with pytest.raises(TemplateError):
        template.parse("{ text }", ["text"])


# -- in IPython --------------------------------------------------------------------------------------------------------


@pytest.fixture
def shell():
    """A real shell with the extension, a frame, and no job."""
    config = Config()
    config.HistoryManager.enabled = False
    InteractiveShell.clear_instance()
    ip = InteractiveShell.instance(config=config)
    magics.load(ip)
    ip.user_ns |= NAMES
    yield ip
    magics.unload(ip)
    InteractiveShell.clear_instance()


def tab(ip, text, *, at=None):
    """The cell after each completion that IPython offers there."""
    at = len(text) if at is None else at
    with provisionalcompleter():
        found = list(rectify_completions(text, ip.Completer.completions(text, at)))
    return [text[: one.start] + one.text + text[one.end :] for one in found]


def test_ipython_offers_ours_alone_where_something_of_ours_may_come(shell):
    """In the line, and between braces in the body; elsewhere in the prompt it is left alone."""
    assert tab(shell, "%%llm_batch df --temp") == [
        "%%llm_batch df --temperature",
        "%%llm_batch df --template",
    ]
    assert tab(shell, "%%llm_batch df --")[:2] == [
        "%%llm_batch df --out",
        "%%llm_batch df --model",
    ]
    assert tab(shell, "%%llm_batch df --model local/e") == ["%%llm_batch df --model local/echo"]
    assert tab(shell, "%llm_batch can") == ["%llm_batch cancel"]
    assert tab(shell, "%%llm_batch df\nSay {") == [
        "%%llm_batch df\nSay {text",
        "%%llm_batch df\nSay {Total",
    ]
    assert tab(shell, "%%llm_batch odd\nSay {Customer Fe") == [
        "%%llm_batch odd\nSay {Customer Feedback"
    ]
    call = 'df.llm.batch("{text}", model='
    assert tab(shell, f'{call}"local/e') == [f'{call}"local/echo']
    # litellm adds more models, where another test has imported it
    assert f'{call}["local/echo", "gemini/gemini-2.5-flash-lite' in tab(
        shell, f'{call}["local/echo", "gemini/gemini-2.5-flash-'
    )
    assert not [cell for cell in tab(shell, 'open(model="local/e') if cell.endswith("echo")]
    assert not [
        cell for cell in tab(shell, "%%llm_batch df\n--temp") if cell.endswith("--temperature")
    ]
    assert not [cell for cell in tab(shell, "%%llm_batch df\nSay {{To") if cell.endswith("{{Total")]
    shell.run_cell("%config LLMBatch.model = 'ollama/llama3:8b'")
    assert tab(shell, "%%llm_batch df -m ollama/llama3:8") == ["%%llm_batch df -m ollama/llama3:8b"]


def test_the_cursor_may_be_in_the_middle_of_the_cell(shell):
    """The text behind it stays as it is, in its own line and below."""
    text = "%%llm_batch df\nSay {T} now\nand {text}"
    assert tab(shell, text, at=text.index("}")) == ["%%llm_batch df\nSay {Total} now\nand {text}"]
    text = "%%llm_batch df --na  --wait\n{text}"
    assert (
        tab(shell, text, at=text.index("  --wait") + 1)[1]
        == "%%llm_batch df --na send --wait\n{text}"
    )


def test_the_terminals_own_completer_replaces_just_what_was_typed(shell):
    """The menu of the terminal's IPython: an odd name is inserted whole, and no control character is shown."""
    text = "%%llm_batch odd\nSay {Customer Fe"

    async def menu(typed):
        completer = IPythonPTCompleter(ipy_completer=shell.Completer)
        return [
            one async for one in completer.get_completions_async(Document(typed), CompleteEvent())
        ]

    (one,) = asyncio.run(menu(text))
    assert text[: one.start_position] + one.text == "%%llm_batch odd\nSay {Customer Feedback"
    every = asyncio.run(menu("%%llm_batch odd\nSay {"))
    assert len(every) == len(ODD)
    assert "\x1b" not in "".join(one.text + str(one.display_text) for one in every)


def test_tab_on_a_ledger_that_is_not_there_or_broken_offers_no_id(shell, tmp_path, monkeypatch):
    """No error and no folder come of a Tab."""
    assert job_ids("show") == []
    home = tmp_path / "broken"
    home.mkdir()
    (home / "ledger.sqlite3").write_bytes(b"this is no database at all, but a text" * 100)
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(home))
    assert job_ids("show") == []
    assert [cell for cell in tab(shell, "%llm_batch show ") if "jb" in cell] == []
