"""Is one model derived from another? Judged by calibration: against known derivations and against unrelated models.

The paper names the detection of copies as a use of Model-diff; features and decision are ours. Legend: N samples.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from armillary.errors import NumericError, UsageError
from armillary.methods.modeldiff.comparison import Arrays, Store, as_draws, pilot_window
from armillary.methods.modeldiff.config import Bounds, CompareConfig, InputSpace
from armillary.methods.modeldiff.core import Direction
from armillary.methods.modeldiff.curves import Bins, Spread, Table, spread
from armillary.methods.modeldiff.source import Draws, Floats, ModelSource, same_vocabulary
from armillary.models import LoadedModel, find_anatomy
from armillary.numerics.intervals import Interval
from armillary.progress import counted

# Copies of a model whose descent is known: with noise, rounded, or trained a little further.
#
# They calibrate what Model-diff says of two models whose descent is not known. The given model is left as it was.
#
# Legend: R rows, T tokens of a row.

Schedule = Literal["constant", "cosine"]
LARGEST_GRADIENT = 1.0
"""Norm to which a longer gradient is cut."""


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
        kept: Tensor = (steps * spacing).view_as(weight)
        return kept

    return _changed(loaded, on_grid, f"{bits} bit", f"with matrices rounded to {bits} bit a row")


def finetuned(
    loaded: LoadedModel,
    rows_RT: Int[Tensor, "r t"],
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    batch_size: int = 16,
) -> LoadedModel:
    """A copy trained on by AdamW at a constant rate on rows of token ids (prefix included), all parameters.

    Raises UsageError like ``fit``, NumericError where the loss stops being finite.
    """
    model = copy.deepcopy(loaded.model)
    fit(model, rows_RT, steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    source = f"{loaded.source}, fine-tuned for {steps} steps, seed {seed}"
    return LoadedModel(model, loaded.tokenizer, find_anatomy(model), f"{loaded.name} fine-tuned", source)


def fit(
    model: PreTrainedModel,
    rows_RT: Int[Tensor, "r t"],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    schedule: Schedule = "constant",
    label: str = "Training",
) -> list[float]:
    """Train a model in place by AdamW on next-token loss; the loss (nats per token) of each step.

    Rows are shuffled anew each time all were seen; the seed governs that and dropout, and the global generator is
    left as it was. ``"cosine"`` warms up over the first twentieth of the steps and then falls to 0. The model ends
    in eval mode. UsageError for fewer rows than a batch, rows of one token, or ``steps`` below 1.
    """
    rows, width = rows_RT.shape
    if not (1 <= batch_size <= rows and width >= 2 and steps >= 1):
        raise UsageError(
            f"training needs 1 step or more, rows of 2 tokens or more, and at least as many rows as a batch; got "
            f"{steps} steps, rows of {width} tokens, {rows} rows and batches of {batch_size}."
        )
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps, schedule))
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.long)
    losses: list[float] = []
    device = next(model.parameters()).device
    with torch.random.fork_rng(), torch.enable_grad(), counted(label, steps) as bar:
        torch.manual_seed(seed)
        model.train()
        for step in range(steps):
            if len(order) < batch_size:
                order = torch.randperm(rows, generator=generator)
            batch_BT, order = rows_RT[order[:batch_size]].to(device), order[batch_size:]
            loss = model(input_ids=batch_BT, labels=batch_BT, use_cache=False).loss
            losses.append(float(loss.detach()))
            if not losses[-1] < float("inf"):
                raise NumericError(f"The training loss was {losses[-1]} at step {step + 1}; lower the learning rate.")
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
            optimiser.step()
            rate.step()
            bar.advance()
    model.eval()
    return losses


def _rate(step: int, steps: int, schedule: Schedule) -> float:
    """Share of the full learning rate at a step counted from 0."""
    if schedule == "constant":
        return 1.0
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + torch.cos(torch.tensor(torch.pi * (step - warm) / max(1, steps - warm))).item())


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


Kind = Literal["candidate", "derivation", "unrelated"]
Verdict = Literal["derived", "not derived", "undecided"]
Maker = Callable[[LoadedModel], LoadedModel]

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
        return [one.spread.deviation.estimate for one in self.relatives if one.kind == kind]

    def percentile(self, kind: Kind) -> Interval | None:
        """Share of that kind whose spread is at most the candidate's; the interval follows the candidate's own.

        None where there is none of that kind.
        """
        others = np.array(self.deviations(kind))
        if not len(others):
            return None
        own = self.candidate.spread.deviation
        low, middle, high = (float((others <= end).mean()) for end in (own.lower, own.estimate, own.upper))
        how = f"among {len(others)} models; ends from the interval of the candidate's spread"
        return Interval(estimate=middle, low=low, high=high, n=len(others), level=own.level, how=how)

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
        said = (
            f"{self.candidate.name}: {self.verdict}. The difference spreads by {own.estimate:.3f} nats per token "
            f"[{own.lower:.3f}, {own.upper:.3f}]"
        )
        if derived:
            said += f"; {len(derived)} known derivations lie between {min(derived):.3f} and {max(derived):.3f}"
        if unrelated:
            said += f", {len(unrelated)} unrelated models between {min(unrelated):.3f} and {max(unrelated):.3f}"
        return said + "."


def known_derivations(seeds: Sequence[int] = (0,)) -> dict[str, Maker]:
    """Ways to derive a model that need no data: weight noise of several sizes, and rounding."""
    made: dict[str, Maker] = {}
    for size in NOISE:
        for seed in seeds:
            made[f"noise {size:g}, seed {seed}"] = partial(noisy, eps=size, seed=seed)
    for bits in BITS:
        made[f"{bits}-bit weights"] = partial(rounded, bits=bits)
    return made


def lineage(
    a: LoadedModel,
    b: LoadedModel,
    space: InputSpace | None = None,
    config: CompareConfig | None = None,
    *,
    derivations: Mapping[str, Maker] | None = None,
    unrelated: Mapping[str, LoadedModel] | None = None,
    reference: LoadedModel | None = None,
    store: Store | None = None,
) -> Lineage:
    """How near ``b`` is to ``a``, beside known derivations of ``a`` (made here) and unrelated models (given).

    Samples are drawn from ``a`` once and scored by each model; A's window holds for all. ``reference`` is a third
    model whose NLL is taken off both before they are correlated. All models need one vocabulary (UsageError).
    """
    space, config = space or InputSpace(), config or CompareConfig(n_samples=512, weighting="profile")
    if config.temperatures != (1.0,):
        raise UsageError(f"lineage draws at temperature 1 alone; got {config.temperatures}.")
    store = store or (lambda _, compute: compute())
    others = {**(unrelated or {}), "candidate": b, **({"reference": reference} if reference else {})}
    for other in others.values():
        same_vocabulary(a, other)
    rows = min(one.anatomy.vocabulary_size for one in (a, *others.values()))
    own = ModelSource.of(a, space, config, rows)
    bounds = space.bounds()
    window = bounds["a"] if bounds else pilot_window(own, space, config, 2 * config.seed, store)
    drawn = store("samples", lambda: _drawn(own, config))

    pool = _Pool(space=space, config=config, rows=rows, window=window, drawn=drawn, store=store)
    third_N = None if reference is None else pool.scored("reference", lambda: reference)
    makers = known_derivations() if derivations is None else derivations
    with counted(f"Relatives of {a.name}", 1 + len(makers) + len(unrelated or {})) as bar:
        found = [pool.relative(b.name, "candidate", lambda: b, third_N)]
        bar.advance()
        for name, maker in makers.items():
            found.append(pool.relative(name, "derivation", partial(maker, a), third_N))
            bar.advance()
        for name, model in (unrelated or {}).items():
            found.append(pool.relative(name, "unrelated", partial(_itself, model), third_N))
            bar.advance()
    return Lineage(relatives=tuple(found))


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """The first model's samples, which every relative scores."""

    space: InputSpace
    config: CompareConfig
    rows: int
    window: Bounds
    drawn: Arrays
    store: Store

    def scored(self, name: str, model: Callable[[], LoadedModel]) -> Floats:
        """NLL (nats) of each sample under a model that is made only where the scores are not kept."""
        kept = self.store(f"scored {name}", lambda: _score(model(), self.space, self.config, self.rows, self.drawn))
        return cast(Floats, kept["nll"])

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
        table = Table(direction=direction, bins=bins, replicates=self.config.replicates, seed=seed)
        return Relative(name=name, kind=kind, spread=spread(table, self.config.level, third_N))


def _itself(model: LoadedModel) -> LoadedModel:
    return model


def _drawn(own: ModelSource, config: CompareConfig) -> Arrays:
    draws = as_draws(own.sample(config.n_samples, seed=2 * config.seed + 1), own.length)
    return {"ids": draws.ids_NL, "log_q": draws.log_q_KN, "own": cast(Floats, draws.nll_N)}


def _score(model: LoadedModel, space: InputSpace, config: CompareConfig, rows: int, drawn: Arrays) -> Arrays:
    return {"nll": ModelSource.of(model, space, config, rows).score(drawn["ids"])}
