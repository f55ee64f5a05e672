"""Language models that are tables, so small that all sequences are enumerated and every count is known.

Legend: V tokens, L length, N sequences, K temperatures, C contexts, P points (groups of sequences), G and H points of
the grids of A and B.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from armillary.errors import UsageError
from armillary.methods.modeldiff.config import Bounds
from armillary.methods.modeldiff.core import Draws, Floats, Tokens
from armillary.methods.modeldiff.tempering import Redraw

MOST_SEQUENCES = 5_000_000
"""Sequences that are enumerated at most: about 0.3 GB of token ids at length 8."""

Side = Literal["a", "b"]


@dataclass(frozen=True, eq=False)
class TableModel:
    """The next token depends on the last few tokens through a table of logits; a source for Model-diff.

    Raises UsageError for logits that are not finite or not of the shape below, a length or a temperature out of range.
    """

    logits: Floats
    """``[V+1, ..., V+1, V]``: an axis for each earlier token, oldest first, and one for the next token. Index V on a
    context axis is "before the first token". Two context axes are an order-2 Markov model, none independent tokens."""

    length: int
    """Tokens of a sequence."""

    temperatures: tuple[float, ...] = field(default=(1.0,))
    """Temperatures of the draws, token by token, equally many sequences at each."""

    def __post_init__(self) -> None:
        shape = self.logits.shape
        if not shape or shape[-1] < 1 or any(size != shape[-1] + 1 for size in shape[:-1]):
            raise UsageError(f"logits must have shape (V+1, ..., V+1, V), got {shape}.")
        if not np.isfinite(self.logits).all():
            raise UsageError("logits must be finite: every token needs a probability above 0.")
        if self.length < 1:
            raise UsageError(f"length must be 1 token or more, got {self.length}.")
        if not self.temperatures or any(not 0 < value < np.inf for value in self.temperatures):
            raise UsageError(f"temperatures must be positive numbers, got {self.temperatures}.")

    @classmethod
    def random(
        cls,
        vocabulary: int,
        length: int,
        *,
        seed: int,
        spread: float = 1.0,
        order: int = 2,
        temperatures: tuple[float, ...] = (1.0,),
    ) -> "TableModel":
        """Logits from a normal distribution with standard deviation ``spread``."""
        shape = (*[vocabulary + 1] * order, vocabulary)
        return cls(spread * np.random.default_rng(seed).standard_normal(shape), length, temperatures)

    def perturbed(self, noise: float, *, seed: int) -> "TableModel":
        """A copy with normal noise of standard deviation ``noise`` on every logit."""
        change = noise * np.random.default_rng(seed).standard_normal(self.logits.shape)
        return TableModel(self.logits + change, self.length, self.temperatures)

    @property
    def vocabulary(self) -> int:
        """Number of tokens V."""
        return int(self.logits.shape[-1])

    def score(self, ids_NL: Tokens) -> Floats:
        """Summed NLL (nats, float64 [N]) of each sequence. UsageError for ids out of range or of another length."""
        return -_summed(log_softmax(self._logits_CV), self.contexts(ids_NL), ids_NL)

    def log_q(self, ids_NL: Tokens) -> Floats:
        """Log-probability (nats, float64 [K, N]) of each sequence under the draws at each temperature."""
        contexts_NL = self.contexts(ids_NL)
        return np.stack([_summed(table_CV, contexts_NL, ids_NL) for table_CV in self._log_prob_KCV])

    def sample(self, n: int, *, seed: int) -> Draws:
        """``n`` independent sequences; temperature ``k`` draws rows ``k``, ``k + K``, ``k + 2 K`` and so on."""
        if n < 1:
            raise UsageError(f"the number of sequences must be 1 or more, got {n}.")
        uniforms_NL = np.random.default_rng(seed).random((n, self.length))
        rung_N = np.arange(n) % len(self.temperatures)
        cumulative_KCV = np.exp(self._log_prob_KCV).cumsum(-1)[..., :-1]
        ids_NL = np.empty((n, self.length), dtype=np.int64)
        context_N = np.full(n, self._contexts - 1)
        for position in range(self.length):
            # The last token takes what is left, so rounding of the cumulative sum never gives a token beyond it.
            token_N = (uniforms_NL[:, position, None] >= cumulative_KCV[rung_N, context_N]).sum(1)
            ids_NL[:, position] = token_N
            context_N = self._following(context_N, token_N)
        log_q_KN = self.log_q(ids_NL)
        nll_N = -log_q_KN[self.temperatures.index(1.0)] if 1.0 in self.temperatures else None
        return Draws(ids_NL=ids_NL, log_q_KN=log_q_KN, rung_N=rung_N, nll_N=nll_N)

    def enumerate(self) -> tuple[Tokens, Floats]:
        """All ``V ** L`` sequences ``[V**L, L]`` and their NLL. UsageError where they are more than 5 million."""
        total = self.vocabulary**self.length
        if total > MOST_SEQUENCES:
            raise UsageError(f"{self.vocabulary}^{self.length} = {total:,} sequences; at most {MOST_SEQUENCES:,}.")
        ids_NL = np.stack(np.unravel_index(np.arange(total), (self.vocabulary,) * self.length), axis=1)
        return ids_NL, self.score(ids_NL)

    def log_partition(self, temperature: float) -> float:
        """``ln sum_x p(x) ** (1 / temperature)`` over all sequences, by enumeration; 0 at temperature 1."""
        _, nll_N = self.enumerate()
        return float(np.logaddexp.reduce(-nll_N / temperature))

    def contexts(self, ids_NL: Tokens) -> NDArray[np.int64]:
        """Row of the table, its context axes made one, that gives each token of each sequence."""
        ids_NL = np.asarray(ids_NL)
        if ids_NL.ndim != 2 or ids_NL.shape[1] != self.length:
            raise UsageError(f"sequences must have shape (N, {self.length}), got {ids_NL.shape}.")
        if ids_NL.size and not 0 <= ids_NL.min() <= ids_NL.max() < self.vocabulary:
            raise UsageError(f"token ids must be 0 to {self.vocabulary - 1}, got {ids_NL.min()} to {ids_NL.max()}.")
        contexts_NL = np.full(ids_NL.shape, self._contexts - 1, dtype=np.int64)
        for position in range(1, self.length):
            contexts_NL[:, position] = self._following(contexts_NL[:, position - 1], ids_NL[:, position - 1])
        return contexts_NL

    def logits_after(self, ids_NL: Tokens, position: int) -> Floats:
        """Logits ``[N, V]`` of the token at ``position``, given the tokens of each sequence before it."""
        return self._logits_CV[self.contexts(ids_NL)[:, position]]

    def _following(self, context_N: NDArray[np.int64], token_N: NDArray[np.int64]) -> NDArray[np.int64]:
        # A context is a number in base V+1 whose digits are its tokens: the oldest digit drops out.
        return (context_N * (self.vocabulary + 1) + token_N) % self._contexts

    @property
    def _contexts(self) -> int:
        return int((self.vocabulary + 1) ** (self.logits.ndim - 1))

    @cached_property
    def _logits_CV(self) -> Floats:
        return np.asarray(self.logits, dtype=np.float64).reshape(self._contexts, self.vocabulary)

    @cached_property
    def _log_prob_KCV(self) -> Floats:
        return np.stack([log_softmax(self._logits_CV / value) for value in self.temperatures])


@dataclass(frozen=True, eq=False)
class KnownPair:
    """All sequences as two models score them: the counts of Model-diff by summation, without an estimate.

    Sizes are natural logarithms of numbers of sequences; minus infinity stands for none. A window is closed:
    ``low <= NLL <= high``, in nats summed over the sequence. D is always ``NLL_A - NLL_B``.
    """

    nll_a_P: Floats
    nll_b_P: Floats
    log_count_P: Floats
    """How many sequences have this pair of NLLs."""

    @classmethod
    def of_tables(cls, a: TableModel, b: TableModel) -> "KnownPair":
        """Every sequence is a point. UsageError where vocabularies or lengths differ, or there are too many."""
        if (a.vocabulary, a.length) != (b.vocabulary, b.length):
            raise UsageError(
                f"two tables of one vocabulary and length are needed; got {a.vocabulary} tokens of length {a.length} "
                f"and {b.vocabulary} of length {b.length}."
            )
        ids_NL, nll_a_N = a.enumerate()
        return cls(nll_a_P=nll_a_N, nll_b_P=b.score(ids_NL), log_count_P=np.zeros(len(ids_NL)))

    def log_size(self, side: Side, window: Bounds) -> float:
        """``ln |X_A|`` (or B): how many sequences that model finds plausible."""
        return self._log_total(self._inside(side, window))

    def log_overlap(self, window_a: Bounds, window_b: Bounds) -> float:
        """``ln |X_A and X_B|``."""
        return self._log_total(self._inside("a", window_a) & self._inside("b", window_b))

    def log_histogram(self, side: Side, edges: ArrayLike, window: Bounds) -> Floats:
        """Log-counts of D over the representative inputs of ``side``: rho_{A->B} for "a", rho_{B->A} for "b".

        ``len(edges) + 1`` bins: below the first edge, ``edges[i-1] <= D < edges[i]``, from the last edge on.
        """
        inside_P = self._inside(side, window)
        difference_P = (self.nll_a_P - self.nll_b_P)[inside_P]
        edges_E = np.asarray(edges, dtype=np.float64)
        bin_P = np.searchsorted(edges_E, difference_P, side="right")
        return log_sums(bin_P, self.log_count_P[inside_P], len(edges_E) + 1)

    def effective_share(self, side: Side, window: Bounds) -> float:
        """Effective sample size a sequence, in the limit of many: ``|X|^2 / sum over X of e^NLL``, draws at T = 1."""
        inside_P = self._inside(side, window)
        log_squares = np.logaddexp.reduce((self.log_count_P + self._nll(side))[inside_P], initial=-np.inf)
        log_total = self._log_total(inside_P)
        return 0.0 if log_total == -np.inf else float(np.exp(2 * log_total - log_squares))

    def _nll(self, side: Side) -> Floats:
        return self.nll_a_P if side == "a" else self.nll_b_P

    def _inside(self, side: Side, window: Bounds) -> NDArray[np.bool_]:
        nll_P = self._nll(side)
        return (window[0] <= nll_P) & (nll_P <= window[1])

    def _log_total(self, inside_P: NDArray[np.bool_]) -> float:
        return float(log_sums(np.zeros(int(inside_P.sum()), np.int64), self.log_count_P[inside_P], 1)[0])


def log_softmax(logits: Floats) -> Floats:
    """Log-probabilities over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def log_sums(bin_P: NDArray[Any], log_P: Floats, bins: int) -> Floats:
    """Logarithm of the sum of ``exp(log_P)`` in each bin, each shifted by its own largest; -inf where it is empty."""
    largest_B = np.full(bins, -np.inf)
    np.maximum.at(largest_B, bin_P, log_P)
    shift_B = np.where(np.isfinite(largest_B), largest_B, 0.0)
    sums_B = np.bincount(bin_P, np.exp(log_P - shift_B[bin_P]), minlength=bins)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(sums_B) + shift_B)


