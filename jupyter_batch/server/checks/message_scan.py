"""The positions of a Message Batch's requests in its input file, which `server/messages/create.py` wrote."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_batch.server.checks.validation import Scan, decode_request

SEVERAL = ""
"""`model` of a batch whose requests name several models, or none."""


class _Params(msgspec.Struct):
    model: Any = None


_decode_params = msgspec.json.Decoder(_Params).decode


class MessageScan(Scan):
    """Reads every request's place. A request's parameters are checked only when it is answered, as at Anthropic.

    model: the model that all requests name, else `SEVERAL`.
    """

    def add(self, raw: bytes, number: int, offset: int) -> None:
        """Take up one line; `number` counts from 1."""
        request = decode_request(self.placed(raw, number, offset))
        model = _decode_params(request.body).model
        if number == 1 and isinstance(model, str):
            self.model = model
        elif model != self.model:
            self.model = SEVERAL
        self._count(request.custom_id, len(raw), msgspec.UNSET)

    def end(self) -> None:
        """Release the set of ids; nothing is checked for the file as a whole."""
        self._ids = set()
