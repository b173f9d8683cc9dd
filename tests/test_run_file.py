"""`jupyter batch run`: a prompt over the rows of a file, and the same file with the answers' column."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from jupyter_batch import cli
from tests.engine.conftest import call, server  # noqa: F401 - fixtures
from tests.ledgers import forget

CSV = 'id,text,price\n007,"good, really",2.50\n008,NA,3\n009,,1e3\n'


@pytest.fixture
def run(server, call, home, monkeypatch):  # noqa: F811 - the fixtures
    """Runs the command with the server's address."""
    monkeypatch.setenv("THE_KEY", call["api_key"])
    where = ["--model", call["model"], "--api-base", call["api_base"], "--api-key", "THE_KEY"]
    return lambda *words: cli.main(["run", *map(str, words), *where])


def test_a_csv_gets_its_column_once(run, server, home, tmp_path, capsys):  # noqa: F811
    """The other cells are as they were; an empty cell is skipped; the second run attaches and pays nothing."""
    path = tmp_path / "reviews.csv"
    path.write_text(CSV)
    assert run(path, "{text} costs {price}", "--out", "tone") == 0
    out = tmp_path / "reviews.out.csv"
    expected = 'id,text,price,tone\n007,"good, really",2.50,"good, really costs 2.50"\n008,NA,3,NA costs 3\n009,,1e3,\n'
    assert out.read_text() == expected
    assert "2 of 3 rows have an answer" in capsys.readouterr().out
    out.unlink()
    forget(home)
    assert run(path, "{text} costs {price}", "--out", "tone") == 0
    assert out.read_text() == expected
    assert server.stats()["batches_created"] == 1
    path.write_text(CSV + "010,fine,4\n")
    assert run(path, "{text} costs {price}", "--out", "tone", "--output", tmp_path / "o.csv") == 0
    assert (tmp_path / "o.csv").read_text() == expected + "010,fine,4,fine costs 4\n"


