"""A Graph as a matplotlib Figure, drawn without pyplot: no window, no current figure.

Texts are drawn literally: a `$` begins no formula. The background is transparent; the greys and
colours are readable on white and on black.
"""

from __future__ import annotations

import base64
import io
import warnings
from datetime import UTC, datetime
from importlib.util import find_spec
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from jupyter_batch.core.errors import OptionError
from jupyter_batch.monitor.graph import FETCHING, GIVEN, THERE, WAITING, Graph, Spent
from jupyter_batch.monitor.style import PALETTE, SERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

GREY = "#7c7f86"
WIDTH = 8.2
"""Inches, as the heights below."""
ROW, HEAD, LINE, COURSE, FOOT = 0.19, 0.28, 0.2, 2.5, 0.55
TITLE = 70
"""Characters per line of the title."""
STAGES = {WAITING: "#b4b7bd", THERE: PALETTE["busy"], FETCHING: PALETTE["good"]}
THICK, THIN = 0.62, 0.4
"""Height of a bar among several, and of a single bar, as a share of its row."""
DAYS = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S.%f"]
"""Formats of tick labels, by unit: years, months, days, hours, minutes, seconds."""
AS_IT_IS = {"parse_math": False, "usetex": False}
DPI, SHOWN = 192, 96
"""Rendered at twice the size at which a page shows it."""


def figure(graph: Graph) -> Any:
    """Return the figure: rows done over time, the batches below, tokens and cost by model.

    Raises OptionError without matplotlib.
    """
    if find_spec("matplotlib") is None:
        raise OptionError(
            "plot() draws with matplotlib, which is not installed here: pip install matplotlib"
        )
    from matplotlib.gridspec import GridSpec

    heights = [
        HEAD + LINE * (len(graph.subtitle) + len(wrap(graph.title, TITLE))),
        *([COURSE] if graph.lines else []),
        *([FOOT + ROW * len(graph.batches)] if graph.batches else []),
        *([FOOT + ROW * len(graph.spent)] if graph.spent else []),
    ]
    made = _drawing(graph)(figsize=(WIDTH, sum(heights)), layout="constrained", facecolor="none")
    grid = GridSpec(len(heights), 2, figure=made, height_ratios=heights)
    _head(made.add_subplot(grid[0, :]), graph)
    if graph.lines:
        _course(course := made.add_subplot(grid[1, :]), graph)
    if graph.batches:  # only where there are lines
        _batches(made.add_subplot(grid[2, :], sharex=course), graph)
    if graph.spent:
        _tokens(left := made.add_subplot(grid[-1, 0]), graph.spent)
        _costs(made.add_subplot(grid[-1, 1], sharey=left), graph)
    return made


def _drawing(graph: Graph) -> Any:
    """Return a Figure class that a notebook shows once, whether pyplot was imported or not."""
    from matplotlib.figure import Figure

    def bundle(self: Any, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        width, height = (int(inches * SHOWN) for inches in self.get_size_inches())
        return (
            {"image/png": base64.b64encode(png(self)).decode(), "text/plain": graph.words},
            {"image/png": {"width": width, "height": height, "alt": graph.words}},
        )

    return type("Drawing", (Figure,), {"_repr_mimebundle_": bundle})


def png(made: Any) -> bytes:
    """Return the figure as PNG; letters missing in the fonts become boxes, without a warning."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        made.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def _head(axes: Any, graph: Graph) -> None:
    axes.axis("off")
    lines = wrap(graph.title, TITLE)
    for text, below, look in (
        ("\n".join(lines), 0, {"fontsize": 11.5, "fontweight": "bold"}),
        ("\n".join(graph.subtitle), 6 + 15 * len(lines), {"fontsize": 8.5, "linespacing": 1.5}),
    ):
        axes.annotate(
            text,
            (0.01, 1),
            (0, -below),
            xycoords=("figure fraction", "axes fraction"),  # long names of batches move the axes
            textcoords="offset points",
            va="top",
            color=GREY,
            **look,
            **AS_IT_IS,
        ).set_in_layout(False)  # a text wider than the axes does not shrink them


def _plain(axes: Any, title: str, pad: float = 6.0) -> None:
    """Style axes: a title at the left, no frame, ticks without marks."""
    axes.set_facecolor("none")
    axes.set_title(
        title, loc="left", fontsize=9, color=GREY, fontweight="bold", pad=pad, **AS_IT_IS
    )
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0, labelsize=8, labelcolor=GREY)
    axes.set_axisbelow(True)


def _days(times: Sequence[float]) -> list[float]:
    """Return times as matplotlib's numbers."""
    from matplotlib.dates import date2num

    return [float(date2num(datetime.fromtimestamp(at, UTC))) for at in times]


def _bands(axes: Any, graph: Graph) -> None:
    shades = [PALETTE["idle"] if band.name == GIVEN else PALETTE["busy"] for band in graph.bands]
    areas = axes.stackplot(
        _days(graph.moments), [band.rows for band in graph.bands], step="post", colors=shades
    )
    for number, area in enumerate(areas):
        area.set_alpha(0.5 if number % 2 else 0.3)
        area.set_linewidth(0)


def _course(axes: Any, graph: Graph) -> None:
    from dateutil.tz import tzlocal
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    _plain(axes, "Rows done")
    if graph.bands:
        _bands(axes, graph)
    for number, line in enumerate(graph.lines):
        times, rows = _days([at for at, _ in line.points]), [rows for _, rows in line.points]
        colour = SERIES[number % len(SERIES)]
        axes.step(times, rows, where="post", color=colour, linewidth=1.8, label=line.name)
        if not graph.bands:
            axes.fill_between(
                times,
                rows,
                step="post",
                color=colour,
                alpha=0.28 if len(graph.lines) == 1 else 0.1,
                linewidth=0,
            )
    if graph.ahead:
        axes.plot(
            _days([at for at, _ in graph.ahead]),
            [rows for _, rows in graph.ahead],
            color=GREY,
            linewidth=1.2,
            linestyle=(0, (2, 2)),
        )
    axes.set_xlim(*_days([graph.begin, graph.end]))
    axes.set_ylim(0, max(1, graph.total) * 1.02)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rows, _: f"{int(rows):,}"))
    axes.grid(axis="y", color=GREY, alpha=0.22, linewidth=0.7)
    locator = AutoDateLocator(tz=tzlocal(), minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(
            locator,
            tz=tzlocal(),
            show_offset=False,
            formats=DAYS,
            zero_formats=["", *DAYS[:3], "%H:%M", "%H:%M"],
        )
    )
    axes.tick_params(labelbottom=not graph.batches)  # the axis of the batches below is shared
    if len(graph.lines) > 1:
        _legend(axes)


