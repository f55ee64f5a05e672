"""What a reader of step data offers: a sample from a row or a text, and the row again with its steps in another order.

Audits, ``Reorder`` and the command know readers by this alone; the registry has them by name.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

from armillary.methods.ordering.steps import Sample

Record = Mapping[str, object] | str
"""One row of a file of rows (JSON lines, JSON, CSV, Parquet), or a stretch of a text file that is one sample."""


class Reader(ABC):
    """One format of step data. Its instances are small and can be sent to other processes."""

    name: ClassVar[str]
    """What ``--format`` calls it."""

    about: ClassVar[str]
    """What it reads, in one line of help text."""

    endings: ClassVar[tuple[str, ...]] = ()
    """Endings of text files that it reads (".py"); none for a format of rows alone."""

    @abstractmethod
    def __call__(self, record: Record) -> Sample | None:
        """The sample of a row or a text; None where it isn't of this format, or has no steps.

        Raises:
            UsageError: it is of this format, but its steps are no sample (see ``Sample``).
        """

    def units(self, text: str) -> Iterator[str]:
        """A text file cut into stretches that are one sample each; joined they are the text again."""
        yield text

    def rewritten(self, record: Record, sample: Sample) -> Record | None:
        """The row or text in its own shape, with its steps in the order of ``sample`` (which holds the same steps).

        None where a shape can't be written in another order without changing what it says.
        """
        return None
