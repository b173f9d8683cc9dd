"""`%%llm_batch` and `%llm_batch`: parse the line, call jobs.py, show the result."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Mapping
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Any as AnyValue

from jupyter_batch.config import settings
from jupyter_batch.config.line_values import value
from jupyter_batch.config.magic_line import (
    ABOUT,
    ADOPT,
    BY_POSITION,
    NAME,
    VERBS,
    Parser,
    add,
    frame_named,
    groups,
    parser,
    read_line,
    read_verb,
    refuse,
    words_of,
)
from jupyter_batch.config.options import EVERY
from jupyter_batch.core.errors import InputError, JupyterBatchError, OptionError

MARKDOWN = "text/markdown"
"""Notebooks show HTML in it; the text/html of `?` is dropped by IPython unless its `enable_html_pager` is set."""
MATCHER = "jupyter_batch"
"""Our name among the completer's matchers."""

# -- bodies ------------------------------------------------------------------------------------------------------------


def prompts(body: str) -> list[str]:
    """The prompts of a body without a frame: separated by lines of `---`, without blank ones."""
    parts = re.split(r"^---[ \t]*$\n?", body, flags=re.MULTILINE)
    return [part.strip("\n") for part in parts if part.strip()]


def typed(raw_cell: str | None, line: str, body: str) -> str:
    """The body as it was typed, without the last line break, which IPython adds, nor Windows's.

    IPython strips `>>> ` and `In [1]: ` from a body that begins with them; the raw cell still has them. It is used
    only where it is this magic's own cell (not inside `%%time`, say).
    """
    head, newline, rest = (raw_cell or "").lstrip("\n").partition("\n")
    if newline and head.startswith(f"%%{NAME}") and head[len(NAME) + 2 :].strip() == line.strip():
        body = rest
    return body.replace("\r\n", "\n").removesuffix("\n")


def continued(line: str, body: str) -> tuple[str, str]:
    """The line and the body, where a backslash at the line's end continues it, as in a shell."""
    while body and line.rstrip().endswith("\\"):
        more, _, body = body.partition("\n")
        line = f"{line.rstrip()[:-1]} {more}"
    return line, body


# -- the magic ---------------------------------------------------------------------------------------------------------


@magics_class
class LLMBatch(Magics):  # type: ignore[misc]  # IPython's annotations are not followed
    """The magics. `%config LLMBatch.model = "openai/gpt-4.1-mini"` sets the default model."""

    # Any value is taken here: a wrong one would stay in IPython's config and break %reload_ext. Settings refuse it.
    model = AnyValue(None, help="The litellm model id for cells and calls that name none.").tag(
        config=True
    )

    prices = AnyValue(
        None,
        help="What models cost that no price list knows: {model: {'input': 0.2, 'output': 0.8}}, "
        "in US dollars per million tokens.",
    ).tag(config=True)

    def __init__(self, shell: Any) -> None:
        super().__init__(shell=shell)
        self._raw: str | None = None

    def before_cell(self, info: Any) -> None:
        """Keep the cell as it was typed (IPython's pre_run_cell)."""
        self._raw = info.raw_cell

    def after_cell(self, _result: Any) -> None:
        """Drop the cell (post_run_cell)."""
        self._raw = None

    @no_var_expand  # type: ignore[untyped-decorator]  # IPython's annotations are not followed
    @line_cell_magic  # type: ignore[untyped-decorator]
    def llm_batch(self, line: str, cell: str | None = None) -> Any:
        """Submit a cell. Replaced below by the help of the options."""
        names = self.shell.user_ns
        if cell is None:
            return self._line(line, names)
        line, body = continued(line, typed(self._raw, line, cell))
        asked, given = read_line(line, names)
        if asked.help:
            sys.stdout.write(parser().format_help())
            return None
        return self._submit(asked, given, body, names)

    def _submit(
        self, asked: argparse.Namespace, given: dict[str, Any], body: str, names: dict[str, Any]
    ) -> Any:
        from jupyter_batch import jobs

        if not body.strip():
            raise InputError("the cell has no prompt: write it below the line")
        if asked.preview:
            source, prompt = (
                (prompts(body), None)
                if asked.frame is None
                else (frame_named(asked.frame, names), body)
            )
            return jobs.preview(source, prompt, door="magic", **given)
        if asked.sample is not None:
            if asked.frame is None:
                raise OptionError("--sample takes rows of a frame: put its name first")
            if "n" in given:
                raise OptionError(
                    "--sample asks for one answer a row: leave --n out; the batch asks for the others"
                )
            return jobs.sample(
                frame_named(asked.frame, names), body, asked.sample, door="magic", **given
            )
        if asked.frame is None:
            job = jobs.submit(prompts(body), None, door="magic", **given)
        else:
            frame = frame_named(asked.frame, names)
            job = jobs.submit(frame, body, door="magic", frame_name=asked.frame, **given)
        if asked.job:
            names[asked.job] = job
        return job

    def _line(self, line: str, names: dict[str, Any]) -> Any:
        words = words_of(line)
        verb, rest = (words[0], words[1:]) if words else ("--help", [])
        if verb in {"-h", "--help", "help"}:
            sys.stdout.write(parser().format_help())
            return None
        if verb not in VERBS:
            raise OptionError(_no_verb(verb))
        if verb == "adopt":
            return _adopt(rest, names)
        if verb == "notify":
            return _notify(rest)
        return _job_command(verb, rest, names)


