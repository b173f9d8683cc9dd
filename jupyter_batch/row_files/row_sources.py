"""Row sources: the shard with a row's request, the row it duplicates, or none.

Written when a job is planned.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias

from jupyter_batch.frames.hashing import HASH_BYTES, hash_of
from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import ShardRecord

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]


def space_of(place: str | None, provider: str, endpoint: str, schema: bytes = b"") -> str:
    """Return the dedup scope: jobs with the same scope share answers to identical requests.

    The mode (batch or realtime) is not part of it, as answers are the same in both. schema: the
    definition of a valid answer, which has more detail than the schema sent; b"" for none. Its hash
    follows after a ".".
    """
    key = repr((place, provider, endpoint.rpartition("/")[2])).encode()
    space = blake2b(key, digest_size=HASH_BYTES).hexdigest()
    return f"{space}.{blake2b(schema, digest_size=HASH_BYTES).hexdigest()}" if schema else space


def request_hash(body: bytes, kind: str, sample: int = 0) -> bytes:
    """Return the hash of a request's body, which identifies it; each sample is paid once.

    kind: as in frames/hashing.py.
    """
    return hash_of(kind, sample)(body)


NOWHERE = -1
"""The row has no request in this job: it was left out, or its answer was reused."""


_PACKED = b"JBP2"  # as the beginning of a number it would be none of a shard or a row


def _stored(data: bytes) -> Array:
    """The array in a file; those of earlier versions are not compressed. Raises ValueError."""
    import numpy as np

    if data.startswith(_PACKED):
        try:
            data = zlib.decompress(memoryview(data)[len(_PACKED) :])
        except zlib.error as error:
            raise ValueError(str(error)) from error
    return np.frombuffer(data, "<i8").astype(np.int64)


class Places:
    """One int64 a row: the number of its shard, NOWHERE, or -2 minus the row it duplicates.

    A duplicate has the same request as another row of the job, and takes that row's answer.
    """

    def __init__(self, array: Array) -> None:
        self._array: Array | None = array
        self._copies: tuple[Array, Array, Array] | None = None

    @property
    def array(self) -> Array:
        """The sources by row."""
        assert self._array is not None  # noqa: S101 - only a subclass has none
        return self._array

    @classmethod
    def of(
        cls, folder: JobFolder, rows: int, shards: list[ShardRecord], left_out: list[int]
    ) -> Places:
        """Read the job's file; without one, each shard has all rows between its first and last.

        left_out: the rows without a request.
        """
        if folder.places.exists():
            return cls(_stored(folder.places.read_bytes())).with_pieces(shards)
        return cls(_spans(rows, shards, left_out))

    @classmethod
    def checked(cls, data: bytes, rows: int, shards: list[ShardRecord]) -> Places:
        """Read the output of `to_bytes` for this number of rows.

        Raises ValueError for anything else.

        shards: the job's, or none where they are not known.
        """
        array = _stored(data)
        most = max((shard.number for shard in shards), default=rows)
        if (
            len(array) != rows
            or array.max(initial=most) > most
            or (-2 - array).max(initial=0) >= rows
        ):
            raise ValueError(f"these are no places of {rows} rows")
        return cls(array).with_pieces(shards)

    def with_pieces(self, shards: list[ShardRecord]) -> Places:
        """Set the numbers of split shards: the file has the number of the planned shard."""
        for shard in shards:
            if shard.part_of is not None:
                span = self.array[shard.first : shard.last + 1]
                span[span == shard.part_of] = shard.number
        return self

    def to_bytes(self) -> bytes:
        """The content of the job's file."""
        return _PACKED + zlib.compress(self.array.astype("<i8").tobytes(), 1)

    def asked(self, shard: ShardRecord) -> bytearray:
        """1 for each row between the shard's first and last that it has a request of, else 0."""
        return bytearray((self.array[shard.first : shard.last + 1] == shard.number).tobytes())

    def settled(self, rows: list[int]) -> list[int]:
        """The rows that no shard has a request of."""
        return [row for row in rows if self.array[row] < 0]

    def leaders_of_followers(self) -> list[int]:
        """The original of each duplicate row."""
        found: list[int] = self.followers()[1].tolist()
        return found

    def followers(self, shard: int | None = None) -> tuple[Array, Array]:
        """The duplicate rows and their originals: of those in this shard, or all."""
        import numpy as np

        if shard is None:
            rows = np.flatnonzero(self.array < NOWHERE)
            return rows, -2 - self.array[rows]
        if self._copies is None:  # once for all shards, in the order of these
            rows, leaders = self.followers()
            shards = self.array[leaders]
            order = np.argsort(shards, kind="stable")
            self._copies = rows[order], leaders[order], shards[order]
        rows, leaders, shards = self._copies
        mine = slice(*np.searchsorted(shards, [shard, shard + 1]).tolist())
        return rows[mine], leaders[mine]


class PlainPlaces(Places):
    """The sources of a job whose shards have all rows between their first and last, without an array of them.

    left_out: the rows without a request.
    """

    def __init__(self, rows: int, shards: list[ShardRecord], left_out: list[int]) -> None:
        self._array = None
        self._given = rows, shards, left_out
        self._left_out = sorted(left_out)

    @property
    def array(self) -> Array:
        """As in `Places`, made at the first use."""
        if self._array is None:
            self._array = _spans(*self._given)
        return self._array

    def asked(self, shard: ShardRecord) -> bytearray:
        """As in `Places`."""
        found = bytearray(b"\1") * (shard.last - shard.first + 1)
        start = bisect_left(self._left_out, shard.first)
        for row in self._left_out[start : bisect_right(self._left_out, shard.last)]:
            found[row - shard.first] = 0
        return found

    def followers(self, shard: int | None = None) -> tuple[Array, Array]:  # noqa: ARG002 - as in `Places`
        """There are none."""
        import numpy as np

        none: Array = np.empty(0, dtype=np.int64)
        return none, none


def _spans(rows: int, shards: list[ShardRecord], left_out: list[int]) -> Array:
    import numpy as np

    array: Array = np.full(rows, NOWHERE, dtype=np.int64)
    for shard in shards:
        array[shard.first : shard.last + 1] = shard.number
    array[np.asarray(left_out, dtype=np.int64)] = NOWHERE
    return array
