"""Synthetic texts and molecules in place of real ones: for the quick preset and tests, without a download (ours).

Legend: N inputs, E encoder width.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from armillary.methods.vector_icl.baselines import Vectors
from reproductions.vector_icl.data.glosses import Gloss
from reproductions.vector_icl.scale import TOPICS

_WORDS = {
    "animal": ("dog", "horse", "bear", "fish", "bird", "wolf", "frog", "sheep"),
    "food": ("apple", "cherry", "lemon", "plum", "sweet", "sour", "fruit", "tastes"),
    "person": ("king", "queen", "doctor", "teacher", "friend", "child", "woman", "man"),
    "artifact": ("house", "book", "game", "music", "product", "fire", "money", "gem"),
    "location": ("city", "country", "river", "mountain", "road", "capital", "continent", "place"),
    "act": ("work", "plays", "makes", "gives", "goes", "speaks", "sees", "takes"),
}
_EACH = 30
_GROUPS = ("an alcohol", "an amine", "a ketone", "an ether", "an ester", "a nitrile")
_LETTERS = ("O", "N", "C=O", "CO", "OC=O", "C#N")
_WIDTH = 12


def synthetic_glosses() -> tuple[Gloss, ...]:
    """Thirty different texts of 6 to 9 words for each of ``TOPICS``; half of the words depend on the topic."""
    generator = np.random.default_rng(0)
    by_text: dict[str, Gloss] = {}
    for number, topic in enumerate(TOPICS, 1):
        words = _WORDS[topic]
        while len(by_text) < number * _EACH:
            first, second, third, last = (words[index] for index in generator.permutation(len(words))[:4])
            text = f"a {first} that has a {second} and {third}"
            text += f" or {last}" if generator.random() < 0.5 else ""
            by_text.setdefault(text, Gloss(word=first, text=text, topic=topic))
    return tuple(by_text.values())


def hashed_words(texts: Sequence[str], width: int = 64) -> Vectors:
    """Each word in a column and with a sign that its hash gives, summed: ``[n, width]`` float32 of unit length."""
    out = np.zeros((len(texts), width))
    for row, text in zip(out, texts, strict=True):
        for word in text.casefold().split():
            number = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "big")
            row[(number >> 1) % width] += 1.0 if number % 2 else -1.0
    unit: Vectors = (out / np.linalg.norm(out, axis=1, keepdims=True).clip(1e-6)).astype(np.float32)
    return unit


def synthetic_molecules(count: int) -> tuple[list[str], Vectors, list[str]]:
    """Strings like SMILES, vectors ``[n, 12]`` and captions in the manner of
    ``molecule_facts``, all of which tell the same groups and length."""
    generator = np.random.default_rng(1)
    smiles, vectors, captions = [], np.zeros((count, _WIDTH), dtype=np.float32), []
    for row in vectors:
        held = sorted(generator.permutation(len(_GROUPS))[: generator.integers(1, 3)].tolist())
        length = int(generator.integers(1, 5))
        smiles.append("C" * length + "".join(f"({_LETTERS[group]})" for group in held) + "C")
        row[held] = 1.0
        row[len(_GROUPS)] = length / 4
        row[len(_GROUPS) + 1 :] = generator.normal(scale=0.1, size=_WIDTH - len(_GROUPS) - 1)
        parts = ["no ring", *(_GROUPS[group] for group in held)]
        weight = "light" if length < 3 else "heavy"
        captions.append(f" a {weight} molecule with {', '.join(parts[:-1])} and {parts[-1]}")
    return smiles, vectors, captions
