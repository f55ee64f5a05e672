"""What a comparison on text gives: both models' texts with the difference per byte, as a record and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from armillary.methods.modeldiff.curves import Bins
from armillary.methods.modeldiff.text_direction import TextDirection, TextRow, summarised
from armillary.methods.modeldiff.text_reading import Reading
from armillary.methods.modeldiff.vocabulary import vocabulary_hash
from armillary.numerics.intervals import Interval

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
        return asdict(self) | {"seeds": list(self.seeds), "rows": [asdict(row) for row in self.rows]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TextComparison":
        """Inverse of ``to_dict``."""
        built = {
            "seeds": tuple(data["seeds"]),
            "bins": Bins(**data["bins"]),
            "a": TextDirection.from_dict(data["a"]),
            "b": TextDirection.from_dict(data["b"]),
            "rows": tuple(TextRow(**row) for row in data["rows"]),
        }
        return cls(**{**data, **built})

    def table(self) -> str:
        """A short table for the terminal."""
        lines = [f"A: {self.model_a}, B: {self.model_b}; texts of {self.length} tokens before the cut, nats per byte"]
        for name, one in (("A", self.a), ("B", self.b)):
            lines += [
                f"  written by {name}: {one.difference_per_byte.n:,} of {one.drawn:,} draws compared",
                f"    {'canonical draws':<34}{_shown(one.acceptance)}",
                f"    {'of these, canonical in both':<34}{_shown(one.canonical_in_both)}",
                f"    {'mean of NLL A - NLL B':<34}{_shown(one.difference_per_byte)}",
                f"    {'log ratio, writer to other (bound)':<34}{_shown(one.log_ratio_bound)}",
            ]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def _shown(value: Interval) -> str:
    interval = "" if value.low is None or value.high is None else f"  [{value.low:.3f}, {value.high:.3f}]"
    return f"{value.estimate:7.3f}{interval}"
