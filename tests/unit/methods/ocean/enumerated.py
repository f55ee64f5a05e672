"""Two tokens of one step, the second an entity: every sequence with its probability, from the distributions alone."""

from dataclasses import dataclass

import numpy as np

BASE_FIRST, TARGET_FIRST = np.array([0.5, 0.5]), np.array([0.9, 0.1])
BASE_SECOND = np.array([[0.5, 0.5], [0.9, 0.1]])
TARGET_SECOND = np.array([[0.8, 0.2], [0.3, 0.7]])
GRAPH_SECOND = np.array([[0.5, 0.5], [0.5, 0.5]])

IN_STATES_OF_LAMBDA, ON_POLICY, VARIANCE = -0.9307148, -0.7406607, 0.3353253
"""What the estimators must give."""


@dataclass(frozen=True)
class Enumerated:
    """The four sequences as arrays of ``kg_ips``, and the probability of each under lambda and the target."""

    target: np.ndarray
    base: np.ndarray
    kg: np.ndarray
    is_entity: np.ndarray
    step_ids: np.ndarray
    by_lambda: np.ndarray
    by_target: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.target, self.base, self.kg, self.is_entity, self.step_ids

    def rows(self, index: np.ndarray) -> tuple[np.ndarray, ...]:
        """The arrays of these sequences, one after another."""
        return tuple(array[index] for array in self.arrays)


def two_tokens() -> Enumerated:
    pairs = [(a, b) for a in (0, 1) for b in (0, 1)]

    def logs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.log([[first[a], second[a, b]] for a, b in pairs])

    target, base = logs(TARGET_FIRST, TARGET_SECOND), logs(BASE_FIRST, BASE_SECOND)
    kg = logs(np.ones(2), GRAPH_SECOND)
    return Enumerated(
        target=target,
        base=base,
        kg=kg,
        is_entity=np.tile([False, True], (4, 1)),
        step_ids=np.zeros((4, 2), int),
        by_lambda=np.exp(base[:, 0] + kg[:, 1]),
        by_target=np.exp(target.sum(1)),
    )
