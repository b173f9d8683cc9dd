"""Frames of polars, and of all that speaks the Arrow C stream: asked, found again, and given back with the answers."""

import datetime as dt
import decimal
import subprocess
import sys
from typing import Literal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from IPython.core.interactiveshell import InteractiveShell

import jupyter_batch
from jupyter_batch import col, magics
from jupyter_batch.core.errors import ColumnError, InputError, TemplateError
from jupyter_batch.frames import adapter, tables
from jupyter_batch.frames.watched import WatchedFrame
from jupyter_batch.server.embedded import Embedded
from tests.ledgers import forget

TEXTS = ["a", None, "c", "a"]


@pytest.fixture
def server(tmp_path, home):
    """An echo server."""
    with Embedded(tmp_path / "server") as running:
        yield running


@pytest.fixture
def call(server):
    """The options that send a job to it."""
    return {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}


def texts(**more):
    """A polars frame with a missing text and a duplicate."""
    return pl.DataFrame({"text": TEXTS, "k": [1, 2, None, 4], **more})


def test_a_polars_frame_comes_back_with_the_column(call, server, home):
    """Run again, also in a new kernel, or with the new frame, it is the same job; each order has its own answers."""
    df = texts()
    job = df.llm.batch("{text}", out="said", **call).wait(60)
    assert df.columns == ["text", "k"], "polars frames do not change"
    assert job.frame().equals(df.with_columns(said=pl.Series(TEXTS)))
    assert job.results()["said"].dropna().tolist() == ["a", "c", "a"]
    assert "job.frame() is the frame with it" in repr(job)
    df.extend(texts())
    assert job.frame().height == len(TEXTS), "it has the rows that were asked"
    forget(home)
    assert job.frame().llm.batch("{text}", out="said", **call).wait(60).frame().equals(job.frame())
    again = texts().reverse().llm.batch("{text}", out="said", **call)
    assert again.id == job.id
    assert again.frame()["said"].to_list() == TEXTS[::-1]
    assert len(again._answers.targets) == 1, "frames of earlier calls are not kept"
    assert texts()[1:3].llm.attach(job.id).frame()["said"].to_list() == [None, "c"]
    assert job.merge(texts()[2:]).frame()["said"].to_list() == ["c", "a"]
    assert server.stats()["batches_created"] == 1


def test_new_rows_alone_are_sent(call):
    """Answered rows at other places keep their answers; the frame's own column does not hinder."""
    was = texts().llm.batch("{text}", out="said", **call).wait(60).frame()
    grown = pl.concat([was[3:], pl.DataFrame({"text": ["new"]}), was[:2]], how="diagonal")
    job = grown.llm.batch("{text}", out="said", **call).wait(60)
    assert (job.counts.reused, job.counts.succeeded) == (2, 1)
    assert job.frame()["said"].to_list() == ["a", "new", "a", None]


def test_while_it_runs(tmp_path, home):
    """The frame has the answers so far, and its final types; a cancelled job keeps them."""
    with Embedded(tmp_path / "server", pace=3600.0) as server:
        call = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        df = pl.DataFrame({"text": ["a", "b", "c"]})
        part = df.llm.sample("{text}", 1, out="said", **call)
        job = df.llm.batch("{text}", out="said", **call)
        vectors = df.llm.embed("{text}!", **call)
        assert not job.is_complete
        so_far = df.join(part, on="text", how="left", maintain_order="left")
        assert job.frame().equals(so_far)
        assert job.frame().schema == {"text": pl.String, "said": pl.String}
        assert vectors.frame().schema == {"text": pl.String, "vector": pl.List(pl.Float32)}
        vectors.cancel().wait(60)
        assert job.cancel().wait(60).frame().equals(so_far)


def test_typed_columns(call):
    """Each field has polars' own type, null where a row has none; the columns read back are the job's own."""
    fields = {
        "word": str,
        "count": int,
        "share": float,
        "good": bool,
        "names": list[str],
        "day": dt.date,
        "kind": Literal["x", "y"],
    }
    df = texts()
    job = df.llm.batch("{text}", out="s", schema=fields, **call).wait(60)
    frame = job.frame()
    assert frame.schema == df.schema | {
        "s_word": pl.String,
        "s_count": pl.Int64,
        "s_share": pl.Float64,
        "s_good": pl.Boolean,
        "s_names": pl.List(pl.String),
        "s_day": pl.Date,
        "s_kind": pl.Categorical(),
    }
    assert frame[1, 2:].row(0) == (None,) * 7
    assert frame[:, 2:].null_count().row(0) == (1,) * 7
    again = frame.llm.batch("{text}", out="s", schema=fields, **call)
    assert again.id == job.id
    assert again.frame().equals(frame)


