"""Classification tasks whose inputs are vectors, most of them with a text that says the same, for rows R2, R4 to R10.

What is fitted (scales, components, vocabularies) is fitted on training inputs alone. Names of classes are words of
plain English that begin with a space, as the next word of a sentence does.

Legend: N inputs, E encoder width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from armillary.methods.vector_icl.baselines import Vectors, standardised
from armillary.methods.vector_icl.config import SlotTemplate
from reproductions.vector_icl.scale import ENCODERS, TOPICS
from reproductions.vector_icl.setup import Context, hashed_words, synthetic_glosses, synthetic_molecules
from reproductions.vector_icl.texts import gloss_vectors, is_test


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
    what: str
    """Of a class in the template: "topic", "shape"."""

    train: Part
    test: Part

    @property
    def template(self) -> SlotTemplate:
        return SlotTemplate(("(", f")'s {self.what} is"))

    @property
    def words(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return tuple(sorted(set(self.train.words)))


def shuffled(count: int, seed: int, limit: int | None = None) -> list[int]:
    """Numbers below ``count`` in random order, the first ``limit`` of them."""
    order: list[int] = np.random.default_rng(seed).permutation(count).tolist()
    return order[:limit]


def topic_tasks(context: Context) -> dict[str, ClassTask]:
    """R2, by encoder: which of six topics a noun's gloss is about."""
    scale = context.scale
    if scale.synthetic:
        glosses = synthetic_glosses()
    else:
        from reproductions.vector_icl.data.glosses import load_glosses

        glosses = load_glosses()
    of_topics = [gloss for gloss in glosses if gloss.topic in TOPICS]
    train = [gloss for gloss in of_topics if not is_test(gloss.text)]
    test = [gloss for gloss in of_topics if is_test(gloss.text)]
    train = [train[index] for index in shuffled(len(train), context.seed, scale.topic_examples)]
    test = [test[index] for index in shuffled(len(test), context.seed, scale.queries)]
    texts = [gloss.text for gloss in train], [gloss.text for gloss in test]
    found = {}
    for encoder in ENCODERS:
        vectors = _gloss_encodings(context, encoder, *texts)
        parts = [
            Part(vectors=some, words=tuple(f" {gloss.topic}" for gloss in part), texts=tuple(told))
            for some, part, told in zip(vectors, (train, test), texts, strict=True)
        ]
        found[encoder] = ClassTask(name="topics", what="topic", train=parts[0], test=parts[1])
    return found


def _gloss_encodings(context: Context, encoder: str, train: list[str], test: list[str]) -> tuple[Vectors, ...]:
    if encoder == "hashed words":
        width = 64 if context.scale.synthetic else 384
        return hashed_words(train, width), hashed_words(test, width)
    if encoder == "TF-IDF and SVD":
        return _tfidf(train, test, context.seed)
    whole = gloss_vectors(context, "topics, train", train), gloss_vectors(context, "topics, test", test)
    if encoder == "MiniLM":
        return whole
    cut = [some[:, :64] for some in whole]
    return tuple(some / np.linalg.norm(some, axis=1, keepdims=True).clip(1e-6) for some in cut)


def _tfidf(train: list[str], test: list[str], seed: int) -> tuple[Vectors, Vectors]:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    words = TfidfVectorizer(sublinear_tf=True)
    size = min(128, words.fit_transform(train).shape[1] - 1, len(train) - 1)
    encode = make_pipeline(words, TruncatedSVD(size, random_state=seed), Normalizer())
    return encode.fit_transform(train).astype(np.float32), encode.transform(test).astype(np.float32)


