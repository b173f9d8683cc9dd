"""The package as a whole: what importing it costs, what is in it, and what its public face is."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

import jupyter_batch

ROOT = Path(__file__).parent.parent
HEAVY = [
    "litellm",
    "openai",
    "ipywidgets",
    "pandas.plotting._matplotlib",
    "matplotlib",
    "aiohttp",
    "pyarrow",
    "jinja2",
]


def python(code, **environment):
    """A fresh Python's output."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment or None,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_brings_nothing_heavy():
    """`import jupyter_batch` imports neither pandas nor numpy, nor anything that takes a second."""
    loaded = python("import sys, jupyter_batch; print(*sys.modules)").split()
    assert not {"pandas", "numpy", "IPython", "traitlets", *HEAVY} & set(loaded)


FIRST = {
    "jupyter_batch",
    "jupyter_batch.core",
    "jupyter_batch.core.version",
    "jupyter_batch.registration",
}
"""The modules that `import jupyter_batch` may import."""
LATER = {
    "inspect",
    "msgspec",
    "orjson",
    "sqlite3",
    "aiohttp",
    "httpx",
    "jupyter_batch.accessor",
    "jupyter_batch.completion",
    "jupyter_batch.jobs",
    "jupyter_batch.providers",
    "jupyter_batch.runner",
    "jupyter_batch.wire",
}
"""Modules that cost some 10 ms each, and are imported at the first use of what needs them."""


def test_import_brings_four_modules():
    """With pandas or without: the calls and their options come at their first use."""
    for first in ("", "import pandas; "):
        code = f"{first}import sys; old = set(sys.modules); import jupyter_batch; print(*set(sys.modules) - old)"
        fresh = set(python(code).split())
        assert {name for name in fresh if name.startswith("jupyter_batch")} == FIRST
        assert not fresh & LATER


def test_names_of_the_package_are_there_before_their_first_use():
    """Tab shows them, and each can be had."""
    output = python(
        "import jupyter_batch as jb; print({*jb.__all__} - {*dir(jb)}, [getattr(jb, n) for n in jb.__all__] and 'all')"
    )
    assert output == "set() all\n"


def test_load_ext_brings_nothing_heavy(tmp_path):
    """`%load_ext` with pandas and IPython there imports none of litellm, openai, ipywidgets, and no plotting."""
    before, after = json.loads(
        python(
            "import sys, json, os\n"
            f"os.environ['JUPYTER_BATCH_HOME'] = {str(tmp_path / 'home')!r}\n"
            "import pandas\n"
            "from IPython.core.interactiveshell import InteractiveShell\n"
            "ip = InteractiveShell.instance(); before = list(sys.modules)\n"
            "ip.run_line_magic('load_ext', 'jupyter_batch')\n"
            "print(json.dumps([before, list(sys.modules)]))"
        )
    )
    fresh = set(after) - set(before)
    assert "jupyter_batch.magics" in fresh
    assert not fresh & (LATER - {"inspect", "msgspec"})
    assert not [name for name in fresh if name in HEAVY or name.startswith("pandas.plotting")]


def test_load_ext_writes_nothing_where_there_is_no_ledger(tmp_path):
    """Loading the extension makes no folder and no file."""
    home = tmp_path / "home"
    python(
        "import os\n"
        f"os.environ['JUPYTER_BATCH_HOME'] = {str(home)!r}\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "InteractiveShell.instance().run_line_magic('load_ext', 'jupyter_batch')"
    )
    assert not home.exists()


def test_unload_and_reload_twice(tmp_path):
    """%unload_ext and %reload_ext do what they say, twice, without a word."""
    output = python(
        f"import os; os.environ['JUPYTER_BATCH_HOME'] = {str(tmp_path / 'home')!r}\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "ip = InteractiveShell.instance()\n"
        "for _ in range(2):\n"
        "    ip.run_line_magic('load_ext', 'jupyter_batch')\n"
        "    ip.run_line_magic('reload_ext', 'jupyter_batch')\n"
        "    ip.run_line_magic('reload_ext', 'jupyter_batch')\n"
        "    print(len([c for c in ip.configurables if type(c).__name__ == 'LLMBatch']))\n"
        "    ip.run_line_magic('unload_ext', 'jupyter_batch')\n"
        "    print('llm_batch' in ip.magics_manager.magics['cell'])\n"
    )
    assert output.split() == ["1", "False"] * 2


