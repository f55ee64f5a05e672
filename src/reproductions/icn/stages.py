"""The stages of the ICN reproduction on one model. Each returns plain data and is kept as a part of the run."""

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from armillary.methods.icn.baselines import baseline_answers, generated
from armillary.methods.icn.chains import Solution, solve
from armillary.methods.icn.core import expected_share, in_top_clusters
from armillary.methods.icn.key_survey import BANDS, groups
from armillary.methods.icn.keys import Cohesion, Concentration, KeyClusters, KeySpace
from armillary.methods.icn.navigator import Navigator
from armillary.methods.icn.probing import AfterList, Probing, unreachable
from armillary.methods.icn.result import Diversity, ListScore, diversity, score
from armillary.runs.parts import Arrays
from reproductions.icn.probes.probe import KnowledgeProbe, Matcher
from reproductions.icn.probes.shipped import probe
from reproductions.icn.scale import OPEN, PROBES, Scale
from reproductions.stages import StageContext

Metric = Literal["cosine", "euclidean"]

ANSWER_TOKENS = 12
"""Tokens of an answer at most: longer names are rare, and a model that rambles is cut short."""

LISTS = (10, 30)
"""Lengths of the lists whose effect on explored tokens is measured."""

GIVEN = 10
"""Right answers listed beforehand in the arm that gets its list for free, half of them where there are fewer."""


@dataclass(frozen=True)
class Context(StageContext[Scale]):
    """The model with its probes and keys; clusters are computed once and kept as parts of the run."""

    @cached_property
    def probes(self) -> tuple[KnowledgeProbe, ...]:
        """The probes of this preset, bases and restrictions."""
        return tuple(probe(id) for id in PROBES[: self.scale.probes])

    @cached_property
    def keys(self) -> KeySpace:
        """The vocabulary's keys."""
        return KeySpace.from_model(self.loaded)

    def clusters(self, offset: int, metric: Metric = "cosine") -> KeyClusters:
        """The clusters of one seed, about one for every hundred tokens."""

        def compute() -> Arrays:
            clusters = self.keys.cluster(metric=metric, seed=self.seed + offset, max_iterations=self.scale.passes)
            return {
                "labels": clusters.labels_V.numpy(),
                "distances": clusters.distances_V.numpy(),
                "facts": np.array([clusters.n_clusters, clusters.iterations, int(clusters.converged)]),
            }

        kept = self.parts.arrays(f"clusters {metric} {offset}", compute)
        facts = kept["facts"].tolist()
        return KeyClusters(
            labels_V=torch.from_numpy(kept["labels"]),
            distances_V=torch.from_numpy(kept["distances"]),
            n_clusters=int(facts[0]),
            metric=metric,
            seed=self.seed + offset,
            iterations=int(facts[1]),
            converged=bool(facts[2]),
            ids_V=self.keys.ids_V,
        )

    def foreign(self, index: int) -> KnowledgeProbe:
        """A probe of another base class, to list in the context as a control."""
        base = self.probes[index].base
        others = [other for other in self.probes[index + 1 :] + self.probes[:index] if other.base != base]
        return others[0] if others else self.probes[(index + 1) % len(self.probes)]


@dataclass(frozen=True, kw_only=True)
class ClusterExample:
    """One cluster for a reader."""

    size: int
    tokens: list[str]
    """The most central ones."""


@dataclass(frozen=True, kw_only=True)
class ClusterStage:
    """How alike the keys of one cluster are, and whether letters, digits and months lie together."""

    cohesion: Cohesion
    groups: dict[str, Concentration]
    examples: list[ClusterExample]
    """The three largest clusters and a middling one."""


