"""A model made larger without changing what it says, as a run of its own: what ``armillary bricks grow`` leaves."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from armillary.cli.bricks.delivery import Delivery, Outcome, run_on_model
from armillary.cli.bricks.options import ModelOptions
from armillary.cli.bricks.partition import capability_sources
from armillary.data import capability_texts
from armillary.errors import UsageError
from armillary.numerics.intervals import Interval
from armillary.records.record import RunRecord
from armillary.records.sections import Cell, Finding, Section, Table, interval_bars
from armillary.runs.folder import RunFolder

if TYPE_CHECKING:
    from armillary.methods.bricks.growth.grown import Grown, Preservation
    from armillary.models import LoadedModel

OLD = ("code", "knowledge")
"""Capabilities on which is looked at what training changed elsewhere."""

LESSON = 64
"""Texts that are trained on, at most."""


@dataclass(frozen=True, kw_only=True)
class GrowConfig:
    """What is added, and whether it is trained."""

    model: str
    neurons: int | None = None
    layers: int | None = None
    experts: int | None = None
    top_k: int = 2
    """Experts that run at a token, of ``experts``."""

    train_on: str | None = None
    """Capability whose texts the new parts alone are trained on."""

    steps: int = 32
    batch: int = 4
    rate: float = 1e-3
    texts: int = 8
    """Held-out texts of each capability on which losses are taken."""

    tokens: int = 128
    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        ways = {"neurons": self.neurons, "layers": self.layers, "experts": self.experts}
        given = {name: value for name, value in ways.items() if value is not None}
        if len(given) != 1:
            raise UsageError(f"give one of neurons, layers and experts; got {', '.join(given) or 'none'}.")
        least = 2 if self.experts is not None else 1
        ((name, value),) = given.items()
        if value < least:
            raise UsageError(f"{name} must be {least} or more, got {value}.")
        if self.experts is not None and not 1 <= self.top_k <= self.experts:
            raise UsageError(f"top_k must be 1 to {self.experts}, the number of experts; got {self.top_k}.")
        for field, number in {"steps": 1, "batch": 1, "texts": 1, "tokens": 2}.items():
            if getattr(self, field) < number:
                raise UsageError(f"{field} must be {number} or more, got {getattr(self, field)}.")
        if not 0 < self.rate < 1:
            raise UsageError(f"rate must lie between 0 and 1, got {self.rate}.")


def run_grow(config: GrowConfig, out: Path, *, fresh: bool = False, delivery: Delivery | None = None) -> RunRecord:
    """The record of a growth step, also left in ``out`` with its report; the delivery's folder gets the larger model.

    Raises ``ArmillaryError``; ModelError where the larger model has no form in transformers.
    """
    names = tuple(dict.fromkeys((*(() if config.train_on is None else (config.train_on,)), *OLD)))
    # Read first: an unknown capability should be told before a model is opened.
    asked = {name: capability_texts(name, split="test", limit=config.texts, seed=config.seed) for name in names}

    def work(loaded: "LoadedModel", folder: RunFolder) -> Outcome:
        from armillary.methods.bricks.growth.grown import preservation

        grown = _grown(loaded, config)
        _storable(grown, config)
        kept = preservation(loaded, grown.loaded, [texts[0] for texts in asked.values()], max_tokens=config.tokens)
        effects = {} if config.train_on is None else _trained(loaded, grown, config, asked)
        section, finding = _told(config, grown, kept, effects, loaded.name)
        return Outcome(
            title=f"{loaded.name} grown by {grown.how}",
            sections=[section],
            findings=[finding],
            measures={f"change of the loss after training/{name}": one for name, one in effects.items()},
            data=capability_sources(names),
            save=partial(save_grown, grown, config),
        )

    return run_on_model("grow", config, out, work, fresh=fresh, delivery=delivery)


def _grown(loaded: "LoadedModel", config: GrowConfig) -> "Grown":
    if config.neurons is not None:
        from armillary.methods.bricks.growth.growing import grow_neurons

        return grow_neurons(loaded, config.neurons, seed=config.seed)
    if config.layers is not None:
        from armillary.methods.bricks.growth.growing import grow_layers

        return grow_layers(loaded, config.layers)
    from armillary.methods.bricks.growth.upcycling import upcycle

    assert config.experts is not None
    return upcycle(loaded, config.experts, top_k=config.top_k, seed=config.seed)


def _storable(grown: "Grown", config: GrowConfig) -> None:
    """ModelError before any training where experts can't leave as a Mixtral."""
    if config.experts is not None:
        from armillary.methods.bricks.growth.upcycling import to_mixtral

        to_mixtral(grown.loaded)


