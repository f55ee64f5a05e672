"""Preference pairs: of K responses to a set of attributes that no text had, the best and the worst.

The script that made the paper's pairs is not released; the rule and its guards are ours. A guard keeps a pair from
teaching something else than attributes: emptiness, loops, worse writing, or mere length.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from armillary.attributes.attribute_set import AttributeSet, Order
from armillary.attributes.text_stats import TextStats
from armillary.errors import UsageError
from armillary.extras import optional
from armillary.methods.ultragen.config import PairConfig
from armillary.methods.ultragen.quality import repeated_ngrams
from armillary.methods.ultragen.sampling import Sampler
from armillary.methods.ultragen.training_data import Message, as_completion, as_prompt, attributes_json

if TYPE_CHECKING:
    import datasets

Scorer = Callable[[AttributeSet, str], float]
"""Score of a response to a set, between 0 and 1: by default the share of its attributes that it satisfies."""

Quality = Callable[[str], float]
"""How well a text is written, between 0 and 1: by default one less its share of repeated 4-grams."""

LENGTHS = frozenset({"word_count", "sentence_count", "paragraph_count", "char_count", "paragraph_words"})
"""Kinds of attributes that ask for a length: where one is in the set, a difference in length may be what is right."""


def satisfied_share(attributes: AttributeSet, response: str) -> float:
    """The response's CSR by programs alone: soft attributes, which need a judge, are not counted."""
    return attributes.check(response).csr


def unrepeated(text: str) -> float:
    """One less the share of repeated 4-grams."""
    return 1.0 - repeated_ngrams(text)


@dataclass(frozen=True, kw_only=True)
class PreferencePair:
    """Two responses to one instruction."""

    attributes: AttributeSet
    request: str
    chosen: str
    rejected: str
    score_chosen: float
    score_rejected: float

    def row(self, *, chat: bool) -> dict[str, str | float | list[Message]]:
        """In TRL's columns, with the scores and the attributes beside them."""
        return {
            "prompt": as_prompt(self.request, chat=chat),
            "chosen": as_completion(self.chosen, chat=chat),
            "rejected": as_completion(self.rejected, chat=chat),
            "score_chosen": self.score_chosen,
            "score_rejected": self.score_rejected,
            "attributes": attributes_json(self.attributes),
        }


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """The pairs that were made, and what became of the other sets."""

    pairs: list[PreferencePair]
    scores: list[list[float]]
    """Of every response of every set, in the order of the sets: what the best of K would reach stands here too."""

    left_out: dict[str, int]
    """Reason -> sets that gave no pair."""

    def to_dataset(self, *, chat: bool = True) -> "datasets.Dataset":
        """``datasets.Dataset`` with prompt, chosen, rejected, score_chosen, score_rejected and attributes.

        UsageError without the package datasets, or without a pair.
        """
        data = optional("datasets", "trl")
        if not self.pairs:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            raise UsageError(f"no set gave a pair ({reasons}); draw more responses or lower the margin.")
        return data.Dataset.from_list([pair.row(chat=chat) for pair in self.pairs])


def chosen_pair(
    attributes: AttributeSet,
    request: str,
    responses: Sequence[str],
    scores: Sequence[float],
    config: PairConfig,
    quality: Quality = unrepeated,
) -> PreferencePair | str:
    """The best and the worst of the responses, or in a few words why they make no pair.

    Responses that are empty or repeat themselves are no candidates, on either side; of equal scores the first counts.
    UsageError where scores are not as many as responses, or not finite.
    """
    if len(scores) != len(responses) or not all(map(math.isfinite, scores)):
        raise UsageError(f"{len(responses)} responses need as many finite scores; got {list(scores)!r:.120}.")
    candidates = [
        index for index, text in enumerate(responses) if text.strip() and repeated_ngrams(text) <= config.most_repeated
    ]
    if len(candidates) < 2:
        return "fewer than two responses that are neither empty nor repetitive"
    best = max(candidates, key=lambda index: scores[index])
    worst = min(candidates, key=lambda index: scores[index])
    # Rounding: 0.4 - 0.3 is less than 0.1.
    if scores[best] - scores[worst] < max(config.margin, 1e-9) - 1e-12:
        return "responses of about the same score"
    if quality(responses[best]) < quality(responses[worst]) - config.quality_slack:
        return "the better response is worse written"
    lengths = [len(TextStats(responses[index]).pairs) for index in (best, worst)]
    asks_for_length = any(attribute.kind in LENGTHS for attribute in attributes.attributes)
    if not asks_for_length and abs(lengths[0] - lengths[1]) > config.length_gap * max(lengths):
        return "responses of very different lengths"
    return PreferencePair(
        attributes=attributes,
        request=request,
        chosen=responses[best],
        rejected=responses[worst],
        score_chosen=scores[best],
        score_rejected=scores[worst],
    )


def preferences(
    sets: Sequence[AttributeSet],
    sampler: Sampler,
    scorer: Scorer | None = None,
    config: PairConfig | None = None,
    *,
    requests: Sequence[str] | None = None,
    quality: Quality = unrepeated,
    order: Order = "shuffled",
    seed: int = 0,
) -> Preferences:
    """Pairs over these sets: ``config.k`` responses each from the sampler, scored, the best and the worst kept.

    ``requests`` are the instructions that state the sets, where they are not to be rendered here. UsageError where the
    sampler gives another number of responses.
    """
    config, scorer = config or PairConfig(), scorer or satisfied_share
    if requests is None:
        requests = [own.render(order, set_seed(seed, number)) for number, own in enumerate(sets)]
    drawn = sampler(requests, config.k, seed)
    if len(drawn) != len(sets) or any(len(responses) != config.k for responses in drawn):
        raise UsageError(f"the sampler must give {config.k} responses to each of {len(sets)} requests.")
    pairs, every, reasons = [], [], Counter[str]()
    for own, request, responses in zip(sets, requests, drawn, strict=True):
        scores = [scorer(own, response) for response in responses]
        every.append(scores)
        pair = chosen_pair(own, request, responses, scores, config, quality)
        if isinstance(pair, str):
            reasons[pair] += 1
        else:
            pairs.append(pair)
    return Preferences(pairs=pairs, scores=every, left_out=dict(reasons))


def set_seed(seed: int, number: int) -> int:
    """Seed of the order in which the attributes of a set are stated: every set has its own."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def build_preferences(
    sets: Sequence[AttributeSet],
    sampler: Sampler,
    scorer: Scorer | None = None,
    k: int | None = None,
    margin: float | None = None,
    *,
    config: PairConfig | None = None,
    order: Order = "shuffled",
    chat: bool = True,
    seed: int = 0,
) -> "datasets.Dataset":
    """The pairs of ``preferences`` as ``datasets.Dataset`` for TRL's preference trainers.

    ``k`` and ``margin`` stand in for those of the configuration. Sets that give no pair are left out; ``preferences``
    tells how many and why. UsageError where none gives one.
    """
    config = config or PairConfig()
    config = replace(config, k=config.k if k is None else k, margin=config.margin if margin is None else margin)
    optional("datasets", "trl")  # before the long work
    return preferences(sets, sampler, scorer, config, order=order, seed=seed).to_dataset(chat=chat)