def test_vectors_and_several_answers_are_lists(call):
    """Of numbers, or of texts."""
    df = texts()
    vectors = df.llm.embed("text", **call).wait(60).frame()["vector"]
    assert (vectors.dtype, vectors.null_count()) == (pl.List(pl.Float32), 1)
    said = df.llm.batch("{text}", n=2, **call).wait(60).frame()["response"]
    assert said.to_list() == [["a", "a"], None, ["c", "c"], ["a", "a"]]


def test_failed_rows_are_null(tmp_path, home):
    """A batch that expired leaves nulls; the retry's frame is whole, and a sample has its reasons."""
    with Embedded(tmp_path / "server", faults="expire_after=1") as server:
        call = {"model": "openai/echo", "api_base": server.base_url, "api_key": server.token}
        df = pl.DataFrame({"text": ["a", "b"]})
        job = df.llm.batch("{text}", out="said", **call).wait(60)
        assert job.frame()["said"].null_count() == 1
        assert job.retry().wait(60).frame()["said"].to_list() == ["a", "b"]
        part = df.llm.sample("{text}", 1, **call)
        assert isinstance(part, pl.DataFrame)
        assert part["response"].to_list() == part["text"].to_list()


def test_models_of_a_list_and_of_a_column(call):
    """A group's frame has each model's column, a split job's one column; both over the same source."""
    df = texts(m=["openai/echo", "openai/echo", "hosted_vllm/echo", "openai/echo"])
    group = df.llm.batch("{text}", **{**call, "model": ["openai/echo", "hosted_vllm/echo"]})
    frame = group.wait(60).frame()
    assert frame.columns[3:] == ["response_openai/echo", "response_hosted_vllm/echo"]
    assert frame["response_hosted_vllm/echo"].to_list() == TEXTS
    assert group.merge(df.reverse()).frame()["response_openai/echo"].to_list() == TEXTS[::-1]
    split = df.llm.batch("{text}", **{**call, "model": col("m")}).wait(60)
    assert split.frame().equals(df.with_columns(response=pl.Series(TEXTS)))


def test_the_users_own_column_is_kept(call):
    """As in pandas: refused without overwrite, replaced at its place with it."""
    df = pl.DataFrame({"said": ["mine"], "text": ["a"]})
    with pytest.raises(ColumnError, match="1 cell of 'said' was not written by this job"):
        df.llm.batch("{text}", out="said", **call)
    job = df.llm.batch("{text}", out="said", overwrite=True, **call).wait(60)
    assert job.frame().equals(pl.DataFrame({"said": ["a"], "text": ["a"]}))


def test_cells_are_read_as_they_are(call):
    """Integers beside nulls stay integers; decimals, dates, lists, categories and odd names are as in polars."""
    frame = texts(
        **{
            "a b.c": [decimal.Decimal("1.20")] * 4,
            "d": [dt.date(2024, 1, 2)] * 4,
            "l": [[1], [2, 3], [], None],
            "c": pl.Series(["x", "y", "x", "x"], dtype=pl.Enum(["x", "y"])),
            "i": pl.Series([2**70] * 4, dtype=pl.Int128),
        }
    )
    asked = frame.llm.batch("{k} {a b.c} {d} {l} {c} {i}", **call).wait(60).frame()["response"]
    assert asked[0] == f"1 1.20 2024-01-02 [1] x {2**70}"
    assert asked[1] == f"2 1.20 2024-01-02 [2, 3] y {2**70}"
    assert asked[2:].to_list() == [None, None]
    pictures = pl.DataFrame(
        {"q": ["see"], "p": pl.Series([np.zeros((2, 2), "u1")], dtype=pl.Object)}
    )
    answer = pictures.llm.batch("{q}", images="p", **call).wait(60).frame()["response"][0]
    assert answer == "see\n[image png 2x2]"


