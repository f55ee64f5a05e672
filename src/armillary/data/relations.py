"""A relation: two prompt templates, the words that answer each, and which answers belong together in the world.

The slot ``{}`` of both templates is filled with the same arbitrary subject; the words are what the model may say next.
Templates follow "Linear Correlation in LM's Compositional Generalization and Hallucination" (arXiv 2502.04520) where
the paper has one; a relation's note says where the template is ours.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, get_args

from armillary.data.sources import Source
from armillary.errors import UsageError

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

    source: tuple[Source, ...] = ()
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


def relations() -> dict[str, Relation]:
    """All shipped relations by id; UsageError when the packages of ``armillary[data]`` are missing."""
    return {id: relation(id) for id in relation_ids()}


def relation(id: str) -> Relation:
    """One shipped relation; UsageError with the nearest names when there is none of this id."""
    if id not in _builders():
        near = difflib.get_close_matches(id, relation_ids(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(relation_ids())}."
        raise UsageError(f"no relation is called {id!r}; {hint}")
    return _build(id)


def relation_ids() -> tuple[str, ...]:
    """The ids of the shipped relations, related ones first; builds nothing and needs no data package."""
    return tuple(_builders())


@cache
def _build(id: str) -> Relation:
    return _builders()[id]()


@cache
def _builders() -> dict[str, Callable[[], Relation]]:
    from armillary.data import arithmetic, geography, handwritten

    return {**geography.BUILDERS, **arithmetic.BUILDERS, **handwritten.BUILDERS, **geography.CONTROLS}


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
