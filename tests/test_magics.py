"""The magics in a real IPython shell. The face below them is a fake that records what it is asked for."""

import argparse
import re
import sys
import types

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import jupyter_batch
from jupyter_batch import magics
from jupyter_batch.config import magic_line as line
from jupyter_batch.config import options, settings
from jupyter_batch.core.errors import InputError, JobNotFoundError, LedgerCorruptError, OptionError


class FakeJob:
    """Stands where a Job stands: it knows its id and what was done to it."""

    errors = "the rows that failed"

    def __init__(self, number):
        self.id = f"jb{number}"
        self.done = []

    def cancel(self):
        self.done.append("cancel")
        return self

    def view(self):
        return "its rows"

    def retry(self, **given):
        self.done.append(given)
        return self


class FakeFace(types.ModuleType):
    """Takes submissions and keeps them; the ledger holds the job `jb7`."""

    def __init__(self):
        super().__init__("jupyter_batch.jobs")
        self.asked = []
        self.open = 0
        self.kept = FakeJob(7)

    def submit(self, source, prompt, *, door, frame_name=None, **given):
        assert frame_name == (None if isinstance(source, list) else "df")
        self.asked.append((source, prompt, door, given))
        return FakeJob(len(self.asked))

    def list_jobs(self):
        return [self.kept]

    def open_job(self, job_id, *, follow):
        assert isinstance(follow, bool)
        if job_id not in ("jb7", "my job"):
            raise JobNotFoundError(f"no job `{job_id}`")
        return self.kept

    def attach(self, job, frame):
        self.asked.append((job, frame))
        return job

    def resume_open(self):
        if isinstance(self.open, Exception):
            raise self.open
        return self.open


@pytest.fixture
def face(monkeypatch):
    """The fake in the face's place."""
    fake = FakeFace()
    monkeypatch.setitem(sys.modules, "jupyter_batch.jobs", fake)
    monkeypatch.setattr(jupyter_batch, "jobs", fake, raising=False)
    return fake


@pytest.fixture
def shell(face, monkeypatch):
    """A real shell with the extension loaded and a frame `df`."""
    for name in ("JUPYTER_BATCH_MODEL", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)
    config = Config()
    config.HistoryManager.enabled = False
    InteractiveShell.clear_instance()
    ip = InteractiveShell.instance(config=config)
    magics.load(ip)
    ip.user_ns["df"] = pd.DataFrame({"text": ["a", "b"], "Total": [1, 2]})
    yield ip
    magics.unload(ip)
    InteractiveShell.clear_instance()


def run(ip, cell):
    """Run a cell as a front end does; an error is raised here as it was there."""
    return ip.run_cell(cell, store_history=False).raise_error() or ip.user_ns.get("_")


def refused(ip, cell, capsys):
    """The output of a cell that fails: one line, no traceback, and the cell did fail."""
    capsys.readouterr()
    result = ip.run_cell(cell)
    assert result.error_in_exec is not None
    seen = capsys.readouterr()
    text = (seen.out + seen.err).strip()
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1, text
    return text


# -- the cell ----------------------------------------------------------------------------------------------------------


def test_a_cell_submits_the_named_frame_with_the_lines_options(shell, face):
    """The frame itself, the body, the door and the options in their own types reach the face; the Job is the result."""
    result = shell.run_cell(
        "%%llm_batch df --out label -m openai/x --max-tokens 50 --temperature=.5 --no-reuse --job j"
        "\n"
        "Classify: {text}\nin one word"
    )
    ((source, prompt, door, given),) = face.asked
    assert source is shell.user_ns["df"]
    assert (prompt, door) == ("Classify: {text}\nin one word", "magic")
    assert given == {
        "out": "label",
        "model": "openai/x",
        "max_tokens": 50,
        "temperature": 0.5,
        "reuse": False,
    }
    assert result.result is shell.user_ns["j"]
    assert result.result.id == "jb1"


def test_nothing_is_expanded(shell, face):
    """Braces, dollars, bangs and percents arrive as they were typed, in the line and in the body."""
    shell.user_ns["text"] = "EXPANDED"
    body = '{text} $text {{text}} {{ row.t }} !ls\n%time x\n?x\n  indented\n\n{"a": [1, {"b": 2}]}'
    run(shell, f"%%llm_batch df --system '{{text}} $text'\n{body}")
    assert face.asked[0][1] == body
    assert face.asked[0][3] == {"system": "{text} $text"}


