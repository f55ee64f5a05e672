"""The stages of the ICN reproduction on one model. Each returns plain data and is kept as a part of the run."""

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from armillary.methods.icn.core import expected_share, in_top_clusters
from armillary.methods.icn.key_survey import BANDS, GROUPS
from armillary.methods.icn.keys import Cohesion, KeyClusters, KeySpace
from armillary.methods.icn.probing import AfterList, Probing, unreachable
from armillary.models.prompts import text_ids
from armillary.runs.parts import Arrays
from reproductions.icn.probes.probe import KnowledgeProbe, Matcher
from reproductions.icn.probes.shipped import probe
from reproductions.icn.scale import PROBES, Scale
from reproductions.stages import StageContext

Prompt = Literal["chat", "plain"]
"""The model's chat template, or the official plain text; a model without a template has only the latter."""

ANSWER_TOKENS = 12
"""Tokens of an answer at most: longer names are rare, and a model that rambles is cut short."""

LISTED, LEAST_LISTED, SPLITS = 10, 3, 3
"""Answers in a list at most and at least (where a model has fewer right ones, nothing is measured), and how often they
are split into two lists."""


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

    @cached_property
    def shuffled_keys(self) -> KeySpace:
        """The same keys with each coordinate shuffled over the vocabulary: no groups, the same distributions."""
        return self.keys.shuffled(self.seed)

    @cached_property
    def matchers(self) -> tuple[Matcher, ...]:
        """The judge of each probe."""
        return tuple(Matcher(question, "prefix") for question in self.probes)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts that are asked; the first decides."""
        return ("chat", "plain") if self.loaded.tokenizer.chat_template else ("plain",)

    def clusters(self, offset: int, *, shuffled: bool = False) -> KeyClusters:
        """The clusters of one seed, about one for every hundred tokens, of the keys or of the shuffled keys."""

        def compute() -> Arrays:
            keys = self.shuffled_keys if shuffled else self.keys
            clusters = keys.cluster(seed=self.seed + offset, max_iterations=self.scale.passes)
            return {
                "labels": clusters.labels_V.numpy(),
                "distances": clusters.distances_V.numpy(),
                "facts": np.array([clusters.n_clusters, clusters.iterations, int(clusters.converged)]),
            }

        kept = self.parts.arrays(f"clusters {'shuffled' if shuffled else 'keys'} {offset}", compute)
        facts = kept["facts"].tolist()
        return KeyClusters(
            labels_V=torch.from_numpy(kept["labels"]),
            distances_V=torch.from_numpy(kept["distances"]),
            n_clusters=int(facts[0]),
            metric="cosine",
            seed=self.seed + offset,
            iterations=int(facts[1]),
            converged=bool(facts[2]),
            ids_V=self.keys.ids_V,
        )

    def others(self, index: int) -> list[Matcher]:
        """The judges of probes of other base classes; of the others at all where there is one class."""
        base = self.probes[index].base
        return [m for m in self.matchers if m.probe.base != base] or [
            m for m in self.matchers if m.probe is not self.probes[index]
        ]

    def foreign(self, index: int) -> KnowledgeProbe:
        """A probe of another base class, to list in the context beside."""
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
    """How alike the keys of one cluster are, and whether tokens that belong together lie together."""

    cohesion: Cohesion
    shuffled: Cohesion
    """The same of shuffled keys and their clusters."""

    together: dict[str, float]
    """By group, the share of its pairs of tokens that are in one cluster."""

    drawn: dict[str, float]
    """The same of other tokens of like ids, mean over draws."""

    examples: list[ClusterExample]
    """The three largest clusters and a middling one."""


def cluster_stage(context: Context, offset: int) -> ClusterStage:
    """One start of k-means."""
    clusters, shuffled = context.clusters(offset), context.clusters(offset, shuffled=True)
    order = clusters.sizes_C.argsort(descending=True).tolist()
    seed, labels_V = context.seed + offset, clusters.labels_V
    generator = torch.Generator().manual_seed(seed)
    together, drawn = {}, {}
    for name, tokens in _groups(context).items():
        rows_N = clusters.rows(tokens)
        together[name] = _pairs_together(labels_V[rows_N])
        # A draw of as many tokens, each from the hundred ids on either side of one of the group.
        near = [
            (rows_N + torch.randint(-NEAR, NEAR + 1, rows_N.shape, generator=generator)).clamp(0, len(labels_V) - 1)
            for _ in range(DRAWS)
        ]
        drawn[name] = float(np.mean([_pairs_together(labels_V[rows]) for rows in near]))
    return ClusterStage(
        cohesion=clusters.cohesion(context.keys, seed=seed),
        shuffled=shuffled.cohesion(context.shuffled_keys, seed=seed),
        together=together,
        drawn=drawn,
        examples=[
            ClusterExample(
                size=int(clusters.sizes_C[cluster]), tokens=clusters.examples(context.loaded.tokenizer, cluster, 10)
            )
            for cluster in (*order[:3], order[len(order) // 2])
        ],
    )


NEAR, DRAWS = 100, 10
"""How far in ids a drawn token may be (ids follow the order of merges, so frequency), and how often is drawn."""


def _groups(context: Context) -> dict[str, list[int]]:
    """Letters, digits and months, and the words of each base class: those that are one token, where there are five."""
    words = dict(GROUPS)
    for question in context.probes:
        if question.id == question.base:
            words[question.id] = tuple(f" {spellings[0]}" for spellings in question.answers)
    rows = {name: [text_ids(context.loaded, text) for text in texts] for name, texts in words.items()}
    single = {name: sorted({row[0] for row in group if len(row) == 1}) for name, group in rows.items()}
    known = context.loaded.known_ids
    kept = {name: [token for token in tokens if token in known] for name, tokens in single.items()}
    return {name: tokens for name, tokens in kept.items() if len(tokens) >= 5}


def _pairs_together(labels_N: torch.Tensor) -> float:
    """Share of the pairs that have one label."""
    sizes = torch.bincount(labels_N).double()
    n = len(labels_N)
    return float((sizes * (sizes - 1)).sum() / (n * (n - 1)))


@dataclass(frozen=True, kw_only=True)
class RanksInClusters:
    """The ranks after the top and the clusters of the top, at one start of k-means."""

    inside: list[bool]
    """Of each of these ranks, whether it is in a cluster of the top."""

    banded: float
    """Expected share inside of a draw of like token ids, which follow frequency."""


@dataclass(frozen=True, kw_only=True)
class ListEffect:
    """What lists in the context do to the first tokens of right answers, mean over tokens and splits."""

    fall: float
    """Doublings of the rank."""

    rise: float
    """Nats of log-probability."""


@dataclass(frozen=True, kw_only=True)
class ProbeStage:
    """One probe on one model, by the prompt that decides."""

    id: str
    base: str
    answers: int
    """Right answers known."""

    unreachable: int
    """Right answers that this tokenizer can't write."""

    gold: list[bool]
    """Of each rank, whether the answer that begins with it is right."""

    others: float
    """Share of the ranks' answers that are right by the list of another class, mean over classes."""

    clusters: list[RanksInClusters]
    shuffled: list[RanksInClusters]
    """In clusters of shuffled keys."""

    lists: dict[str, ListEffect]
    """Under "own", "same-class" and "foreign" lists; empty where the model has too few right answers."""

    plain_lists: dict[str, ListEffect]
    """The same answers and lists by the plain prompt; empty too where no other prompt decides."""


