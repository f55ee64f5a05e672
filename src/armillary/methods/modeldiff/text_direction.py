"""What one model wrote, as both models score it: its texts, what was left out, and the difference per byte.

Every text was drawn at temperature 1, so means are over what that model writes; they are not counts over the input
space, and a text that is likely to be written weighs more than one that is not.
Legend: N texts, D bins of the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from armillary.errors import InsufficientSamplesError
from armillary.methods.modeldiff.curves import Bins
from armillary.methods.modeldiff.direction import Side
from armillary.methods.modeldiff.text_reading import EMPTY, READ_DIFFERENTLY
from armillary.numerics.intervals import Interval, binomial, bootstrap_mean, bootstrap_weighted


@dataclass(frozen=True)
class TextRow:
    """One text, cut, that both tokenizers give back as it is."""

    text: str
    bytes: int
    """Of its UTF-8 form."""

    nll_a: float
    """Summed NLL (nats) under A of A's own tokens for it, after A's own prefix; an upper bound of -log p_A(text)."""

    nll_b: float
    """The same under B, with B's tokens and prefix."""

    side: Side
    """Which model wrote it."""

    @property
    def difference_per_byte(self) -> float:
        """``(nll_a - nll_b) / bytes``: below 0 A likes the text more than B does, whoever wrote it."""
        return (self.nll_a - self.nll_b) / self.bytes


@dataclass(frozen=True, kw_only=True)
class TextDirection:
    """What one model wrote, as both score it."""

    drawn: int
    """Sequences drawn."""

    dropped: Mapping[str, int]
    """Why sequences were left out, and how many."""

    acceptance: Interval
    """Share of draws that are canonical: ordinary tokens, and the ones that the tokenizer itself gives their text."""

    canonical_in_both: Interval
    """Of the canonical draws with text left after the cut, the share that the other tokenizer gives back too."""

    difference_per_byte: Interval
    """Mean over texts of ``(nll_a - nll_b) / bytes``, nats per byte."""

    log_ratio_bound: Interval
    """Summed NLL of the other model minus that of the writer, over all bytes (nats per byte).

    Like a Kullback-Leibler divergence but none: it is over the kept texts only, and an upper bound of the mean of
    ``log p(writer's tokens) - log p_other(text)``, since the other model may reach the text by more than one sequence
    of tokens and only its tokenizer's own is counted."""

    histogram_D: tuple[Interval, ...]
    """Share of texts in each bin of the difference per byte."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TextDirection":
        """From the plain data of ``dataclasses.asdict``."""
        names = ("acceptance", "canonical_in_both", "difference_per_byte", "log_ratio_bound")
        built: dict[str, Any] = {name: Interval.from_dict(data[name]) for name in names}
        built["histogram_D"] = tuple(Interval.from_dict(one) for one in data["histogram_D"])
        return cls(**{**data, **built})


def summarised(
    rows: Sequence[TextRow],
    dropped: Mapping[str, int],
    *,
    bins: Bins,
    seed: int,
    replicates: int,
    level: float,
) -> TextDirection:
    """One model's texts with what was left out; InsufficientSamplesError where none is left."""
    drawn, compared = len(rows) + sum(dropped.values()), len(rows)
    both = compared + dropped[READ_DIFFERENTLY]
    if not rows:
        found = ", ".join(f"{reason}: {count}" for reason, count in dropped.items() if count)
        raise InsufficientSamplesError(f"None of {drawn:,} texts drawn from one model can be compared ({found}).")
    bytes_N = np.array([row.bytes for row in rows], np.float64)
    nll_a_N, nll_b_N = np.array([[row.nll_a, row.nll_b] for row in rows], np.float64).T
    difference_N = nll_a_N - nll_b_N
    excess_N = -difference_N if rows[0].side == "a" else difference_N
    again: dict[str, Any] = {"seed": seed, "replicates": replicates, "level": level}
    how = f"percentile bootstrap over {compared:,} texts"
    counts_D = np.bincount(bins.index(difference_N / bytes_N), minlength=2 * bins.half + 1)
    return TextDirection(
        drawn=drawn,
        dropped=dict(dropped),
        acceptance=binomial(both + dropped[EMPTY], drawn, level=level),
        canonical_in_both=binomial(compared, both, level=level),
        difference_per_byte=bootstrap_mean(difference_N / bytes_N, how=how, **again),
        log_ratio_bound=bootstrap_weighted(
            lambda counts_RN: (counts_RN @ excess_N) / (counts_RN @ bytes_N), compared, how=how, **again
        ),
        histogram_D=tuple(binomial(int(count), compared, level=level) for count in counts_D),
    )
