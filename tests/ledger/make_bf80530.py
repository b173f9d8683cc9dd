"""Write the ledger in `bf80530.tar.gz`, with the code of commit bf80530: a ledger from before blocks were fields.

    git worktree add /tmp/bf80530 bf80530
    cd /tmp && PYTHONPATH=/tmp/bf80530 python THIS_FILE FOLDER
    tar -C FOLDER -czf bf80530.tar.gz home server names.json

Below FOLDER it leaves `home` (the ledger) and `server` (the state of the embedded server). `names.json` has the
ids, the address and the time. A batch that is running goes on when a server is started on that state.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

TOKEN = "fixture-token"
PROMPT = "Classify the sentiment (positive/negative/neutral): {text}"
TEXTS = ["I love it", "I hate it", "it is a table"]
ROWS = 12
PORT = 18731  # a job's address is a part of its fingerprint
MODEL = "openai/echo"


def frame(count: int, begin: str = "row"):
    """The rows of a job."""
    import pandas as pd

    return pd.DataFrame({"text": [f"{begin} {number}" for number in range(count)]})


def main(folder: Path) -> None:
    """Finished, with failed rows, a group, refused for its key, and still running."""
    os.environ["JUPYTER_BATCH_HOME"] = str(folder / "home")
    import pandas as pd

    import jupyter_batch
    from jupyter_batch.server.embedded import Embedded

    with Embedded(folder / "server", token=TOKEN, port=PORT) as server:
        call = {"model": MODEL, "api_base": server.base_url, "api_key": TOKEN}
        done = pd.DataFrame({"text": TEXTS}).llm.batch(PROMPT, out="sentiment", **call).wait(60)
        group = frame(3, "both").llm.batch(
            "{text}", out="said", **call | {"model": [MODEL, "openai/local/echo"]}
        )
        group.wait(60)
        server.set_faults("row_errors=0.4,seed=3")
        failed = frame(ROWS).llm.batch("{text}", out="echo", **call).wait(60)
        server.set_faults("")
        paused = frame(2, "key").llm.batch("{text}", out="echo", **call | {"api_key": "wrong"})
        while not paused._shards()[0].note:
            paused.wait(0.2)
        base = server.base_url
    with Embedded(folder / "server", token=TOKEN, pace=1e6, port=PORT) as server:
        running = frame(4, "open").llm.batch("{text}", out="echo", **call)
        while running.state != "running":
            running.wait(0.2)
        names = {
            "base": base,
            "done": done.id,
            "group": [job.id for job in group.jobs],
            "failed": failed.id,
            "paused": paused.id,
            "running": running.id,
            "made_at": time.time(),
        }
        states = {name: jupyter_batch.open(names[name]).state for name in ("done", "failed")}
        print(states, failed.counts, group.state, [s.note for s in paused._shards()])
        (folder / "names.json").write_text(json.dumps(names, indent=1))
        os._exit(0)  # the kernel dies while a job is running


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
