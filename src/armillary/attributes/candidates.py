"""Keywords of a text without a parser, and the words of a corpus that they are weighed against.

A candidate is a run of one to three content words between function words and punctuation (Rose et al. 2010, RAKE),
ranked by inverse document frequency times the logarithm of one plus its count.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from armillary.attributes.characters import script_of
from armillary.attributes.english import FREQUENT_WORDS, FUNCTION_WORDS
from armillary.attributes.text_stats import TextStats

LONGEST, SHORTEST = 3, 3
"""Words of a candidate at most, characters of each of its words at least: UltraGen's code keeps those above two."""

FREQUENT_SHARE, MOST_FREQUENT = 0.05, 300
"""A word is frequent that stands in a twentieth of the documents; of these the commonest are kept to draw from."""


@dataclass(frozen=True)
class CorpusWords:
    """In how many documents each word stands, for weights and for words to exclude."""

    documents: int
    counts: Counter[str]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "CorpusWords":
        """Counted over the texts, one at a time."""
        counts: Counter[str] = Counter()
        documents = 0
        for text in texts:
            counts.update(TextStats(text).counts.keys())
            documents += 1
        return cls(documents, counts)

    def weight(self, word: str) -> float:
        """Inverse document frequency log((1 + N) / (1 + n)) + 1, so that no word weighs nothing."""
        return math.log((1 + self.documents) / (1 + self.counts[word])) + 1

    def frequent(self) -> list[str]:
        """Content words of many documents, the commonest first."""
        most = [
            word
            for word, count in self.counts.most_common()
            if count >= FREQUENT_SHARE * self.documents and is_content(word) and word.isalpha()
        ]
        return most[:MOST_FREQUENT] or list(FREQUENT_WORDS)


NO_CORPUS = CorpusWords(0, Counter())
"""Every word weighs the same; the frequent ones are those of English."""


@dataclass(frozen=True)
class Candidate:
    """A keyword with its count in the text and the place of its first word among the words."""

    keyword: str
    count: int
    place: int


def is_content(word: str) -> bool:
    """Whether the folded word is long enough, of letters only, and no function word."""
    if len(word) < SHORTEST or word in FUNCTION_WORDS:
        return False
    return word.isalpha() or all(sign.isalpha() or unicodedata.category(sign)[0] == "M" for sign in word)


def stem(word: str) -> str:
    """The folded word without a common English ending: enough to see "test" in "tests", "testing" and "tested"."""
    for ending in ("ing", "ed", "es", "s"):
        # Of three letters or fewer too little would be left to tell words apart.
        if word.endswith(ending) and len(word) - len(ending) > 3:
            return word.removesuffix(ending).removesuffix("e")
    return word.removesuffix("e") if len(word) > 3 else word


def candidates(stats: TextStats, corpus: CorpusWords = NO_CORPUS, most: int = 60) -> list[Candidate]:
    """At most ``most`` keywords of the text, best first; none that a chosen longer one holds, with the same count."""
    if stats.words_unknown:
        return []
    runs: dict[tuple[str, ...], int] = {}
    folded = stats.folded
    for start, stop in _runs(stats):
        for at in range(start, stop, LONGEST):
            runs.setdefault(tuple(folded[at : min(at + LONGEST, stop)]), at)
    for word, count in stats.counts.items():
        if count > 1 and is_content(word):
            runs.setdefault((word,), stats.positions[word][0])
    weighed: list[tuple[float, int, int, tuple[str, ...], str, int]] = []
    for words, place in runs.items():
        keyword = " ".join(stats.words[place : place + len(words)])
        keyword = keyword if stats.count(keyword.lower()) == 0 else keyword.lower()
        # In other letters than Latin and those of most of the text it is no word of the text's language.
        own = keyword.isascii() or script_of(keyword) in ("LATIN", stats.script)
        if (count := stats.count(keyword)) and own:
            weight = sum(map(corpus.weight, words)) / len(words) * math.log1p(count)
            weighed.append((-weight, -len(words), place, words, keyword, count))
    holders: dict[tuple[str, int], list[tuple[str, ...]]] = {}
    chosen: list[Candidate] = []
    # Longer ones first, so that what they hold is known when a shorter one is looked at.
    kept = []
    for entry in sorted(weighed, key=lambda entry: (entry[1], entry[2])):
        words, count = entry[3], entry[5]
        run = len(words)
        longer = holders.get((words[0], count), ())
        if any(words == other[at : at + run] for other in longer for at in range(len(other) - run + 1)):
            continue
        kept.append(entry)
        for word in words:
            holders.setdefault((word, count), []).append(words)
    for _, _, place, _, keyword, count in sorted(kept)[:most]:
        chosen.append(Candidate(keyword, count, place))
    return chosen


def _runs(stats: TextStats) -> list[tuple[int, int]]:
    """Places of the first word of each maximal run of content words, and of the one behind it."""
    runs: list[tuple[int, int]] = []
    start: int | None = None
    text, pairs = stats.text, stats.pairs
    end = 0
    for place, (word, pair) in enumerate(zip(stats.folded, pairs, strict=True)):
        gap = text[end : pair[0]]
        content = is_content(word)
        if start is not None and (not content or not (gap == " " or (gap.isspace() and gap.count("\n") < 2))):
            runs.append((start, place))
            start = None
        if content and start is None:
            start = place
        end = pair[1]
    return runs if start is None else [*runs, (start, len(pairs))]