@pytest.mark.parametrize(
    "body",
    [
        ">>> print(1)\nmore {text}",
        "In [1]: x\n   ...: y {text}",
        "x {text}\n\n",
        "\n\nx {text}",
        "x\r\ny {text}\r\n",
    ],
)
def test_the_body_is_the_one_that_was_typed(shell, face, body):
    """IPython strips prompts from a body that begins with them; the magic takes it as typed, but for line breaks."""
    run(shell, f"%%llm_batch df\n{body}")
    assert face.asked[0][1] == body.replace("\r\n", "\n").removesuffix("\n")


def test_called_from_code_or_inside_another_magic_the_given_body_counts(shell, face):
    """Where the raw cell is not this magic's own, its text is not taken for the body."""
    run(shell, "get_ipython().run_cell_magic('llm_batch', 'df', 'one {text}')")
    run(shell, "%%capture out\nget_ipython().run_cell_magic('llm_batch', 'df', 'two {text}')")
    run(shell, "%%capture out\n%%llm_batch df\nthree {text}")
    assert [asked[1] for asked in face.asked] == ["one {text}", "two {text}", "three {text}"]


def test_without_a_frame_the_body_is_prompts(shell, face):
    """Lines of --- part the prompts; blank ones are left out; a --- inside a line is text."""
    run(
        shell,
        "%%llm_batch --model local/echo\nfirst --- {x}\nsecond line\n---\n\n---  \nother\n---\n",
    )
    assert face.asked[0][0] == ["first --- {x}\nsecond line", "other"]
    assert face.asked[0][3] == {"model": "local/echo"}


def test_every_option_can_be_typed_and_comes_out_as_the_face_takes_it(shell):
    """For each option: its form on the line gives a value that passes the option's own check."""
    shell.user_ns["MY_KEY"] = "sk-1"
    shell.user_ns["MySchema"] = {"label": str}
    by_metavar = {
        "TEXT": "'word'",
        "NAME": "MySchema",
        "N": "3",
        "X": "0.5",
        "1": "1",
        "SECONDS": "2",
        "DURATION": "24h",
        "JSON": '\'{"type": "text"}\'',
        "KEY=VALUE": "team=nlp",
        "URL": "http://h:1/v1",
        "": "",
        "DOLLARS": "5",
        "PRICES": '\'{"openai/m": {"input": 0.2, "output": 0.8}}\'',
    }
    for option in options.EVERY.values():
        metavar = option.kind.metavar
        value = "MY_KEY" if option.by_name else by_metavar.get(metavar, metavar[1:].split(",")[0])
        for flag in (option.flag, "--" + option.name):
            _, given = line.read_line(f"df {flag} {value}", shell.user_ns)
            assert list(given) == [option.name]
            settings.checked(option, given[option.name])


def test_a_backslash_continues_the_line(shell, face):
    """As in a shell: the next lines are options, and the prompt begins after them."""
    shell.run_cell(
        "%%llm_batch df --out o \\\n  --model local/echo \\\n--name n\nSay {x}"
    ).raise_error()
    [asked] = face.asked
    assert asked[1:] == ("Say {x}", "magic", {"out": "o", "model": "local/echo", "name": "n"})


def test_dicts_and_schemas_by_name_or_as_json():
    """An option that takes a dict takes its name, too; a JSON schema may stand in the line."""
    names = {"rates": {"input": 1, "output": 2}, "who": {"team": "nlp"}}
    _, given = line.read_line("""df --prices rates --metadata who --schema '{"a": 1}'""", names)
    assert given == {"prices": names["rates"], "metadata": names["who"], "schema": {"a": 1}}


def test_options_that_may_come_several_times(shell):
    """--stop and --metadata add up."""
    _, given = line.read_line(
        "df --stop A --stop 'B C' --metadata team=nlp --metadata 'why=a=b'", shell.user_ns
    )
    assert given == {"stop": ["A", "B C"], "metadata": {"team": "nlp", "why": "a=b"}}


