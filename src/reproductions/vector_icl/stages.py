"""The classification rows of the Vector-ICL reproduction: topics, digits, series, emoji, graphs, tables, scans.

Every function gives plain JSON data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from armillary.methods.vector_icl.config import EPISODE_WORDS, Template
from armillary.methods.vector_icl.evaluation import Vectors
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.projector_fit import tune_on_episodes
from armillary.progress import track
from reproductions.vector_icl.data.series import jittered
from reproductions.vector_icl.few_shot import (
    LOGISTIC,
    NEIGHBOUR,
    RANDOM,
    SHUFFLED,
    TEXT,
    VECTORS,
    Asked,
    Carrier,
    Prompt,
    exchanged,
    few_shot,
    logistic,
    tuned,
)
from reproductions.vector_icl.scale import ENCODERS, Training
from reproductions.vector_icl.setup import Laboratory, Payload
from reproductions.vector_icl.tasks import (
    ClassTask,
    Part,
    brain_task,
    digit_task,
    emoji_task,
    graph_task,
    series_tasks,
    table_task,
    topic_tasks,
)
from reproductions.vector_icl.texts import pretrained_projector

# Episodes: words that mean nothing stand for classes, drawn anew each time, so that only demonstrations say which.
#
# The honest test of learning in context; arms of one episode share demonstrations, words and queries.

SYMBOLS = "symbols"
"""The class's own name stands as text where the box would: whoever can't copy from it can't learn in context."""

TEMPLATE = Template(("(", ")'s class is"))
_WORDS = tuple(f" {word}" for word in EPISODE_WORDS)


@dataclass(frozen=True)
class Episode:
    """What is shown and asked: places in the training and test part, and the word of each class."""

    words: dict[str, str]
    shown: list[int]
    asked: list[int]

    def told(self, classes: Sequence[str], chosen: Sequence[int]) -> list[str]:
        return [self.words[classes[index]] for index in chosen]


def episode_projector(
    lab: Laboratory,
    name: str,
    vectors: Vectors,
    classes: Sequence[int],
    ways: int,
    training: Training,
    seed: int,
    *,
    sets: Sequence[int] | None = None,
) -> Projector:
    """A projector that was trained on episodes of ``ways`` classes (or fewer) of one of the data ``sets``."""

    def train(projector: Projector, table: Any, config: Any) -> Any:
        return tune_on_episodes(lab.loaded, projector, table, classes, _WORDS, TEMPLATE, config, ways=ways, sets=sets)

    return lab.trained(name, lambda: lab.new_projector(vectors, seed=seed), vectors, train, training, seed=seed)[0]


def drawn(task: ClassTask, shots: int, ways: int, asked: int, seed: int) -> Episode:
    """An episode of the seed; the classes, words and queries are the same for every number of shots."""
    generator = np.random.default_rng(seed)
    classes = [task.words[place] for place in generator.permutation(len(task.words))[:ways]]
    words = [_WORDS[place] for place in generator.permutation(len(_WORDS))[:ways]]
    told = dict(zip(classes, words, strict=True))
    among = [index for index, word in enumerate(task.test.words) if word in told]
    queries = [among[place] for place in generator.permutation(len(among))[:asked]]
    order = generator.permutation(len(task.train))
    shown = [int(index) for one in classes for index in [i for i in order if task.train.words[int(i)] == one][:shots]]
    shown = [shown[place] for place in np.random.default_rng(seed + shots).permutation(len(shown))]
    return Episode(words=told, shown=shown, asked=queries)


def episode_rows(
    lab: Laboratory, task: ClassTask, projector: Projector, *, ways: int, seed: int, with_text: bool
) -> Payload:
    """Arm -> shots -> 1 for each query that was answered rightly, episode after episode."""
    carriers = _Carriers.of(lab, task, projector, seed, with_text=with_text)
    arms: dict[str, dict[str, list[float]]] = {}
    for shots in lab.scale.episode_shots:
        for number in range(lab.scale.episodes):
            one = drawn(task, shots, ways, lab.scale.asked_per_episode, 1000 * seed + number)
            for arm, right in carriers.asked(one, text=with_text and number * 3 < lab.scale.episodes).items():
                arms.setdefault(arm, {}).setdefault(str(shots), []).extend(right)
    return {"task": task.name, "shots": list(lab.scale.episode_shots), "arms": arms, "chance": 1 / ways}