def test_the_version_is_declared_once():
    """The build takes the version from core/version.py; JupyterLab's package.json and the changelog have the same."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert tables["project"]["dynamic"] == ["version"]
    assert tables["tool"]["hatch"]["version"]["path"] == "jupyter_batch/core/version.py"
    front = json.loads(
        (ROOT / "jupyter_batch" / "labextension" / "package.json").read_text(encoding="utf-8")
    )
    assert front["version"] == jupyter_batch.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{jupyter_batch.__version__}]" in changes


def declared(python_version):
    """The requirements of pyproject.toml for one version of Python, by name."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    here = default_environment() | {"python_version": python_version}
    found = [Requirement(text) for text in tables["project"]["dependencies"]]
    return {each.name: each for each in found if not each.marker or each.marker.evaluate(here)}


FLOORS_OF_LITELLM_1_84 = {"openai": "2.20", "httpx": "0.28", "pydantic": "2.10", "jinja2": "3.1.6"}
FIRST_WHEELS = {
    "3.11": {"xxhash": "3.1"},
    "3.13": {"pandas": "2.2.3", "orjson": "3.10.7", "aiohttp": "3.10.5", "xxhash": "3.5"},
    "3.14": {
        "pandas": "2.3.3",
        "orjson": "3.11.1",
        "aiohttp": "3.13",
        "msgspec": "0.20",
        "xxhash": "3.6",
    },
}


@pytest.mark.parametrize("python_version", FIRST_WHEELS)
def test_each_declared_floor_can_be_installed(python_version):
    """No floor is below what litellm's own floor admits, or below the first release with wheels for that Python."""
    needed = declared(python_version)
    reachable = FLOORS_OF_LITELLM_1_84 | FIRST_WHEELS[python_version]
    for name, version in reachable.items():
        floor = next(each.version for each in needed[name].specifier if each.operator == ">=")
        assert Requirement(f"x>={version}").specifier.contains(floor), (name, floor)


def test_the_tested_versions_are_within_what_is_declared():
    """.ci/constraints.txt holds a version of each dependency, and pyproject.toml accepts it."""
    lines = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    tested = {
        each.name: next(iter(each.specifier)).version
        for each in found
        if not each.marker or each.marker.evaluate()
    }
    for name, requirement in declared("3.11").items():
        assert requirement.specifier.contains(tested[name]), name


@pytest.mark.parametrize("name", ["batch", "abatch", "jobs", "open", "col"])
def test_the_flat_face_is_there(name):
    """API.md's names are attributes of the package."""
    assert callable(getattr(jupyter_batch, name))


def test_the_demo_data_is_real_and_says_where_it_is_from():
    """The reviews are in the package, with source and licence; ids are unique and ratings in range."""
    from jupyter_batch import demo

    folder = resources.files("jupyter_batch") / "data"
    assert "MIT License" in (folder / "SOURCE.md").read_text(encoding="utf-8")
    reviews = demo.reviews()
    assert list(reviews.columns) == ["snippet", "human_rating", "feedback"]
    assert 100 <= len(reviews) <= 300
    assert reviews["snippet"].is_unique
    assert reviews["human_rating"].between(-4, 4).all()
    assert reviews["feedback"].str.len().between(40, 160).all()


def test_the_servers_page_lists_its_faults():
    """docs/server.md has the table of faults that the server itself documents, and the README links to the page."""
    from jupyter_batch.server import faults

    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    table = [line for line in faults.__doc__.splitlines() if line.startswith("|")]
    assert len(table) > 2
    assert "\n".join(table) in page
    assert "docs/server.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_page_on_the_code_names_what_is_there():
    """docs/architecture.md names no file that is gone and leaves out no package."""
    package = ROOT / "jupyter_batch"
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)*[\w*]+\.py|(?:\w+/)+)`", page))
    assert [name for name in sorted(named) if not list(package.glob(name))] == []
    rooms = {
        path.name if path.is_file() else f"{path.name}/"
        for path in package.iterdir()
        if path.suffix == ".py" or (path.is_dir() and path.name not in {"__pycache__", "data"})
    }
    assert rooms - named == set()


def test_the_readme_has_the_two_commands_that_ci_runs():
    """`.ci/run` takes the two commands out of the README by their marks: each is there, and starts from nothing."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    fast = "pytest -n 6 --dist loadfile -m 'not browser and not heavy'"
    for mark, ends in (("first", "jupyter batch demo"), ("tests", fast)):
        block = readme.partition(f"<!-- {mark} -->\n```bash\n")[2].partition("\n```")[0]
        assert block.startswith("python3 -m venv .venv && ")
        assert block.endswith(ends)
        assert f"readme {mark}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
