"""The result of a comparison: raw samples of both directions, and every figure computed from them.

Legend: N samples, D bins of the difference, Z bins of the NLL, R replicates.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from armillary.errors import UsageError
from armillary.extras import optional
from armillary.files import write_atomic
from armillary.methods.modeldiff.config import CompareConfig, InputSpace, Weighting
from armillary.methods.modeldiff.core import ENOUGH, SIDES, Direction, Floats, Reliability, Side, reliability
from armillary.methods.modeldiff.curves import (
    Agreement,
    Bins,
    CountTable,
    Spread,
    agreement,
    identities,
    log_count,
    ratio,
    spread,
)
from armillary.methods.modeldiff.window import Pilot
from armillary.numerics.intervals import Interval
from armillary.records.plain import decode
from armillary.runs.parts import npz

Unit = Literal["share", "overlap", "log count"]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One direction's histogram of the difference with intervals. All arrays ``[d]``."""

    difference: Floats
    """Nats per token, the middle of each bin; the outermost bins hold all that lies further out."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class SampleExample:
    """A sequence with what both models make of it."""

    text: str
    tokens: tuple[str, ...]
    difference: float
    """``z_A - z_B``, nats summed: below 0 A likes it more."""

    token_differences: tuple[float, ...]
    """The same by token; empty where a model does not tell it."""

    drawn_from: Side


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How two models differ over the inputs that at least one of them finds plausible (arXiv 2412.12177)."""

    names: tuple[str, str]
    space: InputSpace
    config: CompareConfig
    a: Direction
    b: Direction
    seeds: tuple[int, int] = (0, 1)
    """Seeds of the resamples of each direction."""

    pilot: Pilot | None = None
    """The draws that chose the windows; None where they were given."""

    notes: tuple[str, ...] = ()
    """What was left out so that both models are read over the same sequences, a sentence each."""

    pieces: dict[int, str] = field(default_factory=dict, repr=False)
    """The text of every token that was drawn."""

    @cached_property
    def bins(self) -> Bins:
        """Bins of the difference, the same for both directions."""
        inside = [direction.difference_N[direction.inside_N] for direction in (self.a, self.b)]
        return Bins.spanning(self.config.bin_width * self.space.length, inside)

    @cached_property
    def tables(self) -> tuple[CountTable, CountTable]:
        """Weights by NLL and difference, A's direction and B's."""
        replicates = self.config.replicates
        windows_R22 = None if self.pilot is None else self.pilot.resampled(replicates, list(self.seeds))
        first, second = (
            CountTable(
                direction=direction,
                bins=self.bins,
                replicates=replicates,
                seed=seed,
                windows_R22=None if windows_R22 is None else windows_R22[:, order],
            )
            for direction, seed, order in zip((self.a, self.b), self.seeds, ([0, 1], [1, 0]), strict=True)
        )
        return first, second

    def count_table(self, side: Side) -> CountTable:
        """Weights by NLL and difference of one direction."""
        return self.tables[0 if side == "a" else 1]

    def direction(self, side: Side) -> Direction:
        """The samples that were drawn from one of the models."""
        return self.a if side == "a" else self.b

    @property
    def log_rho_ab(self) -> Floats:
        """Natural log of the number of A's plausible inputs in each bin of D (Eq. 1)."""
        return self._log_rho("a")

    @property
    def log_rho_ba(self) -> Floats:
        """Natural log of the number of B's plausible inputs in each bin of D (Eq. 2), D with the same sign."""
        return self._log_rho("b")

    def _log_rho(self, side: Side) -> Floats:
        table = self.count_table(side)
        with np.errstate(divide="ignore"):
            logs: Floats = np.log(table.count()[0]) + table.log_scale
        return logs

    @property
    def log_total(self) -> dict[Side, Interval]:
        """Natural log of the number of inputs that each model finds plausible."""
        return {side: self._log(side, self.count_table(side).total()) for side in ("a", "b")}

    @property
    def log_overlap(self) -> dict[Side, Interval]:
        """Natural log of the number of inputs plausible to both, once from A's samples and once from B's."""
        return {side: self._log(side, self.count_table(side).overlap()) for side in ("a", "b")}

    @property
    def overlap_share(self) -> dict[Side, Interval]:
        """Share of each model's plausible inputs that the other finds plausible too, by count."""
        shares: dict[Side, Interval] = {}
        for side in ("a", "b"):
            table = self.count_table(side)
            shares[side] = ratio(table.overlap(), table.total(), self.config.level, table)
        return shares

    def _log(self, side: Side, sums: tuple[float, Floats]) -> Interval:
        return log_count(sums, self.config.level, self.count_table(side))

    @property
    def reliability(self) -> dict[Side, Reliability]:
        """On how many samples the counts rest."""
        return {"a": self.a.reliability, "b": self.b.reliability}

    def curve(self, side: Side, *, weighting: Weighting | None = None, unit: Unit = "share") -> Curve:
        """The histogram of D: as a share of the inputs, in multiples of the overlap, or as the log of the count.

        Raises UsageError for the profile, which has no count, in another unit than "share", and for multiples of an
        overlap that is empty.
        """
        table, weighting = self.count_table(side), weighting or self.config.weighting
        value_D, value_RD = table.count() if weighting == "count" else table.profile()
        if weighting == "profile" and unit != "share":
            raise UsageError(
                f"The profile is flat over the NLL window and has no counts; unit must be share: {unit!r}."
            )
        if weighting == "count" and unit != "log count":
            whole, whole_R = table.total() if unit == "share" else table.overlap()
            if whole <= 0:
                raise UsageError("No sample lies in both windows: there is no overlap to measure by.")
            with np.errstate(divide="ignore", invalid="ignore"):
                value_D, value_RD = value_D / whole, value_RD / whole_R[:, None]
        tail = (1 - self.config.level) / 2
        ends = np.quantile(value_RD[np.isfinite(value_RD).all(axis=1)], [tail, 1 - tail], axis=0)
        curve = [value_D, ends[0], ends[1]]
        if unit == "log count":
            with np.errstate(divide="ignore"):
                curve = [np.log(values) + table.log_scale for values in curve]
        centres = self.bins.centres_D / self.space.length
        return Curve(difference=centres, value=curve[0], low=curve[1], high=curve[2])

    def agreement(self, threshold: float) -> Agreement:
        """Inputs seen alike and apart at a threshold on D (nats, summed over the sequence)."""
        if not threshold > 0:
            raise UsageError(f"threshold must be above 0 nats, got {threshold}.")
        if threshold not in self._agreements:
            self._agreements[threshold] = agreement(self.tables, threshold, self.config.level)
        return self._agreements[threshold]

    @cached_property
    def _agreements(self) -> dict[float, Agreement]:
        return {}

    def spread(self, side: Side) -> Spread:
        """Mean and standard deviation of D per token over a model's window, flat over the NLL."""
        return self._spreads[side]

    @cached_property
    def _spreads(self) -> dict[Side, Spread]:
        return {side: spread(self.count_table(side), self.config.level) for side in ("a", "b")}

    def identities(self) -> dict[Side, dict[str, float]]:
        """Exact identities of samples at temperature 1, as free checks; empty with several temperatures."""
        return {"a": identities(self.a), "b": identities(self.b)}

    def examples(
        self, d: tuple[float, float], k: int = 5, *, side: Side | None = None, seed: int = 0
    ) -> list[SampleExample]:
        """At most ``k`` plausible sequences with D between the two numbers (nats, summed), most extreme first.

        Drawn by their weight, without repeats, from one direction or from both.
        """
        chosen: list[SampleExample] = []
        for direction in (self.a, self.b) if side is None else (self.direction(side),):
            difference_N = direction.difference_N
            inside_N = direction.inside_N & (difference_N >= d[0]) & (difference_N <= d[1])
            _, first = np.unique(direction.ids_NL, axis=0, return_index=True)
            rows = np.intersect1d(np.flatnonzero(inside_N), first)
            # The largest of log weight plus Gumbel noise: a draw by weight without repeats.
            noise = np.random.default_rng(seed).gumbel(size=len(difference_N))
            drawn = rows[np.argsort(-(direction.log_weight_N + noise)[rows])][:k]
            chosen += [self._example(direction, int(row)) for row in drawn]
        return sorted(chosen, key=lambda example: -abs(example.difference))[:k]

    def _example(self, direction: Direction, row: int) -> SampleExample:
        tokens = tuple(self.pieces.get(int(token), f"[{token}]") for token in direction.ids_NL[row])
        apart: tuple[float, ...] = ()
        if direction.own_tokens_NL is not None and direction.other_tokens_NL is not None:
            gap = direction.own_tokens_NL[row] - direction.other_tokens_NL[row]
            apart = tuple((gap if direction.side == "a" else -gap).tolist())
        return SampleExample(
            text=str(direction.text_N[row]) if direction.text_N is not None else "".join(tokens),
            tokens=tokens,
            difference=float(direction.difference_N[row]),
            token_differences=apart,
            drawn_from=direction.side,
        )

    def table(self) -> list[tuple[str, str]]:
        """A short table for the terminal: what was measured, and its value with its interval."""
        log10 = 1 / np.log(10)
        rows = []
        for (side, _), name in zip(SIDES, self.names, strict=True):
            total, share, spread = self.log_total[side], self.overlap_share[side], self.spread(side)
            other = self.names[1] if side == "a" else self.names[0]
            mean, deviation = (_ends(value, "+.3f") for value in (spread.mean, spread.deviation))
            rows += [
                (f"plausible to {name}", f"10^{total.estimate * log10:.1f} sequences of {self.space.length} tokens"),
                (f"of these plausible to {other}", _ends(share, ".1%")),
                (f"D per token on {name}'s inputs", f"{mean}, spread {deviation} nats{spread.warning}"),
                (f"samples of {name}", self.reliability[side].sentence()),
            ]
        return rows

    def to_frame(self) -> Any:
        """One row a sample (side, text, nll_a, nll_b, difference, log_weight, inside, overlap) as a pandas frame."""
        pd = optional("pandas")
        frames = []
        for direction in (self.a, self.b):
            nll_a, nll_b = direction.own_N, direction.other_N
            if direction.side == "b":
                nll_a, nll_b = nll_b, nll_a
            columns = {"side": direction.side, "text": direction.text_N, "nll_a": nll_a, "nll_b": nll_b}
            columns |= {"difference": direction.difference_N, "log_weight": direction.log_weight_N}
            columns |= {"inside": direction.inside_N, "overlap": direction.overlap_N}
            frames.append(pd.DataFrame(columns))
        return pd.concat(frames, ignore_index=True)

    def save(self, path: Path | str) -> None:
        """Raw samples and settings as an npz file: every figure can be computed again without the models."""
        facts = {
            "names": self.names,
            "space": asdict(self.space),
            "config": asdict(self.config),
            "seeds": self.seeds,
            "notes": self.notes,
            "windows": [self.a.window, self.b.window],
            "pieces": {str(token): piece for token, piece in self.pieces.items()},
        }
        arrays = {"facts": np.array(json.dumps(facts)), **self.a.arrays(), **self.b.arrays()}
        if self.pilot is not None:
            arrays |= {"pilot/nll": self.pilot.nll_MN, "pilot/from": self.pilot.drawn_from_N}
        write_atomic(Path(path), npz(arrays))

    @classmethod
    def load(cls, path: Path | str) -> "Comparison":
        """Inverse of ``save``. Raises UsageError for a file that is none."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            facts = json.loads(str(arrays["facts"]))
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"{path} holds no saved comparison: {error}.") from error
        window_a, window_b = ((float(low), float(high)) for low, high in facts["windows"])
        space = decode(InputSpace, facts["space"], f"The space of {path}")
        return cls(
            names=tuple(facts["names"]),
            space=space,
            pilot=Pilot(nll_MN=arrays["pilot/nll"], drawn_from_N=arrays["pilot/from"], quantiles=space.quantiles)
            if "pilot/nll" in arrays
            else None,
            config=decode(CompareConfig, facts["config"], f"The settings of {path}"),
            a=Direction.from_arrays("a", window_a, window_b, arrays),
            b=Direction.from_arrays("b", window_b, window_a, arrays),
            seeds=tuple(facts["seeds"]),
            notes=tuple(facts.get("notes", ())),
            pieces={int(token): piece for token, piece in facts["pieces"].items()},
        )


def _ends(value: Interval, form: str) -> str:
    """An estimate with the ends of its interval."""
    ends = "" if value.low is None or value.high is None else f" [{value.low:{form}}, {value.high:{form}}]"
    return f"{value.estimate:{form}}{ends}"


# Whether a comparison rests on enough samples to be shown, by count or flat over the NLL window.


@dataclass(frozen=True, kw_only=True)
class ProfileReliability(Reliability):
    """On how many samples a figure rests that is flat over the NLL window.

    No sample can outweigh its bin of the NLL, so that the tail of the weights is no question here, and a sample that
    is alone in a bin of a dozen is counted by the effective size already.
    """

    @property
    def enough(self) -> bool:
        """Whether the figure may be shown as reliable."""
        return self.effective >= ENOUGH


def profile_reliability(table: CountTable) -> ProfileReliability:
    """On how many samples the profile rests: every bin of the NLL holds the same share of the weight."""
    direction, inside_N = table.direction, table.cell_N >= 0
    row_N = np.where(inside_N, table.cell_N // 2 // table.columns, 0)
    sums_Z = np.bincount(row_N, np.where(inside_N, table.weight_N, 0.0), minlength=table.rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        share_N = np.where(inside_N, np.log(table.weight_N / sums_Z[row_N]), -np.inf)
    by_bin = reliability(share_N, inside_N, direction.unit_N, direction.rungs)
    return ProfileReliability(
        drawn=len(direction.own_N),
        inside=by_bin.inside,
        effective=by_bin.effective,
        largest=by_bin.largest,
        pareto_k=-math.inf,
    )


def reliability_by(comparison: Comparison, weighting: Weighting) -> dict[Side, Reliability]:
    """On how many samples each direction rests under a weighting."""
    if weighting == "count":
        return comparison.reliability
    first, second = comparison.tables
    return {"a": profile_reliability(first), "b": profile_reliability(second)}


def enough(comparison: Comparison, weighting: Weighting) -> bool:
    """Whether both directions may be shown under a weighting."""
    return all(reliability.enough for reliability in reliability_by(comparison, weighting).values())


def shortage(comparison: Comparison) -> str | None:
    """What stands in place of a result where the samples do not carry the chosen weighting; None where they do."""
    by_side = reliability_by(comparison, comparison.config.weighting)
    wanted = [reliability.wanted for reliability in by_side.values() if not reliability.enough]
    if not wanted:
        return None
    known = [number for number in wanted if number is not None]
    if len(known) < len(wanted):
        return "not enough samples, and the weights have so heavy a tail that more may not help"
    return f"not enough samples: {max(known):,} would do"