@dataclass(frozen=True, eq=False)
class _Carriers:
    task: ClassTask
    shown: dict[str, Carrier]
    queries: dict[str, Carrier]

    @classmethod
    def of(cls, lab: Laboratory, task: ClassTask, projector: Projector, seed: int, *, with_text: bool) -> "_Carriers":
        blind = lab.new_projector(task.train.vectors, seed=seed + 1000)
        sides: list[dict[str, Carrier]] = []
        for part in (task.train, task.test):
            side = {
                VECTORS: Carrier.of_vectors(lab.loaded, TEMPLATE, projector, part.vectors),
                RANDOM: Carrier.of_vectors(lab.loaded, TEMPLATE, blind, part.vectors),
                SYMBOLS: Carrier.of_texts(lab.loaded, TEMPLATE, [word.strip() for word in part.words]),
            }
            if with_text and part.texts is not None:
                side[TEXT] = Carrier.of_texts(lab.loaded, TEMPLATE, part.texts)
            sides.append(side)
        return cls(task, *sides)

    def asked(self, episode: Episode, *, text: bool) -> dict[str, list[float]]:
        """Right answers of every arm; controls of other inputs only where ``text`` says so, for their cost."""
        labels = list(episode.words.values())
        answers = episode.told(self.task.train.words, episode.shown)
        truth = [labels.index(word) for word in episode.told(self.task.test.words, episode.asked)]
        mixed = exchanged(answers, len(answers) + sum(episode.asked))
        found = {}
        for arm, carrier in self.shown.items():
            if arm in (TEXT, SYMBOLS, RANDOM) and not text:
                continue
            for name, told in ((arm, answers), (SHUFFLED, mixed)) if arm == VECTORS else ((arm, answers),):
                prompt = Prompt.of(carrier, episode.shown, told)
                scores = prompt.label_scores(self.queries[arm], episode.asked, labels)
                found[name] = (scores.argmax(1) == truth).astype(float).tolist()
        return found | self._without_model(episode, answers, [labels[place] for place in truth])

    def _without_model(self, episode: Episode, answers: list[str], truth: list[str]) -> dict[str, list[float]]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        shown, asked = self.task.train.vectors[episode.shown], self.task.test.vectors[episode.asked]
        fitted = {
            NEIGHBOUR: KNeighborsClassifier(1).fit(shown, answers),
            LOGISTIC: LogisticRegression(C=10.0, max_iter=2000).fit(shown, answers),
        }
        return {name: (one.predict(asked) == np.array(truth)).astype(float).tolist() for name, one in fitted.items()}


_COPIES = 4
"""Noisy copies of each training series: there are few."""


def middle(shots: tuple[int, ...]) -> int:
    """Four, where that is among the shots; else the most."""
    return 4 if 4 in shots else shots[-1]


def topics(lab: Laboratory) -> Payload:
    """R2: tuned and pretrained, linear and gated projectors, and four encoders."""
    tasks = topic_tasks(lab)
    task = tasks[ENCODERS[0]]
    pretrained = pretrained_projector(lab)
    training = lab.scale.topics
    own = {
        "linear": tuned(lab, task, "topics linear", lambda: lab.new_projector(task.train.vectors), training),
        "mlp": tuned(lab, task, "topics mlp", lambda: lab.new_projector(task.train.vectors, kind="mlp"), training),
    }
    rows = few_shot(
        lab,
        task,
        tuned(lab, task, "topics tuned", lambda: pretrained, training),
        others={"pretrained": pretrained, **own},
        soft=tuned(lab, task, "topics soft", lab.soft_prompt, training, same=True),
    )
    encoders = {name: _encoder(lab, name, one) for name, one in tasks.items()}
    return {**rows, "encoders": encoders}


