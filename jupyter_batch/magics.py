"""`%%llm_batch` and `%llm_batch`: parse the line, call the face, show what it gives. No decision lives here."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Any as AnyValue

from jupyter_batch import settings
from jupyter_batch.core.errors import InputError, JupyterBatchError, OptionError
from jupyter_batch.options import CHAT_PARAMS, EXAMPLES, FLAG, OPTIONS, SCHEMA, TAGS, TOOLS, Option, unknown

NAME = "llm_batch"
MATCHER = "jupyter_batch"
VERBS = {
    "list": "list: every job in the ledger",
    "show": "show ID: the live monitor of a job",
    "attach": "attach ID FRAME: a job of another day, its answers onto this frame",
    "cancel": "cancel ID: at the provider; finished rows are kept",
    "retry": "retry ID: send the rows again that have no answer, those alone",
    "forget": "forget ID: remove a job that is over, answers and all; what it asked is paid for again then",
    "errors": "errors ID: the rows that failed, and why",
    "adopt": "adopt [ID | --all] [--model MODEL]: batches that are in no job here, listed or taken up (adopt --help)",
}
ABOUT = """\
%%llm_batch FRAME [options]      the body is the prompt, {column} stands for the row's value in that column
%%llm_batch [options]            without a frame: the body is prompts, separated by lines of ---

Nothing is expanded by IPython, neither in the line nor in the body. The job is shown as its live monitor, and the
answers land in the frame when it is done.

As a line: """ + "\n           ".join(f"%llm_batch {verb}" for verb in VERBS.values())


# -- the line ----------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def parser() -> argparse.ArgumentParser:
    """The parser of `%%llm_batch`'s line, made from the options. Values stay texts; `read_line` reads them."""
    made = _Parser(prog=f"%%{NAME}", usage=argparse.SUPPRESS, description=ABOUT, add_help=False, allow_abbrev=False,
                   formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, 2, 32, 118))
    made.add_argument("frame", nargs="?", metavar="FRAME", help="the name of a DataFrame")
    here = made.add_argument_group("options")
    here.add_argument("--job", metavar="NAME", help="bind the Job to this name")
    here.add_argument("--sample", metavar="N", type=int, help="ask N rows now, in real time, and show them; the batch "
                      "reuses their answers")
    here.add_argument("--preview", action="store_true", help="show what would be sent and what it would cost; send "
                                                             "nothing")
    here.add_argument("-h", "--help", action="store_true", help="show this and send nothing")
    for title, group in (("", OPTIONS), ("chat parameters", CHAT_PARAMS)):
        section = made.add_argument_group(title) if title else here
        for option in group:
            _add(section, option)
    return made


def _add(section: argparse._ActionsContainer, option: Option) -> None:
    flags = [flag for flag in (option.short, option.flag) if flag]
    help_text = option.help.replace("%", "%%")
    if option.by_name:
        help_text += "; here the NAME of a Python or environment variable, so that no secret stays in the notebook"
    elif option.default is not None and option.kind is not FLAG:
        help_text += f" (default: {option.default})"
    if option.kind is FLAG:
        section.add_argument(*flags, dest=option.name, help=help_text, default=argparse.SUPPRESS,
                             action=argparse.BooleanOptionalAction)
        return
    section.add_argument(*flags, dest=option.name, help=help_text, default=argparse.SUPPRESS,
                         metavar="NAME" if option.by_name else option.kind.metavar,
                         action="append" if option.kind.many else "store")


