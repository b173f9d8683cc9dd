"""The Jupyter server's part: the jobs of all notebooks over HTTP, for JupyterLab's panel.

It runs inside the user's server, and therefore imports only the ledger, the core and the view;
requests to providers are made by `jupyter batch watch`, in a process of its own.
"""

from __future__ import annotations

import os
from typing import Any


def _load_jupyter_server_extension(app: Any) -> None:
    """What jupyter_server calls at its start."""
    from jupyter_batch.config import settings
    from jupyter_batch.lab.config import JupyterBatch
    from jupyter_batch.lab.handlers import routes
    from jupyter_batch.lab.listing import Listing
    from jupyter_batch.lab.rows import RowsServer
    from jupyter_batch.lab.watch import Watch
    from jupyter_batch.ledger.store import Ledger
    from jupyter_batch.notices.webhooks import SECRET, key_of

    ledger = Ledger(settings.home(), upgrade=False)
    watch = Watch(ledger, app.log)
    rows = RowsServer(ledger.home)
    base_url = app.web_app.settings["base_url"]
    listing = Listing(ledger, root=str(getattr(app.contents_manager, "root_dir", "") or ""))
    options = JupyterBatch(parent=app)
    secret = options.webhook_secret or os.environ.get(SECRET, "")
    key = key_of(secret) if secret else None
    app.web_app.add_handlers(".*$", routes(base_url, listing, watch, rows, key))
    if options.watch:
        watch.start()
