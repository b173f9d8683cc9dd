"""The row view of a job: opened from a terminal, or shown in a notebook."""

from __future__ import annotations

import contextlib
import html
import os
import sys
import threading
import webbrowser
from pathlib import Path

from jupyter_batch.config import settings
from jupyter_batch.core.errors import OptionError
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.monitor.style import AS_TEXT
from jupyter_batch.viewer.actions import Held
from jupyter_batch.viewer.server import Viewer, job_named

HEIGHT = 640
"""Pixels of the page in a notebook."""
_HUB = "JUPYTERHUB_SERVICE_PREFIX"
"""Environment variable of kernels on a JupyterHub: the path of the user's Jupyter server."""
_REMOTE = ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")
"""Environment variables of kernels whose browser is on another machine, behind no Jupyter server of ours."""

_running: dict[Path, Viewer] = {}
_lock = threading.Lock()


def close_all() -> None:
    """End the servers of this process."""
    with _lock:
        while _running:
            _running.popitem()[1].stop()


def serve(name: str, *, port: int = 0, browser: bool = True) -> int:
    """Serve a job's rows until Ctrl-C. Raises JobNotFoundError, OptionError."""
    ledger = Ledger(settings.home())
    job, page = job_named(ledger, name), page_of(ledger, name)
    try:
        viewer = Viewer(ledger).start(port)
    except OSError as error:
        raise OptionError(f"port {port} can't be used: {error.strerror or error}") from None
    try:
        sys.stdout.write(f"Rows of {job}: {viewer.address(job)}{page}\nCtrl-C ends it.\n")
        sys.stdout.flush()
        if browser:
            webbrowser.open(viewer.entry(job) + page)
        viewer.wait()
    except KeyboardInterrupt:
        pass
    finally:
        viewer.stop()
    return 0


def page_of(ledger: Ledger, name: str) -> str:
    """The page that shows a job first: its rows; of several models over the same rows their comparison."""
    jobs = ledger.groups().get(name)
    return "compare.html" if jobs and not ledger.job(jobs[0]).model_column else ""


def address_of(ledger: Ledger, name: str) -> str:
    """The page of a job or a group for the notebook's browser; "" where that does not reach this machine."""
    job, page = job_named(ledger, name), page_of(ledger, name)
    if os.environ.get(_HUB):
        return _passed_on(job, page)
    if any(variable in os.environ for variable in _REMOTE):
        return ""
    return _viewer_of(ledger).address(job) + page


def _passed_on(job: str, page: str) -> str:
    """A JupyterHub's address of a page: its server passes the page on, with the user's own login."""
    return f"{os.environ[_HUB].rstrip('/')}/jupyter-batch/rows/{job}/{page}"


def _viewer_of(ledger: Ledger) -> Viewer:
    """The server of this process for a ledger."""
    with _lock:
        if ledger.home not in _running:
            _running[ledger.home] = Viewer(ledger).start()
        return _running[ledger.home]


class View:
    """The rows of a job as a page of this process: an output in a notebook, a browser's page elsewhere."""

    def __init__(self, ledger: Ledger, job: str, held: Held | None = None) -> None:
        self._viewer = _viewer_of(ledger)
        self.job = job_named(ledger, job)
        if held is not None:
            self._viewer.hold(job, held)
        self._page = page_of(ledger, job)
        self.url = self._viewer.address(self.job) + self._page

    def open(self) -> View:
        """Open the page in a browser of this machine."""
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(self._viewer.entry(self.job) + self._page)
        return self

    def __repr__(self) -> str:
        return f"Rows of {self.job}: {self.url}"

    def _repr_html_(self) -> str:
        url = html.escape(self.url)
        where = (
            "An empty frame means that the kernel is on another machine: run "
            f"<code>jupyter batch view {html.escape(self.job)}</code> there behind a tunnel (<code>ssh -L</code>)."
        )
        if os.environ.get(_HUB):
            url, where = html.escape(_passed_on(self.job, self._page)), ""
        elif any(name in os.environ for name in _REMOTE):
            return (
                f'<div class="{AS_TEXT}">The page with the rows is on the kernel\'s machine, which this browser does '
                f"not reach. In a terminal there, run <code>jupyter batch view {html.escape(self.job)}</code> behind "
                "a tunnel (<code>ssh -L</code>), or use <code>job.results()</code> and <code>job.row(label)</code> "
                "here.</div>"
            )
        return (
            f'<div class="{AS_TEXT}"><iframe src="{url}" title="Rows of {html.escape(self.job)}" width="100%" '
            f'height="{HEIGHT}" style="border:1px solid #8886;border-radius:8px" allow="clipboard-write"></iframe><br>'
            f'<a href="{url}" target="_blank" rel="noopener noreferrer">Open in a tab.</a> '
            f"{where}</div>"
        )