def test_the_key_is_named_never_typed(shell, face, monkeypatch, capsys):
    """--api-key takes a variable's name, here or in the environment; a typed key is refused and not repeated."""
    monkeypatch.setenv("MY_KEY", "sk-env")
    assert line.read_line("df --api-key MY_KEY", {})[1] == {"api_key": "sk-env"}
    assert line.read_line("df --api-key MY_KEY", {"MY_KEY": "sk-here"})[1] == {"api_key": "sk-here"}
    assert "sk-typed" not in refused(shell, "%%llm_batch df --api-key sk-typed\nx", capsys)
    assert face.asked == []


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%%llm_batch dff\nx", r"`dff` is not defined; DataFrames here: df; did you mean df\?"),
        ("%%llm_batch names\nx", r"`names` is no DataFrame but a list; DataFrames here: df"),
        (
            "%%llm_batch df[df.Total>1]\nx",
            r"`df\[df.Total>1\]` is not defined; .* give an expression a name",
        ),
        (
            "%%llm_batch df --max-tokns 5\nx",
            r"unknown option --max-tokns: did you mean --max-tokens",
        ),
        ("%%llm_batch df --outp label\nx", r"unknown option --outp: did you mean --out"),
        (
            "%%llm_batch df --max-tokens many\nx",
            r"--max-tokens takes a whole number above 0, not 'many'",
        ),
        ("%%llm_batch df --max-tokens\nx", r"--max-tokens: expected one argument"),
        (
            "%%llm_batch df --reuse False\nx",
            r"an option such as --reuse is given alone.*--no-reuse",
        ),
        (
            "%%llm_batch df --out {name}\nx",
            r"nothing in the line is expanded.* in the place of \{name\}",
        ),
        ("%%llm_batch df --sample two\nx", r"--sample: it takes a number of rows, not 'two'"),
        ("%%llm_batch df --prices missing\nx", r"--prices takes JSON, or the name of a dict"),
        ("%%llm_batch df --schema {a:1}\nx", r"'\{a:1\}' is no JSON; put it in single quotes"),
        ("%%llm_batch df --logit-bias {oops\nx", r"--logit-bias takes JSON"),
        ("%%llm_batch df --na drop --wait maybe\nx", r"`maybe` is one word too many"),
        ("%%llm_batch df --out 'a b\nx", r"a quote in the line is never closed"),
        ("%%llm_batch df --job 2nd\nx", r"--job takes a name"),
        ("%%llm_batch df --job class\nx", r"--job takes a name"),
        (
            "%%llm_batch df --job df\nx",
            r"--job takes a name for the Job, which no frame has, not 'df'",
        ),
        ("%%llm_batch df --metadata team\nx", r"--metadata takes KEY=VALUE"),
        ("%%llm_batch df\n   \n", r"the cell has no prompt"),
        ("%llm_batch lst", r"did you mean %llm_batch list\?"),
        (
            "%llm_batch df",
            r"takes list, show, view, attach, cancel, finish, retry, forget, errors, notify, adopt; .* %%llm_batch df",
        ),
        ("%llm_batch show", r"show ID"),
        ("%llm_batch show jb9", r"no job `jb9`"),
        ("%llm_batch attach jb7 dff", r"`dff` is not defined"),
        (
            "%llm_batch show {job.id}",
            r"expands nothing: .* in the place of \{job.id\}; .* jupyter_batch.open",
        ),
        ("%llm_batch cancel $job", r"expands nothing"),
    ],
)
def test_a_mistake_is_one_sentence_and_sends_nothing(shell, face, capsys, cell, says):
    """The cell fails, so that `Run all` stops; one line is shown without a traceback; nothing reached the face."""
    shell.user_ns["names"] = ["a"]
    assert_matches(says, refused(shell, cell, capsys))
    assert face.asked == []


def assert_matches(pattern, text):
    """The sentence is the one that was promised."""
    assert re.search(pattern, text), text


def test_no_frame_at_all_is_reported(shell, capsys):
    """Where no name holds a DataFrame, the sentence says so; IPython's own output names do not count."""
    shell.user_ns["_1"] = shell.user_ns.pop("df")
    assert "there is no DataFrame here yet" in refused(shell, "%%llm_batch df\nx", capsys)


def test_help_shows_every_option_and_sends_nothing(shell, face, capsys):
    """--help, the magic's docstring (`%%llm_batch?`) and the bare line magic list all options."""
    for cell in ("%%llm_batch df --help\nx", "%llm_batch --help", "%llm_batch"):
        run(shell, cell)
        seen = capsys.readouterr().out
        for flag in line.flags():
            if not flag.startswith("--no-"):
                assert flag in seen
    assert face.asked == []
    doc = shell.find_cell_magic("llm_batch").__doc__
    assert all(
        option.flag in doc and option.name in options.EVERY for option in options.EVERY.values()
    )


def test_no_option_is_parsed_by_an_abbreviation():
    """The parser takes no prefix of an option."""
    assert line.parser().allow_abbrev is False
    with pytest.raises(OptionError):
        line.read_line("df --tempera 1", {})


# -- the line magic ----------------------------------------------------------------------------------------------------


