"""The options `c.JupyterBatch...` of a Jupyter server's configuration."""

from __future__ import annotations

from traitlets import Bool, Unicode
from traitlets.config import Configurable


class JupyterBatch(Configurable):
    """The options of the server's part."""

    watch = Bool(
        False,
        help="Fetch what open jobs answer also where no kernel follows them: the server then keeps one "
        "`jupyter batch watch` running, as long as there is such a job.",
    ).tag(config=True)

    webhook_secret = Unicode(
        "",
        help="The secret of a webhook at the provider (`whsec_...`; default: $OPENAI_WEBHOOK_SECRET): then its signed "
        "events are taken at /jupyter-batch/webhook, and the next poll of a batch that ended is due at once.",
    ).tag(config=True)