def read_line(line: str, names: Mapping[str, Any]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """What the line asks for: (frame, job, help), and the options given on it, ready for the face.

    names: where a NAME is looked up. Raises OptionError, one sentence.
    """
    try:
        words = shlex.split(line)
    except ValueError:
        raise OptionError(f"a quote in the line is never closed: {line.strip()}") from None
    words = [_dashes(word) for word in words]
    made = parser()
    asked, left = made.parse_known_args(words)
    if asked.help:
        return asked, {}
    for word in left:
        if word.startswith("-"):
            raise OptionError(unknown(word.partition("=")[0], flags(), str) + f" (%%{NAME} --help shows all)")
        raise OptionError(f"`{word}` is one word too many: put a value that has spaces in quotes")
    if asked.job is not None and not asked.job.isidentifier():
        raise OptionError(f"--job takes a name for the Job, not {asked.job!r}")
    given = {option.name: _value(option, getattr(asked, option.name), names)
             for option in OPTIONS + CHAT_PARAMS if hasattr(asked, option.name)}
    if "," in (models := str(given.get("model", ""))):
        given["model"] = [model.strip() for model in models.split(",")]
    return asked, given


def flags() -> list[str]:
    """Every option that the line takes."""
    return ["--job", "--preview", "--sample", "--help", *(option.flag for option in OPTIONS + CHAT_PARAMS),
            *(f"--no-{option.flag[2:]}" for option in OPTIONS if option.default is True)]


def _dashes(word: str) -> str:
    """--max_tokens is --max-tokens: the accessor's spelling works here too."""
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value if re.fullmatch(r"--[a-z][a-z0-9_-]*", flag) else word


def _value(option: Option, text: Any, names: Mapping[str, Any]) -> Any:
    if isinstance(text, bool):
        return text
    if option.by_name:
        held = names.get(text, os.environ.get(text))
        if not isinstance(held, str):  # never quote it: it may be the secret itself
            raise OptionError(f"{option.flag} takes the name of a Python or environment variable that holds the value, "
                              "so that no secret stays in the notebook")
        return held
    if option.kind is TOOLS and "," in text:
        return [_value(option, name.strip(), names) for name in text.split(",")]
    if option.kind in (SCHEMA, TOOLS, EXAMPLES):
        if text not in names:
            raise OptionError(f"{option.flag} takes the name of {option.kind.says}; {text!r} is not defined here")
        return names[text]
    try:
        read = [option.kind.from_text(one) for one in text] if option.kind.many else option.kind.from_text(text)
    except ValueError:
        raise OptionError(f"{option.flag} takes {option.kind.metavar}, not {text!r}") from None
    return dict(read) if option.kind is TAGS else read


# -- names and bodies --------------------------------------------------------------------------------------------------


def frames(names: Mapping[str, Any]) -> list[str]:
    """The names that hold a DataFrame; IPython's own `_` names left out."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return []
    return [name for name, value in names.items() if not name.startswith("_") and isinstance(value, pandas.DataFrame)]


def frame_named(name: str, names: Mapping[str, Any]) -> Any:
    """The DataFrame of that name; an InputError says what the name holds instead, and which frames there are."""
    there = frames(names)
    if name in there or (name in names and name.startswith("_") and frames({"x": names[name]})):
        return names[name]
    known = f"DataFrames here: {', '.join(there)}" if there else "there is no DataFrame here yet"
    if name in names:
        raise InputError(f"`{name}` is no DataFrame but a {type(names[name]).__name__}; {known}")
    near = difflib.get_close_matches(name, there, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    if not name.isidentifier():
        hint = "; the first word is a DataFrame's name, so give an expression a name first"
    raise InputError(f"`{name}` is not defined; {known}{hint}")


def prompts(body: str) -> list[str]:
    """A frame-less body's prompts: what stands between the lines of `---`, blank ones left out."""
    parts = re.split(r"^---[ \t]*$\n?", body, flags=re.MULTILINE)
    return [part.strip("\n") for part in parts if part.strip()]


def typed(raw_cell: str | None, line: str, body: str) -> str:
    """The body as it was typed, without the last line break, which IPython adds.

    IPython strips `>>> ` and `In [1]: ` from a body that begins with them; the raw cell has them still. It stands for
    the body only where it is this magic's own cell (not, say, one inside `%%time`).
    """
    head, newline, rest = (raw_cell or "").lstrip("\n").partition("\n")
    if newline and head.startswith(f"%%{NAME}") and head[len(NAME) + 2:].strip() == line.strip():
        body = rest
    return body.removesuffix("\n")


# -- the magic ---------------------------------------------------------------------------------------------------------


@magics_class
class LLMBatch(Magics):  # type: ignore[misc]  # IPython's annotations are not followed
    """The magics; `%config LLMBatch.model = "openai/gpt-4.1-mini"` sets the model for cells that name none."""

    # Any value is taken here: a wrong one would stay in IPython's config and break %reload_ext. Settings refuse it.
    model = AnyValue(None, help="The litellm model id for cells and calls that name none.").tag(config=True)

    prices = AnyValue(None, help="What models cost that no price list knows: {model: {'input': 0.2, 'output': 0.8}}, "
                                 "in US dollars per million tokens.").tag(config=True)

    def __init__(self, shell: Any) -> None:
        super().__init__(shell=shell)
        self._raw: str | None = None

    def before_cell(self, info: Any) -> None:
        """Keep the cell as it was typed (IPython's pre_run_cell)."""
        self._raw = info.raw_cell

    def after_cell(self, _result: Any) -> None:
        """Forget it (post_run_cell)."""
        self._raw = None

    @no_var_expand  # type: ignore[untyped-decorator]  # IPython's annotations are not followed
    @line_cell_magic  # type: ignore[untyped-decorator]
    def llm_batch(self, line: str, cell: str | None = None) -> Any:
        """Submit a cell; the options' own help takes this sentence's place below."""
        names = self.shell.user_ns
        if cell is None:
            return self._line(line, names)
        asked, given = read_line(line, names)
        if asked.help:
            sys.stdout.write(parser().format_help())
            return None
        return self._submit(asked, given, typed(self._raw, line, cell), names)

    def _submit(self, asked: argparse.Namespace, given: dict[str, Any], body: str, names: dict[str, Any]) -> Any:
        from jupyter_batch import jobs

        if not body.strip():
            raise InputError("the cell has no prompt: write it below the line")
        if asked.preview:
            source, prompt = (prompts(body), None) if asked.frame is None else (frame_named(asked.frame, names), body)
            return jobs.preview(source, prompt, door="magic", **given)
        if asked.sample is not None:
            if asked.frame is None:
                raise OptionError("--sample takes rows of a frame: put its name first")
            return jobs.sample(frame_named(asked.frame, names), body, asked.sample, door="magic", **given)
        if asked.frame is None:
            job = jobs.submit(prompts(body), None, door="magic", **given)
        else:
            frame = frame_named(asked.frame, names)
            job = jobs.submit(frame, body, door="magic", frame_name=asked.frame, **given)
        if asked.job:
            names[asked.job] = job
        return job

    def _line(self, line: str, names: dict[str, Any]) -> Any:
        from jupyter_batch import jobs

        words = line.split()
        verb, rest = (words[0], words[1:]) if words else ("--help", [])
        if verb in {"-h", "--help", "help"}:
            sys.stdout.write(parser().format_help())
            return None
        if verb not in VERBS:
            raise OptionError(_no_verb(verb))
        if verb == "adopt":
            return _adopt(line.split(verb, 1)[1], names)
        by_position = verb == "attach" and "--by-position" in rest
        rest = [word for word in rest if not (by_position and word == "--by-position")]
        wanted = VERBS[verb].partition(":")[0].split()[1:]
        if len(rest) != len(wanted):
            raise OptionError(f"%{NAME} {VERBS[verb]}")
        if verb == "list":
            return jobs.list_jobs()
        if verb == "forget":
            sys.stdout.write(f"{jobs.forget(rest[0])} is forgotten\n")
            return None
        job = jobs.open_job(rest[0], follow=verb in {"show", "attach"})  # a cancel is noted before anything moves
        if verb == "attach":
            frame = frame_named(rest[1], names)
            return jobs.attach(job, frame, by_position=True) if by_position else jobs.attach(job, frame)
        if verb == "errors":
            return job.errors
        if verb == "retry":
            return job.retry()
        if verb == "cancel":
            job.cancel()
        return job


def _adopt(line: str, names: Mapping[str, Any]) -> Any:
    """`%llm_batch adopt`: what is at a provider and in no job here; with an ID or --all it is taken up."""
    from jupyter_batch import jobs
    from jupyter_batch.engine.seek import add_arguments, where_of

    made = _Parser(prog=f"%{NAME} adopt", add_help=False, allow_abbrev=False, description=VERBS["adopt"])
    add_arguments(made)
    made.add_argument("-h", "--help", action="store_true", help="show this")
    key = next(option for option in OPTIONS if option.name == "api_key")
    _add(made, key)
    asked = made.parse_args([_dashes(word) for word in line.split()])
    if asked.help:
        sys.stdout.write(made.format_help())
        return None
    where = where_of(asked)
    if key.name in where:
        where[key.name] = _value(key, where[key.name], names)
    return jobs.adopt(asked.id, **where).follow() if asked.all or asked.id else jobs.orphans(**where)


LLMBatch.llm_batch.__doc__ = parser().format_help()


def _no_verb(word: str) -> str:
    near = difflib.get_close_matches(word, VERBS, n=1)
    if near:
        return f"%{NAME} {word}: did you mean %{NAME} {near[0]}?"
    return f"%{NAME} takes {', '.join(VERBS)}; a prompt for a DataFrame is a cell: %%{NAME} {word}"


# -- completion --------------------------------------------------------------------------------------------------------


def complete(line: str, names: Mapping[str, Any], models: Iterable[str] = ()) -> list[str]:
    """What may come next in a line of the magic, up to the cursor: options, frames, columns, models, or verbs."""
    head, _, text = line.lstrip().partition(NAME)
    words = text.split()
    token = words.pop() if words and not text[-1:].isspace() else ""
    before = _dashes(words[-1]) if words else ""
    if head == "%":
        offered: Iterable[str] = _verb_words(words, names)
    elif "=" in token:
        return []
    elif before in {"--model", "-m"}:
        offered = models
    elif before in {"--out", "-o", "--images"}:
        offered = [str(name) for frame in words[:1] if frame in frames(names) for name in names[frame].columns]
    elif before in (choices := _choices()):
        offered = choices[before]
    elif token.startswith("-"):
        offered = flags()
    else:
        offered = [] if words else frames(names)
    return [word for word in offered if word.startswith(token)]


def _verb_words(words: list[str], names: Mapping[str, Any]) -> Iterable[str]:
    if not words:
        return VERBS
    return frames(names) if words[0] == "attach" and len(words) == 2 else ()  # noqa: PLR2004  after the verb and the id


def _choices() -> dict[str, list[str]]:
    return {option.flag: option.kind.metavar.strip("{}").split(",")
            for option in OPTIONS if option.kind.metavar.startswith("{")}


def _models() -> list[str]:
    """What is configured, what runs here, and, once litellm is loaded for other reasons, its names."""
    known = ["local/echo"]
    litellm = sys.modules.get("litellm")
    for provider in ("openai", "anthropic", "azure", "mistral", "xai"):
        names = getattr(litellm, "models_by_provider", {}).get(provider, ())
        known += sorted(name if name.startswith(f"{provider}/") else f"{provider}/{name}" for name in names)
    configured = settings.read().model
    return [configured, *known] if configured else known


def _matcher(shell: Any) -> Any:
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(identifier=MATCHER)  # type: ignore[untyped-decorator]  # IPython's annotations are not followed
    def llm_batch_words(context: Any) -> Any:
        line = context.line_with_cursor[:context.cursor_position]
        ours = (context.cursor_line == 0 and line.startswith(f"%%{NAME} ")) or line.lstrip().startswith(f"%{NAME} ")
        if not ours:
            return {"completions": [], "suppress": False}
        typed_word = "" if line[-1:].isspace() else line.split()[-1]
        cut = max(0, len(typed_word) - len(context.token))  # IPython's token begins anew at a ':'
        return {"completions": [SimpleCompletion(text=word[cut:], type="param")
                                for word in complete(line, shell.user_ns, _models())], "suppress": True}

    return llm_batch_words


# -- loading -----------------------------------------------------------------------------------------------------------


def load(shell: Any) -> None:
    """What `%load_ext jupyter_batch` does; a second time, and `%reload_ext`, leave one of everything."""
    unload(shell)
    magics = LLMBatch(shell)
    shell.register_magics(magics)
    shell.events.register("pre_run_cell", magics.before_cell)
    shell.events.register("post_run_cell", magics.after_cell)
    shell.Completer.custom_matchers.append(_matcher(shell))
    _take_up_open_jobs()


def unload(shell: Any) -> None:
    """What `%unload_ext jupyter_batch` does: no magic, event or matcher of ours is left; jobs go on."""
    for one in [c for c in shell.configurables if type(c).__name__ == LLMBatch.__name__]:
        for event, callback in (("pre_run_cell", one.before_cell), ("post_run_cell", one.after_cell)):
            if callback in shell.events.callbacks[event]:
                shell.events.unregister(event, callback)
        shell.configurables.remove(one)
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop(NAME, None)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", "") != MATCHER]


def _take_up_open_jobs() -> None:
    from jupyter_batch import jobs

    try:
        count = jobs.resume_open()
    except JupyterBatchError as error:  # a ledger that can't be read is no reason to have no magic
        sys.stdout.write(f"{error}\n")
        return
    if count:
        batches = "batch is" if count == 1 else "batches are"
        sys.stdout.write(f"{count} LLM {batches} still running: %{NAME} list\n")
