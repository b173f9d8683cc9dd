"""A prompt with {columns}: what is a hole, what is text, what is a mistake."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_batch.core.errors import InputError, OptionError, TemplateError
from jupyter_batch.templates.template import parse
from jupyter_batch.templates.values import RowError

COLUMNS = ["feedback", "price", "Customer Feedback", 0, ("a", "b"), "x:y", "x!r", "od}d", "k.v", ""]
VALUES = {
    "feedback": "good",
    "price": 2.5,
    "Customer Feedback": "nice",
    0: "zero",
    ("a", "b"): "tuple",
    "x:y": "colon",
    "x!r": "bang",
    "od}d": "brace",
    "k.v": "dot",
    "": "empty",
}


def rendered(text, values=None, kind="braces"):
    """The text of one row."""
    values = VALUES if values is None else values
    template = parse(text, list(values), kind)
    return template.render([[values[label]] for label in template.columns], 1)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Classify: {feedback}", "Classify: good"),
        ("{price:.2f} and {price:>6} and {price}", "2.50 and    2.5 and 2.5"),
        ("{Customer Feedback}", "nice"),
        ("{0}", "zero"),
        ("{('a', 'b')}", "tuple"),
        ("{x:y} {x!r} {od}d} {k.v} {}", "colon bang brace dot empty"),
        ("{feedback!r} {feedback!r:>8}", "'good'   'good'"),
        ("100 % of {feedback} %s %(x)s", "100 % of good %s %(x)s"),
        ("{feedback}{feedback}", "goodgood"),
        ("no holes at all", "no holes at all"),
        ("", ""),
    ],
    ids=str,
)
def test_a_columns_name_in_braces_is_the_rows_value(text, expected):
    """With or without a format, whatever the column is called."""
    assert rendered(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"label": "..."}',
        '{"a": {"b": [1, {"c": null}]}}',
        '{{"a": {"b": 1}}}',
        "{\n  'label': 'x'\n}",
        r"\d{3} x{2,5} \frac{1}{2}",
        "{ }",
        "{{}}",
        "{some words}",
        "{y.__class__}",
        "{y[0]}",
        "a { b",
        "} {",
        '{feedback: "positive"}',
        "{# no comment #}",
        "{100%}",
        "f(x) { return 1; }",
        '{{ "a": 1 }}',
        "{{ a: 1 }}",
    ],
    ids=str,
)
def test_braces_around_anything_else_are_text(text):
    """JSON above all, nested too: it stays byte for byte."""
    values = {key: value for key, value in VALUES.items() if key != ""}
    assert rendered(text, values) == text


def test_json_around_holes_stays_as_it_is():
    """The usual prompt: an example in JSON, with holes inside it and next to it."""
    text = 'Answer as {"label": "pos" or "neg", "why": {"text": {feedback}}}. Price {price:.1f}: {"p": {price}}'
    assert rendered(text) == (
        'Answer as {"label": "pos" or "neg", "why": {"text": good}}. Price 2.5: {"p": 2.5}'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{feedback}}", "{feedback}"),
        ("{{Customer Feedback}}", "{Customer Feedback}"),
        ("{{price:.2f}}", "{price:.2f}"),
        ("{{feedbak}}", "{feedbak}"),
        ("{{feedback.__class__}}", "{feedback.__class__}"),
        ("{{{feedback}}}", "{good}"),
        ("{{{{feedback}}}}", "{{feedback}}"),
        ('{"a": {{feedback}}}', '{"a": {feedback}}'),
        ('{"a":{"b":{feedback}}}', '{"a":{"b":good}}'),
    ],
    ids=str,
)
def test_doubled_braces_are_the_text(text, expected):
    """Of what would be a hole or an error."""
    assert rendered(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "{feedbak}",
            r"^\{feedbak\}: no such column; did you mean \{feedback\}\? Columns: feedback, price",
        ),
        ("{FEEDBACK}", r"did you mean \{feedback\}\?"),
        ("{pric:.2f}", r"^\{pric:\.2f\}: no such column; did you mean \{price:\.2f\}\?"),
        ("{custmer feedback}", r"did you mean \{Customer Feedback\}\?"),
        ("{zzzzzz}", r"^\{zzzzzz\}: no such column\. Columns: "),
        ("{feedback.__class__}", "no attribute and no index"),
        ("{feedback[0]}", "no attribute and no index"),
        ("{0.__class__}", "no attribute and no index"),
        ("{Customer Feedback.upper()}", "no attribute and no index"),
        ("{ feedback }", r"write \{feedback\}, without the spaces"),
        ("{price:2.f}", "is no format"),
        ("Text: {feedback", "never closed"),
        ("{{ feedback }}", 'is Jinja: say template="jinja"'),
        ("{{feedback | upper}}", 'template="jinja"'),
        ("{{feedback|upper}}", 'template="jinja"'),
        ("{{ row.x }}", 'template="jinja"'),
        ("{% if price %}x{% endif %}", 'template="jinja"'),
        ("{%- for x in y -%}", 'template="jinja"'),
    ],
    ids=str,
)
def test_a_mistake_is_reported_before_row_one(text, words):
    """By name, with the closest column, and what to do."""
    with pytest.raises(TemplateError, match=words):
        parse(text, COLUMNS)


def test_the_columns_are_listed_but_not_without_end():
    """A frame of a thousand columns does not fill the screen; one of none says so."""
    with pytest.raises(TemplateError, match=r"c0, .*c19 and 980 more\.") as caught:
        parse("{nothing_like_it}", [f"c{n}" for n in range(1000)])
    assert len(str(caught.value)) < 400
    with pytest.raises(TemplateError, match="Columns: none"):
        parse("{feedback}", [])


def test_the_used_columns_are_reported_once_in_order():
    """As labels, not as texts."""
    template = parse("{price} {0} {price:.1f} {feedback} {('a', 'b')}", COLUMNS)
    assert template.columns == ("price", 0, "feedback", ("a", "b"))
    assert parse("none", COLUMNS).columns == ()


def test_a_text_goes_before_a_number_that_reads_the_same():
    """A frame may have both 0 and "0"."""
    assert parse("{0}", [0, "0"]).columns == ("0",)
    assert parse("{0}", ["0", 0]).columns == ("0",)
    assert parse("{1}", [0, 1]).columns == (1,)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (1e300, "1e+300"),
        (True, "True"),
        (Decimal("1.10"), "1.10"),
        ([1, "a"], "[1, 'a']"),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (dt.datetime(2024, 1, 2, 3, 4), "2024-01-02 03:04:00"),
        (None, ""),
        ("", ""),
        ("{price}", "{price}"),
        ("%s", "%s"),
    ],
    ids=str,
)
def test_values_are_written_as_str_writes_them(value, text):
    """A missing one as nothing; what a cell says is never taken for a template."""
    assert rendered("<{v}>", {"v": value}) == f"<{text}>"


def test_a_value_that_does_not_fit_its_format_is_its_rows_own_reason():
    """The other rows are rendered; a missing value is empty under any format."""
    template = parse("{v:.2f} {w}", ["v", "w"])
    good, bad, missing = template.render([[1.0, "x", None], ["a", "b", "c"]], 3)
    assert (good, missing) == ("1.00 a", " c")
    assert isinstance(bad, RowError)
    assert bad.reason.startswith("{v:.2f} does not fit the value x: ")
    when = parse("{d:%d.%m.%Y}", ["d"])
    assert when.render([[dt.date(2024, 1, 2)]], 1) == ["02.01.2024"]


class Unspeakable:
    """A value whose text can't be had."""

    def __str__(self):
        raise RuntimeError("no words")


