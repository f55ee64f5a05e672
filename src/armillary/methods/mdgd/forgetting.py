"""What was forgotten: accuracies on the pre-trained tasks and the target, before and after tuning. Needs no torch.

Shapes: N questions of a task, R bootstrap replicates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from armillary.errors import UsageError
from armillary.numerics.intervals import Interval, bootstrap_mean, paired_difference
from armillary.records.plain import plain

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ForgettingRow:
    """One task; accuracies between 0 and 1."""

    task: str
    target: bool
    before: Interval
    after: Interval
    change: Interval
    """After minus before, the same questions resampled together."""


@dataclass(frozen=True, kw_only=True)
class ForgettingTable:
    """Rows of the pre-trained tasks and of the target, and what they come to together."""

    rows: tuple[ForgettingRow, ...]
    pretrained_before: Interval
    pretrained_after: Interval
    """Mean accuracy over the pre-trained tasks, each counting alike; questions are resampled within tasks."""

    pretrained_change: Interval
    h_score: Interval
    """Harmonic mean of ``pretrained_after`` and the target's accuracy after tuning (the Model Tailor protocol)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        data: dict[str, Any] = plain(self)
        return data


def forgetting_table(
    before: Mapping[str, Sequence[float] | ArrayLike],
    after: Mapping[str, Sequence[float] | ArrayLike],
    *,
    target: str,
    seed: int,
    replicates: int = 2000,
) -> ForgettingTable:
    """The table from right (1) and wrong (0) answers, one list a task, questions in the same order before and after.

    Intervals are 95 % percentile bootstraps over questions: they say nothing of other seeds of the training.
    UsageError for other tasks before and after, lists of unequal length, or no pre-trained task beside the target.
    """
    if set(before) != set(after) or target not in before or len(before) < 2:
        raise UsageError(
            f"give the same tasks before and after, among them the target {target!r} and at least one other; got "
            f"{sorted(before)} and {sorted(after)}."
        )
    rows = []
    for task in sorted(before, key=lambda name: (name == target, name)):
        change = paired_difference(_plain(after[task]), _plain(before[task]), seed=seed, replicates=replicates)
        rows.append(
            ForgettingRow(
                task=task,
                target=task == target,
                before=bootstrap_mean(_plain(before[task]), seed=seed, replicates=replicates),
                after=bootstrap_mean(_plain(after[task]), seed=seed, replicates=replicates),
                change=change,
            )
        )
    old = [row.task for row in rows if not row.target]
    first, last = [_plain(before[task]) for task in old], [_plain(after[task]) for task in old]
    aim = _plain(after[target])

    def resampled(lists: Sequence[Array], statistic: Callable[[Sequence[Any]], Any]) -> Interval:
        return _within_tasks(lists, statistic, seed, replicates)

    def h_score(means: Sequence[Any]) -> Any:
        a, b = _average(means[:-1]), means[-1]
        total = np.asarray(a + b, np.float64)
        return np.divide(2 * a * b, total, out=np.zeros_like(total), where=total > 0)

    return ForgettingTable(
        rows=tuple(rows),
        pretrained_before=resampled(first, _average),
        pretrained_after=resampled(last, _average),
        pretrained_change=resampled([b - a for a, b in zip(first, last, strict=True)], _average),
        h_score=resampled([*last, aim], h_score),
    )


def _average(means: Sequence[Any]) -> Any:
    return sum(means) / len(means)


def _within_tasks(
    lists: Sequence[Array], statistic: Callable[[Sequence[Any]], Any], seed: int, replicates: int
) -> Interval:
    """Percentile interval of a function of the tasks' means, questions resampled within each task."""
    generator = np.random.default_rng(seed)
    means_R = [
        generator.multinomial(len(values_N), np.full(len(values_N), 1 / len(values_N)), size=replicates)
        @ values_N
        / len(values_N)
        for values_N in lists
    ]
    low, high = np.quantile(statistic(means_R), [0.025, 0.975])
    n = sum(len(values_N) for values_N in lists)
    how = f"bootstrap over {n:,} questions within {len(lists)} tasks"
    estimate = float(statistic([values_N.mean() for values_N in lists]))
    return Interval(estimate=estimate, low=float(low), high=float(high), n=n, how=how)


def _plain(values: Sequence[float] | ArrayLike) -> Array:
    return np.asarray(values, np.float64).reshape(-1)