def test_the_line_magic_finds_shows_attaches_and_cancels(shell, face):
    """list, show, errors, attach and cancel do what they say on the job of that id, or of that name, in quotes."""
    assert shell.run_line_magic("llm_batch", "show jb7") is face.kept
    assert shell.run_line_magic("llm_batch", "errors 'my job'") == "the rows that failed"
    assert shell.run_line_magic("llm_batch", "view jb7") == "its rows"
    with pytest.raises(OptionError, match="a quote in the line is never closed"):
        shell.run_line_magic("llm_batch", "show 'my job")
    assert shell.run_line_magic("llm_batch", "attach jb7 df") is face.kept
    assert face.asked == [(face.kept, shell.user_ns["df"])]
    assert face.kept.done == []
    shell.run_line_magic("llm_batch", "cancel jb7")
    assert face.kept.done == ["cancel"]


def test_retry_takes_another_model_and_invalid(shell, face, capsys):
    """The line's options are `Job.retry`'s; an unknown one names the nearest."""
    line = (
        "retry jb7 --model openai/better --api-base http://h --invalid --max-cost 2 --max-tokens 9"
    )
    assert shell.run_line_magic("llm_batch", line) is face.kept
    assert shell.run_line_magic("llm_batch", "retry jb7") is face.kept
    place = {"model": "openai/better", "api_base": "http://h"}
    assert face.kept.done == [{**place, "invalid": True, "max_cost": 2.0, "max_tokens": 9}, {}]
    with pytest.raises(OptionError, match=r"--invald.*--invalid"):
        shell.run_line_magic("llm_batch", "retry jb7 --invald")


# -- loading -----------------------------------------------------------------------------------------------------------


def ours(ip):
    """Everything of ours in a shell, counted."""
    callbacks = [
        c
        for event in ("pre_run_cell", "post_run_cell")
        for c in ip.events.callbacks[event]
        if isinstance(getattr(c, "__self__", None), magics.LLMBatch)
    ]
    return {
        "configurables": sum(isinstance(c, magics.LLMBatch) for c in ip.configurables),
        "events": len(callbacks),
        "matchers": sum(
            getattr(one, "matcher_identifier", "") == magics.MATCHER
            for one in ip.Completer.custom_matchers
        ),
        "magics": sum("llm_batch" in ip.magics_manager.magics[kind] for kind in ("line", "cell")),
    }


def test_loading_twice_leaves_one_and_unloading_none(shell, face):
    """load, load again, unload, unload again: one of each, then nothing, and no error."""
    one = {"configurables": 1, "events": 2, "matchers": 1, "magics": 2}
    assert ours(shell) == one
    magics.load(shell)
    assert ours(shell) == one
    run(shell, "%%llm_batch df\nstill {text}")
    assert [asked[1] for asked in face.asked] == ["still {text}"]
    magics.unload(shell)
    magics.unload(shell)
    assert set(ours(shell).values()) == {0}


def test_config_holds_and_survives_a_reload(shell):
    """%config LLMBatch.model is what the settings read, after a reload too; a wrong value breaks no reload."""
    from jupyter_batch.config import settings

    assert settings.read({}).model is None
    run(shell, "%config LLMBatch.model = 'openai/y'")
    assert settings.read({"JUPYTER_BATCH_MODEL": "openai/env"}).model == "openai/y"
    magics.load(shell)
    assert settings.read({}).model == "openai/y"
    run(shell, "%config LLMBatch.model = 5")
    magics.load(shell)
    with pytest.raises(OptionError):
        settings.read({})


@pytest.mark.parametrize(
    ("still_open", "says"),
    [
        (0, ""),
        (1, "1 LLM batch is still running: %llm_batch list\n"),
        (2, "2 LLM batches are still running: %llm_batch list\n"),
        (LedgerCorruptError("the ledger is damaged"), "the ledger is damaged\n"),
    ],
)
def test_loading_says_in_one_line_what_is_still_open(
    shell, face, capsys, monkeypatch, still_open, says
):
    """Open jobs are taken up and counted; an unreadable ledger is reported, and the magics are there."""
    monkeypatch.setattr(magics, "_has_open_jobs", lambda: still_open != 0)
    face.open = still_open
    capsys.readouterr()
    magics.load(shell)
    assert capsys.readouterr().out == says
    assert ours(shell)["magics"] == 2


def test_errors_of_names_are_input_errors():
    """A wrong frame's name is the person's input: it is in that part of the tree."""
    with pytest.raises(InputError):
        line.frame_named("nope", {})
    assert isinstance(line.parser(), argparse.ArgumentParser)


