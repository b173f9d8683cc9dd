"""Where each row's answer comes from: a shard that asks for it, another row that asks the same, or nowhere.

It is written when a job is planned; it knows no request's inside and no answer.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias

from jupyter_batch.ledger.folder import JobFolder
from jupyter_batch.ledger.records import ShardRecord

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

PRINT_BYTES = 16
"""A request is told by its print: a hash of its body."""


def space_of(place: str | None, provider: str, endpoint: str, schema: bytes = b"") -> str:
    """Requests that read the same are the same for jobs of one space: they were asked of the same kind, and there.

    Not how (in a batch or at once): an answer is the same either way. schema: what counts as an answer, which says more
    than what is sent of it; b"" for none. Its hash stands after a ".".
    """
    told = repr((place, provider, endpoint.rpartition("/")[2])).encode()
    space = blake2b(told, digest_size=PRINT_BYTES).hexdigest()
    return f"{space}.{blake2b(schema, digest_size=PRINT_BYTES).hexdigest()}" if schema else space


def request_hash(body: bytes, sample: int = 0) -> bytes:
    """The hash of a request by its body; of several answers to the same request each has its own, and is paid once.

    Sample 0 has the hash of a request for one answer.
    """
    salt = sample.to_bytes(4, "big") if sample else b""
    return blake2b(body, digest_size=PRINT_BYTES, salt=salt).digest()


NOWHERE = -1
"""The row has no request of this job: it was left out, or its answer was carried over from an earlier job."""


class Places:
    """One int64 a row: the number of the shard that asks for it, NOWHERE, or -2 minus the row that it follows.

    A row follows another one of the job whose request is just the same: that one's answer is its answer.
    """

    def __init__(self, array: Array) -> None:
        self.array = array

    @classmethod
    def of(
        cls, folder: JobFolder, rows: int, shards: list[ShardRecord], left_out: list[int]
    ) -> Places:
        """As the folder tells it; where it tells nothing, each shard asks for all rows between its first and last.

        left_out: the rows that have no request.
        """
        import numpy as np

        if folder.places.exists():
            array = np.frombuffer(folder.places.read_bytes(), "<i8").astype(np.int64)
            return cls(array).with_pieces(shards)
        array = np.full(rows, NOWHERE, dtype=np.int64)
        for shard in shards:
            array[shard.first : shard.last + 1] = shard.number
        array[np.asarray(left_out, dtype=np.int64)] = NOWHERE
        return cls(array)

    @classmethod
    def checked(cls, data: bytes, rows: int, shards: list[ShardRecord]) -> Places:
        """Read what `to_bytes` wrote for a job of so many rows. Raises ValueError for anything else.

        shards: the job's, or none where they are not known.
        """
        import numpy as np

        array = np.frombuffer(data, "<i8").astype(np.int64)
        most = max((shard.number for shard in shards), default=rows)
        if (
            len(array) != rows
            or array.max(initial=most) > most
            or (-2 - array).max(initial=0) >= rows
        ):
            raise ValueError(f"these are no places of {rows} rows")
        return cls(array).with_pieces(shards)

    def with_pieces(self, shards: list[ShardRecord]) -> Places:
        """The same with the pieces of planned shards that were cut: the file has the planned shard's number."""
        for shard in shards:
            if shard.part_of is not None:
                span = self.array[shard.first : shard.last + 1]
                span[span == shard.part_of] = shard.number
        return self

    def to_bytes(self) -> bytes:
        """For the job's folder."""
        return self.array.astype("<i8").tobytes()

    def asked(self, shard: ShardRecord) -> bytearray:
        """1 for each row from the shard's first to its last that it asks for, else 0."""
        return bytearray((self.array[shard.first : shard.last + 1] == shard.number).tobytes())

    def settled(self, rows: list[int]) -> list[int]:
        """Those of the rows that no shard asks for."""
        return [row for row in rows if self.array[row] < 0]

    def leaders_of_followers(self) -> list[int]:
        """For each row that follows another, that other row."""
        found: list[int] = self.followers()[1].tolist()
        return found

    def followers(self, shard: int | None = None) -> tuple[Array, Array]:
        """(the rows that follow another, the rows that they follow): of those that this shard asks for, or all."""
        import numpy as np

        rows = np.flatnonzero(self.array < NOWHERE)
        leaders = -2 - self.array[rows]
        if shard is None:
            return rows, leaders
        mine = self.array[leaders] == shard
        return rows[mine], leaders[mine]