def _summed(table_CV: Floats, contexts_NL: NDArray[np.int64], ids_NL: Tokens) -> Floats:
    return np.asarray(table_CV[contexts_NL, ids_NL].sum(1))


# Models whose NLL lies on a grid, so that counts over far more sequences than could be enumerated are still known.
#
# A token costs a whole number k of steps: p = exp(-k * step) / Z with one Z for all contexts, so a sequence has
# NLL = step * (sum of its k) + L ln Z. How many sequences reach each pair of sums under two models follows from a
# transfer matrix over (context, sum, sum), filled with probabilities of A: all terms are positive, so every count has
# full relative precision.

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
                first, second = generator.choice(len(row_V), size=2, replace=False)
                row_V[[first, second]] = row_V[[second, first]]
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


def known_grid(a: GridModel, b: GridModel) -> KnownPair:
    """All sequences grouped by their pair of NLLs, which are the same bits as ``score`` gives.

    UsageError where vocabularies or lengths differ.
    """
    if (a.vocabulary, a.length) != (b.vocabulary, b.length):
        raise UsageError(
            f"two models of one vocabulary and length are needed; got {a.vocabulary} tokens of length {a.length} "
            f"and {b.vocabulary} of length {b.length}."
        )
    contexts = max(np.atleast_2d(model.costs).shape[0] for model in (a, b))
    costs_a_CV, costs_b_CV = (np.broadcast_to(model.costs, (contexts, a.vocabulary)) for model in (a, b))
    log_prob_CV = -a.step * costs_a_CV - a.log_normaliser
    prob_GH = _transferred(_moves(costs_a_CV, costs_b_CV, np.exp(log_prob_CV)), contexts, a.length)
    total_a_P, total_b_P = np.nonzero(prob_GH)
    nll_a_P = a.nll(total_a_P)
    # A group of sequences with NLL z has probability count * e^-z under A.
    return KnownPair(nll_a_P, b.nll(total_b_P), np.log(prob_GH[total_a_P, total_b_P]) + nll_a_P)


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


@dataclass(frozen=True, eq=False)
class TemperedTable:
    """A ``TableModel`` under parallel tempering: the two operations that its moves ask for."""

    table: TableModel

    def log_prob(self, ids_NL: Tokens) -> Floats:
        """Log-probability (nats) of each sequence."""
        return -self.table.score(ids_NL)

    def redraw_suffix(self, ids_NL: Tokens, start_N: NDArray[np.int64], tau_N: Floats, uniforms_NL: Floats) -> Redraw:
        """Tokens from ``start`` on drawn anew from softmax(logits / tau)."""
        new_NL = ids_NL.copy()
        rows_N = np.arange(len(ids_NL))
        log_q_new_N, log_q_old_N, log_p_new_N, log_p_old_N = np.zeros((4, len(ids_NL)))
        for position in range(int(start_N.min()), ids_NL.shape[1]):
            moved_N = position >= start_N
            hot_NV, plain_NV = self._after(new_NL, position, tau_N)
            drawn_N = (uniforms_NL[:, position, None] >= np.exp(hot_NV).cumsum(1)[:, :-1]).sum(1)
            old_hot_NV, old_plain_NV = self._after(ids_NL, position, tau_N)
            old_N = ids_NL[:, position]
            new_NL[:, position] = np.where(moved_N, drawn_N, old_N)
            log_q_new_N += np.where(moved_N, hot_NV[rows_N, drawn_N], 0)
            log_q_old_N += np.where(moved_N, old_hot_NV[rows_N, old_N], 0)
            log_p_new_N += np.where(moved_N, plain_NV[rows_N, drawn_N], 0)
            log_p_old_N += np.where(moved_N, old_plain_NV[rows_N, old_N], 0)
        return Redraw(new_NL, log_q_new_N, log_q_old_N, log_p_new_N - log_p_old_N)

    def _after(self, ids_NL: Tokens, position: int, tau_N: Floats) -> tuple[Floats, Floats]:
        """Log-probabilities of the token at ``position``, at each row's temperature and at 1: ``[n, v]``."""
        logits_NV = self.table.logits_after(ids_NL, position)
        return log_softmax(logits_NV / tau_N[:, None]), log_softmax(logits_NV)
