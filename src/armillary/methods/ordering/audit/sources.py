"""A file or a folder of step data in pieces of records, each piece read by itself.

A file of rows (JSON lines, a JSON list, CSV, Parquet) is cut as ``runs.pieces`` cuts it; files that are texts (a
Python module, a file of proofs) are put together until they make a piece. No more than one piece is in memory.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from stat import S_ISDIR
from typing import NoReturn

from armillary.errors import StorageError, UsageError
from armillary.files import read_text
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.readers.registry import READERS, detect, reader, reader_of_file
from armillary.methods.ordering.steps import Sample
from armillary.runs.pieces import ENDINGS, PIECE, Piece, pieces, rows

AUTO = "auto"
"""The format that is found out."""

LOOKED_AT = 200
"""Records by which a format is told: real files have stretches without its marks."""


@dataclass(frozen=True, kw_only=True)
class AuditPiece:
    """A stretch of a file of rows, or some files that are texts."""

    index: int
    """Counted from 0 over the whole source."""

    rows: Piece | None = None
    texts: tuple[str, ...] = ()
    """Paths of whole files, where there are no rows."""

    @property
    def name(self) -> str:
        """What its result is kept under."""
        return f"piece-{self.index:06d}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is audited, and how it is read."""

    path: Path
    reader: Reader
    files: tuple[Path, ...]
    """Those that are read, in order; of a folder, those of the format below it."""

    @property
    def has_rows(self) -> bool:
        """Whether the files hold rows, and are not texts as a whole."""
        return self.files[0].suffix.lower() in ENDINGS

    def pieces(self) -> Iterator[AuditPiece]:
        """All of it, in order. Raises as ``runs.pieces.pieces``."""
        index, held, size = 0, list[str](), 0
        for file in self.files:
            if self.has_rows:
                for piece in pieces(file, PIECE):
                    yield AuditPiece(index=index, rows=piece)
                    index += 1
                continue
            held.append(str(file))
            size += file.stat().st_size
            if size >= PIECE:
                yield AuditPiece(index=index, texts=tuple(held))
                index, held, size = index + 1, [], 0
        if held:
            yield AuditPiece(index=index, texts=tuple(held))


def opened_source(path: Path | str, format: str = AUTO) -> Source:
    """The file or folder, with the reader of ``format`` or of what its names and its first records show.

    Raises:
        UsageError: there is no such file or format, nothing in it can be read, or its format isn't told by its marks.
        StorageError: it can't be read.
    """
    path = Path(path)
    chosen = None if format == AUTO else reader(format)
    files = _files(path)
    endings = {ending for known in ([chosen] if chosen else READERS) for ending in known.endings}
    texts = tuple(file for file in files if file.suffix.lower() in endings)
    with_rows = tuple(file for file in files if file.suffix.lower() in ENDINGS)
    if texts:
        readers = {known.name: known for file in texts if (known := chosen or reader_of_file(file.suffix.lower()))}
        if len(readers) > 1:
            raise UsageError(f"{path} holds files of several formats; choose one with --format: {', '.join(readers)}.")
        if with_rows and chosen is None:
            raise UsageError(
                f"{path} holds rows ({with_rows[0].name} ...) beside {texts[0].suffix} files; choose what is read "
                f"with --format: {', '.join(readers)}, or that of the rows."
            )
        return Source(path=path, reader=next(iter(readers.values())), files=texts)
    if not with_rows:
        accepted = dict.fromkeys([*ENDINGS, *sorted(endings)])
        there = f"{path} holds no file that is read" if path.is_dir() else f"{path} is not of a kind that is read"
        there += f" as {chosen.name}" if chosen else ""
        raise UsageError(f"{there}; accepted are {', '.join(accepted)}, and folders of them.")
    if chosen is None:
        first = next((piece for file in with_rows for piece in pieces(file)), None)
        records: list[Record] = [] if first is None else [row for _, row in islice(rows(first), LOOKED_AT)]
        if not records:
            raise UsageError(f"{path} holds no row.")
        try:
            chosen = detect(records)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
    return Source(path=path, reader=chosen, files=with_rows)


def _files(path: Path) -> list[Path]:
    """The file itself, or the files below a folder, sorted."""

    def unread(error: OSError) -> NoReturn:
        raise StorageError(f"{error.filename or path} could not be read: {error.strerror or error}.") from error

    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path} could not be read: there is no file or folder of that name.") from None
    except OSError as error:
        unread(error)
    if not S_ISDIR(mode):
        return [path]
    files = list[Path]()
    for folder, folders, names in os.walk(path, onerror=unread):
        # Hidden files, and those below hidden folders, are somebody's settings and caches.
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(file for file in files if file.is_file())


def records(piece: AuditPiece, chosen: Reader) -> Iterator[tuple[str, Record | UsageError]]:
    """The records of a piece, each with its place in words; of a file that is no text, why."""
    if piece.rows is not None:
        yield from rows(piece.rows)
        return
    for path in piece.texts:
        yield from file_records(path, chosen)


def read_samples(path: Path | str, format: str = AUTO) -> Iterator[Sample]:
    """The samples of a file or folder of step data, in order; no more than a piece of it is in memory.

    Records without steps of the format are passed over. Raises as ``opened_source``; UsageError naming the place of a
    record whose steps are no sample.
    """
    source = opened_source(path, format)
    for piece in source.pieces():
        for where, record in records(piece, source.reader):
            try:
                if isinstance(record, UsageError):
                    raise record
                sample = source.reader(record)
            except UsageError as error:
                raise UsageError(f"{where}: {error}") from None
            if sample is not None:
                yield sample


def file_records(path: str, chosen: Reader) -> Iterator[tuple[str, Record | UsageError]]:
    """The records of a file that is a text."""
    try:
        text = read_text(path)
    except UsageError as error:
        yield path, error
        return
    units = list(chosen.units(text))
    for number, unit in enumerate(units, 1):
        yield (path if len(units) == 1 else f"part {number} of {path}"), unit
