"""Is one model derived from another? Judged by calibration: against known derivations and against unrelated models.

The paper names the detection of copies as a use of Model-diff; features and decision are ours. Legend: N samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import numpy as np

from armillary.errors import UsageError
from armillary.methods.modeldiff.comparison import as_draws, pilot_window
from armillary.methods.modeldiff.config import Bounds, CompareConfig, InputSpace
from armillary.methods.modeldiff.core import Direction
from armillary.methods.modeldiff.curves import Bins, CountTable, Spread, spread
from armillary.methods.modeldiff.derivations import Derivation, known_derivations
from armillary.methods.modeldiff.draws import Draws, Floats
from armillary.methods.modeldiff.source import ModelSource, same_vocabulary
from armillary.models import LoadedModel
from armillary.progress import counted
from armillary.runs.parts import Arrays, Store, kept

Kind = Literal["candidate", "derivation", "unrelated"]
Verdict = Literal["derived", "not derived", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Relative:
    """One model compared with the first over the first's plausible inputs."""

    name: str
    kind: Kind
    spread: Spread


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """The features of the candidate among those of known derivations and of unrelated models."""

    relatives: tuple[Relative, ...]
    """The candidate first."""

    @property
    def candidate(self) -> Relative:
        """The model in question."""
        return self.relatives[0]

    def deviations(self, kind: Kind) -> list[float]:
        """Spread of the difference (nats per token) of every relative of a kind."""
        return [relative.spread.deviation.estimate for relative in self.relatives if relative.kind == kind]

    @property
    def verdict(self) -> Verdict:
        """Derived: no further than the furthest known derivation and nearer than every unrelated model; not derived:
        further than every known derivation (and not clearly nearer than the unrelated ones); else undecided.

        Ends of the candidate's interval are compared, not its middle. Without an unrelated model to compare with,
        "derived" can't be told from "alike by nature" and the verdict is at most undecided.
        """
        own = self.candidate.spread.deviation
        derived, unrelated = self.deviations("derivation"), self.deviations("unrelated")
        if not derived:
            return "undecided"
        if own.upper <= max(derived):
            return "derived" if unrelated and own.upper < min(unrelated) else "undecided"
        if own.lower > max(derived) and (not unrelated or own.upper >= min(unrelated)):
            return "not derived"
        return "undecided"

    def sentence(self) -> str:
        """In words."""
        own = self.candidate.spread.deviation
        derived, unrelated = self.deviations("derivation"), self.deviations("unrelated")
        sentence = (
            f"{self.candidate.name}: {self.verdict}. The difference spreads by {own.estimate:.3f} nats per token "
            f"[{own.lower:.3f}, {own.upper:.3f}]"
        )
        if derived:
            sentence += f"; {len(derived)} known derivations lie between {min(derived):.3f} and {max(derived):.3f}"
        if unrelated:
            sentence += f", {len(unrelated)} unrelated models between {min(unrelated):.3f} and {max(unrelated):.3f}"
        return sentence + "."


def lineage(
    a: LoadedModel,
    b: LoadedModel,
    space: InputSpace | None = None,
    config: CompareConfig | None = None,
    *,
    derivations: Mapping[str, Derivation] | None = None,
    unrelated: Mapping[str, LoadedModel] | None = None,
    reference: LoadedModel | None = None,
    store: Store | None = None,
) -> Lineage:
    """How near ``b`` is to ``a``, beside known derivations of ``a`` (made here) and unrelated models (given).

    Samples are drawn from ``a`` once and scored by each model; A's window holds for all. ``reference`` is a third
    model whose NLL is taken off both before they are correlated. All models need one vocabulary (UsageError).
    """
    space, config = space or InputSpace(), config or CompareConfig(samples=512, weighting="profile")
    if config.temperatures != (1.0,):
        raise UsageError(f"lineage draws at temperature 1 alone; got {config.temperatures}.")
    others = {**(unrelated or {}), "candidate": b, **({"reference": reference} if reference else {})}
    for other in others.values():
        same_vocabulary(a, other)
    rows = min(model.anatomy.vocabulary_size for model in (a, *others.values()))
    own = ModelSource.of(a, space, config, rows)
    bounds = space.bounds()
    window = bounds["a"] if bounds else pilot_window(own, space, config, 2 * config.seed, store)

    def draw() -> Arrays:
        draws = as_draws(own.sample(config.samples, seed=2 * config.seed + 1), own.length)
        return {"ids": draws.ids_NL, "log_q": draws.log_q_KN, "own": cast(Floats, draws.nll_N)}

    drawn = kept(store, "samples", draw)
    pool = _Pool(space=space, config=config, rows=rows, window=window, drawn=drawn, store=store)
    third_N = None if reference is None else pool.scored("reference", lambda: reference)
    derivations = known_derivations() if derivations is None else derivations
    with counted(f"Relatives of {a.name}", 1 + len(derivations) + len(unrelated or {})) as bar:
        relatives = [pool.relative(b.name, "candidate", lambda: b, third_N)]
        bar.advance()
        for name, derive in derivations.items():
            relatives.append(pool.relative(name, "derivation", partial(derive, a), third_N))
            bar.advance()
        for name, model in (unrelated or {}).items():
            relatives.append(pool.relative(name, "unrelated", partial(_itself, model), third_N))
            bar.advance()
    return Lineage(relatives=tuple(relatives))


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """The first model's samples, which every relative scores."""

    space: InputSpace
    config: CompareConfig
    rows: int
    window: Bounds
    drawn: Arrays
    store: Store | None

    def scored(self, name: str, model: Callable[[], LoadedModel]) -> Floats:
        """NLL (nats) of each sample under a model that is made only where the scores are not kept."""

        def score() -> Arrays:
            source = ModelSource.of(model(), self.space, self.config, self.rows)
            return {"nll": source.score(self.drawn["ids"])}

        return cast(Floats, kept(self.store, f"scored {name}", score)["nll"])

    def relative(self, name: str, kind: Kind, model: Callable[[], LoadedModel], third_N: Floats | None) -> Relative:
        """The features of one model."""
        nll_N = self.scored(f"{kind} {name}", model)
        rung_N = np.zeros(len(nll_N), dtype=np.int64)
        direction = Direction.from_draws(
            Draws(ids_NL=self.drawn["ids"], log_q_KN=self.drawn["log_q"], rung_N=rung_N),
            side="a",
            window=self.window,
            other_window=self.window,
            own_N=self.drawn["own"],
            other_N=nll_N,
        )
        bins = Bins.spanning(self.config.bin_width * self.space.length, [direction.difference_N])
        seed = 2 * self.config.seed
        table = CountTable(direction=direction, bins=bins, replicates=self.config.replicates, seed=seed)
        return Relative(name=name, kind=kind, spread=spread(table, self.config.level, third_N))


def _itself(model: LoadedModel) -> LoadedModel:
    return model
