"""A real kernel whose cells await litellm on the kernel's own loop while a job of ours runs: each minds its own."""

from __future__ import annotations

import textwrap

import pytest
from jupyter_client.manager import KernelManager

from jupyter_batch.server.embedded import Embedded
from tests.kernels import apart

PATIENCE = 90
POLL, DOWNLOAD = "GET /v1/batches/{batch_id}", "GET /v1/files/{file_id}/content"


class Kernel:
    """A kernel, and all that its cells and its process print on stderr. printed: on stdout."""

    def __init__(self, folder):
        self.errors = []
        self.printed = ""
        self._own = folder / "stderr"
        self._file = self._own.open("wb")
        self._manager = KernelManager(kernel_name="python3", config=apart())
        self._manager.start_kernel(stderr=self._file)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=PATIENCE)

    @property
    def stderr(self):
        """The output there by either way, except ipykernel's notes on its own transport."""
        lines = ("".join(self.errors) + self._own.read_text()).splitlines()
        return [
            line
            for line in lines
            if not line.startswith("[IPKernelApp] WARNING | Kernel is running over TCP")
        ]

    def run(self, code):
        """A cell, to its end."""
        ident = self._client.execute(textwrap.dedent(code), store_history=True)
        while True:
            message = self._client.get_iopub_msg(timeout=PATIENCE)
            kind, content = message["msg_type"], message["content"]
            if kind == "stream" and content["name"] == "stderr":
                self.errors.append(content["text"])
            elif kind == "stream":
                self.printed += content["text"]
            elif kind == "error":
                raise AssertionError("\n".join(content["traceback"]))
            elif (
                kind == "status"
                and content["execution_state"] == "idle"
                and message["parent_header"].get("msg_id") == ident
            ):
                return

    def close(self):
        """End it in order, so that its last output is read, too."""
        self._client.stop_channels()
        self._manager.shutdown_kernel()
        self._manager.cleanup_resources()
        self._file.close()


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A kernel with a ledger of its own."""
    monkeypatch.setenv("JUPYTER_BATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    kernel = Kernel(tmp_path)
    yield kernel
    kernel.close()
    assert kernel.stderr == [], "at its end, too"


def test_a_persons_own_litellm_on_the_kernels_loop(book, tmp_path):
    """Before, while and after a job runs: nothing on stderr, one GET for each result file, no poll after the end."""
    with Embedded(tmp_path / "server", pace=1.5) as server:
        book.run(f"""
            import asyncio, litellm, pandas as pd
            litellm.suppress_debug_info = True
            %load_ext jupyter_batch
            where = dict(api_base="{server.base_url}", api_key="{server.token}")
            async def ask(text):
                done = await litellm.acompletion("openai/echo", messages=[{{"role": "user", "content": text}}], **where)
                assert done.choices[0].message.content == text
            await ask("before")
            df = pd.DataFrame({{"t": [str(n) for n in range(200)]}})
            job = df.llm.batch("{{t}}", out="o", model="openai/echo", shard_size=100, **where)
        """)
        book.run("""
            others = 0
            while not job.is_complete:
                await asyncio.gather(*(ask(f"other {n}") for n in range(5)))
                others += 5
            await job
            assert (df["o"] == df["t"]).all()
            print("calls by others:", others)
        """)
        routes = server.stats()["routes"]
        assert routes["POST /v1/batches"]["received"] == 2
        assert routes[DOWNLOAD]["received"] == 2, "one GET for each result file"
        assert routes["POST /v1/chat/completions"]["received"] > 10, "they did run side by side"
        book.run("""
            for n in range(20):
                await ask(f"after {n}")
            job.refresh()
            job.wait(10)
            await ask("at the end")
        """)
        after = server.stats()["routes"]
        assert after[POLL] == routes[POLL], "no poll after the end"
        assert after[DOWNLOAD] == routes[DOWNLOAD]
    assert book.stderr == []
