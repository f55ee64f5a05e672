"""Keywords dealt to pictures so that the words of a question never tell its answer.

A wrong keyword is some other picture's right one: over a set of questions every keyword is right as often as it is
wrong (or three times as often, with three wrong ones a question), so that only the picture can tell.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from armillary.data.emoji import Emoji, EmojiLabel

_LEAST = 5
"""Emoji that must have a keyword for it to be asked: a word met once or twice can't be learnt in one split and asked
for in another. [derived]"""
_ROUNDS = 100


class Keywords:
    """Which keywords can be asked of each emoji, and which surely don't fit it."""

    def __init__(self, emoji: Emoji) -> None:
        self._subgroups = [label.subgroup for label in emoji.labels]
        self._near: dict[str, set[str]] = defaultdict(set)
        for label in emoji.labels:
            self._near[label.subgroup] |= {*label.tags, *_words(label.label)}
        counts = Counter(tag for label in emoji.labels for tag in set(label.tags))
        frequent = {tag for tag, count in counts.items() if count >= _LEAST and self._can_be_wrong(tag)}
        self._of = [_askable(label, frequent) for label in emoji.labels]

    def of(self, emoji: int) -> tuple[str, ...]:
        """Single words that fit an emoji without being part of its name, and that fit at least five emoji in all."""
        return self._of[emoji]

    def fits(self, emoji: int, keyword: str) -> bool:
        """True unless the keyword surely doesn't fit: nothing in the emoji's subgroup has it in its tags or name."""
        return keyword in self._near[self._subgroups[emoji]]

    def dealt(
        self, asked: Sequence[int], right: Sequence[str], wrong: int, draw: random.Random
    ) -> list[tuple[int, list[str]]]:
        """Places in ``asked``, each with its right keyword and then ``wrong`` others that don't fit.

        Each of the wrong columns is a permutation of the right one. Places whose keyword nobody can take are left out.
        """
        places = list(range(len(asked)))
        while places:
            here = [asked[place] for place in places]
            columns = [[right[place] for place in places]]
            left_over: Counter[str] = Counter()
            while len(columns) <= wrong and not left_over:
                column, left_over = self._permuted(here, columns, draw)
                columns.append(column)
            if not left_over:
                return [(place, list(row)) for place, row in zip(places, zip(*columns, strict=True), strict=True)]
            places = _without(places, right, left_over)
        return []

    def _can_be_wrong(self, keyword: str) -> bool:
        """True where a keyword doesn't fit at least half of all: else it would hardly ever be a wrong answer."""
        return 2 * sum(self.fits(index, keyword) for index in range(len(self._subgroups))) <= len(self._subgroups)

    def _permuted(
        self, asked: Sequence[int], columns: Sequence[Sequence[str]], draw: random.Random
    ) -> tuple[list[str], Counter[str]]:
        """The first column in an order in which nothing fits or comes twice, and what found no such place."""
        words = list(columns[0])
        draw.shuffle(words)

        def good(place: int, word: str) -> bool:
            return not self.fits(asked[place], word) and all(column[place] != word for column in columns)

        bad = [place for place, word in enumerate(words) if not good(place, word)]
        for _ in range(_ROUNDS):
            for place in bad:
                other = draw.randrange(len(words))
                if good(place, words[other]) and (good(other, words[place]) or not good(other, words[other])):
                    words[place], words[other] = words[other], words[place]
            bad = [place for place in bad if not good(place, words[place])]
            if not bad:
                break
        return words, Counter(words[place] for place in bad)


def _without(places: Sequence[int], right: Sequence[str], left_over: Counter[str]) -> list[int]:
    """The places without the last ones whose right keyword is left over, as many as it is."""
    still, kept = Counter(left_over), []
    for place in reversed(places):
        if still[right[place]] > 0:
            still[right[place]] -= 1
        else:
            kept.append(place)
    return kept[::-1]


def _askable(label: EmojiLabel, frequent: Collection[str]) -> tuple[str, ...]:
    own = _words(label.label)
    return tuple(
        tag
        for tag in label.tags
        if tag.isascii() and tag.isalpha() and len(tag) > 2 and tag in frequent and tag not in own
    )


def _words(name: str) -> set[str]:
    """The words of a name and, roughly, their singulars and plurals."""
    words = {word.strip(":,.()!“”") for word in name.lower().replace("-", " ").split()}
    return words | {word + "s" for word in words} | {word.removesuffix("s") for word in words}