def test_a_value_that_can_not_be_written_is_its_rows_own_reason():
    """Even if its own __str__ raises."""
    texts = parse("{v}", ["v"]).render([["a", Unspeakable()]], 2)
    assert texts[0] == "a"
    assert texts[1] == RowError("a value can't be written as text: RuntimeError: no words")


def test_a_template_without_holes_gives_its_text_for_each_row():
    """There is no column to count by."""
    assert parse('{"a": 1}', ["x"]).render([], 2) == ['{"a": 1}'] * 2
    assert parse("{{ 1 + 1 }}", ["x"], "jinja").render([], 2) == ["2", "2"]


@given(st.lists(st.text(max_size=12), unique=True, max_size=6), st.text(max_size=80))
def test_any_text_over_any_columns_is_rendered_or_refused(columns, text):
    """Never another exception, and text without braces is never touched."""
    try:
        template = parse(text, columns)
    except TemplateError:
        assert "{" in text
        return
    content = template.render([["V"] for _ in template.columns], 1)
    assert len(content) == 1
    if "{" not in text:
        assert content == [text]


@given(
    st.text(max_size=20).filter(lambda name: not any(mark in name for mark in "{}")),
    st.text(max_size=30),
)
def test_any_column_name_in_braces_is_its_column(name, value):
    """For each kind of value."""
    assert rendered(f"<{{{name}}}>", {name: value, "other": 1}) == f"<{value}>"


