"""A search for the keys of a test in all that it left: files, output, log records, reprs, HTML, widgets, results."""

from __future__ import annotations

import contextlib
import logging
import re
import sys

import pytest

from jupyter_batch.core import secrets

_LONG = 12
"""Shorter forms occur by chance: they count only as a word of their own, and not where they are letters alone."""
_BLOCK = 1 << 20
_ROWS = 2_000
"""The results of larger jobs are searched as files alone."""
_ALLOWED = ("endpoint.json",)
"""The embedded server's own token is there, for its owner alone."""


def since(before):
    """The keys that this process was given since then."""
    return [one for one in secrets.known({}) if one not in before]


class Forms:
    """All forms of some keys, in texts and in files."""

    def __init__(self, keys):
        whole = {key.strip() for key in keys}
        forms = {form for key in keys for form in secrets.forms(key)}
        long = [re.escape(form) for form in forms if len(form) >= _LONG]
        words = [
            rf"(?<![\w-]){re.escape(key)}(?![\w-])"
            for key in whole
            if len(key) < _LONG and not key.isalpha()
        ]
        self._text = re.compile("|".join(long + words)) if long or words else None
        self._bytes = None if self._text is None else re.compile(self._text.pattern.encode())
        self._most = max(map(len, forms), default=0) + 1

    def __bool__(self):
        return self._text is not None

    def in_text(self, text):
        """Whether a form of a key is in a text."""
        return self._text.search(text) is not None

    def in_file(self, path):
        """Whether one is in a file of any size; it is read in blocks that overlap."""
        kept = b""
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:  # renamed by a worker
            while block := file.read(_BLOCK):
                kept += block
                if self._bytes.search(kept):
                    return True
                kept = kept[-self._most :]
        return False


def found(keys, folder, *texts):
    """Where a form of a key is: a list of sentences, which do not repeat it."""
    forms = Forms(keys)
    if not forms:
        return []
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in _ALLOWED]
    return [
        *(f"a key is in {path}" for path in files if forms.in_file(path)),
        *("a key was printed, logged or shown" for text in texts if forms.in_text(text)),
        *(
            f"a key is in the repr of a {type(one).__name__}"
            for one in _held()
            if forms.in_text(repr(one))
        ),
    ]


class _Handler(logging.Handler):
    """Collects each record as text, with its traceback."""

    def __init__(self, texts):
        super().__init__(logging.NOTSET)
        self._texts = texts

    def emit(self, record):
        self._texts.append(f"{record.name}: {self.format(record)}")


@contextlib.contextmanager
def logged():
    """Collect all that is logged (our own loggers at every level) and all that `capsys` and `capfd` take."""
    texts = []
    handler, ours = _Handler(texts), logging.getLogger("jupyter_batch")
    level = ours.level
    ours.setLevel(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    try:
        with pytest.MonkeyPatch.context() as patch:
            _note_captured(patch, texts)
            yield texts
    finally:
        logging.getLogger().removeHandler(handler)
        ours.setLevel(level)


def _note_captured(patch, texts):
    """Note what a capture fixture gives to the test, and what is left in it at the end."""
    fixture = pytest.CaptureFixture
    read, close = fixture.readouterr, fixture.close

    def noted(self):
        captured = read(self)
        texts.extend(map(_text, captured))
        return captured

    def closed(self):
        close(self)
        texts.extend(map(_text, (self._captured_out, self._captured_err)))

    patch.setattr(fixture, "readouterr", noted)
    patch.setattr(fixture, "close", closed)


def _text(captured):
    return captured if isinstance(captured, str) else captured.decode("utf-8", "replace")


def shown():
    """The visible state of this process at the end of a test: reprs, HTML, tables, and the state of widgets."""
    texts = []
    for one in _held():
        texts.append(repr(one))
    for job in _jobs():
        for show in (repr, _bundle, _table):
            with contextlib.suppress(Exception):  # a damaged ledger, on purpose
                texts.append(show(job))
    widgets = sys.modules.get("ipywidgets.widgets.widget")
    for widget in list(widgets._instances.values()) if widgets is not None else ():
        with contextlib.suppress(Exception):
            texts.append(repr(widget.get_state()))
    return texts


def close_shown():
    """Forget the widgets of this test: each later one would have their states read, too."""
    widgets = sys.modules.get("ipywidgets.widgets.widget")
    if widgets is not None:
        widgets._instances.clear()


def _bundle(job):
    return repr(job._repr_mimebundle_())


def _table(job):
    return job._answers.table().to_csv()


def _sessions():
    module = sys.modules.get("jupyter_batch.runner.process")
    return list(module._sessions.values()) if module is not None else []


def _jobs():
    """Each job of the ledgers that are open, without moving it."""
    module = sys.modules.get("jupyter_batch.job")
    for session in _sessions() if module is not None else ():
        with contextlib.suppress(Exception):
            for record in session.ledger.jobs():
                if record.rows <= _ROWS:
                    yield module.of(session, record.id)


def _held():
    """This process's objects of jobs: sessions, workers, providers, open jobs."""
    for session in _sessions():
        yield from (session, session.worker, session._keys)
        yield from list(session.worker._providers.values())
    jobs = sys.modules.get("jupyter_batch.job")
    if jobs is not None:
        yield from list(jobs._OPEN.values())
