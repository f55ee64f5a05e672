"""Triples out of tables: TSV, CSV and parquet, and the file of any kind that a user names."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from armillary.errors import StorageError, UsageError
from armillary.extras import optional
from armillary.graphs.columns import Triple
from armillary.graphs.readers.lines import kind_of, streamed_lines

HEADERS: Sequence[tuple[str, str, str]] = (
    ("head", "relation", "tail"),
    ("subject", "predicate", "object"),
    ("source", "relation", "target"),
    ("from", "relation", "to"),
    ("h", "r", "t"),
    ("s", "p", "o"),
)
"""Names of columns by which a table is known to have a header, in any case; other columns may stand beside."""

_EXPECTED = "three fields: head, relation and tail"
_LONGEST_FIELD = 2**31 - 1

KINDS: Mapping[str, str] = {".tsv": "\t", ".txt": "\t", ".csv": ",", ".tab": "\t"}
"""Ending -> separator of the fields."""


def read_triples(path: str | Path) -> Iterator[Triple]:
    """The triples of a file by its ending: .tsv, .txt (tabs), .csv, .parquet, .nt; the texts may be compressed.

    Raises:
        UsageError: there is no such file, its ending is another, or a line or row is no triple; it is named.
        StorageError: the file can't be read.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind in KINDS:
        return table_triples(path, separator=KINDS[kind])
    if kind == ".parquet":
        return parquet_triples(path)
    if kind == ".nt":
        from armillary.graphs.readers.rdf import ntriples

        return ntriples(path)
    raise UsageError(
        f"{path} has the ending {kind or 'of no kind'}; triples are read from {', '.join(KINDS)}, .parquet and .nt."
    )


def table_triples(path: str | Path, *, separator: str) -> Iterator[Triple]:
    """The rows of a text table, without white space around the fields.

    Where the first row holds names of ``HEADERS``, the columns under these count, else each row has exactly three
    fields. Fields of a CSV may stand in double quotes and then hold the separator and line feeds; tabs part fields
    wherever they stand, and quotes beside them are part of the text, as in all published graphs.

    Raises as ``read_triples``.
    """
    plain = ((number, line.split(separator)) for number, line in streamed_lines(path))
    rows = _quoted_rows(path) if separator == "," else plain
    columns: tuple[int, int, int] | None = None
    for position, (number, fields) in enumerate(rows):
        if not position and (columns := _header(fields)):
            continue
        if len(fields) <= max(columns) if columns else len(fields) != 3:
            raise UsageError(f"line {number} of {path} has {len(fields)} fields; a triple has {_EXPECTED}.")
        head, relation, tail = (fields[column].strip() for column in columns or (0, 1, 2))
        if not (head and relation and tail):
            raise UsageError(f"line {number} of {path} has an empty field; a triple has {_EXPECTED}.")
        yield head, relation, tail


def parquet_triples(path: str | Path, columns: tuple[str, str, str] | None = None) -> Iterator[Triple]:
    """The rows of a parquet file: of ``columns``, else of those with names of ``HEADERS``, else of its only three.

    Raises as ``read_triples``; UsageError, too, where the package pyarrow is missing.
    """
    path = Path(path)
    parquet = optional("pyarrow.parquet", "graphs", "pyarrow")
    if not path.is_file():
        raise UsageError(f"{path} could not be read: there is no file of that name.")
    try:
        file = parquet.ParquetFile(str(path))
        names = list(file.schema_arrow.names)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise UsageError(f"{path} is no parquet file that can be read.") from error
    chosen = columns or _columns_of(path, names)
    if missing := [name for name in chosen if name not in names]:
        raise UsageError(f"{path} has no column {missing[0]!r}; its columns are {', '.join(map(repr, names))}.")
    number = 0
    try:
        for batch in file.iter_batches(columns=list(chosen)):
            cells = (batch.column(batch.schema.get_field_index(name)).to_pylist() for name in chosen)
            for head, relation, tail in zip(*cells, strict=True):
                number += 1
                if not all(isinstance(cell, str) and cell.strip() for cell in (head, relation, tail)):
                    raise UsageError(
                        f"row {number} of {path} is {(head, relation, tail)!r:.120}; give three texts that are not "
                        "empty."
                    )
                yield head.strip(), relation.strip(), tail.strip()
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror or error}.") from error


def _columns_of(path: Path, names: Sequence[str]) -> tuple[str, str, str]:
    places = _header(names) or ((0, 1, 2) if len(names) == 3 else None)
    if places is None:
        raise UsageError(
            f"{path} has the columns {', '.join(map(repr, names))}; name those of head, relation and tail."
        )
    return names[places[0]], names[places[1]], names[places[2]]


def _header(fields: Sequence[str]) -> tuple[int, int, int] | None:
    names = [field.strip().lower() for field in fields]
    for header in HEADERS:
        if all(name in names for name in header):
            return names.index(header[0]), names.index(header[1]), names.index(header[2])
    return None


def _quoted_rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_LONGEST_FIELD)
    begins = 1  # the number of the line last handed on, which a row in quotes may have passed

    def lines() -> Iterator[str]:
        nonlocal begins
        for number, line in streamed_lines(path):
            begins = number
            yield f"{line}\n"

    reader = csv.reader(lines(), strict=True)
    try:
        for row in reader:
            yield begins, row
    except csv.Error as error:
        raise UsageError(f"line {begins} of {path} is no CSV ({error}).") from None
