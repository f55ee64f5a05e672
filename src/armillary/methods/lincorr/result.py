"""What one relation gives: correlations with their controls, precision of the weights, examples, words left out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.lincorr.config import Space
from armillary.methods.lincorr.words import WordCoverage, WordTable
from armillary.numerics import Interval, LinearFit, binomial
from armillary.records.plain import plain

Direction = Literal["influenced", "influencing"]
Weights = Literal["raw", "standardized"]
Gold = Sequence[frozenset[int]]

HITS = (1, 3, 5)
"""The N of hit@N, as in the paper's Table 2."""

DRAWS = 2000
"""Exchanges of the right answers behind the null of hit@N: its outer 2.5 % then rest on fifty of them."""


@dataclass(frozen=True, kw_only=True)
class HitRate:
    """Share of words whose gold partner is among the N with the largest weights."""

    direction: Direction
    """"influenced": targets ranked for each source token; "influencing": sources ranked for each target token."""

    weights: Weights
    fit: str
    """"ols" or "ridge"."""

    n: int
    rate: Interval
    """Exact binomial over the words that have gold."""

    chance: float
    """What the same rankings hit when the right answers are exchanged between the words, mean over all exchanges: an
    answer that the map favours everywhere is right for as many words as before. Random ranks would hit less."""

    excess: Interval
    """``rate - chance``; the interval is ``rate`` less the range in which 95 % of the exchanges fall."""

    p_value: float
    """Share of exchanges that hit as often."""


def by_target(gold: Gold, targets: int) -> tuple[frozenset[int], ...]:
    """For each target column the source columns it is right for."""
    return tuple(frozenset(i for i, right in enumerate(gold) if j in right) for j in range(targets))


def hits(
    weight_ST: Float[Tensor, "s t"], gold: Gold, n: int, direction: Direction = "influenced"
) -> NDArray[np.bool_]:
    """``[L, L]`` over the L words that have gold: whether row i has a right answer of word k among its ``n`` largest.

    The diagonal is what hit@N counts; with the answers exchanged between the words it is any other permutation. A tie
    counts against the hit. UsageError when no word has gold or their number does not match the weights.
    """
    if len(gold) != weight_ST.shape[0] or n < 1:
        raise UsageError(f"{len(gold)} gold entries and n={n} do not fit weights of shape {tuple(weight_ST.shape)}.")
    scores, partners = weight_ST, tuple(gold)
    if direction == "influencing":
        scores, partners = weight_ST.T, by_target(gold, weight_ST.shape[1])
    linked = [i for i, right in enumerate(partners) if right]
    if not linked:
        raise UsageError("no word has a gold partner among the words that are left, so hits can't be counted.")
    rows_LM = scores[linked]
    by_answers: dict[frozenset[int], Tensor] = {}
    for right in {partners[i] for i in linked}:
        best_L = rows_LM[:, list(right)].max(dim=1, keepdim=True).values
        above_L = (rows_LM >= best_L).sum(dim=1) - (rows_LM[:, list(right)] >= best_L).sum(dim=1)
        by_answers[right] = above_L < n
    return torch.stack([by_answers[partners[i]] for i in linked], dim=1).numpy()


def hit_at(
    weight_ST: Float[Tensor, "s t"],
    gold: Gold,
    n: int,
    *,
    direction: Direction = "influenced",
    weights: Weights = "raw",
    fit: str = "ols",
    level: float = 0.95,
) -> HitRate:
    """hit@N of one weight matrix; ``weights`` and ``fit`` only name what was passed."""
    table_LL = hits(weight_ST, gold, n, direction)
    words = np.arange(len(table_LL))
    orders = np.random.default_rng(0).permuted(np.tile(words, (DRAWS, 1)), axis=1)
    drawn = table_LL[words, orders].sum(axis=1)
    kind = "source" if direction == "influenced" else "target"
    how = f"exact binomial over {len(words)} {kind} tokens with gold"
    right = int(table_LL.trace())
    # In whole hits, so that a rate that only equals the end of the range is not above it by rounding.
    low = int(np.quantile(drawn, (1 - level) / 2, method="lower"))
    high = int(np.quantile(drawn, (1 + level) / 2, method="higher"))
    excess = Interval(
        estimate=right / len(words) - float(table_LL.mean()),
        low=(right - high) / len(words),
        high=(right - low) / len(words),
        n=len(words),
        level=level,
        how=f"over {DRAWS:,} exchanges of the right answers between {len(words)} {kind} tokens",
    )
    return HitRate(
        direction=direction,
        weights=weights,
        fit=fit,
        n=n,
        rate=binomial(right, len(words), level=level, how=how),
        chance=float(table_LL.mean()),
        excess=excess,
        p_value=(1 + int((drawn >= right).sum())) / (1 + DRAWS),
    )


