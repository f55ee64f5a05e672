"""How different texts are from one another, and whether they are sentences at all. Whole words, case folded."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """The usual measures over a set of texts; 0 for sets without words or pairs."""

    distinct_1: float
    """Different words over words (Li and others, 2016)."""

    distinct_2: float
    """Different pairs of neighbouring words over such pairs."""

    overlap: float
    """Mean over pairs of texts of the Jaccard overlap of their word pairs: lower is more diverse (ours)."""

    valid: float
    """Share of texts that are a sentence by ``is_sentence``."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def diversity(texts: Sequence[str]) -> Diversity:
    """The measures of these texts."""
    words = [_words(text) for text in texts]
    ones = [word for text in words for word in text]
    twos = [list(pairwise(text)) for text in words]
    all_twos = [pair for text in twos for pair in text]
    overlaps = [_jaccard(set(a), set(b)) for a, b in combinations(twos, 2)]
    return Diversity(
        distinct_1=_share(len(set(ones)), len(ones)),
        distinct_2=_share(len(set(all_twos)), len(all_twos)),
        overlap=_share(sum(overlaps), len(overlaps)),
        valid=_share(sum(map(is_sentence, texts)), len(texts)),
    )


def is_sentence(text: str) -> bool:
    """Four words or more, most of the characters letters, ended by a mark (our rule: form, not meaning)."""
    letters = sum(letter.isalpha() or letter.isspace() for letter in text)
    return len(_words(text)) >= 4 and letters >= 0.8 * len(text) and text.rstrip()[-1:] in {".", "!", "?"}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _jaccard(a: set[tuple[str, str]], b: set[tuple[str, str]]) -> float:
    return _share(len(a & b), len(a | b))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