def _encoder(lab: Laboratory, name: str, task: ClassTask) -> dict[str, list[int]]:
    """Predictions at the middle number of shots, and those of a logistic regression on all training vectors."""
    shared = "topics linear" if name == ENCODERS[0] else f"topics linear, {name}"
    projector = tuned(lab, task, shared, lambda: lab.new_projector(task.train.vectors), lab.scale.topics)
    asked = Asked.of(lab, task, lab.seed)
    carriers = asked.carriers(projector)
    return {
        "predicted": asked.predicted(*carriers, middle(lab.scale.shots)),
        "probe": logistic(task.train.vectors, task.train.words, asked),
    }


def digits(lab: Laboratory) -> Payload:
    """R4: episodes of every seed; and a projector trained with the digits' fixed names."""
    task = digit_task(lab)
    scale = lab.scale
    classes = [task.words.index(word) for word in task.train.words]
    episodes = []
    for seed in track(_seeds(lab), "digits in episodes"):
        projector = episode_projector(
            lab, f"digits {seed}", task.train.vectors, classes, scale.ways, scale.digits, seed
        )
        episodes.append(episode_rows(lab, task, projector, ways=scale.ways, seed=seed, with_text=seed == lab.seed))
    fixed = tuned(lab, task, "digits fixed", lambda: lab.new_projector(task.train.vectors), scale.digits)
    return {"episodes": episodes, "fixed": few_shot(lab, task, fixed, with_text=False)}


def series(lab: Laboratory) -> Payload:
    """R5: by seed, the three sets with fixed names (one projector for all) and in episodes."""
    tasks = series_tasks(lab)
    together = _together(lab, tasks)
    classes = [together.words.index(word) for word in together.train.words]
    sets = [place for place, task in enumerate(tasks) for _ in range((1 + _COPIES) * len(task.train))]
    found: Payload = {"fixed": [], "episodes": []}
    for seed in track(_seeds(lab), "series"):
        fixed = tuned(
            lab,
            together,
            f"series fixed {seed}",
            partial(lab.new_projector, together.train.vectors, seed=seed),
            lab.scale.series,
            seed=seed,
        )
        ways = max(len(task.words) for task in tasks)
        episodic = episode_projector(
            lab, f"series {seed}", together.train.vectors, classes, ways, lab.scale.series, seed, sets=sets
        )
        for task in tasks:
            found["fixed"].append(few_shot(lab, task, fixed, with_text=seed == lab.seed, seed=seed))
            found["episodes"].append(
                episode_rows(lab, task, episodic, ways=len(task.words), seed=seed, with_text=seed == lab.seed)
            )
    return found


def _together(lab: Laboratory, tasks: list[ClassTask]) -> ClassTask:
    """The training parts of all sets with noisy copies, for one projector."""
    vectors = np.concatenate([jittered(task.train.vectors, _COPIES, lab.seed) for task in tasks])
    words = tuple(word for task in tasks for _ in range(1 + _COPIES) for word in task.train.words)
    part = Part(vectors=vectors, words=words)
    return ClassTask(name="series", what="class", train=part, test=part)


def emoji(lab: Laboratory) -> Payload:
    """R7."""
    return _plain(lab, emoji_task(lab))


def graphs(lab: Laboratory) -> Payload:
    """R8."""
    return _plain(lab, graph_task(lab))


def brain(lab: Laboratory) -> Payload:
    """Beside R9, whose signals are simulated: a scan."""
    return _plain(lab, brain_task(lab))


def tables(lab: Laboratory) -> Payload:
    """R10."""
    return _plain(lab, table_task(lab))


def _plain(lab: Laboratory, task: ClassTask) -> Payload:
    start = partial(lab.new_projector, task.train.vectors)
    return few_shot(lab, task, tuned(lab, task, f"{task.name} tuned", start, lab.scale.classes))


def _seeds(lab: Laboratory) -> list[int]:
    return [lab.seed + offset for offset in range(lab.scale.seeds)]