@pytest.mark.parametrize(
    ("name", "content", "filled"),
    [
        ("r.csv", "\ufefftext;;p\na;1;2,5\n", "\ufefftext;;p;out\na;1;2,5;a\n"),
        ("r.csv", "text,text,\na,b,\n", "text,text,,out\na,b,,a\n"),
        (
            "r.jsonl",
            '{"text":"a"}\n{"n":null}\n',
            '{"text":"a","out":"a"}\n{"n":null,"out":null}\n',
        ),
    ],
    ids=["separator", "header", "keys"],
)
def test_what_was_there_stays_as_it_was(run, tmp_path, name, content, filled):
    """The mark of UTF-8, the separator, equal and empty names of columns, and keys that a line has not."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert run(path, "{text}", "--out", "out") == 0
    found = path.with_name(f"r.out{path.suffix}").read_text(encoding="utf-8")
    assert found == filled


@pytest.mark.parametrize("ending", ["tsv", "jsonl", "parquet", "xlsx"])
def test_other_formats(run, tmp_path, ending):
    """The format is kept, as are the values in it."""
    path, out = tmp_path / f"rows.{ending}", tmp_path / f"rows.out.{ending}"
    rows = [{"text": "a", "n": 1, "more": [1, 0.1]}, {"text": "b", "n": 2, "more": None}]
    if ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif ending == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif ending == "xlsx":
        pytest.importorskip("openpyxl")
        pd.DataFrame(rows).drop(columns="more").assign(id=["007", "NA"]).to_excel(path, index=False)
    else:
        pd.DataFrame(rows).drop(columns="more").to_csv(path, sep="\t", index=False)
    assert run(path, "{text}{n}") == 0
    if ending == "jsonl":
        found = [json.loads(line) for line in out.read_text().splitlines()]
        assert found == [{**row, "response": f"{row['text']}{row['n']}"} for row in rows]
    elif ending == "parquet":
        found = pd.read_parquet(out)
        assert found["response"].tolist() == ["a1", "b2"]
        assert found["n"].dtype == "int64"
    elif ending == "xlsx":
        found = pd.read_excel(out, dtype=object, keep_default_na=False).to_dict("list")
        there = {"text": ["a", "b"], "n": [1, 2], "id": ["007", "NA"]}
        assert found == {**there, "response": ["a1", "b2"]}
    else:
        assert out.read_text() == "text\tn\tresponse\na\t1\ta1\nb\t2\tb2\n"


def test_the_options_of_the_magic(run, server, tmp_path, capsys):  # noqa: F811
    """A schema from JSON, a preview that sends nothing, numbers in a format."""
    path = tmp_path / "r.csv"
    path.write_text("text,price\na,2\nb,3\n")
    assert run(path, "{text}", "--preview") == 0
    assert "2 requests to be sent" in capsys.readouterr().out
    assert server.stats()["uploads"] == 0
    schema = (
        '{"type": "object", "properties": {"label": {"type": "string"}, "n": {"type": "integer"}}}'
    )
    assert run(path, "{text} {price:.2f}", "--schema", schema) == 0
    assert (tmp_path / "r.out.csv").read_text().startswith("text,price,label,n\na,2,")


def test_failed_rows(run, server, tmp_path, capsys):  # noqa: F811
    """They are empty cells, with what to do; --raise-on-failure makes the exit code 1."""
    server.set_faults("row_errors=1")
    path = tmp_path / "r.csv"
    path.write_text("text\na\n")
    assert run(path, "{text}") == 0
    printed = capsys.readouterr()
    assert "0 of 1 rows" in printed.out
    assert "jupyter batch retry jb" in printed.err
    assert run(path, "{text}", "--raise-on-failure") == 1


@pytest.mark.parametrize(
    ("name", "content", "words", "says"),
    [
        ("r.txt", b"x", (), "ends in none of"),
        ("r.csv", b"a,b\n1,2,3\n4\n5,6,7,8\n", (), "can't be read"),
        ("r.csv", b"text\na\n", ("--output", "SAME"), "is the file that is read"),
        ("r.csv", b"text,out\na,mine\n", ("--out", "out"), "out"),
        ("r.jsonl", b"[1]\n", (), "no JSON object"),
        ("r.jsonl", b'{"text": "a"}\n{"text":\n', (), "line 2 is no JSON"),
        ("r.csv", b"text,id\na,1,3\nb,2,4\n", (), "more cells than the header"),
        ("r.csv", b"text\ncaf\xe9\n", (), "not in UTF-8"),
        ("r.xlsx", b"PK\x03\x04", (), "can't be read"),
        ("r.csv", b"text\na\n", ("--output", "FOLDER"), "can't be written"),
        ("r.csv", b"text\na\n", ("--schema", "{broken"), "no JSON"),
    ],
)
def test_wrong_input(run, server, tmp_path, capsys, name, content, words, says):  # noqa: F811
    """One sentence, exit 2, nothing sent."""
    path = tmp_path / name
    path.write_bytes(content)
    (folder := tmp_path / "folder.csv").mkdir()
    names = {"SAME": path, "FOLDER": folder}
    assert run(path, "{text}", *(names.get(word, word) for word in words)) == 2
    assert says in capsys.readouterr().err
    assert server.stats()["uploads"] == 0


def test_interrupted(run, server, home, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Out of time it goes on at the provider, and the same command fetches the answers."""
    server.set_faults("latency=0.3")
    path = tmp_path / "r.csv"
    path.write_text("text\na\n")
    assert run(path, "{text}", "--timeout", "0.01") == 1
    assert "Run the same command to continue" in capsys.readouterr().err
    server.set_faults("")
    assert run(path, "{text}") == 0
    assert (tmp_path / "r.out.csv").read_text() == "text,response\na,a\n"
    assert server.stats()["batches_created"] == 1
