"""`job.plot()`: the same figure in altair and in matplotlib, without a network, whatever the job holds."""

import base64
import json
import subprocess
import sys
import time

import msgspec
import pytest

import jupyter_batch
from jupyter_batch.core.errors import OptionError
from jupyter_batch.monitor import html, style
from jupyter_batch.monitor.plots import plot
from jupyter_batch.server.embedded import Embedded
from tests.made_up import cases

CASES = cases()
PNG = b"\x89PNG\r\n"


@pytest.fixture
def tokyo(monkeypatch):
    """A machine nine hours east of Greenwich."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def in_altair(case):
    """Its chart."""
    pytest.importorskip("altair")
    return plot.drawn(CASES[case], "altair")


def in_matplotlib(case):
    """Its Figure."""
    pytest.importorskip("matplotlib")
    return plot.drawn(CASES[case], "matplotlib")


def values(spec):
    """Every list of values in a spec."""
    if isinstance(spec, dict):
        if isinstance(spec.get("values"), list):
            yield spec["values"]
        for part in spec.values():
            yield from values(part)
    elif isinstance(spec, list):
        for part in spec:
            yield from values(part)


def texts(figure):
    """All that is written in a Figure."""
    import matplotlib.text

    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


# -- both --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_altair_draws_it(case):
    """By altair's own schema, below its limit of 5,000 rows, and with nothing that a network would be needed for."""
    spec = in_altair(case).to_dict()
    assert all(len(one) < 5000 for one in values(spec))
    assert len(json.dumps(spec)) < 400_000
    assert "url" not in json.dumps({**spec, "$schema": ""})
    assert spec["description"] == CASES[case].words


@pytest.mark.parametrize("case", CASES)
def test_matplotlib_draws_it(case):
    """A picture comes of it, of at most some hundred kilobytes, and nothing warns."""
    data, about = in_matplotlib(case)._repr_mimebundle_()
    picture = base64.b64decode(data["image/png"])
    assert picture.startswith(PNG)
    assert len(picture) < 400_000
    assert data["text/plain"] == about["image/png"]["alt"] == CASES[case].words


def test_hostile_text_is_text():
    """A `$` begins no formula, a tag is no element: what stands in a name is read as it is."""
    for shown in (
        " ".join(texts(in_matplotlib("evil"))),
        in_altair("evil").to_dict()["title"]["text"],
    ):
        assert "<script>alert(1)</script> $\\frac{1}{$ $x^2$ red evil line" in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    import matplotlib.text

    for text in in_matplotlib("evil").findobj(matplotlib.text.Text):
        assert not (text.get_parse_math() and "frac" in text.get_text())


def test_unknown_costs_are_said():
    """Not as a bar of no length beside a zero."""
    for case, words in (
        ("no tokens", "not known"),
        ("running", "nothing is here yet"),
        ("models", "not known"),
    ):
        assert words in texts(in_matplotlib(case))
        assert words in json.dumps(in_altair(case).to_dict())
        assert "$0" not in texts(in_matplotlib(case))


def test_the_colours_are_the_panels():
    """The palette of drawings is what the sheet falls back on."""
    for colour in style.PALETTE.values():
        assert colour in html.STYLE


# -- altair ------------------------------------------------------------------------------------------------------------


def test_a_notebook_shows_the_chart_without_a_network():
    """JupyterLab draws the spec by itself; GitHub and nbconvert have the picture; nothing is loaded from anywhere."""
    pytest.importorskip("matplotlib")
    data, about = in_altair("finished")._repr_mimebundle_()
    assert set(data) == {"application/vnd.vegalite.v5+json", "image/png", "text/plain"}
    assert data["application/vnd.vegalite.v5+json"]["$schema"].endswith("/v5.json")
    assert base64.b64decode(data["image/png"]).startswith(PNG)
    assert about["image/png"]["alt"] == CASES["finished"].words


def test_without_anything_that_makes_pictures_the_chart_is_shown(monkeypatch):
    """Only what reads it later, and draws no spec, has the words alone."""
    chart = in_altair("finished")
    monkeypatch.setattr("jupyter_batch.monitor.plots.plot_altair.find_spec", lambda _: None)
    data, _ = chart._repr_mimebundle_()
    assert set(data) == {"application/vnd.vegalite.v5+json", "text/plain"}


