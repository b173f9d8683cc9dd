"""The browser tests' Chromium, headless. Nothing is downloaded: it is the machine's, or the one CHROMIUM names."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=LocalNetworkAccessChecks",  # of a page that the test itself answers
]


def chromium() -> str | None:
    """The Chromium to drive, or None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A browser with an empty profile: playwright's context, on which pages are opened."""
    from playwright.sync_api import sync_playwright

    folder = tempfile.TemporaryDirectory(prefix="chrome-", ignore_cleanup_errors=True)
    with folder as profile, sync_playwright() as play:
        context = play.chromium.launch_persistent_context(
            profile, executable_path=chromium(), headless=False, args=ARGS
        )
        try:
            yield context
        finally:
            context.close()
