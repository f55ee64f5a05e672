"""How varied texts are: distinct n-grams, and BLEU of each text against the others."""

from collections import Counter
from collections.abc import Sequence

import numpy as np


def distinct(texts: Sequence[str], n: int) -> float:
    """Share of all n-grams of the texts that are different (Li and others 2016); 0 of texts too short for one."""
    grams = [gram for text in texts for gram in _grams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def self_bleu(texts: Sequence[str], draw: np.random.Generator, size: int = 60) -> float:
    """Mean BLEU-4, 0 to 100, of up to ``size`` texts each against the others (Zhu and others 2018).

    Precisions of n-grams clipped to the most of any other text, smoothed by one; no brevity penalty, since the nearest
    length among many references is nearly always the own.
    """
    chosen = [texts[index] for index in draw.permutation(len(texts))[:size]]
    counts = [[Counter(_grams(text, n)) for n in (1, 2, 3, 4)] for text in chosen]
    scores = []
    for index, own in enumerate(counts):
        logs = []
        for n in range(4):
            most: Counter[tuple[str, ...]] = Counter()
            for other, theirs in enumerate(counts):
                if other != index:
                    most |= theirs[n]
            matched = sum(min(count, most[gram]) for gram, count in own[n].items())
            logs.append(np.log((matched + 1) / (sum(own[n].values()) + 1)))
        scores.append(100 * float(np.exp(np.mean(logs))))
    return float(np.mean(scores)) if scores else 0.0


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = text.split()
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