def test_an_unknown_kind_of_template_is_refused():
    """By name."""
    with pytest.raises(OptionError, match="'mako': it is one of braces, jinja"):
        parse("x", [], "mako")
    with pytest.raises(TemplateError, match="not int"):
        parse(5, [])
    assert issubclass(TemplateError, InputError)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Classify: {{ feedback }}", "Classify: good"),
        ("{% if price > 2 %}dear{% else %}cheap{% endif %}\n", "dear\n"),
        ('{{ row["Customer Feedback"] }} {{ row["0"] }}', "nice zero"),
        ("{{ feedback | upper }} {{ '%.2f' % price }}", "GOOD 2.50"),
        ('{"a": {{ price }}}', '{"a": 2.5}'),
        ("<b>{{ feedback }}</b> &", "<b>good</b> &"),
        ("{% for n in range(2) %}{{ n }}{% set z = n %}{% endfor %}", "01"),
    ],
    ids=str,
)
def test_jinja_is_there_by_name(text, expected):
    """With its own rules, over the same columns."""
    assert rendered(text, kind="jinja") == expected


def test_a_jinja_template_tells_the_columns_it_reads():
    """By name, by row["..."], or all where it reads rows by a name that is only known later."""
    assert parse('{{ price }}{{ row["k.v"] }}{{ feedback }}', COLUMNS, "jinja").columns == (
        "price",
        "k.v",
        "feedback",
    )
    assert parse("{{ row[feedback] }}", COLUMNS, "jinja").columns == tuple(COLUMNS)
    assert parse("{% for f in row %}{{ f }}{% endfor %}", COLUMNS, "jinja").columns == tuple(
        COLUMNS
    )
    assert parse("{{ row }}", ["row", "x"], "jinja").columns == ("row",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ feedbak }}", r"^\{\{ feedbak \}\}: no such column; did you mean \{\{ feedback \}\}\?"),
        ('{{ row["Customer Feedbak"] }}', "no such column; did you mean"),
        ("{% if feedback %}", "line 1"),
        ("{{ feedback | no_such_filter }}", "no_such_filter"),
        ("{{ feedback", "Jinja template"),
    ],
    ids=str,
)
def test_a_mistake_in_jinja_is_reported_before_row_one(text, words):
    """Undefined names are errors, and so is what Jinja itself refuses."""
    with pytest.raises(TemplateError, match=words):
        parse(text, COLUMNS, "jinja")


def test_jinja_is_in_a_sandbox_and_a_failing_row_is_its_own_reason():
    """No way from a value to its class; the other rows go on; a missing value is empty."""
    unsafe = parse("{{ v.__class__.__mro__ }}", ["v"], "jinja").render([["a"]], 1)[0]
    assert isinstance(unsafe, RowError)
    assert "unsafe" in unsafe.reason
    mutate = parse("{{ v.append(1) }}", ["v"], "jinja").render([[[0]]], 1)[0]
    assert isinstance(mutate, RowError)
    half = parse("{{ 1 / v }}", ["v"], "jinja").render([[2, 0]], 2)
    assert half[0] == "0.5"
    assert isinstance(half[1], RowError)
    assert "ZeroDivisionError" in half[1].reason
    assert parse("<{{ v }}>", ["v"], "jinja").render([[None, "x"]], 2) == ["<>", "<x>"]
