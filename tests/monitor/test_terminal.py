"""The output in a terminal, a script, a log, nbclient and papermill: real processes, a real server."""

import re
import subprocess

import pytest
from terminal_process import PATIENCE, Terminal, environment

from jupyter_batch.server.embedded import Embedded
from tests.prepared import python

IPYTHON = ("-m", "IPython", "--no-banner", "--no-confirm-exit", "--quick", "--colors=nocolor")
PROMPTS = pytest.mark.parametrize(
    "more", [(), ("--simple-prompt",)], ids=["prompt_toolkit", "simple"]
)
TYPED = "40 + 2"


@pytest.fixture
def held(tmp_path):
    """A server that takes no batch until it is released: its jobs wait."""
    with Embedded(tmp_path / "server", faults="open_batches=0") as server:
        yield server


@pytest.fixture
def server(tmp_path):
    """One that is done at once."""
    with Embedded(tmp_path / "server") as running:
        yield running


def submission(server, **more):
    """The call, in one line."""
    options = {
        "out": "said",
        "model": "openai/echo",
        "api_base": server.base_url,
        "api_key": server.token,
        "poll_interval": 0.1,
        **more,
    }
    return f"df.llm.batch('{{text}}', {', '.join(f'{name}={value!r}' for name, value in options.items())})"


FRAME = "import pandas as pd, jupyter_batch; df = pd.DataFrame({'text': ['a', 'b', 'c']})"


# -- IPython in a terminal ---------------------------------------------------------------------------------------------


@PROMPTS
def test_a_line_comes_above_the_prompt_when_a_job_ends(held, tmp_path, more):
    """Of a job in the background: one line of its own, the prompt below it, and typed input is kept and runs."""
    with Terminal(*IPYTHON, *more, home=tmp_path / "home") as person:
        person.until("In [1]:")
        person.run(FRAME, 2)
        quiet = person.run(f"job = {submission(held)}", 3)
        assert "said:" not in quiet.replace(submission(held), "")
        before = len(person.text)
        person.type(TYPED)
        person.until(TYPED, after=before)
        held.set_faults("")
        came = person.until("said: completed, 3 of 3 rows (100%)", after=before)
        prompt = person.until("In [3]:", after=came)
        if not more:
            person.until(TYPED, after=prompt)
        shown = person.text[person.text.index("said: completed", before) : came + 200]
        assert re.match(r"said: completed, 3 of 3 rows .*\[jb\w+\]\s*\nIn \[3\]:", shown)
        answer = person.run("", 4)
        assert "Out[3]: 42" in answer
        assert person.text.count("said: completed") == 1
        assert "'a', 'b', 'c'" in person.run("df['said'].tolist()", 5)
        shown = person.text[before:]
        merged = shown.index("said: 3 of 3 rows have their answer in 'said'")
        assert shown.index("Out[3]: 42") < merged, (
            "not in the output of the input before which it was merged"
        )


def test_a_job_that_is_shown_tells_of_each_change_once(held, tmp_path):
    """The first line where it is shown, then a line for each state, the last one above the prompt; none twice."""
    with Terminal(*IPYTHON, home=tmp_path / "home") as person:
        person.until("In [1]:")
        person.run(FRAME, 2)
        assert "said: " in person.run(submission(held), 3)
        before = len(person.text)
        held.set_faults("")
        person.until("said: completed", after=before)
        person.run("", 3)
        person.run("job = jupyter_batch.jobs()[0]", 4)
        states = re.findall(r"(?m)said: (\w+), \d of 3 rows", person.text)
        assert states[-1] == "completed"
        assert len(states) == len(set(states))


def test_a_job_does_not_print_into_the_output_of_another_input(held, tmp_path):
    """Its line comes when that input is over, above the next prompt."""
    with Terminal(*IPYTHON, home=tmp_path / "home") as person:
        person.until("In [1]:")
        person.run(f"import time; {FRAME}", 2)
        person.run(f"job = {submission(held)}; job", 3)
        before = len(person.text)
        person.type(
            "exec('print(1);\\nwhile not job.is_complete: time.sleep(.1)\\ntime.sleep(1); print(2)')\r"
        )
        person.until("1\r\n", after=before)
        held.set_faults("")
        end = person.until("In [4]:", after=before)
        shown = person.text[before:end].replace("\r", "")
        assert "\n1\n2\n" in shown
        assert shown.index("said: completed") > shown.index("\n1\n2\n")


