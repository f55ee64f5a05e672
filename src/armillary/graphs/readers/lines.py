"""Lines of a user's text file, one at a time, so that a file of gigabytes is read in the memory of a line."""

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from armillary.errors import StorageError, UsageError

_PACKED: Mapping[str, Callable[..., AbstractContextManager[Iterable[bytes]]]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
"""Endings of compressed files, which are read as they are."""

_MARK = b"\xef\xbb\xbf"


def kind_of(path: Path) -> str:
    """The ending of a file's name, in lower case, without that of its compression: ".tsv" of "facts.TSV.gz"."""
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] in _PACKED:
        endings.pop()
    return endings[-1] if endings else ""


def streamed_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Each line with its number, counted from 1, without its end; blank ones are left out.

    The file is UTF-8, with or without a byte order mark, plain or compressed (.gz, .bz2, .xz). A line ends at a line
    feed, before which a carriage return is dropped, and at no other sign.

    Raises:
        UsageError: there is no such file, it is a folder, or a line is not UTF-8.
        StorageError: it can't be read, or is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path} could not be read: there is no file of that name.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give a file of triples.")
    try:
        with _PACKED.get(path.suffix.lower(), open)(path, "rb") as file:
            for number, content in enumerate(file, 1):
                if number == 1:
                    content = content.removeprefix(_MARK)
                try:
                    line = content.decode()
                except UnicodeDecodeError as error:
                    raise UsageError(
                        f"line {number} of {path} is not UTF-8 ({error.reason}); save the file as UTF-8."
                    ) from None
                line = line.removesuffix("\n").removesuffix("\r")
                if line and not line.isspace():
                    yield number, line
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise StorageError(f"{path} could not be read: {getattr(error, 'strerror', None) or error}.") from error