@dataclass(frozen=True, kw_only=True)
class RelationFit:
    """``y_t(X) ~ y_s(X) @ weight + intercept`` for one pair of prompts of one model."""

    relation: str
    source_template: str
    target_template: str
    source: WordTable
    target: WordTable
    gold: tuple[frozenset[int], ...]
    """For each source column the target columns that are right in the world."""

    linear: LinearFit
    standardized_ST: Float[Tensor, "s t"]
    """Weights in units of the usual spread of source and target logits."""

    space: Space
    chat_template: bool
    model: str
    """Fingerprint of the model it was fitted on."""

    @property
    def weight_ST(self) -> Float[Tensor, "s t"]:
        """Rows are source tokens, columns target tokens; float64."""
        return self.linear.weight

    def weights(self, kind: Weights = "raw") -> Float[Tensor, "s t"]:
        """Raw or standardized weights."""
        if kind not in ("raw", "standardized"):
            raise UsageError(f"weights must be 'raw' or 'standardized'; got {kind!r}.")
        return self.weight_ST if kind == "raw" else self.standardized_ST

    def predict(self, source_NS: Float[Tensor, "n s"]) -> Float[Tensor, "n t"]:
        """Target logits predicted from source logits, float64."""
        return self.linear.predict(source_NS)

    def influence(self, source: str, target: str, *, weights: Weights = "raw") -> float:
        """Weight of a source word on a target word; UsageError for a word that is not in its domain."""
        return float(self.weights(weights)[self.source.column(source), self.target.column(target)])

    def influenced(self, source: str, n: int = 5, *, weights: Weights = "raw") -> list[tuple[str, float]]:
        """The ``n`` target words on which a source word has the largest weights."""
        return _largest(self.weights(weights)[self.source.column(source)], self.target.labels, n)

    def influencing(self, target: str, n: int = 5, *, weights: Weights = "raw") -> list[tuple[str, float]]:
        """The ``n`` source words with the largest weights on a target word."""
        return _largest(self.weights(weights)[:, self.target.column(target)], self.source.labels, n)


def _largest(weights: Tensor, labels: tuple[str, ...], n: int) -> list[tuple[str, float]]:
    top = torch.topk(weights, min(n, len(labels)))
    return [(labels[int(j)], float(w)) for w, j in zip(top.values, top.indices, strict=True)]


@dataclass(frozen=True, kw_only=True)
class WordExample:
    """One source word with its gold targets and the targets that its weights favour."""

    source: str
    gold: tuple[str, ...]
    top: tuple[tuple[str, float], ...]
    """Target word and weight, largest first."""

    hit: bool
    """True when the first of ``top`` is gold."""


