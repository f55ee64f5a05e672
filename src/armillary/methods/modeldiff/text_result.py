"""What a comparison on text gives: each model's texts as both score them, what was left out, the difference per byte.

Every text was drawn at temperature 1, so means are over what that model writes; they are not counts over the input
space, and a text that is likely to be written weighs more than one that is not.
Legend: N texts, D bins of the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from armillary.errors import InsufficientSamplesError
from armillary.methods.modeldiff.core import Side
from armillary.methods.modeldiff.curves import Bins
from armillary.methods.modeldiff.reading import EMPTY, READ_DIFFERENTLY, Reading
from armillary.methods.modeldiff.source import vocabulary_hash
from armillary.numerics.intervals import Interval, binomial, bootstrap_mean, bootstrap_weighted
from armillary.records.plain import decode, plain


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

    dropped: dict[str, int]
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
        reasons = ", ".join(f"{reason}: {count}" for reason, count in dropped.items() if count)
        raise InsufficientSamplesError(f"None of {drawn:,} texts drawn from one model can be compared ({reasons}).")
    bytes_N = np.array([row.bytes for row in rows], np.float64)
    nll_a_N, nll_b_N = np.array([[row.nll_a, row.nll_b] for row in rows], np.float64).T
    difference_N = nll_a_N - nll_b_N
    excess_N = -difference_N if rows[0].side == "a" else difference_N
    resampling: dict[str, Any] = {"seed": seed, "replicates": replicates, "level": level}
    how = f"percentile bootstrap over {compared:,} texts"
    counts_D = np.bincount(bins.index(difference_N / bytes_N), minlength=2 * bins.half + 1)
    return TextDirection(
        drawn=drawn,
        dropped=dict(dropped),
        acceptance=binomial(both + dropped[EMPTY], drawn, level=level),
        canonical_in_both=binomial(compared, both, level=level),
        difference_per_byte=bootstrap_mean(difference_N / bytes_N, how=how, **resampling),
        log_ratio_bound=bootstrap_weighted(
            lambda counts_RN: (counts_RN @ excess_N) / (counts_RN @ bytes_N), compared, how=how, **resampling
        ),
        histogram_D=tuple(binomial(int(count), compared, level=level) for count in counts_D),
    )


LIKE_A, LIKE_B = "A prefers", "B prefers"

Written = tuple[Sequence[TextRow], Mapping[str, int]]
"""Texts of one model, and how many of its draws were left out for each reason."""


@dataclass(frozen=True, kw_only=True)
class TextComparison:
    """Two models, whatever their tokenizers, on the texts that each writes."""

    model_a: str
    model_b: str
    vocabulary_a: str
    """``vocabulary_hash`` of A's tokenizer."""

    vocabulary_b: str
    cut_a: str
    """Where A's draws were cut: "pre-token" or "white space"."""

    cut_b: str
    length: int
    """Tokens drawn for a text, before the cut."""

    prefix: str | None
    seeds: tuple[int, int]
    """Of A's draws and of B's."""

    bins: Bins
    """Of the difference per byte; what lies further out counts in the outermost."""

    a: TextDirection
    """What A wrote."""

    b: TextDirection
    rows: tuple[TextRow, ...]
    """A's texts, then B's, in the order drawn; duplicates stay."""

    @classmethod
    def of(
        cls,
        a: Reading,
        b: Reading,
        written: tuple[Written, Written],
        *,
        bin_width: float,
        replicates: int,
        level: float,
        **facts: Any,
    ) -> "TextComparison":
        """The figures of what both models wrote; ``facts`` are the fields that say how it was drawn."""
        rows = tuple(row for texts, _ in written for row in texts)
        bins = Bins.spanning(bin_width, [np.array([row.difference_per_byte for row in rows])])
        of_a, of_b = (
            summarised(texts, dropped, bins=bins, seed=seed, replicates=replicates, level=level)
            for (texts, dropped), seed in zip(written, facts["seeds"], strict=True)
        )
        return cls(
            model_a=a.loaded.name,
            model_b=b.loaded.name,
            vocabulary_a=vocabulary_hash(a.loaded.tokenizer),
            vocabulary_b=vocabulary_hash(b.loaded.tokenizer),
            cut_a=a.cut,
            cut_b=b.cut,
            prefix=a.prefix,
            bins=bins,
            a=of_a,
            b=of_b,
            rows=rows,
            **facts,
        )

    def examples(self, k: int = 5) -> dict[str, list[TextRow]]:
        """The ``k`` texts of largest difference per byte each way, whoever wrote them: the strongest first."""
        ordered = sorted(self.rows, key=lambda row: row.difference_per_byte)
        return {
            LIKE_A: [row for row in ordered[:k] if row.difference_per_byte < 0],
            LIKE_B: [row for row in ordered[::-1][:k] if row.difference_per_byte > 0],
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        data: dict[str, Any] = plain(self)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TextComparison":
        """Inverse of ``to_dict``."""
        return decode(cls, data, "The comparison on text")
