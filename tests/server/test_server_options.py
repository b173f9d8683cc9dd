"""Options of `jupyter batch serve` that can't be: one clear line, before anything is opened."""

from __future__ import annotations

import pytest

from jupyter_batch.cli import main as cli
from jupyter_batch.server import serve


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "99999"], "--port expects a number from 0 to 65535; got 99999"),
        (["--port", "-1"], "--port expects"),
        (["--port", "x"], "invalid int value"),
        (["--pace", "nan"], "--pace expects seconds"),
        (["--pace", "inf"], "--pace expects seconds"),
        (["--pace", "-1"], "--pace expects seconds"),
        (["--exit-when-idle", "nan"], "--exit-when-idle expects seconds"),
        (["--concurrency", "0"], "--concurrency expects at least 1"),
        (["--host", ""], "--host is empty"),
        (["--host", "nosuch.invalid"], "can't listen on nosuch.invalid"),
        (["--host", "192.0.2.1", "--token", "t"], "can't listen on 192.0.2.1"),
        (["--upstream", ""], "--upstream is empty"),
        (["--upstream", "local/echo"], "--upstream local/echo"),
        (["--embeddings-upstream", " "], "--embeddings-upstream is empty"),
        (["--api-base", "here"], "--api-base is no address"),
        (["--embeddings-upstream", "a/b", "--embeddings-api-base", "x"], "--embeddings-api-base"),
        (["--embeddings-api-base", "http://h/v1"], "need --embeddings-upstream"),
        (["--token", ""], "--token is empty"),
        (["--token", "a\nb"], "--token"),
        (["--embeddings-upstream", "a/b", "--embeddings-api-key", "a b"], "--embeddings-api-key"),
        (["--state", __file__], "--state expects a folder"),
        (["--faults", "latency=nan"], "latency is no number"),
        (["--faults", "nothing"], "no fault is called 'nothing'"),
        (["--no-token", "--host", "0.0.0.0"], "--no-token with --host"),
        (["--nothing"], "--nothing"),
    ],
)
@pytest.mark.parametrize("way", ["module", "command"])
def test_a_bad_option_is_one_line(capsys, options, words, way):
    """Exit code 2 and one line on stderr that names the option; no traceback, no usage, nothing opened."""
    try:
        code = serve.main(options) if way == "module" else cli(["serve", *options])
    except SystemExit as error:
        code = error.code
    shown = capsys.readouterr()
    assert (code, shown.out) == (2, "")
    assert shown.err.count("\n") == 1
    assert words in shown.err