def cluster_stage(context: Context, metric: Metric, offset: int) -> ClusterStage:
    """One metric and start of k-means."""
    clusters = context.clusters(offset, metric)
    order = clusters.sizes_C.argsort(descending=True).tolist()
    return ClusterStage(
        cohesion=clusters.cohesion(context.keys, seed=context.seed + offset),
        groups=groups(context.loaded, clusters),
        examples=[
            ClusterExample(
                size=int(clusters.sizes_C[cluster]), tokens=clusters.examples(context.loaded.tokenizer, cluster, 10)
            )
            for cluster in (*order[:3], order[len(order) // 2])
        ],
    )


@dataclass(frozen=True, kw_only=True)
class RanksInClusters:
    """The ranks after the top and the clusters of the top, at one start of k-means."""

    inside: list[bool]
    """Of each of these ranks, whether it is in a cluster of the top."""

    giant: list[bool]
    """Whether it is in one of the few clusters that hold most of the rare tokens."""

    uniform: float
    """Expected share inside of a draw from the whole vocabulary."""

    banded: float
    """The same of a draw of like token ids, which follow frequency."""


@dataclass(frozen=True, kw_only=True)
class ProbeStage:
    """One probe on one model."""

    id: str
    answers: int
    """Right answers known."""

    unreachable: int
    """Right answers that this tokenizer can't write."""

    gold: list[bool]
    """Of each rank, whether the answer that begins with it is right."""

    clusters: list[RanksInClusters]
    lists: dict[str, AfterList]
    """The top tokens under "none", "own 10", "shuffled 10", "foreign 10" and so on."""

    arms: dict[str, ListScore]
    """Navigation and every baseline, each at the same number of answers."""


def probe_stage(context: Context, index: int) -> ProbeStage:
    """Ranks judged and looked up in the key space, explored tokens under lists, navigation and its baselines."""
    scale, question = context.scale, context.probes[index]
    matcher = Matcher(question, "prefix")
    probing = Probing(context.loaded, question.instruction, max_new_tokens=ANSWER_TOKENS)
    tokens = probing.ranked(scale.ranks)
    return ProbeStage(
        id=question.id,
        answers=len(question.answers),
        unreachable=len(unreachable(context.loaded, question.answers)),
        gold=[matcher.match(text) is not None for text in probing.answers(tokens)],
        clusters=[_in_clusters(context, tokens, offset) for offset in range(scale.seeds)],
        lists=_under_lists(context, index, probing, tokens[: scale.top]),
        arms=_arms(context, question, probing, matcher),
    )


def _in_clusters(context: Context, tokens: list[int], offset: int) -> RanksInClusters:
    clusters = context.clusters(offset)
    labels_V, ranked_N, top = clusters.labels_V, clusters.rows(tokens), context.scale.top
    giants = torch.isin(labels_V[ranked_N[top:]], torch.tensor(clusters.giants(), dtype=torch.int64))
    return RanksInClusters(
        inside=in_top_clusters(labels_V[ranked_N], top).tolist(),
        giant=giants.tolist(),
        uniform=expected_share(labels_V, ranked_N, top),
        # A band of a small vocabulary keeps 200 tokens to draw from.
        banded=expected_share(labels_V, ranked_N, top, bands=min(BANDS, max(1, len(labels_V) // 200))),
    )


def _under_lists(context: Context, index: int, probing: Probing, tokens: list[int]) -> dict[str, AfterList]:
    """The explored first tokens with nothing listed, their own answers, those shuffled, and foreign ones."""
    lists = {"none": probing.after_list([], tokens)}
    mix = random.Random(context.seed + index)
    foreign = [spellings[0] for spellings in context.foreign(index).answers]
    for length in (length for length in LISTS if length <= context.scale.ranks):
        own = probing.answers(probing.ranked(length))
        shuffled = mix.sample(own, len(own))
        drawn = mix.sample(range(max(length, len(foreign))), length)
        other = [foreign[number % len(foreign)] for number in drawn]
        for name, listed in (("own", own), ("shuffled", shuffled), ("foreign", other)):
            lists[f"{name} {length}"] = probing.after_list(listed, tokens)
    return lists


def _arms(context: Context, question: KnowledgeProbe, probing: Probing, matcher: Matcher) -> dict[str, ListScore]:
    """How navigation and each baseline do with the same number of answers."""
    scale = context.scale
    count, labels_V = scale.rounds * scale.per_round, context.clusters(0).labels_V
    navigator = Navigator(
        context.loaded,
        rounds=scale.rounds,
        per_round=scale.per_round,
        max_new_tokens=ANSWER_TOKENS,
        chat_template=False,
    )
    known = [spellings[0] for spellings in question.answers]
    given = random.Random(context.seed).sample(known, min(GIVEN, len(known) // 2))
    one_round = Navigator(context.loaded, config=navigator.config, rounds=1, per_round=count)
    base = probing.template.listed(probing.template.base(question.instruction), given)
    arms = {
        "navigation": navigator.explore(question.instruction).texts,
        "list given for free": one_round.continued([base])[0].texts,
    }
    for name, answers in baseline_answers(probing, count, labels_V, context.keys, seed=context.seed).items():
        arms[name] = answers()
    return {name: score(texts, matcher.match) for name, texts in arms.items()}


@dataclass(frozen=True, kw_only=True)
class OpenTexts:
    """What one way wrote to an open instruction."""

    texts: list[str]
    diversity: Diversity


def open_stage(context: Context, index: int) -> dict[str, OpenTexts]:
    """Texts to one open instruction: navigated, static, and sampled at temperature 1."""
    scale, instruction = context.scale, OPEN[index]
    count = scale.open_rounds * scale.open_per_round
    probing = Probing(context.loaded, instruction, max_new_tokens=scale.open_tokens)
    navigator = Navigator(
        context.loaded,
        rounds=scale.open_rounds,
        per_round=scale.open_per_round,
        max_new_tokens=scale.open_tokens,
        chat_template=False,
    )
    arms = {
        "navigation": navigator.explore(instruction).texts,
        "static": probing.answers(probing.ranked(count)),
        "temperature 1": generated(probing, count, context.seed, temperature=1.0, top_k=0),
    }
    return {name: OpenTexts(texts=texts, diversity=diversity(texts)) for name, texts in arms.items()}


_STORIES = (
    (
        "Tom has {a} apples. He buys {b} more apples and gives {c} apples to Ann. How many apples does Tom have?",
        "a+b-c",
    ),
    ("A box holds {a} pens. There are {b} boxes, and {c} pens are lost. How many pens are left?", "a*b-c"),
    ("Ann has {a} books and Tom has {b} books. They buy {c} books together. How many books do they have?", "a+b+c"),
)


def problems(count: int, seed: int) -> list[tuple[str, str]]:
    """Word problems of two steps with their answers (written for this project)."""
    drawn = random.Random(seed)
    pairs = []
    for number in range(count):
        story, rule = _STORIES[number % len(_STORIES)]
        a, b = drawn.randint(3, 12), drawn.randint(2, 9)
        c = drawn.randint(1, 5)
        answer = {"a+b-c": a + b - c, "a*b-c": a * b - c, "a+b+c": a + b + c}[rule]
        pairs.append((story.format(a=a, b=b, c=c), str(answer)))
    return pairs


@dataclass(frozen=True, kw_only=True)
class ChainStage:
    """Solutions of the word problems, with navigation and without."""

    answers: list[str]
    """The right ones."""

    navigation: list[Solution]
    static: list[Solution]


def chain_stage(context: Context) -> ChainStage:
    """Four paths a problem, either way."""
    pairs = problems(context.scale.problems, context.seed)
    questions = [question for question, _ in pairs]
    navigated, static = (
        solve(context.loaded, questions, max_new_tokens=context.scale.path_tokens, navigate=navigate)
        for navigate in (True, False)
    )
    return ChainStage(answers=[answer for _, answer in pairs], navigation=navigated, static=static)
