"""A file of any length in pieces that are read by themselves: none but the one that is worked on is in memory.

Where a piece begins depends on the file and on ``PIECE`` alone, so that the same pieces come out whoever works on
them, and a killed job goes on with the first that is missing.
"""

import csv
import io
import json
import re
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from armillary.errors import StorageError, UsageError
from armillary.extras import optional

PIECE = 4_000_000
"""Bytes of a piece: some 500 responses with 45 attributes each, a few seconds of work that a kill may lose."""

BLOCK = 1 << 20
"""Bytes that are looked at together for where lines end."""

LINES, LISTS, TABLES, COLUMNS = (".jsonl", ".ndjson"), (".json",), (".csv", ".tsv"), (".parquet",)
ENDINGS = (*LINES, *LISTS, *TABLES, *COLUMNS)

Row = Mapping[str, object]

BETWEEN = re.compile(r"[\s,]*")
"""What stands between the objects of a .json file: a list's commas, or nothing but white space."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of whole rows."""

    path: str
    index: int
    """Counted from 0."""

    start: int
    """Its first byte; of a Parquet file its group of rows."""

    stop: int
    """The byte behind its last; of a Parquet file the group behind its last."""

    line: int
    """Line of the file on which it begins, from 1; of a Parquet file or a JSON list the number of its first row."""

    header: str = ""
    """The first line of a table, which names the columns."""

    @property
    def name(self) -> str:
        """What its result is kept under."""
        return f"piece-{self.index:06d}"


def pieces(path: Path | str, size: int = PIECE) -> Iterator[Piece]:
    """The pieces of a file of rows (JSON lines, a JSON list, CSV or TSV, Parquet), in order.

    Raises:
        UsageError: no such file, or one of another ending.
        StorageError: it can't be read.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give one file ({', '.join(ENDINGS)}) with a text a row.")
    if ending not in ENDINGS:
        raise UsageError(f"{path} is not of a kind that is read piece by piece; accepted are {', '.join(ENDINGS)}.")
    if not path.is_file():
        raise UsageError(f"{path} could not be read: there is no file of that name.")
    try:
        if ending in COLUMNS:
            yield from _groups(path, size)
        elif ending in LISTS:
            yield from _items(path, size)
        else:
            yield from _stretches(path, size, quoted=ending in TABLES)
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror or error}.") from error


def _stretches(path: Path, size: int, *, quoted: bool) -> Iterator[Piece]:
    """Cut behind line ends; of a table none inside quotes, and the first line goes with each piece."""
    header, start, line = "", 0, 1
    with open(path, "rb") as file:
        if quoted:
            first = file.readline()
            header, start, line = _header(path, first), len(first), 2
        index, position, begun, lines, quotes = 0, start, line, 0, 0
        while block := file.read(BLOCK):
            # A cut is looked for where the piece is long enough, at the first line end outside quotes.
            offset = 0
            while (end := block.find(b"\n", offset)) >= 0:
                lines += 1
                if quoted:
                    quotes ^= block.count(b'"', offset, end) & 1
                offset = end + 1
                if position + offset - start >= size and not quotes:
                    yield Piece(path=str(path), index=index, start=start, stop=position + offset, line=begun,
                                header=header)  # fmt: skip
                    index, start, begun, lines = index + 1, position + offset, begun + lines, 0
            if quoted:
                quotes ^= block.count(b'"', offset) & 1
            position += len(block)
        if position > start:
            yield Piece(path=str(path), index=index, start=start, stop=position, line=begun, header=header)


def _header(path: Path, line: bytes) -> str:
    """The line that names the columns of a table."""
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"line 1 of {path} is not UTF-8: {error.reason}; save it as UTF-8.") from None


def _items(path: Path, size: int) -> Iterator[Piece]:
    """Cut behind whole objects of a JSON list, or of objects that stand one after the other."""
    index, number, start, begun, stop = 0, 0, 0, 1, 0
    for number, (first, behind) in enumerate(_spans(path), 1):
        if number == begun:
            start = first
        stop = behind
        if stop - start >= size:
            yield Piece(path=str(path), index=index, start=start, stop=stop, line=begun)
            index, begun = index + 1, number + 1
    if begun <= number:
        yield Piece(path=str(path), index=index, start=start, stop=stop, line=begun)


def _spans(path: Path) -> Iterator[tuple[int, int]]:
    """The first byte of each object and the byte behind its last; no more than a block and an object is in memory."""
    decode, parse = getincrementaldecoder("utf-8")().decode, json.JSONDecoder().raw_decode
    with open(path, "rb") as file:
        # The place in bytes is that of the character ``counted``; ``at`` is the one that is looked at.
        place = len(BOM_UTF8) if file.read(len(BOM_UTF8)) == BOM_UTF8 else 0
        file.seek(place)
        text, at, counted, number, listed, ended = "", 0, 0, 0, False, False
        while True:
            at = skipped(text, at)
            if at < len(text) and not number and not listed and text[at] == "[":
                listed, at = True, at + 1
                continue
            if at < len(text) and listed and text[at] == "]":
                if (text[at + 1 :] + decode(file.read(BLOCK))).strip():
                    raise UsageError(f"{path} goes on behind its list; give one list of objects, or objects alone.")
                return
            if at < len(text):
                try:
                    end = parse(text, at)[1]
                except (ValueError, RecursionError):
                    end = at  # the block may end inside the object
                if end > at:
                    first = place + len(text[counted:at].encode())
                    place, number, counted = first + len(text[at:end].encode()), number + 1, end
                    yield first, place
                    at = end
                    continue
            elif ended and not listed:
                return
            if ended:
                raise UsageError(f"item {number + 1} of {path} is not JSON; give a list of objects.")
            # As much again as the object has so far, so that a long one is not parsed for every block of it.
            block = file.read(max(BLOCK, len(text) - at))
            place, ended = place + len(text[counted:at].encode()), not block
            try:
                text, at, counted = text[at:] + decode(block, ended), 0, 0
            except UnicodeDecodeError as error:
                raise UsageError(f"{path} is not UTF-8: {error.reason}; save it as UTF-8.") from None


def skipped(text: str, at: int) -> int:
    """The next place that holds something of a JSON list."""
    between = BETWEEN.match(text, at)
    return at if between is None else between.end()


def _groups(path: Path, size: int) -> Iterator[Piece]:
    """Groups of rows as the file has them, as many together as make a piece."""
    parquet = optional("pyarrow.parquet")
    try:
        metadata = parquet.ParquetFile(path).metadata
    except ValueError as error:  # as pyarrow's ArrowInvalid is
        raise UsageError(f"{path} is no Parquet file ({' '.join(str(error).split()):.120}).") from None
    index, start, row, held, rows = 0, 0, 1, 0, 0
    for group in range(metadata.num_row_groups):
        held += metadata.row_group(group).total_byte_size
        rows += metadata.row_group(group).num_rows
        if held >= size or group + 1 == metadata.num_row_groups:
            yield Piece(path=str(path), index=index, start=start, stop=group + 1, line=row)
            index, start, row, held, rows = index + 1, group + 1, row + rows, 0, 0


def rows(piece: Piece) -> Iterator[tuple[str, Row]]:
    """The rows of a piece, each with its place in words. UsageError names the row that can't be read."""
    ending = Path(piece.path).suffix.lower()
    if ending in COLUMNS:
        yield from _column_rows(piece)
    elif ending in LISTS:
        yield from _item_rows(piece, _text(piece))
    elif ending in TABLES:
        yield from ((where, row) for where, row, _ in table_rows(piece))
    else:
        yield from _line_rows(piece, _text(piece))


