"""Pairs of hard attributes that no text has both of, seen from their parameters alone.

Each rule holds of any text: attributes that were derived from one text never conflict. What a rule can't be sure of it
passes over, so that a set without conflicts may still be hard to meet.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import cast

from armillary.attributes.attribute import PRIORITIES, Attribute
from armillary.attributes.candidates import stem
from armillary.attributes.characters import script_of
from armillary.attributes.english import PRONOUNS
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.attributes.text_stats import TextStats

Quantity = tuple[str, ...]
Bounds = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Two attributes that exclude each other, and why."""

    a: Attribute
    b: Attribute
    reason: str


def conflicts(attributes: Sequence[Attribute]) -> list[Conflict]:
    """All pairs that exclude each other, once each, in the order of the rules; soft attributes are passed over."""
    hard = [attribute for attribute in attributes if attribute.hard]
    seen: dict[tuple[int, int], Conflict] = {}
    place = {id(attribute): at for at, attribute in enumerate(hard)}
    for rule in _RULES:
        for first, second, reason in rule(hard):
            ends = sorted((place[id(first)], place[id(second)]))
            seen.setdefault((ends[0], ends[1]), Conflict(a=hard[ends[0]], b=hard[ends[1]], reason=reason))
    return list(seen.values())


def repaired(attributes: Sequence[Attribute]) -> tuple[Attribute, ...]:
    """The attributes without those that exclude one of higher priority, or an earlier one of the same.

    Priorities: format, structure, position, content, style. The same list gives the same result.
    """
    kinds = Catalogue.default().kinds
    if not conflicts(attributes):
        return tuple(attributes)
    rank = {name: PRIORITIES.index(kind.priority) for name, kind in kinds.items()}
    kept: list[int] = []
    for at in sorted(range(len(attributes)), key=lambda at: (rank.get(attributes[at].kind, 0), at)):
        if not conflicts([attributes[other] for other in (*kept, at)]):
            kept.append(at)
    return tuple(attributes[at] for at in sorted(kept))


Clashes = Iterator[tuple[Attribute, Attribute, str]]


def _of(hard: Iterable[Attribute], *kinds: str) -> list[Attribute]:
    return [attribute for attribute in hard if attribute.kind in kinds]


# Every rule asks for the words of the same few phrases.
@lru_cache(maxsize=4096)
def _words(phrase: str) -> tuple[str, ...]:
    return tuple(TextStats(phrase).folded)


@lru_cache(maxsize=4096)
def _key(keyword: str) -> str:
    stats = TextStats(keyword)
    return " ".join(stats.folded) if stats.words == keyword.split() else " ".join(keyword.casefold().split())


def _number(attribute: Attribute, name: str, otherwise: float) -> float:
    return cast(float, attribute.params.get(name, otherwise))


def _related(attribute: Attribute) -> Bounds:
    count = _number(attribute, "k", 0)
    return {"=": (count, count), ">=": (count, math.inf), "<=": (0.0, count)}[str(attribute.params["rel"])]


_RANGES = {
    "word_count": "words", "sentence_count": "sentences", "char_count": "characters",
    "sentence_length_avg": "words of a sentence, on average", "readability": "the grade",
    "lexical_richness": "the share of distinct words", "word_length_avg": "letters of a word",
    "function_word_ratio": "the share of function words",
}  # fmt: skip
_EXACT = {"bullet_count": "bullet points", "numbered_list": "numbered items"}
_LEAST = {"highlights": "highlights", "placeholders": "placeholders"}


def quantities(attribute: Attribute) -> list[tuple[Quantity, Bounds]]:
    """What the attribute bounds: the quantity's name, and the least and greatest value it allows."""
    kind, params = attribute.kind, attribute.params
    count = _number(attribute, "k", 0)
    if kind in _RANGES:
        if "k" in params:
            return [((_RANGES[kind],), (count, count))]
        return [((_RANGES[kind],), (_number(attribute, "lo", -math.inf), _number(attribute, "hi", math.inf)))]
    if kind in _EXACT:
        return [((_EXACT[kind],), (count, count))]
    if kind in _LEAST:
        return [((_LEAST[kind],), (count, math.inf))]
    if kind in ("paragraph_count", "paragraph_starts") and "k" in params and "separator" not in params:
        return [(("paragraphs",), (count, count))]
    return _other_quantities(attribute, count)


