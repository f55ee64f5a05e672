"""Style in numbers: readability, richness, word length, function words, person (catalogue 34 to 37 and 39).

The rules are those of English: of a text that is clearly in another language they say nothing unless a language is
given.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable

from armillary.attributes.attribute import AttributeKind, Verdict
from armillary.attributes.english import FUNCTION_WORDS, PRONOUNS
from armillary.attributes.kinds.verdicts import around, bounded, counted, text_of
from armillary.attributes.text_stats import TextStats
from armillary.attributes.wording import NUMBER, Params, Wording, one_of

READABLE, WINDOW = 30, 50
"""Words below which a grade, and words over which richness, mean nothing."""

Measure = Callable[[TextStats], float]


def flesch_kincaid(stats: TextStats) -> float:
    """School grade 0.39 words/sentence + 11.8 syllables/word - 15.59 (Kincaid et al. 1975)."""
    words = len(stats.words)
    return 0.39 * words / max(1, len(stats.sentences)) + 11.8 * stats.syllables / words - 15.59


def mattr(stats: TextStats) -> float:
    """Moving-average type-token ratio (Covington and McFall 2010): distinct words in a window of ``WINDOW``, mean over
    all windows."""
    words = stats.folded
    window = Counter(words[:WINDOW])
    distinct = total = len(window)
    for leaving, entering in zip(words, words[WINDOW:], strict=False):
        if leaving != entering:
            window[leaving] -= 1
            distinct -= window[leaving] == 0
            distinct += window[entering] == 0
            window[entering] += 1
        total += distinct
    return total / (max(0, len(words) - WINDOW) + 1) / WINDOW


def letters_per_word(stats: TextStats) -> float:
    """Mean letters of a word."""
    return stats.letters / len(stats.words)


def function_share(stats: TextStats) -> float:
    """Function words, as a share of all words."""
    return sum(stats.counts[word] for word in FUNCTION_WORDS & stats.counts.keys()) / len(stats.words)


def _kind(
    kind: str, measure: Measure, unit: str, sentence: str, *, least: int, slack: float, digits: int
) -> AttributeKind:
    """Bounds around a measure of at least so many words."""

    def value(stats: TextStats) -> float:
        if kind not in stats.shared:
            stats.shared[kind] = measure(stats)
        kept = stats.shared[kind]
        return kept if isinstance(kept, float) else float("nan")

    def derived(stats: TextStats, draw: random.Random) -> Iterable[Params]:
        return [around(value(stats), slack, digits)] if len(stats.words) >= least else []

    def checked(params: Params, stats: TextStats) -> Verdict:
        if len(stats.words) < least:
            return Verdict(False, lambda: f"{counted(len(stats.words), 'word')}, of {least} needed")
        return bounded(value(stats), params, lambda: f"{value(stats):.{digits + 1}f} {unit}")

    return AttributeKind(
        id=kind,
        family="style",
        priority="style",
        wording=Wording(sentence, lo=NUMBER, hi=NUMBER),
        derived=derived,
        checked=checked,
        needs_language=True,
    )


def _pronouns(stats: TextStats, person: str) -> list[str]:
    return sorted(PRONOUNS[person] & stats.counts.keys())


def _person(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    if stats.words:
        for person in PRONOUNS:
            yield {"person": person, "use": "some" if _pronouns(stats, person) else "none"}


def _check_person(params: Params, stats: TextStats) -> Verdict:
    present = _pronouns(stats, text_of(params, "person"))
    return Verdict(
        bool(present) == (params["use"] == "some"),
        lambda: f"stands there: {', '.join(present)}" if present else "none stands there",
        lambda: stats.spans(sorted(stats.pairs[place] for word in present for place in stats.positions[word])),
    )


KINDS = (
    _kind(
        "readability", flesch_kincaid, "as Flesch-Kincaid grade",
        "Write at a Flesch-Kincaid grade between {lo} and {hi}.", least=READABLE, slack=1, digits=1,
    ),
    _kind(
        "lexical_richness", mattr, "distinct",
        "Let between {lo} and {hi} of any 50 successive words be distinct, as a share, on average.",
        least=WINDOW, slack=0.05, digits=2,
    ),
    _kind(
        "word_length_avg", letters_per_word, "letters a word",
        "Use words of between {lo} and {hi} letters on average.", least=1, slack=0.3, digits=1,
    ),
    _kind(
        "function_word_ratio", function_share, "function words",
        "Let function words be between {lo} and {hi} of all words, as a share.", least=1, slack=0.05, digits=2,
    ),
    AttributeKind(
        id="person",
        family="style",
        priority="style",
        wording=Wording(
            "Use {use} of the {person} person.",
            use=one_of({"some": "pronouns", "none": "no pronouns"}),
            person=one_of({person: person for person in PRONOUNS}),
        ),
        negative=lambda params: params["use"] == "none",
        derived=_person,
        checked=_check_person,
        needs_language=True,
    ),
)  # fmt: skip