def _job_command(verb: str, rest: list[str], names: Mapping[str, Any]) -> Any:
    """Run a command about a job, or about all, and return what is to be displayed. Raises OptionError."""
    from jupyter_batch import jobs

    given: dict[str, Any] = {}
    if verb in ("retry", "finish"):
        given, rest = read_verb(verb, rest, names)
    elif verb == "attach" and BY_POSITION in rest:
        given, rest = {"by_position": True}, [word for word in rest if word != BY_POSITION]
    _check_words(verb, rest)
    if verb == "list":
        return jobs.list_jobs()
    if verb == "forget":
        sys.stdout.write(f"{jobs.forget(rest[0])} is forgotten\n")
        return None
    job = jobs.open_job(
        rest[0], follow=verb in {"show", "attach"}
    )  # an unfollowed job stays unsent
    if verb == "attach":
        return jobs.attach(job, frame_named(rest[1], names), **given)
    if verb == "view":
        return job.view()
    if verb == "errors":
        return job.errors
    if verb == "retry":
        return job.retry(**given)
    if verb == "finish":
        return job.finish(**given)
    if verb == "cancel":
        job.cancel()
    return job


def _notify(words: list[str]) -> None:
    """`%llm_batch notify`: where a notice goes when a job of this kernel ends; `off` ends it."""
    from jupyter_batch.job_list import notify

    if len(words) > 1:
        raise OptionError(f"%{NAME} {VERBS['notify']}")
    where = words[0] if words else "desktop"
    status = notify(None if where == "off" else where)
    sys.stdout.write(f"{status}\n")


def _adopt(words: list[str], names: Mapping[str, Any]) -> Any:
    """`%llm_batch adopt`: list batches that are in no job here; with an ID or --all, adopt them."""
    from jupyter_batch import jobs
    from jupyter_batch.adoption.commands import add_arguments, where_of

    made = Parser(
        prog=f"%{NAME} adopt", add_help=False, allow_abbrev=False, description=VERBS["adopt"]
    )
    add_arguments(made)
    made.add_argument("-h", "--help", action="store_true", help="show this")
    key = EVERY["api_key"]
    add(made, key)
    asked, left = made.parse_known_args(words)
    refuse(left, ADOPT, f"%{NAME} adopt --help shows all")
    if asked.help:
        sys.stdout.write(made.format_help())
        return None
    where = where_of(asked)
    if key.name in where:
        where[key.name] = value(key, where[key.name], names)
    return (
        jobs.adopt(asked.id, **where).follow() if asked.all or asked.id else jobs.orphans(**where)
    )


def help_page(data: Any, _info: Any = None) -> str | None:
    """The page of `%%llm_batch?`: HTML, the options in groups; None for other objects (IPython's mime hook)."""
    about = getattr(data, "obj", data)  # before IPython 8.22, the object itself
    if getattr(about, "__func__", about) is not LLMBatch.llm_batch:
        return None
    from jupyter_batch.monitor.html import esc

    parts = [f"<pre>{esc(ABOUT)}</pre>"]
    for title, options in groups().items():
        rows = "".join(
            "<tr><td style='white-space:nowrap'><code>"
            f"{esc(' '.join(filter(None, (option.short, option.flag))))}</code></td><td>{esc(option.help)}</td></tr>"
            for option in options
        )
        parts.append(f"<details open><summary><b>{esc(title.capitalize())}</b></summary>")
        parts.append(f"<table>{rows}</table></details>")
    return "".join(parts).replace(
        "$", "&#36;"
    )  # else JupyterLab sets what is between two as a formula


LLMBatch.llm_batch.__doc__ = parser().format_help()