def test_a_renderer_that_the_person_has_chosen_is_used():
    """As for any chart of altair's."""
    chart = in_altair("finished")
    import altair as alt

    with alt.renderers.enable("json"):
        shown = chart._repr_mimebundle_()
    assert "image/png" not in json.dumps(shown)
    assert "application/json" in json.dumps(shown)


def test_it_is_a_chart_that_can_be_worked_on():
    """What altair offers for its charts works on it."""
    chart = in_altair("finished").properties(title="mine").configure_view(stroke="red")
    import altair as alt

    assert isinstance(chart, alt.VConcatChart)
    assert chart.to_dict()["title"] == "mine"


# -- matplotlib --------------------------------------------------------------------------------------------------------


def test_no_pyplot_and_no_figure_left_open():
    """In a fresh process: pyplot, its backend and its list of open figures are never touched."""
    pytest.importorskip("matplotlib")
    script = (
        "import sys; from tests.made_up import cases; from jupyter_batch.monitor.plots.plot import drawn; "
        "drawn(cases()['waves'], 'matplotlib')._repr_mimebundle_(); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "False", done.stderr


def test_times_are_local(tokyo):
    """22:13 at Greenwich is 7:13 in Tokyo, on the axis as in the words."""
    figure = in_matplotlib("finished")
    figure.canvas.draw()
    hours = [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()]
    assert "08:00" in hours
    assert "23:00" not in hours


def test_the_persons_own_settings_of_matplotlib_do_not_break_it():
    """With usetex and a style of one's own: a name is still no TeX."""
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context(
        {"text.usetex": True, "axes.prop_cycle": matplotlib.cycler(color=["red"])}
    ):
        figure = in_matplotlib("evil")
    import matplotlib.text

    named = [text for text in figure.findobj(matplotlib.text.Text) if "frac" in text.get_text()]
    assert named
    assert not any(text.get_usetex() for text in named)


# -- which -------------------------------------------------------------------------------------------------------------


def test_without_either_it_says_what_to_install(monkeypatch):
    """The name of the extra's package, in one sentence."""
    monkeypatch.setattr(plot, "find_spec", lambda _: None)
    with pytest.raises(OptionError, match="not installed here: pip install altair"):
        plot.drawn(CASES["finished"])
    with pytest.raises(OptionError, match="pip install matplotlib"):
        plot.drawn(CASES["finished"], "matplotlib")


def test_altair_comes_first_then_matplotlib(monkeypatch):
    """What is there is used, altair before matplotlib; another name is refused."""
    pytest.importorskip("matplotlib")
    assert type(in_altair("finished")).__mro__[1].__name__ == "VConcatChart"
    monkeypatch.setattr(plot, "find_spec", lambda name: None if name == "altair" else name)
    assert type(plot.drawn(CASES["finished"])).__mro__[1].__name__ == "Figure"
    with pytest.raises(OptionError, match="'altair' or 'matplotlib', not 'seaborn'"):
        plot.drawn(CASES["finished"], "seaborn")


def test_importing_the_package_imports_neither():
    """Not before somebody plots."""
    script = (
        "import sys, jupyter_batch, jupyter_batch.job, jupyter_batch.monitor.plots.plot; "
        "print([name for name in sys.modules if name.split('.')[0] in ('altair', 'matplotlib')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("which", plot.WITH)
def test_a_job_and_a_group_plot(which, tmp_path, home):
    """The person's own call, on jobs that ran."""
    pytest.importorskip(which)
    with Embedded(tmp_path / "server") as server:
        call = {"api_base": server.base_url, "api_key": server.token}
        job = jupyter_batch.batch(["one", "two", "three"], model="openai/echo", **call).wait(60)
        group = jupyter_batch.batch(
            ["one", "two"], model=["openai/echo", "hosted_vllm/echo"], **call
        ).wait(60)
    for held, line in ((job, "3 of 3 rows"), (group, "4 of 4 rows")):
        data, _ = held.plot(which)._repr_mimebundle_()
        assert line in data["text/plain"]
        assert base64.b64decode(data["image/png"]).startswith(PNG)


def test_the_values_are_plain():
    """A Graph is data alone: it goes through JSON and back."""
    for graph in CASES.values():
        assert msgspec.json.decode(msgspec.json.encode(graph), type=type(graph)) == graph