def _other_quantities(attribute: Attribute, count: float) -> list[tuple[Quantity, Bounds]]:
    kind, params = attribute.kind, attribute.params
    match kind:
        case "keyword_count":
            return [(("matches of", _key(str(params["w"]))), _related(attribute))]
        case "keyword_include" | "keyword_order" | "sentence_contains":
            return [(("matches of", _key(word)), (1, math.inf)) for word in required(attribute)]
        case "keyword_exclude":
            return [(("matches of", _key(word)), (0, 0)) for word in _texts(attribute, "words")]
        case "punctuation_count":
            return [(("marks", str(params["mark"])), _related(attribute))]
        case "punctuation_exclude":
            return [(("marks", mark), (0, 0)) for mark in _texts(attribute, "marks")]
        case "letter_count":
            return [(("letters", str(params["letter"]).casefold()), _related(attribute))]
        case "caps_words":
            return [(("words in capitals",), _related(attribute))]
        case "paragraph_words":
            bounds = (_number(attribute, "lo", 0), _number(attribute, "hi", math.inf))
            return [(("words of paragraph", str(params["i"])), bounds)]
        case "pos_ratio":
            return [(("share of", str(params["tag"])), (_number(attribute, "lo", 0), _number(attribute, "hi", 1)))]
        case "headings" if params:
            return [(("headings of level", str(params.get("level", "any"))), (count, count))]
        case "person":
            return [
                (("pronouns of person", str(params["person"])), (0, 0) if params["use"] == "none" else (1, math.inf))
            ]
        case "language":
            # Codes have no order: each is a point of its own.
            point = float(int.from_bytes(str(params["code"]).casefold().encode(), "big"))
            return [(("language",), (point, point))]
        case "quoted" if params:
            return [(("marks", '"'), (2 * count, math.inf))]
        case "quoted":
            return [(("marks", '"'), (2, math.inf))]
        case "question_ending":
            return [(("marks", "?"), (1, math.inf))]
        case "hyperlink":
            return [(("marks", ":"), (count, math.inf))]
        case "json_format" if params:
            return [(("marks", '"'), (2, math.inf)), (("marks", ":"), (1, math.inf))]
    return []


def _texts(attribute: Attribute, name: str) -> tuple[str, ...]:
    return cast("tuple[str, ...]", attribute.params[name])


def required(attribute: Attribute) -> tuple[str, ...]:
    """Words and phrases that any text with this attribute has."""
    params = attribute.params
    match attribute.kind:
        case "keyword_include" | "keyword_order":
            return _texts(attribute, "words") if "words" in params else (str(params["w"]),)
        case "keyword_count":
            return (str(params["w"]),) if _related(attribute)[0] >= 1 else ()
        case "sentence_contains" | "paragraph_starts":
            return (str(params["w"]),)
        case "starts_with" | "ends_with":
            return (str(params["phrase"]),)
    return ()


def _no_common_value(hard: Sequence[Attribute]) -> Clashes:
    """Two bounds on one quantity that do not meet: of intervals, all meet if each two do."""
    bounded: dict[Quantity, list[tuple[Attribute, Bounds]]] = {}
    for attribute in hard:
        for quantity, bounds in quantities(attribute):
            bounded.setdefault(quantity, []).append((attribute, bounds))
    for quantity, entries in bounded.items():
        for (first, (low, high)), (second, (other_low, other_high)) in combinations(entries, 2):
            if first is not second and (low > other_high or other_low > high):
                yield first, second, f"no number of {' '.join(quantity)} meets both"


def _bounds_of(hard: Sequence[Attribute], name: str) -> list[tuple[Attribute, Bounds]]:
    return [
        (attribute, bounds) for attribute in hard for quantity, bounds in quantities(attribute) if quantity == (name,)
    ]


