"""A Graph as an altair chart: the same as plot_matplotlib.py draws, with more to be read under the pointer.

It is shown without any network: as a Vega-Lite spec that JupyterLab draws itself, and, where the notebook is read
later and elsewhere, as the picture beside it. Ground and texts have the theme's colours.
"""

from __future__ import annotations

import base64
import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from jupyter_batch.monitor.plots.graph import FETCHING, GIVEN, THERE, WAITING, Graph
from jupyter_batch.monitor.style import PALETTE, SERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH, COURSE, ROW, HALF = 620, 210, 18, 225
GREY = "#8a8f98"
STAGES = {WAITING: "#b4b7bd", THERE: PALETTE["busy"], FETCHING: PALETTE["good"]}
MIME, SCHEMA = "application/vnd.vegalite.v5+json", "https://vega.github.io/schema/vega-lite/v5.json"
"""What JupyterLab 4 draws by itself; of what is used here, version 6 differs in nothing."""
OURS = frozenset({"default", "mimetype"})
"""Renderers of altair in whose place ours is: the one fetches from the network, the other's newest nobody draws."""
WHEN = "%d %b %H:%M"
CLOCK = {
    "seconds": "%H:%M:%S",
    "minutes": "%H:%M",
    "hours": "%H:%M",
    "day": "%d %b",
    "date": "%d %b",
    "week": "%d %b",
    "month": "%b %Y",
    "quarter": "%b %Y",
    "year": "%Y",
    "milliseconds": "%S.%L s",
}
"""How a moment is told, by what it begins."""
CONFIG = {
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
        "grid": False,
        "titleFontWeight": "normal",
    },
    "axisY": {"labelLimit": 150},
    "title": {"anchor": "start", "frame": "group", "fontSize": 12, "offset": 8},
    "legend": {"orient": "top", "title": None, "offset": 2, "labelLimit": 300, "symbolSize": 70},
}


def chart(graph: Graph) -> Any:
    """Three rows: rows done over time, the batches on their way below it, tokens and cost by model."""
    import altair as alt

    rows = [_course(graph)] if graph.lines else []
    if graph.batches:
        rows.append(_batches(graph))
    if graph.spent:
        rows.append(
            alt.hconcat(_tokens(graph), _costs(graph), spacing=24).resolve_scale(
                color="independent"
            )
        )
    title = alt.TitleParams(
        graph.title,
        subtitle=list(graph.subtitle),
        anchor="start",
        fontSize=15,
        subtitlePadding=5,
        offset=14,
    )
    made = _drawing(graph)(
        vconcat=rows, title=title, description=graph.words, config=CONFIG, spacing=20
    )
    return made.resolve_scale(color="independent")


def _drawing(graph: Graph) -> Any:
    """A chart that a notebook shows without a network, unless the person has chosen a renderer of altair's."""
    import altair as alt

    def bundle(self: Any, *args: Any, **named: Any) -> Any:
        if alt.renderers.active not in OURS:
            return alt.VConcatChart._repr_mimebundle_(self, *args, **named)
        spec = {**self.to_dict(), "$schema": SCHEMA}
        return {MIME: spec, "text/plain": graph.words, **_picture(spec, graph)}, {
            "image/png": {"alt": graph.words}
        }

    return type("Drawing", (alt.VConcatChart,), {"_repr_mimebundle_": bundle})


def _picture(spec: dict[str, Any], graph: Graph) -> dict[str, str]:
    """For GitHub, nbconvert and other places that draw no spec; nothing where nothing here makes one."""
    data = b""
    if find_spec("vl_convert") is not None:
        import vl_convert

        data = vl_convert.vegalite_to_png(json.dumps(spec), scale=1.5)
    elif find_spec("matplotlib") is not None:
        from jupyter_batch.monitor.plots.plot_matplotlib import figure, png

        data = png(figure(graph))
    return {"image/png": base64.b64encode(data).decode()} if data else {}


def _data(values: Iterable[dict[str, Any]]) -> Any:
    import altair as alt

    return alt.InlineData(values=list(values))


def _ms(at: float) -> int:
    """Moments as Vega has them; it tells them in the zone of who looks."""
    return round(at * 1000)


# -- rows over time ----------------------------------------------------------------------------------------------------