def test_rows_that_a_function_asks_differently(call):
    """Equal rows with different requests keep their answers: a polars frame stays as it was asked."""
    numbers = iter(range(4))
    df = texts(l=[[1]] * 4)
    job = df.llm.batch(lambda row: f"{row['text']}{next(numbers)}", **call).wait(60)
    assert job.frame()["response"].to_list() == ["a0", "None1", "c2", "a3"]


def test_a_function_of_the_row_and_examples(call):
    """`row` is a mapping of plain values; `examples` takes a polars frame."""
    shots = pl.DataFrame({"text": ["q"], "response": ["r"]})
    job = texts().llm.batch(lambda row: f"{row['text']}{row['k']}", **call).wait(60)
    assert job.frame()["response"].to_list() == ["a1", "None2", "cNone", "a4"]
    shown = texts().llm.preview("{text}", examples=shots, **call)
    assert shown.rows == 4
    assert shown.requests == 2


@pytest.mark.parametrize(
    ("frame", "error", "says"),
    [
        (
            pl.DataFrame({"text": []}, schema={"text": pl.String}),
            InputError,
            "the frame has no rows",
        ),
        (pl.DataFrame(), TemplateError, "no such column. Columns: none"),
        (pa.table({}), TemplateError, "no such column. Columns: none"),
        (pl.DataFrame({"text": [None]}), InputError, "none of the 1 rows? can be sent|none of the"),
        (pl.DataFrame({"Text": ["a"]}), TemplateError, "did you mean {Text}"),
        (pa.table([["a"], ["b"]], names=["text", "text"]), ColumnError, "2 columns are called"),
    ],
)
def test_what_is_refused(call, server, frame, error, says):
    """As for pandas, before anything is sent."""
    with pytest.raises(error, match=says):
        jupyter_batch.batch(frame, "{text}", **call)
    assert server.stats()["batches_created"] == 0


class Stream:
    """A relation of some library, which gives its rows as a stream."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def test_tables_of_arrow(call):
    """Chunks, dictionaries and views are read; the frame is a pyarrow Table, the source's columns untouched."""
    table = pa.table(
        {
            "text": pa.chunked_array([["a"], [], ["b", None]]),
            "view": pa.array(["x", "y", "z"], pa.string_view()),
            "code": pa.chunked_array([pa.array(["s", "t", "s"]).dictionary_encode()]),
        }
    )
    for source in (table, Stream(table), pa.record_batch(table.combine_chunks().to_batches()[0])):
        job = jupyter_batch.batch(source, "{text}{view}{code}", out="said", **call).wait(60)
        made = job.frame()
        assert made["said"].to_pylist() == ["axs", "byt", None]
        assert made.drop(["said"]).to_pydict() == table.to_pydict()
        assert made.schema.field("view").type == pa.string_view()
    assert jupyter_batch.batch(table, "{text}{view}{code}", out="said", **call).id == job.id
    for source in (table, Stream(table)):
        parts = adapter.taken(adapter.as_frame(source), np.array([2, 0]))
        assert parts.native()["view"].to_pylist() == ["z", "x"]
    seen = WatchedFrame.of(adapter.as_frame(table), ["text"])
    assert seen.is_same(adapter.as_frame(table))
    assert not seen.is_same(adapter.as_frame(table.slice(0, 2)))


def test_pandas_own_classes_stay_pandas():
    """They speak the stream, too, and are filled in place."""
    for kind in (pd.DataFrame, pd.Series):
        own = type("Own", (kind,), {})(["a"])
        assert adapter.as_frame(own) is own


def test_without_pyarrow_it_is_named(call, monkeypatch):
    """Pyarrow is no dependency of ours."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for frame in (texts(), Stream(None)):
        with pytest.raises(InputError, match="are read by pyarrow: pip install pyarrow"):
            jupyter_batch.batch(frame, "{text}", **call)


def test_cells_without_a_type_in_common_are_json():
    """No answer is lost to a column's type."""
    mixed = np.array([{"a": 1}, {"a": "x"}, np.nan], dtype=object)
    assert tables.arrow_of(mixed).to_pylist() == ['{"a":1}', '{"a":"x"}', None]


