"""`job.plot()`: a matplotlib figure, without a network, whatever the job holds."""

import base64
import subprocess
import sys
import time

import msgspec
import pytest

import jupyter_batch
from jupyter_batch.core.errors import OptionError
from jupyter_batch.monitor import html, plot, style
from jupyter_batch.server.embedded import Embedded
from tests.example_snapshots import CASES, cases

PNG = b"\x89PNG\r\n"


@pytest.fixture
def tokyo(monkeypatch):
    """A machine nine hours east of Greenwich."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def figure_of(case):
    """The Figure of a case."""
    pytest.importorskip("matplotlib")
    return plot.figure(cases()[case])


def texts(figure):
    """All texts of a Figure."""
    import matplotlib.text

    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.mark.parametrize("case", CASES)
def test_matplotlib_draws_it(case):
    """A picture comes of it, of at most some hundred kilobytes, and nothing warns."""
    data, about = figure_of(case)._repr_mimebundle_()
    picture = base64.b64decode(data["image/png"])
    assert picture.startswith(PNG)
    assert len(picture) < 400_000
    assert data["text/plain"] == about["image/png"]["alt"] == cases()[case].words


def test_hostile_text_is_text():
    """A `$` begins no formula, a tag is no element: what stands in a name is read as it is."""
    shown = " ".join(texts(figure_of("evil")))
    assert "<script>alert(1)</script> $\\frac{1}{$ $x^2$ red evil line" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    import matplotlib.text

    for text in figure_of("evil").findobj(matplotlib.text.Text):
        assert not (text.get_parse_math() and "frac" in text.get_text())


def test_unknown_costs_are_reported():
    """Not as a bar of no length next to a zero."""
    for case, words in (
        ("no tokens", "not known"),
        ("running", "nothing is here yet"),
        ("models", "not known"),
    ):
        assert words in texts(figure_of(case))
        assert "$0" not in texts(figure_of(case))


def test_the_colours_are_the_panels():
    """The palette of drawings is what the sheet falls back on."""
    for colour in style.PALETTE.values():
        assert colour in html.STYLE


def test_no_pyplot_and_no_figure_left_open():
    """In a fresh process: pyplot, its backend and its list of open figures are never touched."""
    pytest.importorskip("matplotlib")
    script = (
        "import sys; from tests.example_snapshots import CASES, cases; from jupyter_batch.monitor.plot import figure; "
        "figure(cases()['waves'])._repr_mimebundle_(); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "False", done.stderr


def test_times_are_local(tokyo):
    """22:13 at Greenwich is 7:13 in Tokyo, on the axis as in the words."""
    figure = figure_of("finished")
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
        figure = figure_of("evil")
    import matplotlib.text

    named = [text for text in figure.findobj(matplotlib.text.Text) if "frac" in text.get_text()]
    assert named
    assert not any(text.get_usetex() for text in named)


def test_without_matplotlib_the_error_names_it(monkeypatch):
    """The error says what to install."""
    monkeypatch.setattr(plot, "find_spec", lambda _: None)
    with pytest.raises(OptionError, match="not installed here: pip install matplotlib"):
        plot.figure(cases()["finished"])


def test_importing_the_package_does_not_import_matplotlib():
    """Only a plot does."""
    script = (
        "import sys, jupyter_batch, jupyter_batch.job, jupyter_batch.monitor.plot; "
        "print([name for name in sys.modules if name.split('.')[0] == 'matplotlib'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_job_and_a_group_plot(tmp_path, home):
    """The user's own call, on jobs that ran."""
    pytest.importorskip("matplotlib")
    with Embedded(tmp_path / "server") as server:
        call = {"api_base": server.base_url, "api_key": server.token}
        job = jupyter_batch.batch(["one", "two", "three"], model="openai/echo", **call).wait(60)
        group = jupyter_batch.batch(
            ["one", "two"], model=["openai/echo", "hosted_vllm/echo"], **call
        ).wait(60)
    for held, line in ((job, "3 of 3 rows"), (group, "4 of 4 rows")):
        data, _ = held.plot()._repr_mimebundle_()
        assert line in data["text/plain"]
        assert base64.b64decode(data["image/png"]).startswith(PNG)


def test_the_values_are_plain():
    """A Graph is data alone: it goes through JSON and back."""
    assert tuple(cases()) == CASES
    for graph in cases().values():
        assert msgspec.json.decode(msgspec.json.encode(graph), type=type(graph)) == graph