def _course(graph: Graph) -> Any:
    import altair as alt

    rows = _rows(graph)
    layers = [_frame(graph, labels=not graph.batches), *([_bands(graph)] if graph.bands else [])]
    values = [
        {"at": _ms(at), "rows": done, "job": line.name}
        for line in graph.lines
        for at, done in line.points
    ]
    told = [alt.Tooltip("job", type="nominal", title="what"), *_tooltips()]
    names = [line.name for line in graph.lines]
    colour = alt.Color(
        "job",
        type="nominal",
        legend=_legend(names),
        scale=alt.Scale(domain=names, range=[SERIES[n % len(SERIES)] for n in range(len(names))]),
    )
    time = alt.X("at", type="temporal")
    lines = alt.Chart(_data(values)).encode(x=time, y=rows, color=colour, tooltip=told)
    areas = (
        []
        if graph.bands
        else [lines.mark_area(interpolate="step-after", opacity=0.28 if len(names) == 1 else 0.1)]
    )
    layers.append(alt.layer(*areas, lines.mark_line(interpolate="step-after", strokeWidth=2)))
    if graph.ahead:
        ahead = _data({"at": _ms(at), "rows": done} for at, done in graph.ahead)
        layers.append(
            alt.Chart(ahead)
            .mark_line(strokeDash=[3, 3], color=GREY, strokeWidth=1.5)
            .encode(x=time, y=rows, tooltip=_tooltips("at this pace"))
        )
    return (
        alt.layer(*layers)
        .resolve_scale(color="independent")
        .properties(width=WIDTH, height=COURSE, title="Rows done")
    )


def _legend(names: Sequence[str]) -> Any:
    """Of one thing there is none."""
    import altair as alt

    return alt.Legend(symbolOpacity=1, symbolType="square") if len(names) > 1 else None


def _frame(graph: Graph, *, labels: bool = True) -> Any:
    """Nothing but the axis of time. One layer alone may say what it begins and ends with."""
    import altair as alt

    ends = _data({"at": _ms(at)} for at in (graph.begin, graph.end))
    return (
        alt.Chart(ends)
        .mark_point(opacity=0)
        .encode(
            x=alt.X(
                "at",
                type="temporal",
                title=None,
                axis=alt.Axis(tickCount=6, format=CLOCK, labels=labels),
                scale=alt.Scale(domain=[_ms(graph.begin), _ms(graph.end)], nice=False),
            )
        )
    )


def _rows(graph: Graph, stack: str | None = None) -> Any:
    import altair as alt

    return alt.Y(
        "rows",
        type="quantitative",
        title=None,
        stack=stack,
        scale=alt.Scale(domain=[0, max(1, graph.total)]),
        axis=alt.Axis(
            grid=True,
            gridOpacity=0.35,
            tickMinStep=1,
            tickCount=min(5, max(1, graph.total)),
            format=",d",
        ),
    )


def _tooltips(rows: str = "rows done") -> list[Any]:
    import altair as alt

    return [
        alt.Tooltip("at", type="temporal", format=WHEN, title="when"),
        alt.Tooltip("rows", type="quantitative", format=",d", title=rows),
    ]


def _bands(graph: Graph) -> Any:
    import altair as alt

    values = [
        {
            "at": _ms(at),
            "rows": done,
            "batch": band.name,
            "number": number,
            "shade": 0.5 if number % 2 else 0.28,
        }
        for number, band in enumerate(graph.bands)
        for at, done in zip(graph.moments, band.rows, strict=True)
    ]
    names = [band.name for band in graph.bands]
    shades = [PALETTE["idle"] if name == GIVEN else PALETTE["busy"] for name in names]
    return (
        alt.Chart(_data(values))
        .mark_area(interpolate="step-after")
        .encode(
            x=alt.X("at", type="temporal"),
            y=_rows(graph, "zero"),
            order=alt.Order("number", type="quantitative"),
            color=alt.Color(
                "batch", type="nominal", scale=alt.Scale(domain=names, range=shades), legend=None
            ),
            opacity=alt.Opacity("shade", type="quantitative", scale=None, legend=None),
            tooltip=[alt.Tooltip("batch", type="nominal"), *_tooltips()],
        )
    )


# -- batches -----------------------------------------------------------------------------------------------------------


