"""Tab in JupyterLab: in a prompt's braces the columns, as text whatever they are; and the list of jobs, as text too."""

from lab import NOTEBOOK, notebook_of

MARKUP = "<img src=x onerror=window.evil=1>"
SET_UP = f"""
import pandas as pd, jupyter_batch
%load_ext jupyter_batch
df = pd.DataFrame({{"text": ["a"], "Customer Feedback": ["b"], {MARKUP!r}: ["c"], "\\x1b[31mred": ["d"],
                    "evil\\u202egpj": ["e"]}})
"""
HOSTILE = f"{MARKUP}<script>window.evil=1</script> javascript:x\u202e"
LIST = f"""
df.llm.batch("Say {{text}}", model="local/echo", name={HOSTILE!r}).wait()
jupyter_batch.jobs()
"""
OPTIONS = "%%llm_batch df --"
ITEMS = ".jp-Completer-item:visible"


def test_tab_offers_the_columns_in_the_body(open_lab):
    """Inside a brace the menu has the frame's columns, markup among them as text; the chosen one is in the prompt.

    The list of jobs, in the same page, has text where others wrote markup.
    """
    cells = (SET_UP, "%%llm_batch df\nSay {", OPTIONS, "%%llm_batch?", LIST)
    with open_lab(notebook_of(*cells)) as lab:
        lab.run_cell(0)
        lab.wait_idle()
        check_options(lab)
        editor = lab.page.locator(".jp-Notebook .jp-Cell").nth(1).locator(".cm-content")
        editor.click()
        lab.page.keyboard.press("Control+End")
        lab.page.keyboard.press("Tab")
        lab.until(lambda: lab.page.locator(ITEMS).count() == 3, "three columns in the menu")
        shown = lab.page.locator(ITEMS).all_inner_texts()
        assert any(MARKUP in one for one in shown), shown
        assert not any("red" in one or "evil\u202e" in one for one in shown)
        assert lab.page.locator(".jp-Completer img").count() == 0
        assert lab.page.evaluate("() => window.evil === undefined")
        lab.shot("tab.png")
        lab.page.keyboard.type("Cust")
        lab.until(lambda: lab.page.locator(ITEMS).count() == 1, "the one that fits")
        lab.page.keyboard.press("Enter")
        lab.until(
            lambda: (
                lab.page.evaluate(
                    f"() => {NOTEBOOK}.content.widgets[1].model.sharedModel.getSource()"
                )
                == "%%llm_batch df\nSay {Customer Feedback"
            ),
            "the column in the prompt",
        )
        check_list(lab)
        assert not lab.errors()


def check_options(lab):
    """`--<Tab>` has the options in the order of use, each with its help in one line; `?` is a page in groups."""
    lab.page.locator(".jp-Notebook .jp-Cell").nth(2).locator(".cm-content").click()
    lab.page.keyboard.press("Control+End")
    lab.page.keyboard.press("Tab")
    lab.page.locator(ITEMS).first.wait_for()
    names = lab.page.locator(f"{ITEMS} .jp-Completer-match").all_inner_texts()
    assert names[:4] == ["out", "model", "schema", "system"]
    notes = lab.page.locator(f"{ITEMS} .jp-Completer-typeExtended")
    assert "the column to fill" in notes.first.inner_text().replace("\u00a0", " ")
    assert max(notes.evaluate_all("all => all.map(one => one.getClientRects().length)")) == 1
    assert max(notes.evaluate_all("all => all.map(one => one.scrollHeight)")) < 30
    lab.shot("tab-options.png")
    lab.page.keyboard.press("Escape")
    lab.run_cell(3)
    lab.page.locator(".jp-OutputArea details table").first.wait_for()
    assert "$OPENAI_API_KEY" in lab.output(3)


def check_list(lab):
    """Markup, a script's address and a bidi override in a job's name are text in the table, or are not there."""
    lab.run_cell(4)
    lab.wait_text("notebook.ipynb", 4)
    shown = lab.output(4)
    assert MARKUP in shown
    assert "\u202e" not in shown
    table = lab.page.locator(".jp-OutputArea .jb-table").last
    assert table.locator("img, script").count() == 0
    rows = table.locator('a[title="Show the rows"]')
    assert table.locator("a").count() == rows.count(), "links lead to the jobs' rows alone"
    assert table.locator("th").all_inner_texts()[-1] == "notebook"
    lab.shot("list.png", 4)
    assert lab.page.evaluate("() => window.evil === undefined")
