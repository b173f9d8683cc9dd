"""The accessor: when it is registered, whose name it takes, what it passes on. The face below it is a fake."""

import inspect
import subprocess
import sys
import types
import warnings

import pandas as pd
import pytest

import jupyter_batch
from jupyter_batch import registration
from jupyter_batch.accessor import LLMAccessor
from jupyter_batch.config import options
from jupyter_batch.config.help import option_table


def python(code):
    """A fresh Python's output; warnings are errors there, too."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def face(monkeypatch):
    """A face that keeps what it is asked."""
    fake = types.ModuleType("jupyter_batch.jobs")
    fake.asked = []
    fake.submit = lambda source, prompt, *, door, **given: (
        fake.asked.append((source, prompt, door, given)) or "the job"
    )
    fake.attach = lambda job, frame, out, **more: fake.asked.append((job, frame, out)) or "the job"
    monkeypatch.setitem(sys.modules, "jupyter_batch.jobs", fake)
    monkeypatch.setattr(jupyter_batch, "jobs", fake, raising=False)
    registration.register()
    return fake


def test_batch_and_attach_pass_on_the_frame_itself(face):
    """The face gets the very frame, the prompt and the options as given, and the door's name."""
    df = pd.DataFrame({"text": ["a"]})
    assert df.llm.batch("Say {text}", out="said", max_tokens=5) == "the job"
    assert df.llm_batch.attach("jb1") == "the job"
    (source, *rest), (job, onto, out) = face.asked
    assert source is df
    assert onto is df
    assert rest == ["Say {text}", "accessor", {"out": "said", "max_tokens": 5}]
    assert (job, out) == ("jb1", None)


def test_the_signature_and_the_docstring_are_the_options():
    """Tab and `?` show each option with its default and its help."""
    shown = inspect.signature(LLMAccessor.batch).parameters
    assert list(shown) == ["self", "prompt", *options.EVERY]
    assert all(shown[name].default == option.default for name, option in options.EVERY.items())
    for call in (LLMAccessor.batch, LLMAccessor.preview, LLMAccessor.build, jupyter_batch.batch):
        assert option_table() in call.__doc__


def test_importing_us_does_not_import_pandas_and_pandas_later_has_the_accessor():
    """`import jupyter_batch` leaves pandas alone; imported afterwards, in whatever way, its frames have `llm`."""
    assert (
        python(
            "import sys, jupyter_batch; assert 'pandas' not in sys.modules\n"
            "from pandas import DataFrame\n"
            "ours = [f for f in sys.meta_path if type(f).__module__.startswith('jupyter_batch')]\n"
            "print(type(DataFrame().llm).__name__, type(DataFrame().llm_batch).__name__)\n"
            "print(sorted(finder.library for finder in ours))"
        )
        == "LLMAccessor LLMAccessor\n['dask.dataframe', 'polars']"
    )


def test_pandas_first_is_as_good():
    """With pandas there already, importing us registers at once."""
    assert (
        python("import pandas, jupyter_batch\nprint(type(pandas.DataFrame().llm).__name__)")
        == "LLMAccessor"
    )


def test_without_pandas_the_import_error_is_pandas_own():
    """Waiting for pandas changes nothing about how its absence is reported."""
    assert (
        python(
            "import sys, jupyter_batch\n"
            "sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
            "try:\n    import pandas\nexcept ModuleNotFoundError as e: print(e.name)"
        )
        == "pandas"
    )


def test_registering_twice_does_no_harm_and_says_nothing():
    """`import`, `%load_ext` and `%reload_ext` all register; pandas would warn of an override."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registration.register()
        registration.register()


def test_another_packages_llm_stays_and_is_reported_once():
    """Where `llm` is taken, ours is `llm_batch` alone, and one sentence says so, once."""
    output = python(
        "import warnings, pandas as pd\n"
        "@pd.api.extensions.register_dataframe_accessor('llm')\n"
        "class Theirs:\n"
        "    def __init__(self, frame): pass\n"
        "with warnings.catch_warnings(record=True) as shown:\n"
        "    warnings.simplefilter('always')\n"
        "    import jupyter_batch\n"
        "    from jupyter_batch import registration\n"
        "    registration.register()\n"
        "df = pd.DataFrame()\n"
        "print(type(df.llm).__name__, type(df.llm_batch).__name__, *[t.message for t in shown], sep='|')"
    )
    assert (
        output
        == "Theirs|LLMAccessor|df.llm belongs to __main__: LLM batches are at df.llm_batch here"
    )


def test_the_accessor_holds_the_frame_and_nothing_else():
    """No state hides in it: pandas may make one at every access, or keep one for ever."""
    df = pd.DataFrame({"a": [1]})
    assert vars(LLMAccessor(df)) == {"_frame": df}
    assert df.attrs == {}


def test_a_frame_with_the_accessor_can_be_copied_and_pickled():
    """Using the accessor leaves nothing in the frame that could not travel."""
    import pickle

    df = pd.DataFrame({"a": [1]})
    LLMAccessor(df)
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(df)), df.copy(deep=True))