def save_grown(grown: "Grown", config: GrowConfig, to: Path) -> None:
    """A new folder that transformers opens, whole or not there; experts leave as a stock Mixtral."""
    from armillary.files import whole_folder
    from armillary.methods.bricks.growth.upcycling import to_mixtral

    made = grown.loaded if config.experts is None else to_mixtral(grown.loaded)
    with whole_folder(to) as folder:
        made.model.save_pretrained(folder)
        made.tokenizer.save_pretrained(folder)


def _trained(
    loaded: "LoadedModel", grown: "Grown", config: GrowConfig, asked: dict[str, list[str]]
) -> dict[str, Interval]:
    """Change of the loss on each capability once the new parts are trained; old numbers keep their bits."""
    from armillary.methods.bricks.growth.partial_training import train_on_texts, train_only_new
    from armillary.methods.bricks.losses import effect, text_losses

    assert config.train_on is not None
    lesson = capability_texts(config.train_on, split="score", limit=LESSON, seed=config.seed)
    before = text_losses(loaded, asked, max_tokens=config.tokens)
    with train_only_new(grown) as new:
        train_on_texts(
            grown.loaded, new, lesson, steps=config.steps, batch=config.batch, rate=config.rate,
            max_tokens=config.tokens, seed=config.seed,
        )  # fmt: skip
    after = text_losses(grown.loaded, asked, max_tokens=config.tokens)
    return {name: effect(before, after, name, seed=config.seed).delta_nll for name in asked}


def _told(
    config: GrowConfig, grown: "Grown", kept: "Preservation", effects: dict[str, Interval], model: str
) -> tuple[Section, Finding]:
    told = (
        f"{model} grown by {grown.how} ({grown.added:,} numbers more) gives the same logits up to "
        f"{max(kept.prefill, kept.decode):.2g}, over all {kept.tokens} tokens of {kept.texts} texts."
    )
    if config.train_on is not None:
        parts = ", ".join(
            f"{name} {one.estimate:+.3f} [{one.lower:.3f}, {one.upper:.3f}]" for name, one in effects.items()
        )
        told += (
            f" After {config.steps} steps on {config.train_on}, of the new parts alone, the loss changes by: {parts}."
        )
    facts: list[list[Cell]] = [
        ["largest difference of a logit, read at once", kept.prefill],
        ["largest difference of a logit, token by token with a cache", kept.decode],
        ["numbers added", grown.added],
        ["new neurons", grown.neurons.size],
        ["parameters that are new as a whole", len(grown.parameters)],
    ]
    note = "Differences are maxima over all positions and the whole vocabulary, before any training: no estimates."
    bars = "Change of the loss after training the new parts"
    section = Section(
        id="growth",
        title="The larger model",
        summary=told,
        meaning="What is added writes nothing at first (or, of experts, the same as before), so the larger model says "
        "what the old one says. Training then moves new numbers only; that every old one kept its bits is checked.",
        caution="Equal bits of old numbers do not mean equal answers on old text: where new parts see it they take "
        "part in it, which the losses on other capabilities show. A small training set teaches a small model little.",
        figures=[interval_bars(bars, effects, "nats per token (below 0 is better)")] if effects else [],
        tables=[Table(title="What was added", columns=["what", "value"], rows=facts, note=note)],
    )
    return section, Finding(text=told, interest=0.5, section="growth")


@dataclass(frozen=True, kw_only=True)
class GrowOptions(ModelOptions):
    """Make a model larger without changing what it says, and train the new parts alone if wanted."""

    to: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """New folder for the larger model (experts leave as a stock Mixtral)."""

    neurons: int | None = None
    """New neurons in each feed-forward block."""

    layers: int | None = None
    """New layers, spread over the depth."""

    experts: int | None = None
    """Copies of each feed-forward block, with a router."""

    top_k: int = 2
    """Experts that run at a token, of --experts."""

    train_on: Annotated[str | None, tyro.conf.arg(metavar="CAPABILITY")] = None
    """Train the new parts alone on texts of this capability."""

    steps: int = 32
    """Steps of that training."""

    rate: float = 1e-3
    """Learning rate of it."""
