"""Do two models share an origin? Their weights decide; predictions are set beside those of known derivations.

The paper names the detection of copies as a use of Model-diff; features and decision are ours. Legend: N samples.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor

from armillary.errors import ModelError, UsageError
from armillary.methods.modeldiff.config import CompareConfig, InputSpace
from armillary.methods.modeldiff.core import Direction, Draws, Floats
from armillary.methods.modeldiff.curves import Bins, CountTable, Spread, spread
from armillary.methods.modeldiff.source import DifferentVocabularies, sources_of
from armillary.methods.modeldiff.weights import WeightComparison, compare_weights
from armillary.methods.modeldiff.window import as_draws, drawn_pilot
from armillary.models import LoadedModel, find_anatomy
from armillary.progress import track
from armillary.runs.parts import Arrays, Store, kept
from armillary.scoring.kv_cache import require_cache

Kind = Literal["candidate", "derivation", "unrelated"]
Verdict = Literal["identical", "derived", "no evidence of descent", "undecided"]

Derivation = Callable[[LoadedModel], LoadedModel]
"""A way to make a copy of a model that differs from it."""

NOISE = (0.003, 0.01, 0.03, 0.1)
"""Sizes of weight noise, relative to the root mean square of each matrix."""

SAME = 1e-4
"""Nats per token up to which a difference is rounding of float32 logits (measured: some 2e-6)."""

WORKS = 0.5
"""Share of A's plausible inputs that a derivation must find plausible too; else it is destroyed, and no measure."""

BITS = (8, 4)
"""Bits to which weights are rounded."""


