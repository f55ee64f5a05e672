"""Rows of a user's file, whatever its kind: objects in JSON, cells of a table, parquet, or a published data set.

What a row may hold is the caller's to say; texts and the turns of a conversation are read here, for all alike.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armillary.data.tables import TABLES, listed_names, read_table
from armillary.errors import UsageError
from armillary.extras import optional
from armillary.files import json_rows
from armillary.models.quiet import reason

ROLES = ("system", "user", "assistant", "tool")
"""Who may speak in a conversation."""


def read_rows(source: str, columns: Sequence[str], fields: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Each row of a JSONL, JSON, CSV, TSV or parquet file, or of a data set for ``datasets``, with its place in words.

    A data set is named as "owner/name", or "owner/name:split" for another split than train. Of a table only
    ``columns`` are read, and an empty cell is none. ``fields`` says in messages what a row holds. UsageError for a
    source that is not there or can't be read, for a table without any of the columns, and for one without rows;
    others as in ``files.json_rows``.
    """
    rows = _rows(source, columns, fields)
    if not rows:
        raise UsageError(f"{source} has no rows; give at least one with {fields}.")
    return rows


def _rows(source: str, columns: Sequence[str], fields: str) -> list[tuple[str, Mapping[str, Any]]]:
    path = Path(source)
    ending = path.suffix.lower()
    if ending in TABLES:
        table = read_table(path)
        names = [name for name in columns if name in table.columns]
        if not names and table.rows:
            raise UsageError(f"{path} has the columns {listed_names(table.columns)}; it needs {fields}.")
        cells = zip(*(table.column(name) for name in names), strict=True) if names else ()
        rows = [{name: cell for name, cell in zip(names, row, strict=True) if cell.strip()} for row in cells]
        return [(f"row {number} of {path}", row) for number, row in enumerate(rows, 1)]
    if ending == ".parquet":
        if not path.is_file():
            raise UsageError(f"{path} could not be read: there is no file of that name.")
        parquet = optional("pyarrow.parquet")
        try:
            table_rows = parquet.read_table(str(path)).to_pylist()
        except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
            raise UsageError(f"{path} is no parquet file that can be read ({reason(error)}).") from error
        return [(f"row {number} of {path}", row) for number, row in enumerate(table_rows, 1)]
    if path.exists() or ending in (".jsonl", ".json", ".ndjson"):
        return json_rows(path, fields)
    # What lies in a folder that is there was meant as a file: the hub would be asked for half a minute.
    if source.count("/") == 1 and not ending and not path.parent.is_dir():
        name, _, split = source.partition(":")
        datasets = optional("datasets", "trl")
        try:
            data_set = datasets.load_dataset(name, split=split or "train")
        except Exception as error:  # whatever the package raises without network, for no such set, or no such split
            raise UsageError(f"the data set {source} could not be loaded ({reason(error)}).") from error
        return [(f"row {number} of {source}", row) for number, row in enumerate(data_set, 1)]
    raise UsageError(f"{source} is no file and no data set; give a JSONL, CSV or parquet file, or owner/name.")


def text_of(value: Any, name: str, where: str) -> str | None:
    """A text or none; numbers are written out. UsageError, which says ``where``, for anything else."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UsageError(f"{where} has a {name} of type {type(value).__name__}; give text.")


def turns_of(value: Any, where: str) -> list[dict[str, str]]:
    """Turns with "role" and "content", at least one. UsageError, which says ``where``, for anything else."""
    turns = list_of(value, "messages", where)
    for turn in turns:
        if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), str) or turn.get("role") not in ROLES:
            raise UsageError(f"{where} has a turn {str(turn)[:60]!r}; give role ({', '.join(ROLES)}) and content.")
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def list_of(value: Any, name: str, where: str) -> list[Any]:
    """A list that is not empty, or the text of one in JSON, as a cell of a table holds it. UsageError otherwise."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise UsageError(f"{where} has {name} that are no list in JSON: {value[:60]!r}.") from None
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise UsageError(f"{where} has {name} of type {type(value).__name__}; give a list.")
    if not value:
        raise UsageError(f"{where} has {name} without anything in them; give at least one.")
    return list(value)