def _text(piece: Piece) -> str:
    with open(piece.path, "rb") as file:
        file.seek(piece.start)
        content = file.read(piece.stop - piece.start)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = piece.line + content[: error.start].count(b"\n")
        raise UsageError(f"line {line} of {piece.path} is not UTF-8: {error.reason}; save it as UTF-8.") from None


def _line_rows(piece: Piece, text: str) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(text.split("\n"), piece.line):
        if not line.strip():
            continue
        where = f"line {number} of {piece.path}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise UsageError(f"{where} is not JSON; give one object a line.") from None
        if not isinstance(row, dict):
            raise UsageError(f"{where} is a {type(row).__name__}; give one object a line.")
        yield where, row


def _item_rows(piece: Piece, text: str) -> Iterator[tuple[str, Row]]:
    parse, at, number = json.JSONDecoder().raw_decode, skipped(text, 0), piece.line
    while at < len(text):
        where = f"item {number} of {piece.path}"
        row, at = parse(text, at)
        if not isinstance(row, dict):
            raise UsageError(f"{where} is a {type(row).__name__}; give a list of objects.")
        yield where, row
        at, number = skipped(text, at), number + 1


def separator(piece: Piece) -> str:
    """What parts the cells of a table."""
    return "\t" if piece.path.lower().endswith(".tsv") else max(",;\t", key=piece.header.count)


def table_rows(piece: Piece) -> Iterator[tuple[str, Row, str]]:
    """The rows of a piece of a table, each with its place in words and as it is written. Raises as ``rows``."""
    columns = next(csv.reader([piece.header], delimiter=separator(piece)), [])
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise UsageError(f"the header of {piece.path} names the column {twice!r} twice; give each a name of its own.")
    taken = list[str]()

    def lines() -> Iterator[str]:
        for written in io.StringIO(_text(piece), newline=""):
            taken.append(written)
            yield written

    before = csv.field_size_limit(2**31 - 1)  # a long response is longer than the usual limit
    reader = csv.reader(lines(), delimiter=separator(piece), strict=True)
    line = piece.line
    try:
        for cells in reader:
            where, line = f"line {line} of {piece.path}", piece.line + reader.line_num
            if not cells:
                continue
            if len(cells) != len(columns):
                raise UsageError(f"{where} has {len(cells)} cells and the header {len(columns)}.")
            yield where, dict(zip(columns, cells, strict=True)), "".join(taken)
            taken.clear()
    except csv.Error as error:
        raise UsageError(f"line {line} of {piece.path} can't be read as a row of cells ({error}).") from None
    finally:
        csv.field_size_limit(before)


def _column_rows(piece: Piece) -> Iterator[tuple[str, Row]]:
    file = optional("pyarrow.parquet").ParquetFile(piece.path)
    number = piece.line
    # A few rows at a time: a group may hold a whole file.
    for batch in file.iter_batches(batch_size=256, row_groups=list(range(piece.start, piece.stop))):
        for row in batch.to_pylist():
            yield f"row {number} of {piece.path}", row
            number += 1
