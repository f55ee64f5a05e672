"""Models whose NLL lies on a grid, so that counts over far more sequences than could be enumerated are still known.

A token costs a whole number k of steps: p = exp(-k * step) / Z with one Z for all contexts, so a sequence has
NLL = step * (sum of its k) + L ln Z. How many sequences reach each pair of sums under two models follows from a
transfer matrix over (context, sum, sum), filled with probabilities of A: all terms are positive, so every count has
full relative precision.

Legend: V tokens, L length, N sequences, C contexts, G and H grid points of A and B, P points.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.experiments.modeldiff_tables import KnownPair, TableModel
from armillary.methods.modeldiff.protocols import Draws, Floats, Tokens

Integers = NDArray[np.int64]
Moves = dict[tuple[int, int, int, int], float]
"""Probability of (context, next context, cost to A, cost to B)."""


@dataclass(frozen=True, eq=False)
class GridModel:
    """Independent tokens, or tokens that depend on the one before, with whole costs; a source for Model-diff.

    Raises UsageError for costs below 0, of another shape than the one below, or whose contexts have different Z.
    """

    costs: Integers
    """``[V]`` for independent tokens; ``[V+1, V]`` (row V: before the first token) for a first-order Markov model."""

    step: float
    """Width of the grid in nats."""

    length: int
    """Tokens of a sequence."""

    temperatures: tuple[float, ...] = (1.0,)
    """Temperatures of the draws, equally many sequences at each."""

    def __post_init__(self) -> None:
        if self.costs.ndim not in (1, 2) or not np.issubdtype(self.costs.dtype, np.integer) or self.costs.min() < 0:
            raise UsageError("costs must be whole numbers of 0 or more, of shape (V) or (V+1, V).")
        if not 0 < self.step < math.inf:
            raise UsageError(f"step must be a positive number of nats, got {self.step}.")
        normalisers = np.log(np.exp(-self.step * np.atleast_2d(self.costs)).sum(1))
        if np.ptp(normalisers) > 1e-12:
            raise UsageError(
                f"every context must have the same ln Z, or the NLL leaves the grid; they span {np.ptp(normalisers)}."
            )

    @classmethod
    def independent(cls, vocabulary: int, length: int, *, seed: int, step: float = 0.5, most: int = 9) -> "GridModel":
        """Independent tokens; costs are drawn evenly from 0 to ``most``."""
        return cls(np.random.default_rng(seed).integers(0, most + 1, size=vocabulary), step, length)

    @classmethod
    def markov(cls, vocabulary: int, length: int, *, seed: int) -> "GridModel":
        """Each token depends on the one before; probabilities are powers of 1/2 that differ in every context.

        The costs of a context are the depths of the leaves of a random binary tree, so its probabilities sum to 1.
        """
        generator = np.random.default_rng(seed)
        rows = []
        for _ in range(vocabulary + 1):
            depths = [0]
            while len(depths) < vocabulary:
                split = depths.pop(int(generator.integers(len(depths))))
                depths += [split + 1, split + 1]
            rows.append(generator.permutation(depths))
        return cls(np.array(rows, dtype=np.int64), math.log(2), length)

    def perturbed(self, swaps: int, *, seed: int) -> "GridModel":
        """A copy in which, in every context, ``swaps`` random pairs of tokens have changed their probabilities."""
        generator = np.random.default_rng(seed)
        costs_CV = np.atleast_2d(self.costs).copy()
        for row_V in costs_CV:
            for _ in range(swaps):
                one, other = generator.choice(len(row_V), size=2, replace=False)
                row_V[[one, other]] = row_V[[other, one]]
        return replace(self, costs=costs_CV.reshape(self.costs.shape))

    @property
    def vocabulary(self) -> int:
        """Number of tokens V."""
        return int(self.costs.shape[-1])

    @cached_property
    def table(self) -> TableModel:
        """The same model as a table of logits."""
        return TableModel(-self.step * self.costs.astype(np.float64), self.length, self.temperatures)

    @cached_property
    def log_normaliser(self) -> float:
        """``ln Z`` of a token."""
        return float(np.log(np.exp(-self.step * np.atleast_2d(self.costs)[0]).sum()))

    def nll(self, totals: Integers) -> Floats:
        """NLL (nats) of sequences whose costs sum to ``totals``: the same bits wherever it is computed."""
        return np.asarray(self.step * totals + self.length * self.log_normaliser, dtype=np.float64)

    def score(self, ids_NL: Tokens) -> Floats:
        """Summed NLL (nats, float64 [N]), exactly on the grid. UsageError for ids out of range."""
        contexts_NL = self.table.contexts(ids_NL)
        return self.nll(np.atleast_2d(self.costs)[contexts_NL, ids_NL].sum(1))

    def sample(self, n: int, *, seed: int) -> Draws:
        """``n`` independent sequences, their NLL exactly on the grid."""
        drawn = self.table.sample(n, seed=seed)
        return replace(drawn, nll_N=self.score(drawn.ids_NL))

    def log_density(self) -> tuple[Floats, Floats]:
        """NLL of every grid point that is reached, and the logarithm of the number of sequences there."""
        known = _known(self, None)
        return known.nll_a_P, known.log_count_P


def known_grid(a: GridModel, b: GridModel) -> KnownPair:
    """All sequences grouped by their pair of NLLs, which are the same bits as ``score`` gives.

    UsageError where vocabularies or lengths differ.
    """
    if (a.vocabulary, a.length) != (b.vocabulary, b.length):
        raise UsageError(
            f"two models of one vocabulary and length are needed; got {a.vocabulary} tokens of length {a.length} "
            f"and {b.vocabulary} of length {b.length}."
        )
    return _known(a, b)


def _known(a: GridModel, b: GridModel | None) -> KnownPair:
    """Without ``b`` only the NLL of A is told apart and that of B is 0."""
    contexts = max(np.atleast_2d(model.costs).shape[0] for model in (a, b or a))
    shape = (contexts, a.vocabulary)
    costs_a_CV = np.broadcast_to(a.costs, shape)
    costs_b_CV = np.zeros(shape, np.int64) if b is None else np.broadcast_to(b.costs, shape)
    log_prob_CV = -a.step * costs_a_CV - a.log_normaliser
    prob_GH = _transferred(_moves(costs_a_CV, costs_b_CV, np.exp(log_prob_CV)), contexts, a.length)
    total_a_P, total_b_P = np.nonzero(prob_GH)
    nll_a_P = a.nll(total_a_P)
    nll_b_P = np.zeros(len(total_b_P)) if b is None else b.nll(total_b_P)
    # A group of sequences with NLL z has probability count * e^-z under A.
    return KnownPair(nll_a_P, nll_b_P, np.log(prob_GH[total_a_P, total_b_P]) + nll_a_P)


def _moves(costs_a_CV: Integers, costs_b_CV: Integers, prob_CV: Floats) -> Moves:
    """Tokens that lead to one context at the same costs are one move."""
    contexts, vocabulary = prob_CV.shape
    moves: Moves = {}
    for context in range(contexts):
        for token in range(vocabulary):
            following = token if contexts > 1 else 0
            move = (context, following, int(costs_a_CV[context, token]), int(costs_b_CV[context, token]))
            moves[move] = moves.get(move, 0.0) + float(prob_CV[context, token])
    return moves


def _transferred(moves: Moves, contexts: int, length: int) -> Floats:
    """Probability of each pair of sums after ``length`` tokens, from the last context (before the first token)."""
    most_a, most_b = max(move[2] for move in moves), max(move[3] for move in moves)
    prob_CGH = np.zeros((contexts, 1, 1))
    prob_CGH[-1] = 1.0
    for _ in range(length):
        _, rows, columns = prob_CGH.shape
        following_CGH = np.zeros((contexts, rows + most_a, columns + most_b))
        for (context, following, cost_a, cost_b), probability in moves.items():
            moved_GH = following_CGH[following, cost_a : cost_a + rows, cost_b : cost_b + columns]
            moved_GH += probability * prob_CGH[context]
        prob_CGH = following_CGH
    return np.asarray(prob_CGH.sum(0))
