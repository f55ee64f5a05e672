"""The classification rows of the Vector-ICL reproduction: topics, digits, series, emoji, graphs, tables, scans.

Every function gives plain JSON data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from armillary.methods.vector_icl.baselines import Vectors
from armillary.methods.vector_icl.config import EPISODE_WORDS, SlotTemplate
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
    Carrier,
    FewShotTask,
    Prompt,
    exchanged,
    few_shot,
    logistic,
    tuned,
)
from reproductions.vector_icl.scale import ENCODERS, Training
from reproductions.vector_icl.setup import Context, Payload
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

TEMPLATE = SlotTemplate(("(", ")'s class is"))
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
    context: Context,
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
        return tune_on_episodes(
            context.loaded, projector, table, classes, _WORDS, TEMPLATE, config, ways=ways, sets=sets
        )

    return context.trained(
        name, lambda: context.new_projector(vectors, seed=seed), vectors, train, training, seed=seed
    )[0]


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
    context: Context, task: ClassTask, projector: Projector, *, ways: int, seed: int, with_text: bool
) -> Payload:
    """Arm -> shots -> 1 for each query that was answered rightly, episode after episode."""
    carriers = _Carriers.of(context, task, projector, seed, with_text=with_text)
    arms: dict[str, dict[str, list[float]]] = {}
    for shots in context.scale.episode_shots:
        for number in range(context.scale.episodes):
            one = drawn(task, shots, ways, context.scale.asked_per_episode, 1000 * seed + number)
            for arm, right in carriers.asked(one, text=with_text and number * 3 < context.scale.episodes).items():
                arms.setdefault(arm, {}).setdefault(str(shots), []).extend(right)
    return {"task": task.name, "shots": list(context.scale.episode_shots), "arms": arms, "chance": 1 / ways}


@dataclass(frozen=True, eq=False)
class _Carriers:
    task: ClassTask
    shown: dict[str, Carrier]
    queries: dict[str, Carrier]

    @classmethod
    def of(cls, context: Context, task: ClassTask, projector: Projector, seed: int, *, with_text: bool) -> "_Carriers":
        blind = context.new_projector(task.train.vectors, seed=seed + 1000)
        sides: list[dict[str, Carrier]] = []
        for part in (task.train, task.test):
            side = {
                VECTORS: Carrier.of_vectors(context.loaded, TEMPLATE, projector, part.vectors),
                RANDOM: Carrier.of_vectors(context.loaded, TEMPLATE, blind, part.vectors),
                SYMBOLS: Carrier.of_texts(context.loaded, TEMPLATE, [word.strip() for word in part.words]),
            }
            if with_text and part.texts is not None:
                side[TEXT] = Carrier.of_texts(context.loaded, TEMPLATE, part.texts)
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


def topics(context: Context) -> Payload:
    """R2: tuned and pretrained, linear and gated projectors, and four encoders."""
    tasks = topic_tasks(context)
    task = tasks[ENCODERS[0]]
    pretrained = pretrained_projector(context)
    training = context.scale.topics
    own = {
        "linear": tuned(context, task, "topics linear", lambda: context.new_projector(task.train.vectors), training),
        "mlp": tuned(
            context, task, "topics mlp", lambda: context.new_projector(task.train.vectors, kind="mlp"), training
        ),
    }
    rows = few_shot(
        context,
        task,
        tuned(context, task, "topics tuned", lambda: pretrained, training),
        others={"pretrained": pretrained, **own},
        soft=tuned(context, task, "topics soft", context.soft_prompt, training, same=True),
    )
    encoders = {name: _encoder(context, name, one) for name, one in tasks.items()}
    return {**rows, "encoders": encoders}


def _encoder(context: Context, name: str, task: ClassTask) -> dict[str, list[int]]:
    """Predictions at the middle number of shots, and those of a logistic regression on all training vectors."""
    shared = "topics linear" if name == ENCODERS[0] else f"topics linear, {name}"
    projector = tuned(context, task, shared, lambda: context.new_projector(task.train.vectors), context.scale.topics)
    asked = FewShotTask.of(context, task, context.seed)
    carriers = asked.carriers(projector)
    return {
        "predicted": asked.predicted(*carriers, middle(context.scale.shots)),
        "probe": logistic(task.train.vectors, task.train.words, asked),
    }


def digits(context: Context) -> Payload:
    """R4: episodes of every seed; and a projector trained with the digits' fixed names."""
    task = digit_task(context)
    scale = context.scale
    classes = [task.words.index(word) for word in task.train.words]
    episodes = []
    for seed in track(_seeds(context), "digits in episodes"):
        projector = episode_projector(
            context, f"digits {seed}", task.train.vectors, classes, scale.ways, scale.digits, seed
        )
        episodes.append(
            episode_rows(context, task, projector, ways=scale.ways, seed=seed, with_text=seed == context.seed)
        )
    fixed = tuned(context, task, "digits fixed", lambda: context.new_projector(task.train.vectors), scale.digits)
    return {"episodes": episodes, "fixed": few_shot(context, task, fixed, with_text=False)}


def series(context: Context) -> Payload:
    """R5: by seed, the three sets with fixed names (one projector for all) and in episodes."""
    tasks = series_tasks(context)
    together = _together(context, tasks)
    classes = [together.words.index(word) for word in together.train.words]
    sets = [place for place, task in enumerate(tasks) for _ in range((1 + _COPIES) * len(task.train))]
    found: Payload = {"fixed": [], "episodes": []}
    for seed in track(_seeds(context), "series"):
        fixed = tuned(
            context,
            together,
            f"series fixed {seed}",
            partial(context.new_projector, together.train.vectors, seed=seed),
            context.scale.series,
            seed=seed,
        )
        ways = max(len(task.words) for task in tasks)
        episodic = episode_projector(
            context, f"series {seed}", together.train.vectors, classes, ways, context.scale.series, seed, sets=sets
        )
        for task in tasks:
            found["fixed"].append(few_shot(context, task, fixed, with_text=seed == context.seed, seed=seed))
            found["episodes"].append(
                episode_rows(context, task, episodic, ways=len(task.words), seed=seed, with_text=seed == context.seed)
            )
    return found


def _together(context: Context, tasks: list[ClassTask]) -> ClassTask:
    """The training parts of all sets with noisy copies, for one projector."""
    vectors = np.concatenate([jittered(task.train.vectors, _COPIES, context.seed) for task in tasks])
    words = tuple(word for task in tasks for _ in range(1 + _COPIES) for word in task.train.words)
    part = Part(vectors=vectors, words=words)
    return ClassTask(name="series", what="class", train=part, test=part)


def emoji(context: Context) -> Payload:
    """R7."""
    return _plain(context, emoji_task(context))


def graphs(context: Context) -> Payload:
    """R8."""
    return _plain(context, graph_task(context))


def brain(context: Context) -> Payload:
    """Beside R9, whose signals are simulated: a scan."""
    return _plain(context, brain_task(context))


def tables(context: Context) -> Payload:
    """R10."""
    return _plain(context, table_task(context))


def _plain(context: Context, task: ClassTask) -> Payload:
    start = partial(context.new_projector, task.train.vectors)
    return few_shot(context, task, tuned(context, task, f"{task.name} tuned", start, context.scale.classes))


def _seeds(context: Context) -> list[int]:
    return [context.seed + offset for offset in range(context.scale.seeds)]
