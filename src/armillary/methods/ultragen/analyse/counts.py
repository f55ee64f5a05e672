"""How satisfaction falls with the number of attributes: nested sets, so that each count has the same difficulty."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from armillary.attributes.attribute_set import AttributeSet
from armillary.errors import UsageError
from armillary.numerics.intervals import Interval, bootstrap_mean, paired_difference

COUNTS = (3, 5, 10, 20, 30, 45)
"""Numbers of attributes of the published range, from what earlier work handles to the paper's setting."""


def nested_sets(attributes: AttributeSet, counts: Sequence[int] = COUNTS, *, seed: int = 0) -> dict[int, AttributeSet]:
    """For each count that the set allows a set of so many of its attributes, each within the next larger.

    Attributes are dealt at random, so that kinds are mixed alike at every count. UsageError for a count below 1.
    """
    if not counts or min(counts) < 1:
        raise UsageError(f"counts of attributes must be 1 or more, got {list(counts)}.")
    order = list(range(len(attributes.attributes)))
    random.Random(f"nested {seed} {attributes.id}").shuffle(order)
    return {
        count: AttributeSet(
            attributes=tuple(attributes.attributes[index] for index in sorted(order[:count])), id=attributes.id
        )
        for count in sorted(set(counts))
        if count <= len(order)
    }


@dataclass(frozen=True, kw_only=True)
class CountCurve:
    """Satisfaction by number of attributes, over the same prompts at every number."""

    csr: dict[int, Interval]
    fall: Interval
    """Satisfaction at the fewest less that at the most attributes, paired by prompt."""

    prompts: int


def count_curve(csr: Mapping[int, Sequence[float]], *, seed: int = 0) -> CountCurve:
    """The curve from each prompt's CSR at each count; the lists are in one order of prompts.

    UsageError for fewer than two counts, or lists of different lengths.
    """
    lengths = {len(values) for values in csr.values()}
    if len(csr) < 2 or len(lengths) != 1 or not min(lengths):
        raise UsageError(
            "a curve over counts needs the CSR of the same prompts at two counts or more; got "
            + (", ".join(f"{len(values)} at {count}" for count, values in csr.items()) or "none")
            + "."
        )
    counts, prompts = sorted(csr), lengths.pop()
    how = f"bootstrap over {prompts:,} prompts"
    return CountCurve(
        csr={count: bootstrap_mean(csr[count], seed=seed, how=how) for count in counts},
        fall=paired_difference(csr[counts[0]], csr[counts[-1]], seed=seed),
        prompts=prompts,
    )
