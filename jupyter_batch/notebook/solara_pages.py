"""The page of a Solara server, each of which has widgets of its own. Solara is used only if already imported."""

from __future__ import annotations

import sys


def current() -> str | None:
    """An id of the page that this thread renders; None outside of a Solara server."""
    contexts = sys.modules.get("solara.server.kernel_context")
    if contexts is None or not contexts.has_current_context():
        return None
    return str(contexts.get_current_context().id)
