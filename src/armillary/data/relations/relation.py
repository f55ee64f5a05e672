"""A relation of one's own, from a TOML file with the fields of ``Relation``."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from armillary.data.sources import DataSource
from armillary.errors import UsageError
from armillary.files import read_toml

Group = Literal["related", "arithmetic", "weak", "control"]


@dataclass(frozen=True, kw_only=True)
class Relation:
    """Two templates with their answer words and the gold pairs; a wrong one raises UsageError in one sentence."""

    id: str
    """Lower-case words joined by dashes, source first: "city-country"."""

    source_template: str
    """Text with exactly one ``{}``, not ending in white space: "{} lives in the city of"."""

    target_template: str
    source_words: tuple[str, ...]
    target_words: tuple[str, ...]

    gold: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Source word -> the target words that are right for it in the world; words without a known answer are absent."""

    group: Group = "related"
    """What is expected: related facts, arithmetic, a weak or arbitrary link, or a control without gold."""

    source: tuple[DataSource, ...] = ()
    prefix: str = " "
    """What stands between template and word: a space, or "" for digits and scripts without spaces."""

    note: str = ""

    def __post_init__(self) -> None:
        for name in ("source_words", "target_words"):
            object.__setattr__(self, name, _words(self.id, name, getattr(self, name)))
        object.__setattr__(self, "gold", _gold(self, self.gold))
        if not re.fullmatch(r"[a-z0-9]+([-_][a-z0-9]+)*", self.id):
            raise UsageError(f"a relation's id is lower-case words and dashes, such as city-country; got {self.id!r}.")
        for name in ("source_template", "target_template"):
            _check_template(self.id, name, getattr(self, name))
        if self.group not in get_args(Group):
            raise UsageError(
                f"relation {self.id}: group must be one of {', '.join(get_args(Group))}; got {self.group!r}."
            )

    def source_prompts(self, subjects: Sequence[str]) -> list[str]:
        """The source template with each subject in the slot."""
        return [self.source_template.replace("{}", subject) for subject in subjects]

    def target_prompts(self, subjects: Sequence[str]) -> list[str]:
        """The target template with each subject in the slot."""
        return [self.target_template.replace("{}", subject) for subject in subjects]


def _words(id: str, name: str, words: object) -> tuple[str, ...]:
    if isinstance(words, str) or not isinstance(words, Sequence):
        raise UsageError(f"relation {id}: {name} must be a list of words; got {words!r}.")
    if len(words) < 2:
        raise UsageError(f"relation {id}: {name} needs at least 2 words; got {len(words)}.")
    seen: set[str] = set()
    for word in words:
        if not isinstance(word, str) or not word or word != word.strip():
            raise UsageError(f"relation {id}: {name} holds {word!r}; a word is text without white space around it.")
        if word in seen:
            raise UsageError(f"relation {id}: {name} holds {word!r} twice; each word may stand once.")
        seen.add(word)
    return tuple(words)


def _gold(relation: Relation, given: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(given, Mapping):
        raise UsageError(f"relation {relation.id}: gold must be a table of source word to target words.")
    sources, targets = set(relation.source_words), set(relation.target_words)
    gold = {word: (right,) if isinstance(right, str) else tuple(right) for word, right in given.items()}
    for word, right in gold.items():
        if word not in sources:
            raise UsageError(f"relation {relation.id}: gold has the source word {word!r}, which source_words lacks.")
        if not right:
            raise UsageError(f"relation {relation.id}: gold has no target word for {word!r}; leave the entry out.")
        for answer in right:
            if answer not in targets:
                raise UsageError(
                    f"relation {relation.id}: gold has the target word {answer!r}, which target_words lacks."
                )
    return gold


def _check_template(id: str, name: str, template: object) -> None:
    if not isinstance(template, str) or template.count("{}") != 1:
        raise UsageError(f"relation {id}: {name} needs exactly one {{}} for the subject; got {template!r}.")
    if template != template.rstrip():
        raise UsageError(
            f"relation {id}: {name} must not end in white space, which belongs to prefix; got {template!r}."
        )


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
    table = read_toml(path, "relation file")
    source = DataSource(name=f"the relation file {path.name}", package="", version="", licence="the user's own")
    return relation_from_table(table, path.name, source)


def relation_from_table(table: Mapping[str, Any], name: str, source: DataSource) -> Relation:
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
