"""A disk that is full: batches wait, then fail by themselves; cancel and delete work; nothing needs a restart.

The server runs in a process of its own, and `RLIMIT_FSIZE` makes every write beyond some bytes of a file fail, in the
rows' files, in uploads and in SQLite's own files alike.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_asking import Asking, jsonl, line, until

from jupyter_batch.server.storage.output import Appender
from jupyter_batch.server.storage.store import RESERVED, Reserve

resource = pytest.importorskip("resource")
if not hasattr(resource, "prlimit"):
    pytest.skip("limits of other processes are Linux's", allow_module_level=True)

ROOT = Path(__file__).parents[2]
START = (
    "import sys; from jupyter_batch.server import runner, serve; runner.DISK_GRACE = {grace}; "
    "sys.exit(serve.main(sys.argv[1:]))"
)
ROWS = jsonl(*(line(f"r-{i}", "x" * 300) for i in range(400)))
ROOM = 60_000


class Full:
    """A server whose files can be kept from growing."""

    def __init__(self, state: Path, grace: float = 0.5, pace: str = "2") -> None:
        command = [sys.executable, "-c", START.format(grace=grace), "--state", str(state)]
        self.child = subprocess.Popen(
            [*command, "--token", "secret", "--pace", pace],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.base_url = self.child.stdout.readline().split()[1]
        self.token = "secret"

    def limit(self, size: int = ROOM) -> None:
        """No file grows beyond so many bytes."""
        hard = resource.prlimit(self.child.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.child.pid, resource.RLIMIT_FSIZE, (size, hard))

    def free(self) -> None:
        """There is room again."""
        self.limit(resource.RLIM_INFINITY)

    def end(self) -> None:
        self.child.terminate()
        self.child.wait(60)
        self.child.stdout.close()


@pytest.fixture
def full(tmp_path) -> Iterator[Asking]:
    """Its client."""
    ask = Asking(Full(tmp_path / "state"))
    yield ask
    ask.close()
    ask.server.end()


@pytest.fixture
def patient(tmp_path) -> Iterator[Asking]:
    """The client of a server that waits long for room."""
    ask = Asking(Full(tmp_path / "state", grace=600))
    yield ask
    ask.close()
    ask.server.end()


def stuck(ask: Asking) -> dict:
    """A batch that is under way when the disk gets full."""
    batch = ask.create(ROWS)
    until(lambda: ask.batch(batch["id"])["request_counts"]["completed"] > 20)
    ask.server.limit()
    return batch


def test_a_batch_fails_by_itself_and_keeps_its_rows(full):
    """After a grace the batch is failed with a cause; its counts are the lines of its files, which are whole."""
    ended = full.ended(stuck(full)["id"])
    assert ended["status"] == "failed"
    assert [one["code"] for one in ended["errors"]["data"]] == ["server_error"]
    assert "disk is full" in ended["errors"]["data"][0]["message"]
    output, errors = full.results(ended)
    counts = ended["request_counts"]
    assert (len(output), len(errors)) == (counts["completed"], counts["failed"])
    assert 0 < len(output) < 400
    assert ended["usage"]["output_tokens"] == 75 * len(output)


def test_a_batch_goes_on_when_there_is_room(patient):
    """Within the grace nothing is lost: every row has its line, once."""
    batch = stuck(patient)
    until(lambda: patient.batch(batch["id"])["request_counts"]["completed"] > 55)
    assert patient.batch(batch["id"])["status"] == "in_progress"
    patient.server.free()
    ended = patient.ended(batch["id"])
    output, errors = patient.results(ended)
    assert (ended["status"], errors) == ("completed", [])
    assert sorted(row["custom_id"] for row in output) == sorted(f"r-{i}" for i in range(400))


def test_a_cancel_works_on_a_full_disk(patient):
    """200 at once, `cancelled` soon after, and the same after a restart that finds room."""
    batch = stuck(patient)
    answer = patient.call("POST", f"/batches/{batch['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelling")
    ended = patient.ended(batch["id"])
    assert (ended["status"], ended["errors"]) == ("cancelled", None)
    assert len(patient.lines(ended["output_file_id"])) == ended["request_counts"]["completed"]
    assert patient.call("POST", f"/batches/{batch['id']}/cancel").status_code == 200


def test_deletes_and_reads_work_on_a_full_disk(full):
    """Files are deleted, listed and read; an upload and a create that find no room are 507 and leave nothing."""
    kept = full.upload(ROWS)
    ended = full.ended(stuck(full)["id"])
    full.server.limit(1)  # not a byte
    for file_id in (ended["output_file_id"], kept["id"], ended["input_file_id"]):
        answer = full.call("DELETE", f"/files/{file_id}")
        assert (answer.status_code, answer.json()["deleted"]) == (200, True)
        assert full.call("GET", f"/files/{file_id}").status_code == 404
    assert full.call("GET", "/files").json()["data"] == []
    assert full.call("GET", "/batches").json()["data"][0]["status"] == "failed"
    refused = full.call(
        "POST", "/files", files={"file": ("a.jsonl", ROWS)}, data={"purpose": "batch"}
    )
    assert refused.status_code == 507
    assert refused.json()["error"]["code"] == "insufficient_storage"
    full.server.free()
    assert full.run(jsonl(line()))["status"] == "completed"
    assert len(full.call("GET", "/files").json()["data"]) == 2


def test_an_end_that_found_no_room_is_stored_later(full, tmp_path):
    """The state that clients saw on a full disk is on disk when there is room, and after a restart."""
    ended = full.ended(stuck(full)["id"])
    full.server.free()
    until((tmp_path / "state" / "reserve").exists)
    full.server.end()
    ask = Asking(Full(tmp_path / "state"))
    again = ask.batch(ended["id"])
    assert again == ended
    assert len(ask.lines(again["output_file_id"])) == ended["request_counts"]["completed"]
    ask.close()
    full.server.child = ask.server.child


def test_a_message_batch_ends_on_a_full_disk(full):
    """The other API's batches fail by themselves too, are deleted, and refused with 507 where there is no room."""
    params = {
        "model": "echo",
        "max_tokens": 400,
        "messages": [{"role": "user", "content": "x" * 300}],
    }
    requests = [{"custom_id": f"r-{i}", "params": params} for i in range(400)]
    made = full.call("POST", "/messages/batches", json={"requests": requests}).json()
    full.server.limit()
    path = f"/messages/batches/{made['id']}"
    until(lambda: full.call("GET", path).json()["processing_status"] == "ended")
    assert sum(full.call("GET", path).json()["request_counts"].values()) == 400
    assert full.call("POST", "/messages/batches", json={"requests": requests}).status_code == 507
    assert full.call("DELETE", path).status_code in (200, 507)
    full.server.free()
    assert full.call("GET", path).status_code in (200, 404)


def test_lines_are_held_to_the_byte(tmp_path):
    """A line of which a part was written goes on where it broke off."""
    before = resource.prlimit(0, resource.RLIMIT_FSIZE)
    out = Appender(tmp_path / "out")
    out.add(b"first line\n")
    out.add(b"second line\n")
    resource.prlimit(0, resource.RLIMIT_FSIZE, (15, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            out.flush()
    finally:
        resource.prlimit(0, resource.RLIMIT_FSIZE, before)
    assert out.held == 8
    out.add(b"third line\n")
    out.flush()
    out.close()
    assert (tmp_path / "out").read_bytes() == b"first line\nsecond line\nthird line\n"


def test_the_reserve_is_room_that_can_be_freed(tmp_path):
    """Half a megabyte, once, for the owner alone; released once."""
    reserve = Reserve(tmp_path / "reserve")
    reserve.take()
    reserve.take()
    held = (tmp_path / "reserve").stat()
    assert (held.st_size, held.st_mode & 0o777) == (RESERVED, 0o600)
    assert reserve.release()
    assert not reserve.release()