def probe_stage(context: Context, index: int) -> ProbeStage:
    """Ranks judged and looked up in the key space, and explored tokens under lists."""
    scale, question, match = context.scale, context.probes[index], context.matchers[index].match
    chat = context.prompts[0] == "chat"
    probing = Probing(context.loaded, question.instruction, max_new_tokens=ANSWER_TOKENS, chat=chat)
    tokens = probing.ranked(scale.ranks)
    texts = probing.answers(tokens)
    right = [text for text in texts if match(text) is not None]
    others = [np.mean([other.match(text) is not None for text in texts]) for other in context.others(index)]
    offsets = range(scale.seeds)
    return ProbeStage(
        id=question.id,
        base=question.base,
        answers=len(question.answers),
        unreachable=len(unreachable(context.loaded, question.answers)),
        gold=[match(text) is not None for text in texts],
        others=float(np.mean(others)),
        clusters=[_in_clusters(context.clusters(offset), tokens, scale.top) for offset in offsets],
        shuffled=[_in_clusters(context.clusters(offset, shuffled=True), tokens, scale.top) for offset in offsets],
        lists=_under_lists(context, index, probing, right),
        plain_lists=_under_lists(context, index, Probing(context.loaded, question.instruction, chat=False), right)
        if chat
        else {},
    )


def _in_clusters(clusters: KeyClusters, tokens: list[int], top: int) -> RanksInClusters:
    labels_V, ranked_N = clusters.labels_V, clusters.rows(tokens)
    return RanksInClusters(
        inside=in_top_clusters(labels_V[ranked_N], top).tolist(),
        # A band of a small vocabulary keeps 200 tokens to draw from.
        banded=expected_share(labels_V, ranked_N, top, bands=min(BANDS, max(1, len(labels_V) // 200))),
    )


def _under_lists(context: Context, index: int, probing: Probing, right: list[str]) -> dict[str, ListEffect]:
    """Right answers of the model, split into a list that is put into the context and one that isn't, and the reverse.

    An answer stands for its class alone, and for the token that it begins with in the list.
    """
    strict = Matcher(context.probes[index], "strict")
    by_token: dict[int, str] = {}
    for text in {strict.match(text): text for text in right if strict.match(text) is not None}.values():
        token = probing.opens(text)
        if token is not None:
            by_token.setdefault(token, text)
    size = min(LISTED, len(by_token) // 2)
    if size < LEAST_LISTED:
        return {}
    mix = random.Random(context.seed + index)
    other = [spellings[0] for spellings in context.foreign(index).answers]
    effects: dict[str, list[tuple[float, float]]] = {"own": [], "same-class": [], "foreign": []}
    for _ in range(SPLITS):
        chosen = mix.sample(sorted(by_token), 2 * size)
        before = probing.after_list([], chosen)
        halves = slice(0, size), slice(size, 2 * size)
        lists = [[by_token[token] for token in chosen[half]] for half in halves]
        for half, listed in zip(halves, lists, strict=True):
            after = probing.after_list(listed, chosen)
            falls, rises = _changes(before, after)
            for kind, at in (("own", half), ("same-class", halves[1 - halves.index(half)])):
                effects[kind] += list(zip(falls[at], rises[at], strict=True))
        after = probing.after_list(mix.sample(other, min(size, len(other))), chosen)
        effects["foreign"] += list(zip(*_changes(before, after), strict=True))
    return {
        kind: ListEffect(fall=float(np.mean([fall for fall, _ in pairs])), rise=float(np.mean([r for _, r in pairs])))
        for kind, pairs in effects.items()
    }


def _changes(before: AfterList, after: AfterList) -> tuple[list[float], list[float]]:
    """Of each token the doublings of its rank and the change of its log-probability."""
    return (
        (np.log2(after.ranks) - np.log2(before.ranks)).tolist(),
        np.subtract(after.logprobs, before.logprobs).tolist(),
    )