def digit_task(context: Context) -> ClassTask:
    """R4: handwritten digits of 8 by 8 pixels (they come with scikit-learn); as text, sixteen means of 2 by 2."""
    from sklearn.datasets import load_digits

    names = (" zero", " one", " two", " three", " four", " five", " six", " seven", " eight", " nine")
    data = load_digits()
    order = shuffled(len(data.target), 0)
    train, test = order[:1300], order[1300:]
    coarse = data.images.reshape(-1, 4, 2, 4, 2).mean((2, 4)).round().astype(int).reshape(-1, 16)
    vectors = standardised(data.data[train], data.data[test])
    parts = [
        Part(
            vectors=some,
            words=tuple(names[data.target[index]] for index in chosen),
            texts=tuple(" ".join(map(str, coarse[index])) for index in chosen),
        )
        for some, chosen in zip(vectors, (train, test), strict=True)
    ]
    return ClassTask(name="digits", what="class", train=parts[0], test=parts[1])


def table_task(context: Context) -> ClassTask:
    """R10: measurements of breast tumours (they come with scikit-learn); as text, ten of them with their names."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    order = shuffled(len(data.target), 0)
    train, test = order[:400], order[400:]
    told = [
        "; ".join(f"{name}: {value:.3g}" for name, value in zip(data.feature_names[:10], row, strict=False))
        for row in data.data
    ]
    parts = [
        Part(
            vectors=some,
            words=tuple(f" {data.target_names[data.target[index]]}" for index in chosen),
            texts=tuple(told[index] for index in chosen),
        )
        for some, chosen in zip(standardised(data.data[train], data.data[test]), (train, test), strict=True)
    ]
    return ClassTask(name="tables", what="diagnosis", train=parts[0], test=parts[1])


def graph_task(context: Context) -> ClassTask:
    """R8: whether a molecule's graph has an aromatic ring with another atom than carbon; as text, its edges."""
    count = context.scale.examples + 2 * context.scale.queries
    if context.scale.synthetic:
        smiles, features, _ = synthetic_molecules(count)
        answers, texts = [index % 2 == 0 for index in range(count)], smiles
    else:
        from reproductions.vector_icl.data import molecule_facts
        from reproductions.vector_icl.data.molecules import load_molecules

        known = [molecule.smiles for molecule in load_molecules() if len(molecule.smiles) <= 30]
        smiles = [known[index] for index in shuffled(len(known), 0, count)]
        features = molecule_facts.graph_features(smiles)
        answers = list(molecule_facts.aromatic_hetero(smiles))
        texts = molecule_facts.edge_lists(smiles)
    train = range(context.scale.examples)
    test = _balanced(answers, range(context.scale.examples, count), context.scale.queries)
    parts = [
        Part(
            vectors=some,
            words=tuple(" yes" if answers[index] else " no" for index in chosen),
            texts=tuple(texts[index] for index in chosen),
        )
        for some, chosen in zip(standardised(features[list(train)], features[test]), (train, test), strict=True)
    ]
    return ClassTask(name="graphs", what="answer", train=parts[0], test=parts[1])


