"""What one relation gives: correlations with their controls, precision of the weights, examples, words left out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from armillary.methods.lincorr.fit import RelationFit
from armillary.methods.lincorr.precision import Direction, HitRate, Weights
from armillary.numerics import Interval


@dataclass(frozen=True, kw_only=True)
class Example:
    """One source word with its gold targets and the targets that its weights favour."""

    source: str
    gold: tuple[str, ...]
    top: tuple[tuple[str, float], ...]
    """Target word and weight, largest first."""

    hit: bool
    """True when the first of ``top`` is gold."""


@dataclass(frozen=True, kw_only=True)
class RelationResult:
    """LinCorr of one pair of prompts. Correlations are means over target tokens, on subjects left out of the fit."""

    relation: str
    group: str
    model: str
    """Name of the model."""

    source_template: str
    target_template: str
    space: str
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

    per_word: Mapping[str, float]
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
    examples: tuple[Example, ...]
    notes: tuple[str, ...]
    source_words: Mapping[str, Any]
    """Kept, merged and left-out source words, with reasons."""

    target_words: Mapping[str, Any]
    fit: RelationFit = field(repr=False, compare=False)
    """The map itself; not part of ``to_dict``."""

    def hit(
        self, n: int, direction: Direction = "influenced", *, weights: Weights = "raw", fit: str | None = None
    ) -> HitRate | None:
        """One hit rate, by default of the main fit; None where the relation has no gold or ``n`` was not counted."""
        fit = fit or ("ridge" if self.ridge else "ols")
        wanted = (n, direction, weights, fit)
        return next((h for h in self.hits if (h.n, h.direction, h.weights, h.fit) == wanted), None)

    def intervals(self) -> dict[str, Interval]:
        """All estimates with intervals by name, those that are None left out."""
        names = "correlation correlation_ols r_squared centred rank_one over_rank_one permuted random_domain excess"
        found = {name: getattr(self, name) for name in names.split()}
        return {name: value for name, value in found.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; numbers that are not finite become None."""
        plain = "relation group model source_template target_template space fit_rows test_rows ridge effective_dof"
        return {
            **{name: getattr(self, name) for name in plain.split()},
            **{name: value.to_dict() for name, value in self.intervals().items()},
            "chat_template": self.fit.chat_template,
            "spread": self.spread,
            "per_word": {word: r if math.isfinite(r) else None for word, r in self.per_word.items()},
            "excluded": self.excluded,
            "hits": [hit.to_dict() for hit in self.hits],
            "examples": [
                {"source": e.source, "gold": list(e.gold), "top": [list(pair) for pair in e.top], "hit": e.hit}
                for e in self.examples
            ],
            "notes": list(self.notes),
            "source_words": dict(self.source_words),
            "target_words": dict(self.target_words),
        }

    def table(self) -> str:
        """A short table for the terminal."""
        title = f"{self.relation} in {self.model}: {self.fit_rows} subjects fitted, {self.test_rows} tested"
        lines = [title, f"  {self.source_template!r} -> {self.target_template!r}"]
        lines += [f"  {_NAMES[name]:<42}{_shown(value)}" for name, value in self.intervals().items()]
        for hit in self.hits:
            if (hit.weights, hit.fit) == ("raw", "ridge" if self.ridge else "ols"):
                lines.append(f"  {f'hit@{hit.n}, {hit.direction}':<42}{_shown(hit.rate)}  chance {hit.chance:.3f}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


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
