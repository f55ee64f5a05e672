"""A relation of one's own, from a TOML file with the fields of ``Relation``."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armillary.data.relations import Relation
from armillary.data.sources import Source
from armillary.errors import UsageError

NEEDED = ("id", "source_template", "target_template", "source_words", "target_words")
OPTIONAL = ("gold", "prefix", "group", "note")
_TEXTS = ("id", "source_template", "target_template", "prefix", "group", "note")


def load_relation_file(path: str | Path) -> Relation:
    """The relation of a TOML file.

    Keys: ``id``, ``source_template``, ``target_template``, ``source_words``, ``target_words``; and if wanted ``gold``
    (a table of source word to target word or list of them), ``prefix`` (" " unless told), ``group`` ("related" unless
    told) and ``note``. UsageError, in one sentence that names the file, for anything else.
    """
    path = Path(path)
    return relation_from_table(_table(path), path.name, Source(name=f"the relation file {path.name}", **_OWN))


_OWN = {"package": "", "version": "", "licence": "the user's own"}


def relation_from_table(table: Mapping[str, Any], name: str, source: Source) -> Relation:
    """The relation of a table as TOML gives it; ``name`` stands in the sentence of an error."""
    for key in table:
        if key not in NEEDED + OPTIONAL:
            near = difflib.get_close_matches(key, NEEDED + OPTIONAL, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"accepted are {', '.join(NEEDED + OPTIONAL)}."
            raise UsageError(f"relation file {name}: unknown key {key!r}; {hint}")
    for key in NEEDED:
        if key not in table:
            raise UsageError(f"relation file {name}: the key {key!r} is missing.")
    for key in _TEXTS:
        if not isinstance(table.get(key, ""), str):
            raise UsageError(f"relation file {name}: {key} must be text; got {table[key]!r}.")
    gold = table.get("gold", {})
    if not isinstance(gold, Mapping):
        raise UsageError(f"relation file {name}: gold must be a table of source word to target words; got {gold!r}.")
    for word, right in gold.items():
        if not isinstance(right, str) and not (isinstance(right, list) and all(isinstance(one, str) for one in right)):
            raise UsageError(
                f"relation file {name}: gold of {word!r} must be a word or a list of them; got {right!r}."
            )
    try:
        return Relation(**table, source=(source,))
    except UsageError as error:
        raise UsageError(f"relation file {name}: {error}") from None


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no relation file at {path}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"relation file {path.name} is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"relation file {path.name} is not valid TOML: {error}.") from None
    except OSError as error:
        raise UsageError(f"relation file {path} can't be read: {error.strerror}.") from None
