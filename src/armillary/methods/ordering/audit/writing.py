"""Audited records written in the proposed order, in the shape of what was read.

What stays as it is is copied as it stands; piece by piece, so that no file of rows has to fit in memory.
"""

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armillary.errors import StorageError, UsageError
from armillary.extras import optional
from armillary.files import storage_sentence, whole_folder
from armillary.methods.ordering.audit.sources import AuditPiece, Source, file_records
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.runs.pieces import (
    COLUMNS,
    LINES,
    LISTS,
    TABLES,
    Piece,
    Row,
    rows,
    separator,
    skipped,
    table_rows,
)

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

Changed = Mapping[str, str]
"""What is to change in records of a piece (see ``change``), by their number in the piece."""

Write = Callable[[AuditPiece, Changed], None]


def change(record: Record, written: Record) -> str:
    """What turns one record into the other, as JSON: a text, or the columns that are set and those that go.

    ASCII alone: half a surrogate pair, which JSON can hold, is kept as its escape and not lost with a piece's result.
    """
    if isinstance(record, str) or isinstance(written, str):
        return json.dumps(written)
    columns = {name: value for name, value in written.items() if name not in record or record[name] is not value}
    return json.dumps([columns, [name for name in record if name not in written]])


def _applied(row: Row, changes: str | None) -> Row:
    if changes is None:
        return row
    columns, gone = json.loads(changes)
    return {name: value for name, value in {**row, **columns}.items() if name not in gone}


def _json(row: Row) -> str:
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, of which UTF-8 has the escape alone
        return json.dumps(row)
    return text


def refuse_target(source: Source, target: Path) -> None:
    """UsageError where ``target`` can't be written: its ending, an existing folder, the source itself."""
    if target.resolve() == source.path.resolve():
        raise UsageError(f"{target} is what is read; give another name for the data in the proposed order.")
    if source.path.is_dir():
        if target.exists():
            raise UsageError(f"{target} exists already; give the name of a new folder.")
        return
    accepted = dict.fromkeys([source.path.suffix.lower(), *([LINES[0]] if source.has_rows else [])])
    if target.suffix.lower() not in accepted:
        raise UsageError(f"{target} must end in {' or '.join(accepted)}, to have the shape of {source.path}.")


@contextmanager
def written(source: Source, target: Path) -> Iterator[Write]:
    """A function that takes the pieces of the source in order; after the block the target is whole, or not there.

    Raises:
        UsageError: see ``refuse_target``; or rows that don't fit the columns of a Parquet file.
        StorageError: no space, or no permission.
    """
    refuse_target(source, target)
    with ExitStack() as stack:
        if source.path.is_dir():
            folder = stack.enter_context(whole_folder(target))
            yield stack.enter_context(_files(source, lambda file: folder / file.relative_to(source.path)))
            return
        aside = target.with_name(f".{target.name}.unfinished")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            stack.callback(aside.unlink, missing_ok=True)
            with _files(source, lambda file: aside, target.suffix.lower()) as write:
                yield write
            aside.replace(target)
        except OSError as error:
            raise StorageError(storage_sentence(target, error)) from error


@contextmanager
def _files(source: Source, target: Callable[[Path], Path], ending: str = "") -> Iterator[Write]:
    """Writes the files of the source one after the other, each where ``target`` says."""
    open_file: list[tuple[str, ExitStack, Callable[[Piece, Changed], None]]] = []

    def close() -> None:
        while open_file:
            open_file.pop()[1].close()

    def write(piece: AuditPiece, changed: Changed) -> None:
        if piece.rows is None:
            _write_texts(piece, changed, source.reader, target)
            return
        if not open_file or open_file[0][0] != piece.rows.path:
            close()
            stack = ExitStack()
            file = Path(piece.rows.path)
            path = target(file)
            path.parent.mkdir(parents=True, exist_ok=True)
            opened = stack.enter_context(_rows_file(file, path, ending or file.suffix.lower()))
            open_file.append((piece.rows.path, stack, opened))
        open_file[0][2](piece.rows, changed)

    try:
        yield write
    finally:
        close()
    if source.has_rows:
        # A file without a row has no piece.
        for file in source.files:
            if not target(file).exists():
                shutil.copyfile(file, target(file))