def _check_words(verb: str, words: list[str]) -> None:
    """Check the number of words, and that none is a shell expression. Raises OptionError."""
    if verb == "attach":
        refuse(
            [word for word in words if word.startswith("-")],
            [BY_POSITION],
            f"%{NAME} {VERBS[verb]}",
        )
    meant = next((word for word in words if word.startswith(("{", "$"))), None)
    if meant is not None:
        raise OptionError(
            f"%{NAME} expands nothing: write the id itself in the place of {meant}; where it is in a "
            "variable, jupyter_batch.open(variable) does the same"
        )
    if len(words) != len(VERBS[verb].partition(":")[0].split()) - 1:
        raise OptionError(f"%{NAME} {VERBS[verb]}")


def _no_verb(word: str) -> str:
    near = difflib.get_close_matches(word, VERBS, n=1)
    if near:
        return f"%{NAME} {word}: did you mean %{NAME} {near[0]}?"
    return f"%{NAME} takes {', '.join(VERBS)}; a prompt for a DataFrame is a cell: %%{NAME} {word}"


# -- loading -----------------------------------------------------------------------------------------------------------


def load(shell: Any) -> None:
    """Load the extension (`%load_ext jupyter_batch`, `%reload_ext`); idempotent."""
    unload(shell)
    magics = LLMBatch(shell)
    shell.register_magics(magics)
    shell.events.register("pre_run_cell", magics.before_cell)
    shell.events.register("post_run_cell", magics.after_cell)
    shell.Completer.custom_matchers.append(matcher(shell))
    if MARKDOWN not in getattr(shell.inspector, "mime_hooks", {MARKDOWN: None}):  # IPython 8.15
        shell.inspector.mime_hooks[MARKDOWN] = help_page
    _take_up_open_jobs()


def matcher(shell: Any) -> Any:
    """Return the matcher for this shell's completer, which reads the namespace at each Tab."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(identifier=MATCHER)  # type: ignore[untyped-decorator]  # IPython's annotations are not followed
    def llm_batch_words(context: Any) -> Any:
        text = context.full_text
        in_call = "model" in text and (".llm." in text or "jupyter_batch." in text)
        if NAME not in text and not in_call:
            return {"completions": [], "suppress": False}
        from jupyter_batch.completion import offers  # with the lists of models and prices

        lines = context.full_text.split("\n")[: context.cursor_line + 1]
        lines[-1] = lines[-1][: context.cursor_position]
        found = offers("\n".join(lines), shell.user_ns)
        if found is None:
            return {"completions": [], "suppress": False}
        # JupyterLab sorts what continues a typed text by name; without the dashes, nothing was typed yet.
        cut = len(found.typed) if found.typed == "--" else 0
        return {
            "completions": [
                SimpleCompletion(
                    text=word[cut:],
                    type=_in_one_line(found.notes.get(word) or found.kind),
                )
                for word in found.words
            ],
            "matched_fragment": found.typed[cut:],
            "ordered": True,
            "suppress": True,
        }

    return llm_batch_words


def _in_one_line(note: str) -> str:
    """The note without places to break it: JupyterLab would print its next line over the next note."""
    return note.replace(" ", "\u00a0").replace("-", "-\u2060").replace("/", "/\u2060")


def unload(shell: Any) -> None:
    """Unload the extension: remove its magics, events and matcher. Jobs continue."""
    for one in [c for c in shell.configurables if type(c).__name__ == LLMBatch.__name__]:
        for event, callback in (
            ("pre_run_cell", one.before_cell),
            ("post_run_cell", one.after_cell),
        ):
            if callback in shell.events.callbacks[event]:
                shell.events.unregister(event, callback)
        shell.configurables.remove(one)
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop(NAME, None)
    hooks = getattr(shell.inspector, "mime_hooks", {})
    if hooks.get(MARKDOWN) is help_page:
        del hooks[MARKDOWN]
    matchers = shell.Completer.custom_matchers
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", "") != MATCHER]


def _has_open_jobs() -> bool:
    """Whether the ledger has open jobs: most of the package is imported only for these."""
    home = settings.home()
    if not home.exists():
        return False
    from jupyter_batch.ledger.store import Ledger

    ledger = Ledger(home)
    try:
        return ledger.exists() and bool(ledger.jobs(unfinished=True))
    finally:
        ledger.close()


def _take_up_open_jobs() -> None:
    try:
        if not _has_open_jobs():
            return
        from jupyter_batch import jobs

        count = jobs.resume_open()
    except JupyterBatchError as error:  # the magics load even where the ledger can't be read
        sys.stdout.write(f"{error}\n")
        return
    if count:
        batches = "batch is" if count == 1 else "batches are"
        sys.stdout.write(f"{count} LLM {batches} still running: %{NAME} list\n")