_AT_LEAST = (
    ("words", "sentences", "every sentence has a word"),
    ("sentences", "paragraphs", "every paragraph has a sentence"),
    ("words", "paragraphs", "every paragraph has a word"),
    ("words", "bullet points", "every bullet point has a word"),
    ("words", "numbered items", "every item has a word"),
    ("characters", "words", "every word has a character"),
)


def _more_parts_than_wholes(hard: Sequence[Attribute]) -> Clashes:
    for smaller, larger, reason in _AT_LEAST:
        for first, (_, most) in _bounds_of(hard, smaller):
            for second, (least, _) in _bounds_of(hard, larger):
                if least > most:
                    yield first, second, reason
    for mean, (low, _) in _bounds_of(hard, _RANGES["sentence_length_avg"]):
        for longest in _of(hard, "sentence_length_max"):
            if _number(longest, "k", 0) < low:
                yield mean, longest, "no mean is above the longest"


def _index_beyond_the_end(hard: Sequence[Attribute]) -> Clashes:
    for kinds, whole in (
        (("paragraph_words", "paragraph_starts"), "paragraphs"),
        (("sentence_contains",), "sentences"),
    ):
        for count, (_, most) in _bounds_of(hard, whole):
            for attribute in _of(hard, *kinds):
                if attribute is not count and _number(attribute, "i", 0) > most:
                    yield count, attribute, f"there are not so many {whole}"


def _too_many_words(hard: Sequence[Attribute]) -> Clashes:
    """Distinct words, each as often as the most demanding attribute needs it, are words of the text."""
    needs: Counter[str] = Counter()
    weight: dict[int, float] = {}
    for attribute in hard:
        times = int(_related(attribute)[0]) if attribute.kind == "keyword_count" else 1
        words = {word for phrase in required(attribute) for word in _words(phrase)}
        for word in words:
            needs[word] = max(needs[word], times)
        if words:
            weight[id(attribute)] = times * len(words)
    for limit, (_, most) in _bounds_of(hard, "words"):
        if needs.total() > most:
            heaviest = max((each for each in hard if id(each) in weight), key=lambda each: weight[id(each)])
            yield limit, heaviest, f"the words that must stand there are {needs.total()} or more"


def _excluded_but_needed(hard: Sequence[Attribute]) -> Clashes:
    needed = [
        (attribute, {stem(word) for phrase in required(attribute) for word in _words(phrase)}) for attribute in hard
    ]
    needed = [(attribute, stems) for attribute, stems in needed if stems]
    for forbidding in _of(hard, "keyword_exclude"):
        for word in _texts(forbidding, "words"):
            own = {stem(part) for part in _words(word)}
            for attribute, stems in needed:
                if len(own) == 1 and own <= stems:
                    yield forbidding, attribute, f'"{word}" is excluded and needed'
    for person in _of(hard, "person"):
        if person.params["use"] == "none":
            for attribute in hard:
                words = {word for phrase in required(attribute) for word in _words(phrase)}
                if both := sorted(words & PRONOUNS[str(person.params["person"])]):
                    yield person, attribute, f'"{both[0]}" is excluded and needed'


def _case(hard: Sequence[Attribute]) -> Clashes:
    casings = _of(hard, "casing")
    for first, second in combinations(casings, 2):
        cases = {first.params["case"], second.params["case"]}
        if len(cases) == 2 and cases != {"upper", "title_headings"}:
            yield first, second, "no text is in both cases"
    for casing in casings:
        case = casing.params["case"]
        for other in hard:
            words: tuple[str, ...] = ()
            if other.kind == "caps_words":
                low, high = _related(other)
                if (case == "lower" and low >= 1) or (case == "upper" and high == 0):
                    yield casing, other, "the case of all letters says otherwise of words in capitals"
            elif other.kind == "json_format" and "keys" in other.params:
                words = _texts(other, "keys")
            elif other.kind == "key_sentences" and other.params["k"] == len(_texts(other, "sentences")):
                words = _texts(other, "sentences")
            changed = {"upper": str.upper, "lower": str.lower}.get(str(case), str)
            if any(changed(word) != word for word in words):
                yield casing, other, "its words stand in another case"


