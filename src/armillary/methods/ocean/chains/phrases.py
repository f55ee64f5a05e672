"""How relations are said in English: patterns with places for head and tail, by which a step's statements are known.

A pattern is plain text with {head} and {tail} once each. [x] may be left out, (a|b) is either, and * stands for up to
four words. Before each name an article, a kind ("the city of") and a direction ("northern") may stand. Case does not
matter. An optional part brings the blank before it: "is[ located] in". All patterns are ours.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from armillary.errors import UsageError
from armillary.files import read_toml

GEOGRAPHY: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "capital": (
            "the [official ]capital[ city][ and largest city] of {head} is[ called| named| the city of] {tail}",
            "{tail} is the [official |modern ]capital[ city][ and (largest|most populous) city] of {head}",
            "{tail} is the largest city and[ the] capital[ city] of {head}",
            "{tail},[ which is] the capital[ city][ and largest city] of {head}",
            "{head}'s capital[ city](,| is) {tail}",
            "the capital[ city] of {head}(,|:) {tail}",
            "{head} has {tail} as its capital",
        ),
        "country": (
            "{head} is[ located| situated| found] (in|within) {tail}",
            "{head} (lies|sits) in {tail}",
            "{head} is (a|an|the|one of the)* (city|town|capital|port|municipality|metropolis|place) (in|of) {tail}",
            "{head} is (a|an|the)* located in {tail}",
            "{head} belongs to {tail}",
            "the country (in which|where) {head} (lies|is|is located) is {tail}",
            "the country of {head} is {tail}",
        ),
        "continent": (
            "{head} is[ located| situated| found] (in|on) {tail}",
            "{head} (lies|sits) in {tail}",
            "{head} is (a|an|the|one of the)* (country|nation|state|island|territory|kingdom|republic) (in|of) {tail}",
            "{head} is (a|an|the)* located (in|on) {tail}",
            "{head} is[ a] part of {tail}",
            "{head} belongs to {tail}",
            "the continent (of|in which) {head}[ lies| is located] is {tail}",
        ),
        "official language": (
            "the official language[s] (of|in) {head} (is|are) {tail}",
            "{tail} is (the|an|one of the)* official language[s] (of|in) {head}",
            "{head}'s official language[s] (is|are) {tail}",
            "{tail}, the official language of {head}",
        ),
        "currency": (
            "the [official ]currency[ used] (of|in) {head} is* {tail}",
            "{head}'s[ official] currency is* {tail}",
            "{tail} is the [official ]currency[ used] (of|in) {head}",
            "{head} uses* {tail} as its[ official] currency",
        ),
        "borders": (
            "{head} (borders|neighbours|neighbors) {tail}",
            "{head} shares (a|its)[ land| common] border[s] with {tail}",
            "{head} is bordered[ to the (north|south|east|west)] by {tail}",
            "{head} and {tail} share a[ land| common] border",
            "a country (that|which) borders {head} is {tail}",
            "{tail} is a country (that|which) borders {head}",
        ),
    }
)
"""Of the packaged geography."""

WORDNET: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "hypernym": ("{head} (is|are) (a|an)[ (kind|type|sort|form) of] {tail}", "{head} are {tail}"),
        "instance hypernym": ("{head} (is|was) (a|an|the)* {tail}",),
        "part holonym": ("{head} is[ a] part of {tail}", "{tail} has[ a] {head}"),
        "member holonym": ("{head} is a member of {tail}",),
        "substance holonym": ("{tail} is made of {head}",),
        "antonym": ("{head} is the opposite of {tail}",),
        "entailment": ("{head} entails {tail}",),
        "cause": ("{head} causes {tail}",),
    }
)
"""Of WordNet's pointers, those that plain sentences state."""

PLAIN = (
    "the {relation} of {head} (is|are) {tail}",
    "{tail} is (the|a|an) {relation} of {head}",
    "{head}'s {relation} is {tail}",
    "{head} {relation} {tail}",
    "{head} is {relation} {tail}",
    "{head} has[ (the|a|an)] {relation} {tail}",
)
"""Of a relation that has no patterns of its own, by its name."""

_KINDS = "city|town|country|nation|continent|state|language|republic|kingdom|capital|currency|island"
_SIDES = (
    "north|south|east|west|northern|southern|eastern|western|central|north-?eastern|north-?western|south-?eastern|"
)
_SIDES += "south-?western|mainland|modern"
_LEAD = rf"(?:[*_\"'\u201c(]*(?:(?:the|a|an|{_SIDES})\s+|(?:{_KINDS})\s+(?:of|called|named)\s+)*[*_\"'\u201c(]*)"
_TRAIL = r"[*_\"'\u201d)]*"
_PARTS = re.compile(r"\{head\}|\{tail\}|[\[\]()|*]|\s+|[^\[\]()|*\s{]+")
_LIST = re.compile(rf"{_TRAIL}(?:\s+to\s+the\s+\w+)?\s*(?:[,;]|(?:,\s*)?\b(?:and|&|as\s+well\s+as)\b)\s*{_LEAD}", re.I)
_ADVERBS = r"(?:\s+(?:also|currently|still|now|officially|primarily|mainly|indeed))?"