@dataclass(frozen=True, kw_only=True)
class RelationScores:
    """LinCorr of one pair of prompts as plain data, which a record keeps.

    Correlations are means over target tokens, on subjects left out of the fit.
    """

    relation: str
    group: str
    model: str
    """Name of the model."""

    source_template: str
    target_template: str
    space: Space
    chat_template: bool
    fit_rows: int
    test_rows: int
    ridge: float
    """Penalty that was used, in the units of the Gram matrix; 0 is ordinary least squares."""

    effective_dof: float
    correlation: Interval
    correlation_ols: Interval | None
    """With ordinary least squares, as in the paper; None when there are too few subjects for it."""

    spread: float
    """Standard deviation of the correlation over target tokens."""

    per_word: dict[str, float]
    """Target word -> correlation; NaN where the logit is constant."""

    excluded: int
    """Target tokens whose correlation is undefined because a logit is constant."""

    r_squared: Interval
    centred: Interval
    """Correlation after subtracting each row's mean over its domain, before fitting."""

    rank_one: Interval
    """Baseline: every target predicted from the mean source logit alone."""

    over_rank_one: Interval
    """``correlation - rank_one``, paired."""

    permuted: Interval
    """Null: the rows of the targets shuffled before fitting; the interval is where such fits fall."""

    random_domain: Interval | None
    """Control: random words in place of the target words, under the same target prompt."""

    excess: Interval | None
    """``correlation - random_domain``, paired: the part that belongs to the relation and not to the prompt."""

    hits: tuple[HitRate, ...]
    examples: tuple[WordExample, ...]
    notes: tuple[str, ...]
    source_words: WordCoverage
    target_words: WordCoverage

    @property
    def main_fit(self) -> str:
        """Name of the fit behind ``correlation``: "ridge", or "ols" where the penalty is 0."""
        return "ridge" if self.ridge else "ols"

    @property
    def dropped_words(self) -> int:
        """Words of both sides that this tokenizer can't say."""
        return len(self.source_words.dropped) + len(self.target_words.dropped)

    def hit(
        self, n: int, direction: Direction = "influenced", *, weights: Weights = "raw", fit: str | None = None
    ) -> HitRate | None:
        """One hit rate, by default of the main fit; None where the relation has no gold or ``n`` was not counted."""
        wanted = (n, direction, weights, fit or self.main_fit)
        return next((h for h in self.hits if (h.n, h.direction, h.weights, h.fit) == wanted), None)

    @property
    def precision(self) -> HitRate | None:
        """hit@5 of the main fit, or hit@1 where five among few target words would often hit; None without gold."""
        return self.hit(5 if len(self.per_word) >= 25 else 1)

    def intervals(self) -> dict[str, Interval]:
        """All estimates with intervals by name, those that are None left out."""
        values = {name: getattr(self, name) for name in _NAMES}
        return {name: value for name, value in values.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain JSON data; NaN becomes None."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(RelationScores)}

    def table(self) -> str:
        """A short table for the terminal."""
        title = f"{self.relation} in {self.model}: {self.fit_rows} subjects fitted, {self.test_rows} tested"
        lines = [title, f"  {self.source_template!r} -> {self.target_template!r}"]
        lines += [f"  {_NAMES[name]:<42}{_shown(value)}" for name, value in self.intervals().items()]
        for hit in self.hits:
            if (hit.weights, hit.fit) == ("raw", self.main_fit):
                lines.append(f"  {f'hit@{hit.n}, {hit.direction}':<42}{_shown(hit.rate)}  exchanged {hit.chance:.3f}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


@dataclass(frozen=True, kw_only=True)
class RelationResult(RelationScores):
    """The scores of one pair of prompts with the map that has them."""

    fit: RelationFit = field(repr=False, compare=False)

    def scores(self) -> RelationScores:
        """The scores alone, without the map: what a record keeps."""
        return RelationScores(**{field.name: getattr(self, field.name) for field in fields(RelationScores)})


_NAMES = {
    "correlation": "correlation",
    "correlation_ols": "correlation, least squares (paper)",
    "r_squared": "R squared",
    "centred": "correlation, rows centred",
    "rank_one": "baseline: mean source logit only",
    "over_rank_one": "correlation above that baseline",
    "permuted": "null: shuffled pairing",
    "random_domain": "control: random words, same prompt",
    "excess": "excess over random words",
}


def _shown(value: Interval) -> str:
    interval = "" if value.low is None or value.high is None else f"  [{value.low:.3f}, {value.high:.3f}]"
    return f"{value.estimate:7.3f}{interval}"
