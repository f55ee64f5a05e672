"""Distinct names as one block of UTF-8 in sorted order: a number is a rank, and a name is looked up by halving."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError

BATCH = 1 << 16
"""Names that are encoded at once: few calls, and no second copy of millions of names."""


class Names:
    """Numbered distinct names, memory-mapped where the graph is; number = rank in the order of the UTF-8 bytes.

    The order of UTF-8 bytes is that of Python's ``sorted``. Numbers therefore depend on the set of names alone, not
    on the order in which they were met.
    """

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        """``blob`` holds all bytes, name ``i`` from ``offsets[i]`` to ``offsets[i + 1]``."""
        self.blob, self.offsets = blob, offsets
        self._bytes, self._ends = blob.data, offsets.data

    @classmethod
    def of_sorted(cls, names: Sequence[str]) -> "Names":
        """The names of a sequence that is sorted and has none twice. UsageError for one that is not Unicode text."""
        blob, lengths = bytearray(), np.empty(len(names), np.int64)
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            try:
                encoded = "".join(batch).encode()
            except UnicodeEncodeError:
                broken = next(name for name in batch if not _encodes(name))
                raise UsageError(f"the name {broken!r} is no text: it holds half of a surrogate pair.") from None
            blob += encoded
            plain = len(encoded) == sum(map(len, batch))
            counts = map(len, batch) if plain else (len(name.encode()) for name in batch)
            lengths[start : start + len(batch)] = np.fromiter(counts, np.int64, len(batch))
        offsets = np.zeros(len(names) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(np.frombuffer(blob, np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> str:
        """The name of a number; IndexError beyond the last."""
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        return self._at(int(number) % len(self)).decode()

    def __iter__(self) -> Iterator[str]:
        return (self._at(number).decode() for number in range(len(self)))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.id_of(name) is not None

    def id_of(self, name: str) -> int | None:
        """The number of a name, None where the graph has no such name; log2 of the count steps."""
        wanted = name.encode(errors="surrogatepass")
        number = bisect_left(range(len(self)), wanted, key=self._at)
        return number if number < len(self) and self._at(number) == wanted else None

    def ids_of(self, names: Iterable[str]) -> NDArray[np.int32]:
        """The numbers of many names; -1 for one that the graph does not have."""
        numbers = (self.id_of(name) for name in names)
        return np.fromiter((-1 if number is None else number for number in numbers), np.int32)

    def _at(self, number: int) -> bytes:
        return bytes(self._bytes[self._ends[number] : self._ends[number + 1]])


def _encodes(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
