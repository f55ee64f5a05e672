"""Names of entities found in a text: the longest at each place, at word boundaries, with every entity so called."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import numpy as np

from armillary.errors import UsageError
from armillary.extras import optional
from armillary.graphs.english import ENGLISH, NameRules
from armillary.graphs.spelling import FoldedText, folded, with_edges
from armillary.graphs.triples import KnowledgeGraph

_ANY = ""
"""Stands for the spelling of a name without capitals, which is found in any case."""

_BEGINS = re.compile(r"""(?:^|[.!?\u2026:;|\n])[\s"'\u2018-\u201f(\[*_#>\u2022\u2013\u2014-]*$""")
"""What stands before the first word of a sentence, of a line or of an item of a list."""

_BEFORE = 32
"""Characters before a name that are looked at for the beginning of a sentence: more than any run of signs."""

_LEFT, _RIGHT = re.compile(r"(?:^|\W)(\w[\w'.-]*) $"), re.compile(r"^ (\w[\w'-]*)")


class Mention(NamedTuple):
    """Where a text names an entity: ``text[start:end]``, in characters of the text as it was given."""

    start: int
    end: int
    entities: tuple[str, ...]
    """Every entity that bears the name, sorted; more than one where the name is ambiguous."""


class Lexicon:
    """Names of entities, by which texts are linked. Needs the extra ``graphs`` (pyahocorasick).

    - At each place the longest name counts, and names begin and end where words do (``spelling.word_edges``): the
      hyphen and the apostrophe part words, so that France is named in "France's" and in "France-based".
    - A name with a capital is a proper name and is found as it is written; one without is found in any case.
    - Composed and decomposed letters, kinds of spaces, of apostrophes and of hyphens do not matter; the number of
      spaces does.
    - A name of several entities is ambiguous: its mention holds all of them, and which is meant is not guessed.
    - Names of one word that are common words are held back or linked in some places only, as ``NameRules`` says: May
      never, Nice inside a sentence, Jordan not in "Michael Jordan". Names of one character are held back, too.
      ``linked_anyway`` takes a name out of these rules.

    All names are held in memory, some 100 bytes a character: enough for a million names, not for all of Wikidata.
    """

    def __init__(
        self,
        names: Iterable[tuple[str, str]],
        *,
        rules: NameRules = ENGLISH,
        linked_anyway: Collection[str] = (),
    ) -> None:
        """Of pairs (name, entity); an entity may have several names, and a name several entities.

        Raises:
            UsageError: the extra is missing, a name is empty, or no name is left that may be linked.
        """
        automaton = optional("ahocorasick", "graphs", "pyahocorasick").Automaton()
        self.rules = rules
        self.linked_anyway = frozenset(folded(name).text for name in linked_anyway)
        self._held_back: dict[str, str] = {}
        numbers: dict[str, int] = {}
        spellings: list[dict[str, set[str]]] = []
        for name, entity in names:
            spelling = folded(name).text.strip()
            if not spelling:
                raise UsageError(f"the entity {entity!r} has the name {name!r}; a name needs a sign that can be seen.")
            if reason := self._reason_against(spelling):
                self._held_back[name] = reason
                continue
            lower = spelling.lower()
            number = numbers.setdefault(lower, len(numbers))
            if number == len(spellings):
                spellings.append({})
            spellings[number].setdefault(_ANY if spelling == lower else spelling, set()).add(entity)
        if not numbers:
            raise UsageError(
                "no entity has a name that may be linked: single characters, months, days and words of grammar never "
                "are; give further names (aliases)."
            )
        # Marked all at once: a folded name holds no line feed, around which there are edges as around a text.
        keys = with_edges("\n".join(numbers))[0].split("\n")
        for number, key in enumerate(keys):
            automaton.add_word(key, number)
        automaton.make_automaton()
        self._automaton = automaton
        self._lengths = np.fromiter(map(len, keys), np.int64, len(keys))
        self._lowers = tuple(numbers)
        watched = rules.everyday | rules.personal
        # Most names are found in any case and anywhere: their entities; None for a name to look at more closely.
        self._plain: list[tuple[str, ...] | None] = []
        self._spelled: dict[int, dict[str, tuple[str, ...]]] = {}
        for number, (lower, own) in enumerate(zip(self._lowers, spellings, strict=True)):
            anyhow = own.get(_ANY, set())  # what is found in any case is found under every spelling
            plain = len(own) == 1 and bool(anyhow) and lower not in watched
            self._plain.append(tuple(sorted(anyhow)) if plain else None)
            if not plain:
                self._spelled[number] = {name: tuple(sorted(entities | anyhow)) for name, entities in own.items()}

    @classmethod
    def of(
        cls,
        graph: KnowledgeGraph,
        aliases: Mapping[str, Iterable[str]] | Iterable[tuple[str, str]] = (),
        *,
        own_names: bool = True,
        rules: NameRules = ENGLISH,
        linked_anyway: Collection[str] = (),
    ) -> "Lexicon":
        """Of a graph's entities: under their own names, unless these are mere numbers (``own_names=False``), and
        under ``aliases``, entity to names or pairs (entity, name); those of entities beyond the graph are left out."""
        pairs: Iterable[tuple[str, str]]
        if isinstance(aliases, Mapping):
            pairs = ((entity, name) for entity, names in aliases.items() for name in names)
        else:
            pairs = aliases
        own = ((name, name) for name in graph.entities) if own_names else ()
        others = ((name, entity) for entity, name in pairs if entity in graph.entities)
        return cls(chain(own, others), rules=rules, linked_anyway=linked_anyway)

    def __len__(self) -> int:
        """Names that may be linked; spellings that differ by case count once."""
        return len(self._lowers)

    @property
    def held_back(self) -> Mapping[str, str]:
        """Names that are never linked, each with the reason."""
        return self._held_back

    @property
    def ambiguous(self) -> dict[str, tuple[str, ...]]:
        """Names that several entities bear, with these; a name without capitals as it is found, in lower case."""
        names = {lower: entities for lower, entities in zip(self._lowers, self._plain, strict=True) if entities}
        for number, own in self._spelled.items():
            names |= {spelling or self._lowers[number]: entities for spelling, entities in own.items()}
        return {name: entities for name, entities in names.items() if len(entities) > 1}

    def link(self, text: str) -> list[Mention]:
        """Mentions in the order of the text; none overlaps another."""
        return list(self._mentions(folded(text), text)) if text else []

    def _mentions(self, fold: FoldedText, text: str) -> Iterator[Mention]:
        marked, origins = with_edges(fold.text.lower())
        matches = chain.from_iterable(self._automaton.iter(marked))
        lasts, numbers = np.fromiter(matches, np.int64).reshape(-1, 2).T
        # A match begins and ends with an edge.
        starts, stops = origins[lasts - self._lengths[numbers] + 2], origins[lasts - 1] + 1
        order = np.lexsort((-stops, starts))  # the longest of those that begin together comes first
        reached = 0
        for start, stop, number in zip(*(part[order].tolist() for part in (starts, stops, numbers)), strict=True):
            if start < reached:
                continue
            entities = self._plain[number]
            begin, end = (start, stop) if fold.starts is None else fold.given(start, stop)
            if entities is None:
                written, own = fold.text[start:stop], self._spelled[number]
                entities = own.get(written) or own.get(_ANY)
                if not entities or self._is_common_here(written, text, begin, end):
                    continue
            reached = stop
            yield Mention(begin, end, entities)

    def _reason_against(self, name: str) -> str:
        """Why a name is never linked; empty where it may be."""
        lower = name.lower()
        if name in self.linked_anyway:
            return ""
        if len(name) == 1:
            return "one character"
        if lower in self.rules.calendar:
            return "a month or a day of the week"
        if lower in self.rules.function_words and not name.isupper():
            return "a word of grammar"
        return ""

    def _is_common_here(self, written: str, text: str, start: int, end: int) -> bool:
        """Whether a capitalised word may be no name, or a part of another, at this place."""
        lower = written.lower()
        if written == lower or written.isupper() or written in self.linked_anyway:
            return False
        if lower in self.rules.everyday:
            before = text[max(0, start - _BEFORE) : start]
            return _BEGINS.search(before if start > _BEFORE else f"\n{before}") is not None
        if lower not in self.rules.personal:
            return False
        left = _LEFT.search(text[max(0, start - _BEFORE) : start])
        right = _RIGHT.search(text[end : end + _BEFORE])
        beside = [side[1] for side in (left, right) if side is not None]
        return any(word[0].isupper() and word.lower() not in self.rules.function_words for word in beside)