def _legend(axes: Any, **where: Any) -> None:
    legend = axes.legend(frameon=False, fontsize=8, labelcolor=GREY, **where)
    for text in legend.get_texts():
        text.set(**AS_IT_IS)


def _batches(axes: Any, graph: Graph) -> None:
    from matplotlib.patches import Patch

    kinds = [
        kind
        for kind in STAGES
        if any(stage.kind == kind for batch in graph.batches for stage in batch.stages)
    ]
    _plain(axes, graph.batches_title, 20.0 if len(kinds) > 1 else 6.0)
    thick = THICK if len(graph.batches) > 1 else THIN
    for row, batch in enumerate(graph.batches):
        for stage in batch.stages:
            begin, end = _days([stage.begin, stage.end])
            axes.barh(
                row, end - begin, left=begin, height=thick, color=STAGES[stage.kind], linewidth=0
            )
        last = _days([batch.stages[-1].end if batch.stages else graph.begin])[0]
        axes.annotate(
            batch.words,
            (last, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            annotation_clip=False,
            color=PALETTE[batch.colour] if batch.colour in {"bad", "warn"} else GREY,
            **AS_IT_IS,
        )
    axes.set_yticks(range(len(graph.batches)), [batch.name for batch in graph.batches], **AS_IT_IS)
    axes.set_ylim(len(graph.batches) - 0.4, -0.6)
    if len(kinds) > 1:
        _legend(
            axes,
            handles=[Patch(color=STAGES[kind], label=kind) for kind in kinds],
            ncols=len(kinds),
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            borderpad=0.0,
            borderaxespad=0.3,
            handlelength=1.0,
        )


def _bars(
    axes: Any,
    spent: Sequence[Spent],
    parts: Sequence[Sequence[float]],
    words: Sequence[str],
    colours: Sequence[str],
) -> None:
    """Draw a stacked bar for each model, and its text to the right."""
    begin, thick = [0.0] * len(spent), THICK if len(spent) > 1 else THIN
    for part, colour in zip(parts, colours, strict=True):
        axes.barh(range(len(spent)), part, left=begin, height=thick, color=colour, linewidth=0)
        begin = [one + more for one, more in zip(begin, part, strict=True)]
    for row, (length, text) in enumerate(zip(begin, words, strict=True)):
        axes.annotate(
            text,
            (length, row),
            (4 if length else 0, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=GREY,
            **AS_IT_IS,
        )
    axes.set_xlim(0, (max(begin) or 1.0) * 2.4)
    axes.set_ylim(len(spent) - 0.4, -0.6)
    axes.set_xticks([])


def _tokens(axes: Any, spent: Sequence[Spent]) -> None:
    _plain(axes, "Tokens")
    _bars(
        axes,
        spent,
        [
            [float(one.tokens_in or 0) for one in spent],
            [float(one.tokens_out or 0) for one in spent],
        ],
        [one.tokens for one in spent],
        (PALETTE["busy"], SERIES[1]),
    )
    axes.set_yticks(range(len(spent)), [one.model for one in spent], **AS_IT_IS)


def _costs(axes: Any, graph: Graph) -> None:
    _plain(axes, graph.costs_title)
    _bars(
        axes,
        graph.spent,
        [[one.cost or 0.0 for one in graph.spent], [one.saved or 0.0 for one in graph.spent]],
        [one.price for one in graph.spent],
        (PALETTE["good"], f"{PALETTE['good']}44"),
    )
    axes.tick_params(labelleft=False)