def _batches(graph: Graph) -> Any:
    import altair as alt

    names = [batch.name for batch in graph.batches]
    kinds = [
        kind
        for kind in STAGES
        if any(stage.kind == kind for batch in graph.batches for stage in batch.stages)
    ]
    bars = [
        {
            "batch": batch.name,
            "stage": stage.kind,
            "begin": _ms(stage.begin),
            "end": _ms(stage.end),
            "id": batch.id,
            "took": batch.words,
        }
        for batch in graph.batches
        for stage in batch.stages
    ]
    ends = [
        {
            "batch": batch.name,
            "at": _ms(batch.stages[-1].end if batch.stages else graph.begin),
            "took": batch.words,
            "colour": _worry(batch.colour),
        }
        for batch in graph.batches
    ]
    which = alt.Y(
        "batch", type="nominal", title=None, scale=alt.Scale(domain=names, paddingInner=0.38)
    )
    told = [alt.Tooltip(field, type="nominal") for field in ("batch", "stage", "took", "id")]
    told += [alt.Tooltip(field, type="temporal", format=WHEN) for field in ("begin", "end")]
    drawn = (
        alt.Chart(_data(bars))
        .mark_bar()
        .encode(
            x=alt.X("begin", type="temporal"),
            x2="end",
            y=which,
            tooltip=told,
            color=alt.Color(
                "stage",
                type="nominal",
                legend=_legend(kinds),
                scale=alt.Scale(domain=kinds, range=[STAGES[kind] for kind in kinds]),
            ),
        )
    )
    words = (
        alt.Chart(_data(ends))
        .mark_text(align="left", dx=5, fontSize=10)
        .encode(
            x=alt.X("at", type="temporal"),
            y=which,
            text=alt.Text("took", type="nominal"),
            color=alt.Color("colour", type="nominal", scale=None),
        )
    )
    return (
        alt.layer(_frame(graph), drawn, words)
        .resolve_scale(color="independent")
        .properties(width=WIDTH, height=ROW * len(names), title=graph.batches_title)
    )


def _worry(colour: str) -> str:
    return PALETTE[colour] if colour in {"bad", "warn"} else GREY


# -- tokens and cost ---------------------------------------------------------------------------------------------------


def _bars(
    graph: Graph,
    parts: Sequence[tuple[str, str, Sequence[float]]],
    words: Sequence[str],
    title: str,
    *,
    names: bool,
) -> Any:
    """A bar a model out of its parts (name, colour, lengths), and its words behind it, for which there is room."""
    import altair as alt

    models = [one.model for one in graph.spent]
    ends = [sum(lengths[row] for _, _, lengths in parts) for row in range(len(models))]
    values = [
        {"model": model, "part": part, "much": lengths[row], "number": number}
        for number, (part, _, lengths) in enumerate(parts)
        for row, model in enumerate(models)
    ]
    which = alt.Y(
        "model",
        type="nominal",
        title=None,
        scale=alt.Scale(domain=models, paddingInner=0.38),
        axis=alt.Axis() if names else None,
    )
    length = alt.Scale(domain=[0, (max(ends) or 1.0) * 2.2], nice=False)
    bars = (
        alt.Chart(_data(values))
        .mark_bar()
        .encode(
            x=alt.X("much", type="quantitative", axis=None, scale=length),
            y=which,
            color=alt.Color(
                "part",
                type="nominal",
                legend=None,
                scale=alt.Scale(
                    domain=[part for part, _, _ in parts], range=[colour for _, colour, _ in parts]
                ),
            ),
            order=alt.Order("number", type="quantitative"),
            tooltip=[
                alt.Tooltip("model", type="nominal"),
                alt.Tooltip("part", type="nominal"),
                alt.Tooltip("much", type="quantitative", format=",.6~f"),
            ],
        )
    )
    said = [
        {"model": model, "much": end, "said": text}
        for model, end, text in zip(models, ends, words, strict=True)
    ]
    told = (
        alt.Chart(_data(said))
        .mark_text(align="left", dx=5, fontSize=11, color=GREY)
        .encode(
            x=alt.X("much", type="quantitative", axis=None, scale=length),
            y=which,
            text=alt.Text("said", type="nominal"),
        )
    )
    return alt.layer(bars, told).properties(width=HALF, height=ROW * 1.3 * len(models), title=title)


def _tokens(graph: Graph) -> Any:
    return _bars(
        graph,
        [
            ("in", PALETTE["busy"], [float(one.tokens_in or 0) for one in graph.spent]),
            ("out", SERIES[1], [float(one.tokens_out or 0) for one in graph.spent]),
        ],
        [one.tokens for one in graph.spent],
        "Tokens",
        names=True,
    )


def _costs(graph: Graph) -> Any:
    return _bars(
        graph,
        [
            ("paid", PALETTE["good"], [one.cost or 0.0 for one in graph.spent]),
            ("saved", f"{PALETTE['good']}44", [one.saved or 0.0 for one in graph.spent]),
        ],
        [one.price for one in graph.spent],
        graph.costs_title,
        names=False,
    )
