"""Which readers there are, and which one reads a file."""

from collections.abc import Sequence

from armillary.errors import UsageError
from armillary.methods.ordering.readers.calculator import CalculatorReader
from armillary.methods.ordering.readers.coq.declarations import CoqReader
from armillary.methods.ordering.readers.coq.proofs import CoqProofReader
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.readers.messages import MessagesReader
from armillary.methods.ordering.readers.numbered import NumberedReader
from armillary.methods.ordering.readers.plain import PlainReader
from armillary.methods.ordering.readers.python_code import PythonReader
from armillary.methods.ordering.readers.scratchpad import ScratchpadReader
from armillary.methods.ordering.readers.state_tactic import StateTacticReader
from armillary.methods.ordering.readers.traced import TracedReader

READERS: tuple[Reader, ...] = (
    PlainReader(),
    MessagesReader(),
    TracedReader(),
    StateTacticReader(),
    CalculatorReader(),
    NumberedReader(),
    ScratchpadReader(),
    PythonReader(),
    CoqReader(),
    CoqProofReader(),
)

MOST = 0.5
"""Share of a file's records that must be of a format: real files have some rows without any mark of it, such as
solutions that need no arithmetic."""


def reader(name: str) -> Reader:
    """The reader of that name; UsageError naming all."""
    for known in READERS:
        if known.name == name:
            return known
    raise UsageError(f"there is no format {name!r}; choose one of {', '.join(known.name for known in READERS)}.")


def reader_of_file(ending: str) -> Reader | None:
    """The reader of text files with this ending (".py"); None where the ending says nothing."""
    return next((known for known in READERS if ending in known.endings), None)


def detect(records: Sequence[Record]) -> Reader:
    """The only reader whose format more than ``MOST`` of the records are of; UsageError where not exactly one is.

    Whether a record is of a format is found by reading it; one that is, but malformed, counts.
    """
    matching = [known for known in READERS if sum(_is_of(known, record) for record in records) > MOST * len(records)]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(known.name for known in matching or READERS)
    if matching:
        raise UsageError(f"the rows can be read as {names}; say which is meant by --format.")
    raise UsageError(
        f"no format's marks are in more than {MOST:.0%} of the first {len(records):,} rows; name one with --format: "
        f"{names}."
    )


def _is_of(known: Reader, record: Record) -> bool:
    try:
        return known(record) is not None
    except UsageError:
        return True
