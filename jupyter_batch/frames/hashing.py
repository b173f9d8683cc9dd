"""Hashes of 16 bytes that identify requests and rows' cells, by the kind that is recorded with a job.

They guard against accidents: two different texts have the same hash with a chance of 2^-128. They
are no signature, so a fast hash is enough (XXH3; BLAKE2b costs five times as much). Its collisions
can be constructed by those who know its seed, such as the author of a review that should get the
label of another one. The seed is therefore random, one for each ledger, and in no request.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from typing import Any, TypeAlias

HASH_BYTES = 16
BLAKE2B = "blake2b"
"""The kind of jobs that record none."""
_XXH3 = "xxh3-"
SEED_BYTES = 8

Hash: TypeAlias = "Callable[[Any], bytes]"


def seeded(seed: bytes) -> str:
    """The kind with this seed, of which the first 8 bytes count."""
    return _XXH3 + seed[:SEED_BYTES].hex()


@cache
def hash_of(kind: str, sample: int = 0) -> Hash:
    """The hash function of a kind; each sample of a request has its own.

    Sample 0 has that of a request for one answer. Raises ValueError for an unknown kind.
    """
    if kind == BLAKE2B:
        salt = sample.to_bytes(4, "big") if sample else b""
        empty = blake2b(digest_size=HASH_BYTES, salt=salt)  # a copy costs less than another one

        def blake(data: Any) -> bytes:
            one = empty.copy()
            one.update(data)
            return one.digest()

        return blake
    if not kind.startswith(_XXH3):
        raise ValueError(f"hashes of the kind {kind!r} are not known to this version")
    from xxhash import xxh3_128_digest

    seed = (int(kind.removeprefix(_XXH3), 16) + sample) % (1 << 8 * SEED_BYTES)
    return lambda data: xxh3_128_digest(data, seed)


def hashes(kind: str, data: bytes, starts: list[int], ends: list[int]) -> bytes:
    """The hashes of parts of `data`, joined."""
    view = memoryview(data)
    if kind.startswith(_XXH3):
        from xxhash import xxh3_128_digest

        seed = int(kind.removeprefix(_XXH3), 16)
        parts = [xxh3_128_digest(view[a:b], seed) for a, b in zip(starts, ends, strict=True)]
    else:
        each = hash_of(kind)
        parts = [each(view[a:b]) for a, b in zip(starts, ends, strict=True)]
    return b"".join(parts)