@dataclass(frozen=True, kw_only=True)
class Relative:
    """One model compared with the first over the first's plausible inputs."""

    name: str
    kind: Kind
    spread: Spread

    @property
    def is_same(self) -> bool:
        """Whether it predicts what the first does, up to rounding."""
        ends = (self.spread.mean.lower, self.spread.mean.upper, self.spread.deviation.upper)
        return self.spread.impossible is None and max(map(abs, ends)) <= SAME

    @property
    def destroyed(self) -> bool:
        """Whether it is a derivation that no longer writes as the first does: how far off it is says nothing."""
        return self.kind == "derivation" and self.spread.overlap.estimate < WORKS


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What the weights of two models have in common, and how their predictions differ beside those of relatives."""

    relatives: tuple[Relative, ...]
    """The candidate first; empty where the predictions could not be compared."""

    weights: WeightComparison | None = None
    """None where they were not looked at."""

    one_model: bool = False
    """Whether both have one ``identity``: the same file twice, whether it can be sampled or not."""

    notes: tuple[str, ...] = ()
    """What was left out, a sentence each."""

    @property
    def candidate(self) -> Relative:
        """The model in question."""
        return self.relatives[0]

    def deviations(self, kind: Kind) -> list[float]:
        """Spread of the difference (nats per token) of every relative of a kind; of copies that still work."""
        relatives = [relative for relative in self.relatives if relative.kind == kind and not relative.destroyed]
        return [relative.spread.deviation.estimate for relative in relatives]

    @property
    def verdict(self) -> Verdict:
        """Identical: one model, or the predictions are the same up to rounding. Then the weights decide: derived where
        half of the matrices or more are related beyond chance, undecided where fewer are, no evidence of descent where
        none is.

        Where no weights could be laid over each other the spread of the difference is left, which orders kin wrongly
        too often to accuse: no evidence of descent where the candidate lies further off than every known derivation
        and no nearer than an unrelated model (ends of intervals are compared), else undecided.
        """
        if self.one_model or (self.relatives and self.candidate.is_same):
            return "identical"
        if self.weights is not None and self.weights.matrices:
            related, all_of_them = len(self.weights.related), len(self.weights.matrices)
            if 2 * related >= all_of_them:
                return "derived"
            return "undecided" if related else "no evidence of descent"
        derived, unrelated = self.deviations("derivation"), self.deviations("unrelated")
        if not (self.relatives and derived and unrelated):
            return "undecided"
        own = self.candidate.spread.deviation
        far = own.lower > max(derived) and own.upper >= min(unrelated)
        return "no evidence of descent" if far else "undecided"

    def sentence(self) -> str:
        """In words."""
        parts = [VERDICTS[self.verdict]]
        if self.weights is not None:
            parts += [f"{self.weights.sentence()}.", *self.weights.notes]
        if self.relatives:
            own = self.candidate.spread.deviation
            spread = f"The difference spreads by {own.estimate:.3f} nats per token [{own.lower:.3f}, {own.upper:.3f}]"
            spread += self.candidate.spread.warning
            for kind, named in (("derivation", "known derivations"), ("unrelated", "unrelated models")):
                if others := self.deviations(cast(Kind, kind)):
                    spread += f"; {len(others)} {named} lie between {min(others):.3f} and {max(others):.3f}"
            parts.append(spread + ".")
        return " ".join([*parts, *self.notes])


VERDICTS: dict[Verdict, str] = {
    "identical": "Identical: the two models predict the same up to rounding.",
    "derived": "Derived: one of the two models comes from the other, or both from a third.",
    "no evidence of descent": "No evidence of descent.",
    "undecided": "Undecided.",
}


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
    weights: bool = True,
) -> Lineage:
    """Whether ``a`` and ``b`` share an origin: by their weights, and how their predictions differ.

    Samples are drawn from ``a`` once and scored by ``b``, by known derivations of ``a`` (made here) and by unrelated
    models (given); A's window holds for all. ``reference`` is a third model whose NLL is taken off both before they
    are correlated. ``weights=False`` leaves the weights out. UsageError where an unrelated model has another
    vocabulary; where ``b`` has one, its weights are looked at alone.
    """
    space, config = space or InputSpace(), config or CompareConfig(samples=512, weighting="profile")
    if config.temperatures != (1.0,):
        raise UsageError(f"lineage draws at temperature 1 alone; got {config.temperatures}.")
    compared_weights = compare_weights(a, b, seed=config.seed) if weights else None
    others = {"candidate": b, **(unrelated or {}), **({"reference": reference} if reference else {})}
    try:
        sources_of([a, b], space, config)
        require_cache(a, "sampling")
    except (DifferentVocabularies, ModelError) as error:
        if not weights:
            raise
        note = f"Predictions were not compared: {error}"
        return Lineage(relatives=(), weights=compared_weights, one_model=a.identity == b.identity, notes=(note,))
    try:
        sources, notes = sources_of([a, *others.values()], space, config)
    except DifferentVocabularies as error:
        raise UsageError(f"{str(error)[:-1]}; models set beside A and B need their vocabulary.") from error
    own = sources[0]
    by_model = {id(source.loaded): source for source in sources}
    bounds = space.bounds()
    seed = 2 * config.seed
    pilot = None if bounds else drawn_pilot({"a": own}, space, config, {"a": seed}, store)
    window = bounds["a"] if pilot is None else pilot.windows[0]
    # One window for both: the question is what the others make of A's inputs.
    windows_R22 = None if pilot is None else pilot.resampled(config.replicates, [seed])[:, [0, 0]]

    def draw() -> Arrays:
        draws = as_draws(own.sample(config.samples, seed=seed + 1), own.length)
        return {"ids": draws.ids_NL, "log_q": draws.log_q_KN, "own": cast(Floats, draws.nll_N)}

    drawn = kept(store, "samples", draw)

    def scored(name: str, derive: Derivation, origin: LoadedModel) -> Floats:
        """NLL (nats) of each sample under a model that is made only where the scores are not kept."""

        def score() -> Arrays:
            return {"nll": replace(by_model[id(origin)], loaded=derive(origin)).score(drawn["ids"])}

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
        table = CountTable(
            direction=direction, bins=bins, replicates=config.replicates, seed=seed, windows_R22=windows_R22
        )
        relatives.append(Relative(name=name, kind=kind, spread=spread(table, config.level, third_N)))
    return Lineage(relatives=tuple(relatives), weights=compared_weights, notes=notes)


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
