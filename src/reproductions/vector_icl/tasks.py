"""Classification tasks whose inputs are vectors, most of them with a text that says the same, for rows R2, R4 to R10.

What is fitted (scales, components, vocabularies) is fitted on training inputs alone. Names of classes are words of
plain English that begin with a space, as the next word of a sentence does. Packages that only one row needs are
imported where it begins.

Legend: N inputs, E encoder width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.methods.vector_icl.baselines import Vectors, standardised
from armillary.methods.vector_icl.config import CLASS, SlotTemplate
from reproductions.vector_icl.data import molecule_facts
from reproductions.vector_icl.data.molecules import load_molecules
from reproductions.vector_icl.data.scans import load_event_fmri, synthetic_scan, windows
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

    def with_queries(self, chosen: Sequence[int]) -> "ClassTask":
        """The task with these of its test inputs."""
        return replace(self, test=self.test.some(chosen))


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
    test = [test[index] for index in shuffled(len(test), context.seed, scale.queries)]
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
    if encoder == "TF-IDF and SVD":
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import Normalizer

        words = TfidfVectorizer(sublinear_tf=True)
        size = min(128, words.fit_transform(train).shape[1] - 1, len(train) - 1)
        encode = make_pipeline(words, TruncatedSVD(size, random_state=context.seed), Normalizer())
        return encode.fit_transform(train).astype(np.float32), encode.transform(test).astype(np.float32)
    whole = gloss_vectors(context, "topics, train", train), gloss_vectors(context, "topics, test", test)
    if encoder == "MiniLM":
        return whole
    cut = [vectors[:, :64] for vectors in whole]
    return tuple(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-6) for vectors in cut)


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


def table_task() -> ClassTask:
    """R10: measurements of breast tumours (they come with scikit-learn); as text, ten of them with their names."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    order = shuffled(len(data.target), 0)
    train, test = order[:400], order[400:]

    def text(index: int) -> str:
        pairs = zip(data.feature_names[:10], data.data[index], strict=False)
        return "; ".join(f"{name}: {value:.3g}" for name, value in pairs)

    return ClassTask.split(
        "tables",
        asking_for("diagnosis"),
        standardised(data.data[train], data.data[test]),
        (train, test),
        lambda index: f" {data.target_names[data.target[index]]}",
        text,
    )


def graph_task(context: Context) -> ClassTask:
    """R8: whether a molecule's graph has an aromatic ring with another atom than carbon; as text, its edges."""
    examples, queries = context.scale.examples, context.scale.queries
    count = examples + 2 * queries
    if context.scale.synthetic:
        smiles, features, _ = synthetic_molecules(count)
        answers, texts = [index % 2 == 0 for index in range(count)], smiles
    else:
        known = [molecule.smiles for molecule in load_molecules() if len(molecule.smiles) <= _LONGEST_SMILES]
        smiles = [known[index] for index in shuffled(len(known), 0, count)]
        features = molecule_facts.graph_features(smiles)
        answers = [bool(answer) for answer in molecule_facts.aromatic_hetero(smiles)]
        texts = molecule_facts.edge_lists(smiles)
    train = list(range(examples))
    # As many of either answer, where there are enough.
    test = [
        index
        for kind in (True, False)
        for index in [i for i in range(examples, count) if answers[i] is kind][: queries // 2]
    ]
    tables = standardised(features[train], features[test])
    return ClassTask.split(
        "graphs",
        asking_for("answer"),
        tables,
        (train, test),
        lambda i: " yes" if answers[i] else " no",
        lambda i: texts[i],
    )


def brain_task(context: Context) -> ClassTask:
    """Was something shown when a brain's region was scanned? Eight volumes in percent; as text, whole numbers.

    Training and test are the first seven tenths of the scan and the rest, without the volumes that both would have.
    """
    scan = synthetic_scan() if context.scale.synthetic else load_event_fmri()
    train, test = windows(scan, context.scale.queries, context.seed)
    volumes, shown = np.concatenate([train.volumes, test.volumes]), np.concatenate([train.shown, test.shown])
    border = len(train.shown)
    return ClassTask.split(
        "brain",
        asking_for("answer"),
        standardised(train.volumes, test.volumes),
        (range(border), range(border, len(shown))),
        lambda index: " yes" if shown[index] else " no",
        lambda index: " ".join(str(round(50 + 20 * float(value))) for value in volumes[index]),
    )


def emoji_task(context: Context) -> ClassTask:
    """R7: the group of an emoji from its image, as the mean of DINOv2's states; nothing says it as text."""
    from armillary.data.images.emoji import load_emoji
    from armillary.data.images.synthetic import random_tower, synthetic_emoji
    from armillary.data.images.vision_states import image_states, states_behind

    emoji = synthetic_emoji() if context.scale.synthetic else load_emoji()
    states = states_behind(random_tower(), emoji) if context.scale.synthetic else image_states(emoji)
    styles = len(emoji.styles)
    chosen = []
    for split, limit in (("train", context.scale.examples), ("test", context.scale.queries)):
        images = [index * styles + style for index in emoji.split(split) for style in range(styles)]
        chosen.append([images[position] for position in shuffled(len(images), context.seed, limit)])
    flat = states.reshape(-1, *states.shape[2:])
    encoded = [flat[images].astype(np.float32).mean(1) for images in chosen]
    # The first word: "smileys" of "smileys & emotion".
    return ClassTask.split(
        "emoji",
        asking_for("group"),
        standardised(*encoded),
        chosen,
        lambda image: f" {emoji.labels[image // styles].group.split()[0]}",
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