# -- with the real face below ------------------------------------------------------------------------------------------


@pytest.fixture
def whole(monkeypatch, tmp_path):
    """A shell with nothing faked below it, and a ledger's folder that is not there yet."""
    for name in ("JUPYTER_BATCH_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(tmp_path / "home"))
    config = Config()
    config.HistoryManager.enabled = False
    InteractiveShell.clear_instance()
    ip = InteractiveShell.instance(config=config)
    ip.run_line_magic("load_ext", "jupyter_batch")
    ip.user_ns |= {
        "df": pd.DataFrame({"text": ["a", None], "full": [1, 2]}),
        "none": pd.DataFrame({"text": []}),
        "holes": pd.DataFrame({"text": [None, None]}),
    }
    yield ip
    ip.run_line_magic("unload_ext", "jupyter_batch")
    InteractiveShell.clear_instance()


@pytest.mark.parametrize(
    ("line", "prompt", "call", "says"),
    [
        (
            "df -m local/echo",
            "{txt}",
            "df.llm.batch('{txt}', model='local/echo')",
            r"txt.*no such column.*text",
        ),
        ("df", "{text}", "df.llm.batch('{text}')", r"model"),
        (
            "df -m my-model",
            "{text}",
            "df.llm.batch('{text}', model='my-model')",
            r"PROVIDER/my-model",
        ),
        (
            "df -m openai/gpt-4.1-mini",
            "{text}",
            "df.llm.batch('{text}', model='openai/gpt-4.1-mini')",
            r"OPENAI_API_KEY",
        ),
        (
            "none -m local/echo",
            "{text}",
            "none.llm.batch('{text}', model='local/echo')",
            r"no row|empty|nothing",
        ),
        (
            "holes -m local/echo",
            "{text}",
            "holes.llm.batch('{text}', model='local/echo')",
            r"no |nothing|0 rows",
        ),
        (
            "df -m local/echo --out full",
            "{text}",
            "df.llm.batch('{text}', model='local/echo', out='full')",
            r"overwrite",
        ),
        (
            "df -m local/echo --na raise",
            "{text}",
            "df.llm.batch('{text}', model='local/echo', na='raise')",
            r"text",
        ),
        (
            "df -m local/echo --na maybe",
            "{text}",
            "df.llm.batch('{text}', model='local/echo', na='maybe')",
            r"`na` takes",
        ),
        (
            "df -m local/echo --shard-size 0",
            "{text}",
            "df.llm.batch('{text}', model='local/echo', shard_size=0)",
            r"shard",
        ),
        (
            "df -m local/echo --template jinja",
            "{{ txt }}",
            "df.llm.batch('{{ txt }}', model='local/echo', template='jinja')",
            r"txt",
        ),
        (
            "df -m local/echo",
            "{% if x %}",
            "df.llm.batch('{% if x %}', model='local/echo')",
            r"jinja",
        ),
        (
            "df -m local/echo --modl x",
            "{text}",
            "df.llm.batch('{text}', model='local/echo', modl='x')",
            r"did you mean",
        ),
    ],
)
def test_bad_input_is_one_sentence_at_both_doors_and_leaves_nothing(
    whole, capsys, tmp_path, line, prompt, call, says
):
    """The magic and the accessor refuse it in one line without a traceback; no ledger, no folder, no column is made."""
    columns = {name: list(whole.user_ns[name].columns) for name in ("df", "none", "holes")}
    for cell in (f"%%llm_batch {line}\n{prompt}", call):
        assert_matches(says, refused(whole, cell, capsys))
    assert not (tmp_path / "home").exists()
    assert columns == {name: list(whole.user_ns[name].columns) for name in ("df", "none", "holes")}


def test_the_help_of_the_magic_is_html_in_groups(shell):
    """`%%llm_batch?` in a notebook: a table for each group of options, escaped; other objects keep their own help."""
    shown = []
    shell.set_hook("show_in_pager", lambda _shell, data, **_size: shown.append(data))
    shell.run_line_magic("pinfo", "%%llm_batch")
    shell.run_line_magic("pinfo", "%%time")
    page = shown[0]["text/markdown"]
    for title in ("The cell", "What is asked", "Cost and time", "Chat parameters"):
        assert f"<b>{title}</b>" in page
    assert page.index("--out") < page.index("--max-cost") < page.index("--temperature")
    assert "$" not in page
    assert "text/markdown" not in shown[1]