@dataclass(frozen=True)
class Pattern:
    """One way to say a relation, cut at its two names."""

    head_first: bool
    before: re.Pattern[str]
    between: re.Pattern[str]
    after: re.Pattern[str]

    def fits(self, sentence: str, first: tuple[int, int], second: tuple[int, int]) -> bool:
        """Whether the sentence says it of what stands at these two places, of which ``first`` comes first."""
        return (
            self.between.fullmatch(sentence, first[1], second[0]) is not None
            and self.before.search(sentence[: first[0]]) is not None
            and self.after.match(sentence, second[1]) is not None
        )


def compiled(template: str) -> Pattern:
    """A pattern ready to be looked for. UsageError for one without both places, or with brackets that do not close."""
    if template.count("{head}") != 1 or template.count("{tail}") != 1:
        raise UsageError(f"the pattern {template!r} must have {{head}} and {{tail}} once each.")
    one, two, three = re.split(r"\{head\}|\{tail\}", template)
    try:
        return Pattern(
            head_first=template.index("{head}") < template.index("{tail}"),
            before=re.compile(rf"(?:^|(?<=\W)){_regex(one)}{_LEAD}$", re.IGNORECASE),
            between=re.compile(rf"{_TRAIL}{_regex(two)}{_LEAD}", re.IGNORECASE),
            after=re.compile(rf"{_TRAIL}{_regex(three)}(?!\w)", re.IGNORECASE),
        )
    except re.error:
        raise UsageError(f"the pattern {template!r} has brackets that do not close.") from None


def _regex(text: str) -> str:
    made = ""
    for part in _PARTS.findall(text):
        if part == "*":
            made += r"(?:\s+[\w'-]+){0,4}?"
        elif part in "[(":
            made += "(?:"
        elif part in ")|":
            made += part
        elif part == "]":
            made += ")?"
        elif part.isspace():
            made += r"\s+"
        else:
            made += re.escape(part) + (_ADVERBS if part in ("is", "are") else "")
    return made


def spoken(template: str) -> str:
    """The plainest sentence of a pattern: nothing that may be left out, and of alternatives the first."""
    text = re.sub(r"\[[^\[\]]*\]", "", template).replace("*", "")
    while "(" in text:
        text = re.sub(r"\(([^()|]*)[^()]*\)", r"\1", text)
    return f"{text[:1].upper()}{text[1:]}."


def goes_on(text: str) -> bool:
    """Whether what stands between two names makes them members of one list."""
    return _LIST.fullmatch(text) is not None


def relation_words(relation: str) -> str:
    """A relation's name as words: ``birthPlace`` and ``birth_place`` as "birth place"; empty where it has none, as
    P36."""
    name = re.split(r"[/#]", relation)[-1]
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ").strip().lower()
    return words if re.search(r"[^\W\d_]{2}", words) else ""


@dataclass(frozen=True, kw_only=True)
class Phrases:
    """Patterns by relation; those that are not named are said by their names (``PLAIN``)."""

    patterns: Mapping[str, Sequence[str]] = field(default_factory=lambda: MappingProxyType({}))
    complete: frozenset[str] = frozenset()
    """Relations of which the graph holds every tail of a head that it holds any of, so that another one is wrong."""

    @cached_property
    def _made(self) -> dict[str, tuple[Pattern, ...]]:
        return {}

    def of(self, relation: str) -> tuple[Pattern, ...]:
        """The patterns of a relation; none where its name has no words and nothing was given."""
        if relation not in self._made:
            own = self.patterns.get(relation)
            words = relation_words(relation)
            if own is None:
                own = [text.replace("{relation}", words) for text in PLAIN] if words else []
            self._made[relation] = tuple(map(compiled, own))
        return self._made[relation]

    @classmethod
    def read(cls, path: str | Path) -> "Phrases":
        """Of a TOML file: [patterns] with a list of patterns under each relation, and complete, a list of relations.

        UsageError for another key or type, and for a pattern that can't be read.
        """
        table = read_toml(path, "file of patterns")
        patterns, complete = table.get("patterns", {}), table.get("complete", [])
        if unknown := sorted(set(table) - {"patterns", "complete"}):
            raise UsageError(f"{path} has the key {unknown[0]!r}; it may have patterns and complete.")
        if not isinstance(complete, list) or not all(isinstance(name, str) for name in complete):
            raise UsageError(f"{path}: complete must be a list of relations; got {complete!r:.60}.")
        if not isinstance(patterns, Mapping):
            raise UsageError(f"{path}: patterns must be a table of relation to patterns; got {patterns!r:.60}.")
        for relation, own in patterns.items():
            if not isinstance(own, list) or not own or not all(isinstance(text, str) for text in own):
                raise UsageError(f"{path}: the patterns of {relation!r} must be a list of texts; got {own!r:.60}.")
            for text in own:
                compiled(text)
        return cls(patterns=patterns, complete=frozenset(complete))


BY_NAME = Phrases()
"""Every relation by its name."""
