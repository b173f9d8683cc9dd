"""The panel is readable: any width, both themes, keyboard alone, to a screen reader, with hostile text."""

from axe import violations
from lab import notebook_of
from still_panels import CASES

TOO_WIDE = """() => [...document.querySelectorAll('.jb-live, .jb-live *')].filter(
  e => e.offsetParent && e.getBoundingClientRect().right > e.closest('.jp-Cell').getBoundingClientRect().right + 1
).map(e => e.className)"""


DOLLARS = """
from IPython.display import HTML, display
from jupyter_batch.monitor import html, preview, table
from jupyter_batch.monitor.view import view
from still_panels import shot, still
seen = shot("completed", name="$x$ and $y$")
display(HTML(html.card(view(seen))["text/html"]))
display(HTML(table.html([seen, shot("completed", name=r"from \\(x\\) on")])))
display(HTML(preview.html([("cost", "$1 to $2")], [[("user", r"What is $z$, or \\[z\\]?")]])))
still("completed")
display(HTML("<p>formula: $a^2$</p>"))
"""

PLOT = """
from tests.example_snapshots import cases
from jupyter_batch.monitor.plot import figure
figure(cases()["evil"])
"""


def stills(*cases):
    """A notebook with a cell for each."""
    return notebook_of(*(f"from still_panels import still\nstill({case!r})" for case in cases))


def show(lab, width):
    """All outputs and nothing else, at this width."""
    lab.page.set_viewport_size({"width": width, "height": 2600})
    lab.page.evaluate("() => { document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0; }")


def ready(lab):
    """All cells have run; the outputs alone are on the page, with all batches unfolded."""
    lab.run_all()
    lab.wait_idle()
    lab.until(lambda: lab.visible(".jb-live .jb-pill") == len(CASES), "all panels")
    lab.command("notebook:hide-all-cell-code")
    lab.command("application:toggle-left-area")
    lab.click("Show the 7 batches")
    lab.until(lambda: lab.has_button("Hide the 7 batches"), "the list of batches")


def check_with_axe(lab, css):
    """No violation in what is there, in either theme: names, roles, lists, tables and contrast."""
    for theme in ("Light", "Dark"):
        lab.theme(f"JupyterLab {theme}")
        assert violations(lab.page, css=css) == []


def check_hostile_text(lab):
    """Scripts, images with handlers, ANSI and bidi controls in names, answers and reasons: nothing runs, it is read."""
    lab.click("Show the 3 batches")
    lab.until(lambda: lab.has_button("Hide the 3 batches"), "the list")
    cell = lab.page.locator(".jp-Notebook .jp-Cell").nth(1)
    for where in (".jb-live", ".jb-static"):
        found = cell.locator(where).first
        assert found.locator("script, img, a").count() == 0
        text = found.text_content()
        assert "<script>" in text
        assert "onerror" in text
        assert "javascript:alert(1)" in text
        assert not set(text) & set("\x1b\u202e")
    assert lab.page.title() != "owned"


def test_it_reads_in_both_themes_and_at_any_width(open_lab):
    """From 400 to 1,600 pixels, light and dark, nothing is cut off or runs out of its panel.

    axe-core finds no violation in any panel, in either theme.
    """
    with open_lab(stills(*CASES)) as lab:
        ready(lab)
        for width in (1600, 860, 400):
            show(lab, width)
            for theme in ("Light", "Dark"):
                lab.theme(f"JupyterLab {theme}")
                lab.shot(f"monitor-{theme.lower()}-{width}.png")
                assert lab.page.evaluate(TOO_WIDE) == [], (
                    f"something runs out of its cell at {width} px"
                )
        check_with_axe(lab, ".jb-live")
        bar = lab.page.locator(".jb-live [role=progressbar]").first
        assert bar.get_attribute("aria-valuetext") == "0 of 1,000 rows"
        assert lab.errors() == []


def test_it_works_by_keyboard_alone(open_lab):
    """Tab reaches each button in the order in which it stands, Enter clicks; the question is answered so, too.

    In the next cell's panel hostile text is text.
    """

    def focus():
        return lab.page.evaluate(
            "() => document.activeElement.textContent || document.activeElement.ariaLabel"
        )

    def comes(name):  # the panel's words come in several messages
        lab.until(lambda: focus() == name, f"the focus on {name!r}")

    with open_lab(stills("large", "evil")) as lab:
        lab.run_cell(0)
        lab.wait_idle()
        finish = "Finish now 205,822 rows, about $0.7100 (at most $2.20 without max_tokens)"
        copies = ["Copy the batch ids", "Copy the job id"]
        names = ["Refresh", "Merge", finish, "Cancel", *copies, "Show the 7 batches"]
        lab.until(lambda: all(map(lab.has_button, names)), "the buttons")
        lab.page.locator(".jb-live button", has_text="Refresh").focus()
        seen = [focus()]
        lab.page.evaluate("navigator.clipboard.writeText = async text => { window.copied = text }")
        for name in names[1:]:
            lab.page.keyboard.press("Tab")
            seen.append(focus())
            if name in copies:
                lab.page.keyboard.press("Enter")
                lab.until(lambda: lab.visible(".jb-copied") > 0, "the mark")
        assert seen == names
        assert lab.page.evaluate("window.copied").startswith("jb")
        assert lab.page.evaluate("window.copied") not in lab.output(0), "no id is text"
        lab.page.keyboard.press("Enter")
        lab.wait_text("waiting for quota", 0)
        for _ in names[names.index("Cancel") : -1]:
            lab.page.keyboard.press("Shift+Tab")
        lab.page.keyboard.press("Enter")
        lab.wait_text("Cancel this batch?", 0)
        comes("Keep running")  # the key that asked takes it back, if it is hit twice
        lab.until(lambda: lab.has_button("Yes, cancel"), "the answers")
        lab.page.keyboard.press("Shift+Tab")
        assert focus() == "Yes, cancel"
        lab.page.keyboard.press("Enter")
        lab.wait_text("cancel was clicked", 0)
        lab.run_cell(1)
        lab.wait_idle()
        check_hostile_text(lab)
        assert lab.errors() == []


def test_what_stays_is_read_as_it_is(open_lab):
    """Two costs in a card, a preview or a table, and a model's text, are no formulas; axe finds nothing.

    The figure of `job.plot()` is a picture; no host but the page's own server is asked.
    """
    asked = []
    with open_lab(notebook_of(DOLLARS, PLOT)) as lab:
        lab.page.on("request", lambda request: asked.append(request.url))
        lab.run_all()
        lab.wait_idle()
        outputs = lab.page.locator(".jp-Cell-outputArea")
        lab.until(lambda: outputs.locator("mjx-container").count(), "the formula that is one")
        assert outputs.locator("mjx-container").count() == 1
        lab.shot("dollars.png", 0)
        for content in (
            "$x$ and $y$",
            "cost $0.2134, saved $0.2134",
            "from \\(x\\) on",
            "$1 to $2",
            "What is $z$, or \\[z\\]?",
        ):
            assert content in lab.output(0)
        check_with_axe(lab, ".jb-static, .jb-list")
        lab.until(lambda: lab.page.locator(".jp-RenderedImage img").count() == 1, "the picture")
        picture = lab.page.locator(".jp-RenderedImage img")
        assert picture.get_attribute("width") == "787", "sharp on a fine screen"
        lab.shot("plot-in-lab.png")
        assert lab.errors() == []
    own = ("http://127.0.0.1", "http://localhost", "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []
