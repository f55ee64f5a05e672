"""The estimator against enumeration: chains short enough that every one of them can be written down.

Three words of one step, the middle one an entity, of a vocabulary of four; distributions drawn by the seed.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from armillary.methods.ocean.core import importance_weights, log_propensity, token_shares
from reproductions.ocean.scale import Scale

WORDS, LENGTH = 4, 3
ENTITY_WORDS = (0, 2)
"""Words that count as entities where that is decided, wrongly, by the word and not by the slot."""


@dataclass(frozen=True)
class Enumerated:
    """What estimators give on average over many logs, and what they should."""

    exact: float
    """The value with lambda's states, summed over all chains."""

    means: list[float]
    """Of each of many logs of lambda by slots, the estimate."""

    exact_by_word: float
    """What the words' own lambda, no distribution, is taken to estimate: the same, with states of its chains."""

    means_by_word: list[float]
    """Estimates on logs of that lambda, made a distribution to be drawn from."""

    span: float
    """Greatest less least term of a chain."""

    chains: int
    """Of a log."""

    variances: dict[str, float]
    """Variance of the estimate over logs, by number of chains."""


def enumerated(scale: Scale, seed: int) -> Enumerated:
    """All 64 chains under all policies, and logs drawn from them."""
    draw = np.random.default_rng([seed, 60])
    policies = [_policy(draw) for _ in range(3)]
    chains = list(product(range(WORDS), repeat=LENGTH))
    target, base, graph = (
        np.array([[policy[chain[:place]][chain[place]] for place in range(LENGTH)] for chain in chains])
        for policy in policies
    )
    shares = token_shares(np.zeros((len(chains), LENGTH), int))
    by_slot = np.tile([place == 1 for place in range(LENGTH)], (len(chains), 1))
    by_word = np.isin(np.array(chains), ENTITY_WORDS)
    terms, probabilities, exact = [], [], []
    for entity in (by_slot, by_word):
        propensity = log_propensity(base, graph, entity)
        weights = importance_weights(target, propensity, np.zeros((len(chains), LENGTH), int))
        terms.append((shares * weights * base).sum(1))
        # What is drawn from: lambda at each state, brought to sum 1, which changes nothing for slots.
        logging = _normalised(policies[1], policies[2], entity, chains)
        probabilities.append(logging.prod(1))
        states = np.cumprod(np.column_stack([np.ones(len(chains)), logging[:, :-1]]), axis=1)
        # Each state once a word, so that a chain's later words are summed out.
        later = [WORDS ** (LENGTH - 1 - place) for place in range(LENGTH)]
        exact.append(float((shares * states * np.exp(target) * base / later).sum()))
    logs, size = scale.resamples, scale.resampled_chains
    slot, word = (terms[kind][draw.choice(len(chains), size=(logs, size), p=probabilities[kind])] for kind in (0, 1))
    variances = {str(n): float(slot[:, :n].mean(1).var(ddof=1)) for n in (size // 16, size // 4, size) if n}
    return Enumerated(
        exact=exact[0],
        means=[float(mean) for mean in slot.mean(1)],
        exact_by_word=exact[1],
        means_by_word=[float(mean) for mean in word.mean(1)],
        span=float(np.ptp(terms[0])),
        chains=size,
        variances=variances,
    )


def _policy(draw: np.random.Generator) -> dict[tuple[int, ...], np.ndarray]:
    """Log-probabilities of the next word behind every beginning; none below a hundredth, so that weights are tame."""
    return {
        start: np.log(0.04 * 0.25 + 0.96 * draw.dirichlet(np.ones(WORDS)))
        for length in range(LENGTH)
        for start in product(range(WORDS), repeat=length)
    }


def _normalised(
    base: dict[tuple[int, ...], np.ndarray],
    graph: dict[tuple[int, ...], np.ndarray],
    entity: np.ndarray,
    chains: list[tuple[int, ...]],
) -> np.ndarray:
    """Of each chain's words, lambda's probability over lambda's sum at that state."""
    shares = np.zeros(entity.shape)
    index = {chain: row for row, chain in enumerate(chains)}
    for row, chain in enumerate(chains):
        for place in range(LENGTH):
            start = chain[:place]
            # The flags of the other words at this state stand in the rows of their chains.
            rows = [index[(*start, word, *chain[place + 1 :])] for word in range(WORDS)]
            mass = np.where(entity[rows, place], np.exp(graph[start]), np.exp(base[start]))
            shares[row, place] = mass[chain[place]] / mass.sum()
    return shares
