"""Is one model derived from another? Judged by calibration: against known derivations and against unrelated models.

The paper names the detection of copies as a use of Model-diff; features and decision are ours. Legend: N samples.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.modeldiff.comparison import as_draws, pilot_window
from armillary.methods.modeldiff.config import CompareConfig, InputSpace
from armillary.methods.modeldiff.core import Direction, Draws, Floats
from armillary.methods.modeldiff.curves import Bins, CountTable, Spread, spread
from armillary.methods.modeldiff.source import ModelSource, same_vocabulary
from armillary.models import LoadedModel, find_anatomy
from armillary.progress import track
from armillary.runs.parts import Arrays, Store, kept

Kind = Literal["candidate", "derivation", "unrelated"]
Verdict = Literal["derived", "not derived", "undecided"]

Derivation = Callable[[LoadedModel], LoadedModel]
"""A way to make a copy of a model that differs from it."""

NOISE = (0.003, 0.01, 0.03, 0.1)
"""Sizes of weight noise, relative to the root mean square of each matrix."""

BITS = (8, 4)
"""Bits to which weights are rounded."""


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

    def scored(name: str, derive: Derivation, origin: LoadedModel) -> Floats:
        """NLL (nats) of each sample under a model that is made only where the scores are not kept."""

        def score() -> Arrays:
            return {"nll": ModelSource.of(derive(origin), space, config, rows).score(drawn["ids"])}

        return cast(Floats, kept(store, f"scored {name}", score)["nll"])

    third_N = None if reference is None else scored("reference", _itself, reference)
    derivations = known_derivations() if derivations is None else derivations
    compared: list[tuple[str, Kind, Derivation, LoadedModel]] = [(b.name, "candidate", _itself, b)]
    compared += [(name, "derivation", derive, a) for name, derive in derivations.items()]
    compared += [(name, "unrelated", _itself, model) for name, model in (unrelated or {}).items()]
    relatives = []
    for name, kind, derive, origin in track(compared, f"Relatives of {a.name}"):
        direction = Direction.from_draws(
            Draws.single(drawn["ids"], drawn["log_q"][0]),
            side="a",
            window=window,
            other_window=window,
            own_N=drawn["own"],
            other_N=scored(f"{kind} {name}", derive, origin),
        )
        bins = Bins.spanning(config.bin_width * space.length, [direction.difference_N])
        table = CountTable(direction=direction, bins=bins, replicates=config.replicates, seed=2 * config.seed)
        relatives.append(Relative(name=name, kind=kind, spread=spread(table, config.level, third_N)))
    return Lineage(relatives=tuple(relatives))


def _itself(model: LoadedModel) -> LoadedModel:
    return model


# Copies of a model whose lineage is known: with noise on their weights, or with weights rounded. They calibrate what
# Model-diff says of two models whose lineage is not known; the given model is left as it was.


def noisy(loaded: LoadedModel, eps: float, *, seed: int) -> LoadedModel:
    """A copy with normal noise on every weight matrix, of standard deviation ``eps`` times the matrix's own rms.

    Vectors (norms, biases) stay. The noise is drawn on the CPU in float32, so it is the same on every device; tied
    matrices stay tied. ``eps=0`` gives the same bits. UsageError for a negative or infinite ``eps``.
    """
    if not 0 <= eps < float("inf"):
        raise UsageError(f"eps must be 0 or more and finite, got {eps}.")
    generator = torch.Generator().manual_seed(seed)

    def disturbed(weight: Tensor) -> Tensor:
        noise = torch.randn(weight.shape, generator=generator)
        return weight + eps * weight.square().mean().sqrt() * noise.to(weight.device)

    return _changed(loaded, disturbed, f"noise {eps:g}", f"with noise of {eps:g} of each matrix's rms, seed {seed}")


def rounded(loaded: LoadedModel, bits: int) -> LoadedModel:
    """A copy whose weight matrices hold ``2 ** bits - 1`` values a row, evenly spaced and symmetric around 0.

    The largest magnitude of each row (first dimension) is kept. Vectors stay; the copy computes in the model's own
    dtype, so only the rounding of the weights is imitated. UsageError unless ``bits`` is 2 to 16.
    """
    if not 2 <= bits <= 16:
        raise UsageError(f"bits must be 2 to 16, got {bits}.")
    levels = 2 ** (bits - 1) - 1

    def on_grid(weight: Tensor) -> Tensor:
        rows = weight.flatten(1)
        spacing = rows.abs().amax(1, keepdim=True) / levels
        # A row of zeros has no spacing and stays.
        steps: Tensor = torch.round(rows / spacing.clamp_min(torch.finfo(rows.dtype).tiny))
        snapped: Tensor = (steps * spacing).view_as(weight)
        return snapped

    return _changed(loaded, on_grid, f"{bits} bit", f"with matrices rounded to {bits} bit a row")


def _changed(loaded: LoadedModel, change: Callable[[Tensor], Tensor], name: str, how: str) -> LoadedModel:
    """A copy with ``change`` applied to each matrix in float32."""
    model = copy.deepcopy(loaded.model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.copy_(change(parameter.float()))
    return LoadedModel(
        model, loaded.tokenizer, find_anatomy(model), f"{loaded.name} {name}", f"{loaded.source}, {how}"
    )


def known_derivations(seeds: Sequence[int] = (0,)) -> dict[str, Derivation]:
    """Ways to derive a model that need no data: weight noise of several sizes, and rounding."""
    noise: dict[str, Derivation] = {
        f"noise {size:g}, seed {seed}": partial(noisy, eps=size, seed=seed) for size in NOISE for seed in seeds
    }
    return noise | {f"{bits}-bit weights": partial(rounded, bits=bits) for bits in BITS}