_NO_PROSE = {
    "bullet_count", "numbered_list", "headings", "quoted", "starts_with", "ends_with", "paragraph_starts", "sections",
    "postscript", "question_ending", "two_responses",
}  # fmt: skip


def _form(hard: Sequence[Attribute]) -> Clashes:
    for document in _of(hard, "json_format"):
        for other in hard:
            none = other.kind in ("bullet_count", "headings") and other.params.get("k") == 0
            table = other.kind == "code_or_table" and other.params["what"] == "table"
            if (other.kind in _NO_PROSE and not none) or table:
                yield document, other, "JSON has no such form"
    for quoted in _of(hard, "quoted"):
        for other in _of(hard, "question_ending"):
            if not quoted.params:
                yield quoted, other, "the last character is a quotation mark or a question mark"


def _ends(hard: Sequence[Attribute]) -> Clashes:
    starts: list[tuple[Attribute, tuple[str, ...]]] = []
    for attribute in hard:
        if attribute.kind in ("starts_with", "repeat_prompt"):
            text = attribute.params["phrase" if attribute.kind == "starts_with" else "prompt"]
            starts.append((attribute, _words(str(text))))
        elif attribute.kind == "paragraph_starts" and attribute.params["i"] == 1:
            starts.append((attribute, _words(str(attribute.params["w"]))))
    ends = [(each, _words(str(each.params["phrase"]))[::-1]) for each in _of(hard, "ends_with")]
    for where, entries in (("starts", starts), ("ends", ends)):
        for (first, words), (second, others) in combinations(entries, 2):
            if any(one != other for one, other in zip(words, others, strict=False)):
                yield first, second, f"the text {where} with other words"
    paragraphs = [each for each in _of(hard, "paragraph_starts") if each.params["i"] != 1]
    for first, second in combinations(paragraphs, 2):
        if first.params["i"] == second.params["i"] and _key(str(first.params["w"])) != _key(str(second.params["w"])):
            yield first, second, "the paragraph starts with another word"
    for question in _of(hard, "question_ending"):
        for end in _of(hard, "ends_with"):
            if str(end.params["phrase"]).rstrip()[-1:] not in "?\uff1f\u061f":
                yield question, end, "the phrase at the end is no question"


def _order(hard: Sequence[Attribute]) -> Clashes:
    for first, second in combinations(_of(hard, "keyword_order"), 2):
        rank = {_key(word): at for at, word in enumerate(_texts(second, "words"))}
        shared = [rank[key] for word in _texts(first, "words") if (key := _key(word)) in rank]
        if shared != sorted(shared):
            yield first, second, "the orders contradict each other"


_SCRIPTS = {
    "LATIN": ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "fi", "pl", "vi", "sw"),
    "CYRILLIC": ("ru", "uk", "bg", "be", "mk"),
    "CJK": ("ja", "zh"),
    "HANGUL": ("ko",), "ARABIC": ("ar", "fa", "ur"), "HEBREW": ("he",), "GREEK": ("el",), "THAI": ("th",),
    "DEVANAGARI": ("hi", "mr", "ne"),
}  # fmt: skip


def _script(hard: Sequence[Attribute]) -> Clashes:
    for language in _of(hard, "language"):
        code = str(language.params["code"]).casefold().partition("-")[0]
        own = next((script for script, codes in _SCRIPTS.items() if code in codes), None)
        for attribute in _of(hard, "keyword_include", "keyword_count", "keyword_order", "sentence_contains"):
            # Names in Latin letters stand in texts of any script.
            others = {script_of(word) for word in required(attribute)} & _SCRIPTS.keys() - {"LATIN", own}
            if own is not None and others:
                yield language, attribute, "the keyword is in the script of another language"


Rule = Callable[[Sequence[Attribute]], Clashes]
_RULES: tuple[Rule, ...] = (
    _no_common_value, _more_parts_than_wholes, _index_beyond_the_end, _too_many_words, _excluded_but_needed, _case,
    _form, _ends, _order, _script,
)  # fmt: skip