def test_a_job_that_is_shown_again_is_reported_again(server, tmp_path):
    """Each input that shows it has its line, though nothing has changed; what `wait()` has drawn is not repeated."""
    text = "said: completed, 3 of 3 rows (100%)"
    with Terminal(*IPYTHON, home=tmp_path / "home") as person:
        person.until("In [1]:")
        person.run(FRAME, 2)
        person.run(f"job = {submission(server)}", 3)
        assert person.run("job.wait()", 4).count(text) <= 1, (
            "as a bar, or as a line where it was over"
        )
        person.run("%load_ext jupyter_batch", 5)
        show = "get_ipython().run_line_magic('llm_batch', f'show {job.id}')"
        for number, source in enumerate(("job", "job", "job.wait()", show), 6):
            assert person.run(source, number).count(text) == 1


def test_a_job_of_another_day_is_reported_too(held, tmp_path):
    """`%load_ext` takes up what is open; where that ends at the prompt, a line says so, for a group one for all."""
    home = tmp_path / "home"
    code = f"{FRAME}; {submission(held, model=['openai/echo', 'hosted_vllm/echo'])}"
    done = subprocess.run(
        [*python(), "-c", code],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    with Terminal(*IPYTHON, home=home) as person:
        person.until("In [1]:")
        person.run(f"%env OPENAI_API_KEY={held.token}", 2)
        person.run(f"%env HOSTED_VLLM_API_KEY={held.token}", 3)
        person.run(f"%env JUPYTER_BATCH_API_BASES={held.base_url}", 4)
        assert "2 LLM batches are still running" in person.run("%load_ext jupyter_batch", 5)
        before = len(person.text)
        held.set_faults("")
        person.until("completed, 6 of 6 rows (100%)", after=before)
        person.run("1", 6)
        assert person.text.count("completed,") == 1


def test_waiting_at_a_terminal_is_a_bar_and_ctrl_c_ends_it_alone(held, tmp_path):
    """The bar while it waits; Ctrl-C says one line and gives the prompt back; the job's end comes above it."""
    with Terminal(*IPYTHON, home=tmp_path / "home") as person:
        person.until("In [1]:")
        person.run(FRAME, 2)
        person.run(f"job = {submission(held)}", 3)
        before = len(person.text)
        person.type("job.wait().id\r")
        person.until("0%|", after=before)
        person.type("\x03")
        text = person.until("Stopped waiting. The batch goes on.", after=before)
        prompt = person.until("In [4]:", after=text)
        assert "Traceback" not in person.text
        held.set_faults("")
        person.until("said: completed, 3 of 3 rows (100%)", after=prompt)
        assert "'a', 'b', 'c'" in person.run("df['said'].tolist()", 5)


def test_tab_in_the_terminal_writes_the_column_and_no_escape_code(tmp_path):
    """In the prompt's body, below the line: the menu has the columns, and a name with ANSI codes is not among them."""
    with Terminal(*IPYTHON, home=tmp_path / "home") as person:
        person.until("In [1]:")
        person.run("%load_ext jupyter_batch", 2)
        person.run(
            "import pandas as pd; df = pd.DataFrame(columns=['Total', 'Topic one', chr(27) + '[41mTored'])",
            3,
        )
        before, raw = len(person.text), len(person.raw)
        person.type("%%llm_batch df\r")
        person.until("...:", after=before)
        person.type("Say {To\t")
        person.until("Topic one", after=before)
        person.type("t\t\x0c")  # Ctrl-L: the whole screen again
        person.until("Say {Total", after=before)
        assert "Tored" not in person.text[before:]
        assert "\x1b[41m" not in person.raw[raw:]


# -- scripts -----------------------------------------------------------------------------------------------------------


def script(tmp_path, server, **more):
    """A script's file: submit, wait, print."""
    path = tmp_path / "script.py"
    code = f"{FRAME}\njob = {submission(server, **more)}\njob.wait()\nprint(df['said'].tolist())\n"
    path.write_text(code, encoding="utf-8")
    return path


def test_a_script_at_a_terminal_has_a_bar(held, tmp_path):
    """A tqdm bar that is redrawn in place while the job runs, and stands whole on a line of its own at the end."""
    with Terminal(str(script(tmp_path, held)), home=tmp_path / "home") as person:
        person.until("0%|")
        held.set_faults("")
        person.until("said: completed 100%|")
        assert person.until_end() == 0
    frames = [frame for frame in re.split(r"[\r\n]+", person.text) if "%|" in frame]
    assert len(frames) > 1
    assert "3/3" in frames[-1]
    assert person.text.rstrip().endswith("['a', 'b', 'c']")
    assert "Traceback" not in person.text


def test_a_script_whose_output_is_a_file_has_one_line_a_change(server, tmp_path):
    """No bar, no carriage return, no colour: the lines of a log, one for each state, and the reasons."""
    path = tmp_path / "log.txt"
    with path.open("w", encoding="utf-8") as log:
        done = subprocess.run(
            [*python(), str(script(tmp_path, server))],
            env=environment(tmp_path / "home"),
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
    assert (done.returncode, done.stderr) == (0, "")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "['a', 'b', 'c']"
    shown = [line for line in lines if line.startswith("said: ")]
    states = [line.split()[1].strip(",") for line in shown if "of 3 rows (" in line]
    assert states[-1] == "completed"
    assert len(states) == len(set(states))
    assert not re.search(r"[\r\x1b]|%\|", path.read_text(encoding="utf-8"))


def test_a_name_with_escape_codes_is_text_in_terminal_and_log(server, tmp_path):
    """ANSI, a title change, a bell and a bidi override in a job's name reach neither the terminal nor the log."""
    hostile = "\x1b[31mred\x1b]0;title\x07 \u202eevil"
    path = script(tmp_path, server, name=hostile)
    done = subprocess.run(
        [*python(), str(path)],
        env=environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    with Terminal(
        str(script(tmp_path, server, name=hostile, reuse=False)), home=tmp_path / "other"
    ) as person:
        assert person.until_end() == 0
    for text in (done.stdout, person.raw):
        assert "red evil: completed" in text
        assert not any(bad in text for bad in ("\x1b[31m", "\x1b]", "\x07", "\u202e"))


# -- notebooks without a reader ----------------------------------------------------------------------------------------


def book(server):
    """A notebook that submits in one cell, waits in the next, and shows what came."""
    import nbformat  # three seconds of CPU, of the process that comes here alone

    cells = [
        FRAME,
        submission(server),
        "job = jupyter_batch.jobs()[0]\njob.wait()\nNone",
        "print(df['said'].tolist())",
    ]
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )


def check_lines(ran):
    """Lines in the cells that submit and wait; no widget, no bar, no error."""
    outputs = [output for cell in ran.cells for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"stream"}, outputs
    assert {output.name for output in outputs} == {"stdout"}, outputs
    submitted, waited, printed = (
        "".join(output.text for output in cell.outputs) for cell in ran.cells[1:]
    )
    assert submitted.startswith("said: ")
    assert "said: completed, 3 of 3 rows (100%)" in submitted + waited
    assert "%|" not in submitted + waited
    assert printed == "['a', 'b', 'c']\n"
    assert "widgets" not in ran.metadata


def test_papermill_has_lines(server, tmp_path):
    """A real job in a kernel of papermill, whose client is nbclient, with no one to look: a reader finds lines."""
    import nbformat

    before, after = tmp_path / "before.ipynb", tmp_path / "after.ipynb"
    nbformat.write(book(server), before)
    for _ in range(
        5
    ):  # papermill gives the kernel ports, and another process may be first at one of them
        done = subprocess.run(
            [
                *python(),
                "-m",
                "papermill",
                str(before),
                str(after),
                "--kernel",
                "python3",
                "--no-progress-bar",
            ],
            env=environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if "Address already in use" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    check_lines(nbformat.read(after, as_version=4))