def _write_texts(piece: AuditPiece, changed: Changed, reader: Reader, target: Callable[[Path], Path]) -> None:
    number = 0
    for path in piece.texts:
        file = target(Path(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        units = [unit for _, unit in file_records(path, reader)]
        new = [changed.get(str(at)) for at in range(number, number + len(units))]
        number += len(units)
        if not any(new):
            shutil.copyfile(path, file)
            continue
        texts = [unit if text is None else json.loads(text) for unit, text in zip(units, new, strict=True)]
        file.write_bytes("".join(map(str, texts)).encode("utf-8", "surrogatepass"))


@contextmanager
def _rows_file(source: Path, target: Path, ending: str) -> Iterator[Callable[[Piece, Changed], None]]:
    """A file of rows that is written a piece at a time, in the source's own shape or as JSON lines."""
    own = source.suffix.lower()
    if own in COLUMNS and ending in COLUMNS:
        parquet = optional("pyarrow.parquet")
        schema = parquet.ParquetFile(source).schema_arrow
        with parquet.ParquetWriter(target, schema) as writer:
            yield lambda piece, changed: writer.write_table(_table(piece, changed, schema))
        return
    with open(target, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        if own in LISTS and ending in LISTS:
            listed = _is_list(source)
            begun: list[int] = []

            def write_items(piece: Piece, changed: Changed) -> None:
                for text in _items(piece, changed):
                    before = (",\n" if listed else "\n") if begun else ("[\n" if listed else "")
                    file.write(before + text)
                    begun[:] = [1]

            yield write_items
            file.write("\n]\n" if listed and begun else "\n")
        elif own == ending and own in TABLES:
            yield lambda piece, changed: _write_table(file, piece, changed)
        elif own in LINES:
            yield lambda piece, changed: _write_lines(file, piece, changed)
        else:
            yield lambda piece, changed: file.writelines(
                f"{_json(_applied(row, changed.get(str(number))))}\n" for number, (_, row) in enumerate(rows(piece))
            )


def _text(piece: Piece) -> str:
    with open(piece.path, "rb") as file:
        file.seek(piece.start)
        return file.read(piece.stop - piece.start).decode("utf-8-sig")


def _write_lines(file: "SupportsWrite[str]", piece: Piece, changed: Changed) -> None:
    number, lines = -1, _text(piece).split("\n")
    for at, line in enumerate(lines):
        number += bool(line.strip())
        if line.strip() and (changes := changed.get(str(number))) is not None:
            lines[at] = _json(_applied(json.loads(line), changes)) + "\r" * line.endswith("\r")
    file.write("\n".join(lines))


def _is_list(path: Path) -> bool:
    with open(path, encoding="utf-8-sig") as file:
        while letter := file.read(1):
            if not letter.isspace():
                return letter == "["
    return False


def _items(piece: Piece, changed: Changed) -> Iterator[str]:
    """The objects of a piece of a JSON list as text."""
    text, parse = _text(piece), json.JSONDecoder().raw_decode
    at, number = skipped(text, 0), 0
    while at < len(text):
        row, end = parse(text, at)
        changes = changed.get(str(number))
        yield text[at:end] if changes is None else _json(_applied(row, changes))
        at, number = skipped(text, end), number + 1


def _write_table(file: "SupportsWrite[str]", piece: Piece, changed: Changed) -> None:
    if piece.index == 0:
        file.write(piece.header)
    if not changed:
        file.write(_text(piece))
        return
    line_end = "\r\n" if piece.header.endswith("\r\n") else "\n"
    writer = csv.writer(file, delimiter=separator(piece), lineterminator=line_end)
    for number, (_, row, text) in enumerate(table_rows(piece)):
        if (changes := changed.get(str(number))) is None:
            file.write(text)
        else:
            writer.writerow([*_applied(row, changes).values()])


def _table(piece: Piece, changed: Changed, schema: Any) -> Any:
    arrow = optional("pyarrow")
    listed = [_applied(row, changed.get(str(number))) for number, (_, row) in enumerate(rows(piece))]
    try:
        return arrow.Table.from_pylist(listed, schema=schema)
    except (arrow.ArrowInvalid, arrow.ArrowTypeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"the rows of {piece.path} in another order don't fit its columns ({reason:.120}); give a name that ends "
            "in .jsonl."
        ) from None