def test_the_magics_name_holds_the_new_frame(call):
    """`%%llm_batch df` binds df to the frame with the column, unless the user gave the name to something else."""
    ip = InteractiveShell.instance()
    magics.load(ip)
    line = f"--model openai/echo --api-base {call['api_base']} --api-key key --wait"
    ip.user_ns |= {"df": texts(), "key": call["api_key"], "rel": Stream(pa.table({"text": ["a"]}))}
    source = ip.user_ns["df"]
    ip.run_cell(f"%%llm_batch df --out said --job job {line}\n{{text}}").raise_error()
    assert ip.user_ns["df"]["said"].to_list() == TEXTS
    assert "'df' is a new frame with it" in repr(ip.user_ns["job"])
    assert source.columns == ["text", "k"]
    ip.run_cell(f"%%llm_batch df --out said --job again {line}\n{{text}}").raise_error()
    assert ip.user_ns["again"].id == ip.user_ns["job"].id
    assert ip.user_ns["job"].frame().equals(ip.user_ns["df"])
    ip.run_cell(f"%%llm_batch rel --job of {line}\n{{text}}").raise_error()
    assert isinstance(ip.user_ns["rel"], Stream)
    assert ip.user_ns["of"].frame().to_pydict() == {"text": ["a"], "response": ["a"]}
    ip.user_ns["df"].extend(
        pl.DataFrame(
            {**texts().row(1, named=True), "text": "new", "said": None},
            schema=ip.user_ns["df"].schema,
        )
    )
    ip.user_ns["job"]._answers.reopen()
    ip.user_ns["job"]._merge_frames()
    assert ip.user_ns["df"]["said"].to_list() == [*TEXTS, None], "rows that were added are kept"
    ip.user_ns["df"] = "another thing"
    ip.user_ns["job"]._answers.reopen()
    ip.user_ns["job"]._merge_frames()
    assert ip.user_ns["df"] == "another thing"
    magics.unload(ip)


def test_a_pandas_jobs_frame(call):
    """A new frame with the column, beside the one that was filled."""
    df = pd.DataFrame({"text": TEXTS}, index=[*"wxyz"])
    frame = df.llm.batch("{text}", out="said", **call).wait(60).frame()
    assert frame is not df
    pd.testing.assert_frame_equal(frame, df)


def test_the_namespace_comes_with_polars_and_leaves_another_packages_alone(tmp_path):
    """`import jupyter_batch` imports no polars; a search for its spec changes nothing; `llm` of others stays.

    dask's frames have it, too, to say what to give in their place.
    """
    dask = tmp_path / "dask" / "dataframe"
    dask.mkdir(parents=True)
    (dask / "__init__.py").write_text(
        "import pandas\n"
        "class extensions: register_dataframe_accessor = staticmethod("
        "lambda name: lambda given: setattr(DataFrame, name, property(given)))\n"
        "class DataFrame: pass"
    )
    code = (
        "import sys, jupyter_batch, importlib.util as u\n"
        "assert 'polars' not in sys.modules and u.find_spec('polars') and u.find_spec('pandas')\n"
        "import polars as pl, pandas as pd\n"
        "print(*[type(df.llm).__name__ for df in (pl.DataFrame(), pl.LazyFrame(), pd.DataFrame())])\n"
        f"sys.path.insert(0, {str(tmp_path)!r}); import dask.dataframe\n"
        "try: dask.dataframe.DataFrame().llm.batch('{text}', model='local/echo')\n"
        "except ValueError as e: assert 'get_partition(k)' in str(e)\n"
        "print(sum(type(f).__module__.startswith('jupyter_batch') for f in sys.meta_path))\n"
        "for name in ('llm', 'llm_batch'): delattr(pl.DataFrame, name)\n"
        "pl.api.register_dataframe_namespace('llm')(type('Theirs', (), {'__init__': lambda *_: None}))\n"
        "import warnings; warnings.simplefilter('ignore'); jupyter_batch.registration.register()\n"
        "print(type(pl.DataFrame().llm).__name__, type(pl.DataFrame().llm_batch).__name__)\n"
    )
    run = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [*["LLMAccessor"] * 3, "0", "Theirs", "LLMAccessor"], done.stderr