def _balanced(answers: Sequence[bool], among: Sequence[int], count: int) -> list[int]:
    """As many of either kind, where there are enough."""
    kinds = [[index for index in among if bool(answers[index]) is kind][: count // 2] for kind in (True, False)]
    return [index for kind in kinds for index in kind]


def brain_task(context: Context) -> ClassTask:
    """Was something shown when a brain's region was scanned? Eight volumes in percent; as text, whole numbers.

    Training and test are the first seven tenths of the scan and the rest, without the volumes that both would have.
    """
    from reproductions.vector_icl.data.scans import synthetic_scan, windows

    if context.scale.synthetic:
        scan = synthetic_scan()
    else:
        from reproductions.vector_icl.data.scans import load_event_fmri

        scan = load_event_fmri()
    train, test = windows(scan, context.scale.queries, context.seed)
    vectors = standardised(train.volumes, test.volumes)
    parts = [
        Part(
            vectors=some,
            words=tuple(" yes" if shown else " no" for shown in part.shown),
            texts=tuple(" ".join(str(round(50 + 20 * float(value))) for value in row) for row in part.volumes),
        )
        for some, part in zip(vectors, (train, test), strict=True)
    ]
    return ClassTask(name="brain", what="answer", train=parts[0], test=parts[1])


def emoji_task(context: Context) -> ClassTask:
    """R7: the group of an emoji from its picture, as the mean of DINOv2's states; nothing says it as text."""
    from armillary.data.images.emoji import load_emoji
    from armillary.data.images.synthetic import random_tower, synthetic_emoji
    from armillary.data.images.vision_states import image_states, states_behind

    emoji = synthetic_emoji() if context.scale.synthetic else load_emoji()
    states = states_behind(random_tower(), emoji) if context.scale.synthetic else image_states(emoji)
    parts, encoded = {}, {}
    for split, limit in (("train", context.scale.examples), ("test", context.scale.queries)):
        images = [(index, style) for index in emoji.split(split) for style in range(len(emoji.styles))]
        images = [images[place] for place in shuffled(len(images), context.seed, limit)]
        places = np.array(images)
        encoded[split] = states[places[:, 0], places[:, 1]].astype(np.float32).mean(1)
        parts[split] = tuple(f" {_group_word(emoji.labels[index].group)}" for index, _ in images)
    train, test = standardised(encoded["train"], encoded["test"])
    return ClassTask(
        name="emoji",
        what="group",
        train=Part(vectors=train, words=parts["train"]),
        test=Part(vectors=test, words=parts["test"]),
    )


def _group_word(group: str) -> str:
    """The first word: "smileys" of "smileys & emotion"."""
    return group.split()[0]


def series_tasks(context: Context) -> list[ClassTask]:
    """R5: three sets of the UCR archive with their own training parts; one encoder, fitted on all of these."""
    from reproductions.vector_icl.data.series import encoded_series, series_text, synthetic_series

    if context.scale.synthetic:
        sets = synthetic_series()
    else:
        from reproductions.vector_icl.data.series import load_series

        sets = [load_series(name) for name in SERIES_WORDS]
    trains = [_same_length(one.train) for one in sets]
    tests = [_same_length(one.test) for one in sets]
    encoded = encoded_series(np.concatenate(trains), np.concatenate(tests), seed=0)
    found, at, asked = [], 0, 0
    for one, train, test in zip(sets, trains, tests, strict=True):
        words = SERIES_WORDS.get(one.name)
        named = [
            tuple(c if words is None else words[c] for c in classes)
            for classes in (one.train_classes, one.test_classes)
        ]
        found.append(
            ClassTask(
                name=one.name,
                what="class",
                train=Part(
                    vectors=encoded[0][at : at + len(train)], words=named[0], texts=tuple(map(series_text, train))
                ),
                test=Part(
                    vectors=encoded[1][asked : asked + len(test)], words=named[1], texts=tuple(map(series_text, test))
                ),
            )
        )
        at, asked = at + len(train), asked + len(test)
    return found


SERIES_WORDS = {
    "GunPoint": {"1": " gun", "2": " point"},
    "ItalyPowerDemand": {"1": " winter", "2": " summer"},
    "ArrowHead": {"0": " northern", "1": " plains", "2": " mixed"},
}
"""What the classes of the sets are called in a prompt (ours, after their descriptions in the archive)."""


def _same_length(series: NDArray[np.float64], length: int = 96) -> NDArray[np.float64]:
    """Each series at so many points, with mean 0 and deviation 1."""
    given = np.linspace(0, 1, series.shape[1])
    even = np.stack([np.interp(np.linspace(0, 1, length), given, row) for row in series])
    found: NDArray[np.float64] = (even - even.mean(1, keepdims=True)) / np.maximum(even.std(1, keepdims=True), 1e-6)
    return found


def cut(task: ClassTask, queries: int, seed: int) -> ClassTask:
    """The task with at most so many test inputs, drawn by the seed."""
    return replace(task, test=task.test.some(shuffled(len(task.test), seed, queries)))
