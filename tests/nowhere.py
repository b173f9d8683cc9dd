"""Whether a key of a test is anywhere that it must not be: on disk, in what was printed and logged, in reprs."""

from __future__ import annotations

import sys

from jupyter_batch.core import secrets

_LONG = 12
"""Shorter keys of tests are words that occur by chance."""
_LARGE = 2_000_000
_ALLOWED = ("endpoint.json",)
"""The embedded server's own token is there, for its owner alone."""


def since(before):
    """The keys that this process was given since then, and that are long enough to be told from words."""
    return [one for one in secrets.known({}) if one not in before and len(one.strip()) >= _LONG]


def found(keys, folder, *texts):
    """Where a form of a key is: a list of sentences, which do not repeat it."""
    forms = {form for key in keys for form in secrets.forms(key) if len(form) >= _LONG}
    if not forms:
        return []
    told = [
        f"a key is in {path}"
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in _ALLOWED
        and path.stat().st_size <= _LARGE
        and (held := path.read_bytes())
        and any(form.encode() in held for form in forms)
    ]
    told += ["a key was printed or logged" for text in texts if any(form in text for form in forms)]
    told += [
        f"a key is in the repr of a {type(one).__name__}"
        for one in _held()
        if any(form in repr(one) for form in forms)
    ]
    return told


def _held():
    """What this process holds of jobs: sessions, workers, providers, open jobs."""
    sessions = sys.modules.get("jupyter_batch.engine.session")
    for session in list(sessions._sessions.values()) if sessions is not None else ():
        yield from (session, session.worker, session._keys)
        yield from list(session.worker._providers.values())
    jobs = sys.modules.get("jupyter_batch.job")
    if jobs is not None:
        yield from list(jobs._OPEN.values())
