"""Which drawing a Graph gets: altair's where it is installed, else matplotlib's. It knows neither from the inside."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from jupyter_batch.core.errors import OptionError

if TYPE_CHECKING:
    from jupyter_batch.monitor.plots.graph import Graph

WITH = ("altair", "matplotlib")


def drawn(graph: Graph, which: str | None = None) -> Any:
    """An altair chart or a matplotlib Figure, which a notebook shows by itself.

    which: "altair" or "matplotlib"; None for the first of these that is installed. Raises OptionError where that is
    none, with what to install.
    """
    if which not in {None, *WITH}:
        raise OptionError(f"plot draws with {' or '.join(map(repr, WITH))}, not {which!r}")
    there = [name for name in ([which] if which else WITH) if find_spec(name) is not None]
    if not there:
        what = which or "altair (or matplotlib)"
        raise OptionError(
            f"plot() draws with {what}, which is not installed here: pip install {which or 'altair'}"
        )
    if there[0] == "altair":
        from jupyter_batch.monitor.plots.plot_altair import chart

        return chart(graph)
    from jupyter_batch.monitor.plots.plot_matplotlib import figure

    return figure(graph)
