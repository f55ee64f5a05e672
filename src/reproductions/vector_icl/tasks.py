"""Classification tasks whose inputs are vectors, some with a text that says the same, for rows R2, R4, R5 and R8.

What is fitted (scales, components, vocabularies) is fitted on training inputs alone. Names of classes are words of
plain English that begin with a space, as the next word of a sentence does. Packages that only one row needs are
imported where it begins.

Legend: N inputs, E encoder width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.methods.vector_icl.baselines import Vectors, standardised
from armillary.methods.vector_icl.config import CLASS, SlotTemplate
from reproductions.vector_icl.data import molecule_facts
from reproductions.vector_icl.data.molecules import load_molecules
from reproductions.vector_icl.data.series import encoded_series, load_series, series_text, synthetic_series
from reproductions.vector_icl.data.synthetic import hashed_words, synthetic_molecules
from reproductions.vector_icl.scale import ENCODERS, TOPICS
from reproductions.vector_icl.setup import Context
from reproductions.vector_icl.texts import all_glosses, gloss_vectors, is_test

SERIES_WORDS = {
    "GunPoint": {"1": " gun", "2": " point"},
    "ItalyPowerDemand": {"1": " winter", "2": " summer"},
    "ArrowHead": {"0": " northern", "1": " plains", "2": " mixed"},
}
"""What the classes of the sets are called in a prompt (ours, after their descriptions in the archive)."""

_SERIES_LENGTH = 96
"""Points to which the sets are brought, so that one encoder serves all: most have more, one has 24."""

_LONGEST_SMILES = 30
"""Characters of a molecule whose graph is asked about; a higher limit means more molecules and longer text prompts."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """Training or test inputs of a task."""

    vectors: Vectors
    words: tuple[str, ...]
    """The class of each input, as the prompt says it."""

    texts: tuple[str, ...] | None = None
    """The same inputs as text; None where no text could say them."""

    def __len__(self) -> int:
        return len(self.words)

    def some(self, chosen: Sequence[int]) -> "Part":
        """These inputs, in this order."""
        texts = None if self.texts is None else tuple(self.texts[index] for index in chosen)
        return Part(vectors=self.vectors[list(chosen)], words=tuple(self.words[i] for i in chosen), texts=texts)


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassTask:
    """One task."""

    name: str
    template: SlotTemplate
    train: Part
    test: Part

    @classmethod
    def split(
        cls,
        name: str,
        template: SlotTemplate,
        tables: Sequence[NDArray[Any]],
        chosen: Sequence[Sequence[int]],
        word: Callable[[int], str],
        text: Callable[[int], str] | None = None,
    ) -> "ClassTask":
        """``chosen`` are the training and the test inputs among all, ``tables`` their vectors; ``word`` and ``text``
        are of an input."""
        train, test = (
            Part(
                vectors=np.asarray(vectors, dtype=np.float32),
                words=tuple(map(word, indices)),
                texts=None if text is None else tuple(map(text, indices)),
            )
            for vectors, indices in zip(tables, chosen, strict=True)
        )
        return cls(name=name, template=template, train=train, test=test)

    @property
    def words(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return tuple(sorted(set(self.train.words)))


def asking_for(what: str) -> SlotTemplate:
    """The template of a class: a "topic", a "shape"."""
    return SlotTemplate(("(", f")'s {what} is"))


def shuffled(count: int, seed: int, limit: int | None = None) -> list[int]:
    """Numbers below ``count`` in random order, the first ``limit`` of them."""
    order: list[int] = np.random.default_rng(seed).permutation(count).tolist()
    return order[:limit]


def topic_tasks(context: Context) -> dict[str, ClassTask]:
    """R2, by encoder: which of six topics a noun's gloss is about."""
    scale = context.scale
    glosses = [gloss for gloss in all_glosses(context) if gloss.topic in TOPICS]
    train = [index for index, gloss in enumerate(glosses) if not is_test(gloss.text)]
    test = [index for index, gloss in enumerate(glosses) if is_test(gloss.text)]
    train = [train[index] for index in shuffled(len(train), context.seed, scale.topic_examples)]
    test = [test[index] for index in shuffled(len(test), context.seed, scale.topic_examples // 3)]
    texts = [[glosses[index].text for index in part] for part in (train, test)]
    return {
        encoder: ClassTask.split(
            "topics",
            asking_for("topic"),
            _gloss_encodings(context, encoder, *texts),
            (train, test),
            lambda index: f" {glosses[index].topic}",
            lambda index: glosses[index].text,
        )
        for encoder in ENCODERS
    }


def _gloss_encodings(context: Context, encoder: str, train: list[str], test: list[str]) -> tuple[Vectors, ...]:
    if encoder == "hashed words":
        width = 64 if context.scale.synthetic else 384  # MiniLM's width
        return hashed_words(train, width), hashed_words(test, width)
    return gloss_vectors(context, "topics, train", train), gloss_vectors(context, "topics, test", test)


def digit_task() -> ClassTask:
    """R4: handwritten digits of 8 by 8 pixels (they come with scikit-learn); as text, sixteen means of 2 by 2."""
    from sklearn.datasets import load_digits

    names = (" zero", " one", " two", " three", " four", " five", " six", " seven", " eight", " nine")
    data = load_digits()
    order = shuffled(len(data.target), 0)
    train, test = order[:1300], order[1300:]
    coarse = data.images.reshape(-1, 4, 2, 4, 2).mean((2, 4)).round().astype(int).reshape(-1, 16)
    return ClassTask.split(
        "digits",
        CLASS,
        standardised(data.data[train], data.data[test]),
        (train, test),
        lambda index: names[data.target[index]],
        lambda index: " ".join(map(str, coarse[index])),
    )


def graph_task(context: Context) -> ClassTask:
    """R8: whether a molecule's graph has an aromatic ring with another atom than carbon; three in ten have."""
    examples = context.scale.graphs
    count = examples + examples // 2
    if context.scale.synthetic:
        smiles, features, _ = synthetic_molecules(count)
        answers = [index % 2 == 0 for index in range(count)]
    else:
        known = [molecule.smiles for molecule in load_molecules() if len(molecule.smiles) <= _LONGEST_SMILES]
        smiles = [known[index] for index in shuffled(len(known), 0, count)]
        features = molecule_facts.graph_features(smiles)
        answers = [bool(answer) for answer in molecule_facts.aromatic_hetero(smiles)]
    train, test = range(examples), range(examples, len(answers))
    tables = standardised(features[train], features[test])
    return ClassTask.split(
        "graphs",
        asking_for("answer"),
        tables,
        (train, test),
        lambda i: " yes" if answers[i] else " no",
    )


def series_tasks(context: Context) -> list[ClassTask]:
    """R5: three sets of the UCR archive with their own training parts; one encoder, fitted on all of these."""
    sets = synthetic_series() if context.scale.synthetic else [load_series(name) for name in SERIES_WORDS]
    rows = [[_even(part) for part in (data.train, data.test)] for data in sets]
    trains, tests = (np.concatenate([parts[side] for parts in rows]) for side in (0, 1))
    encoded = encoded_series(trains, tests, seed=0)
    tasks, starts = [], [0, 0]
    for data, parts in zip(sets, rows, strict=True):
        names = SERIES_WORDS.get(data.name)
        sides = [
            Part(
                vectors=encoded[side][starts[side] : starts[side] + len(parts[side])],
                words=tuple(label if names is None else names[label] for label in classes),
                texts=tuple(map(series_text, parts[side])),
            )
            for side, classes in enumerate((data.train_classes, data.test_classes))
        ]
        tasks.append(ClassTask(name=data.name, template=CLASS, train=sides[0], test=sides[1]))
        starts = [start + len(part) for start, part in zip(starts, parts, strict=True)]
    return tasks


def _even(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each series at ``_SERIES_LENGTH`` points, with mean 0 and deviation 1."""
    given, wanted = np.linspace(0, 1, series.shape[1]), np.linspace(0, 1, _SERIES_LENGTH)
    even = np.stack([np.interp(wanted, given, row) for row in series])
    out: NDArray[np.float64] = (even - even.mean(1, keepdims=True)) / np.maximum(even.std(1, keepdims=True), 1e-6)
    return out
