"""Request hashes of jobs planned before hashes were stored, computed from the request files.

Where a provider's requests are stored in translated form, the hashes cannot be computed.
"""

from __future__ import annotations

import contextlib
import os
from hashlib import blake2b

from jupyter_batch.core.errors import LedgerReadOnlyError
from jupyter_batch.core.request import position_of
from jupyter_batch.ledger.reading import opened_if_there
from jupyter_batch.ledger.records import JobRecord
from jupyter_batch.ledger.store import Ledger
from jupyter_batch.providers.table import address_of
from jupyter_batch.row_files.request_files import REQUEST_ID
from jupyter_batch.row_files.row_sources import PRINT_BYTES, space_of
from jupyter_batch.wire.dialects import OPENAI

_BODY = b'"body":'


def known(ledger: Ledger, job: JobRecord) -> str:
    """Return the dedup scope of a job whose request hashes are now on disk.

    "" where its requests cannot be identified.
    """
    if job.space or job.adopted or job.dialect != OPENAI:
        return job.space
    folder = ledger.folders.of(job.id)
    if not folder.prints.exists():
        prints = bytearray(PRINT_BYTES * job.rows)
        for shard in ledger.shards(job.id):
            with opened_if_there(folder.requests(shard.number)) as file:
                if file is None:
                    return ""
                for line in file:
                    found = REQUEST_ID.match(line)
                    row = position_of(job.id, found[1].decode()) if found else None
                    if row is not None and row < job.rows:
                        body = line[line.index(_BODY) + len(_BODY) :]
                        mark = blake2b(body, digest_size=PRINT_BYTES).digest()
                        prints[row * PRINT_BYTES : (row + 1) * PRINT_BYTES] = mark
        with contextlib.suppress(LedgerReadOnlyError):
            folder.write(folder.prints, bytes(prints))
    return space_of(
        job.api_base or address_of(job.provider, None, os.environ), job.provider, job.endpoint
    )
