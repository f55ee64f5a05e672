"""``armillary bricks grow MODEL``: a model made larger without changing what it says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import tyro

from armillary.cli.bricks.delivery import ProductOptions, run_delivered
from armillary.cli.options import read_run
from armillary.data import capability_source, capability_texts
from armillary.errors import UsageError
from armillary.files import whole_folder
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Finding, Section, Table, interval_bars
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import OneModelSettings, at_least

if TYPE_CHECKING:
    from armillary.methods.bricks.growth.grown import Grown, Preservation
    from armillary.models import LoadedModel

OLD = ("code", "knowledge")
"""Capabilities on which is looked at what training changed elsewhere."""

TRAIN_TEXTS = 64
"""Texts that are trained on, at most."""


@dataclass(frozen=True, kw_only=True)
class GrowSettings(OneModelSettings):
    """Make a model larger without changing what it says, and train the new parts alone if wanted."""

    command: ClassVar[str] = "bricks grow"

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

    batch: int = 4
    """Texts in one step."""

    rate: float = 1e-3
    """Learning rate of it."""

    texts: int = 8
    """Held-out texts of each capability on which losses are taken."""

    tokens: int = 128
    """Tokens of a text that are read."""

    def __post_init__(self) -> None:
        ways = {"neurons": self.neurons, "layers": self.layers, "experts": self.experts}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) != 1:
            raise UsageError(f"give one of neurons, layers and experts; got {', '.join(given) or 'none'}.")
        at_least(self, neurons=1, layers=1, experts=2, steps=1, batch=1, texts=1, tokens=2)
        if self.experts is not None and not 1 <= self.top_k <= self.experts:
            raise UsageError(f"top_k must be 1 to {self.experts}, the number of experts; got {self.top_k}.")
        if not 0 < self.rate < 1:
            raise UsageError(f"rate must lie between 0 and 1, got {self.rate}.")

    def check(self) -> None:
        """Refuse a capability that is not known."""
        self.held_out()

    def dry(self) -> Self:
        """Two steps on short texts."""
        return replace(super().dry(), steps=min(self.steps, 2), tokens=16, texts=2)

    def held_out(self) -> dict[str, list[str]]:
        """Texts of the capability that is trained on, and of others."""
        names = dict.fromkeys((*(() if self.train_on is None else (self.train_on,)), *OLD))
        return {name: capability_texts(name, split="test", limit=self.texts, seed=self.seed) for name in names}


def grow_model(run: Run[GrowSettings], *, to: Path | None = None) -> Outcome:
    """The larger model, compared with the old one and trained; with ``to`` it is also written there, with
    experts as a stock Mixtral.

    Raises:
        ModelError: the larger model has no form in transformers.
    """
    from armillary.methods.bricks.growth.grown import preservation, require_reopens
    from armillary.methods.bricks.growth.upcycling import to_mixtral

    settings, loaded = run.settings, run.model
    grown, held_out = grown_model(loaded, settings), settings.held_out()
    if settings.experts is not None:
        to_mixtral(grown.loaded)  # refuses, before any training, what can't be written
    kept = preservation(loaded, grown.loaded, [texts[0] for texts in held_out.values()], max_tokens=settings.tokens)
    effects = {} if settings.train_on is None else trained_effects(loaded, grown, settings, held_out)
    if to is not None:
        saved = grown.loaded if settings.experts is None else to_mixtral(grown.loaded)
        with whole_folder(to) as folder:
            saved.model.save_pretrained(folder)
            saved.tokenizer.save_pretrained(folder)
            require_reopens(saved, grown.how, folder)
    section = growth_section(settings, grown, kept, effects, loaded.name)
    return Outcome(
        title=f"{loaded.name} grown by {grown.how}",
        sections=[section],
        findings=[Finding(text=section.summary, interest=0.5, section="growth")],
        measures={f"change of the loss after training/{name}": value for name, value in effects.items()},
        data=[capability_source(name) for name in held_out],
    )


def grown_model(loaded: "LoadedModel", settings: GrowSettings) -> "Grown":
    """A larger copy of the model."""
    from armillary.methods.bricks.growth.growing import grow_layers, grow_neurons
    from armillary.methods.bricks.growth.upcycling import upcycle

    if settings.neurons is not None:
        return grow_neurons(loaded, settings.neurons, seed=settings.seed)
    if settings.layers is not None:
        return grow_layers(loaded, settings.layers)
    assert settings.experts is not None
    return upcycle(loaded, settings.experts, top_k=settings.top_k, seed=settings.seed)


def trained_effects(
    loaded: "LoadedModel", grown: "Grown", settings: GrowSettings, held_out: Mapping[str, list[str]]
) -> dict[str, Interval]:
    """Change of the loss on each capability once the new parts are trained; old numbers keep their bits."""
    from armillary.methods.bricks.growth.partial_training import train_on_texts, train_only_new
    from armillary.methods.bricks.losses import effect, text_losses

    assert settings.train_on is not None
    train_texts = capability_texts(settings.train_on, split="score", limit=TRAIN_TEXTS, seed=settings.seed)
    before = text_losses(loaded, held_out, max_tokens=settings.tokens)
    with train_only_new(grown) as new:
        train_on_texts(
            grown.loaded, new, train_texts, steps=settings.steps, batch=settings.batch, rate=settings.rate,
            max_tokens=settings.tokens, seed=settings.seed,
        )  # fmt: skip
    after = text_losses(grown.loaded, held_out, max_tokens=settings.tokens)
    return {name: effect(before, after, name, seed=settings.seed).delta_nll for name in held_out}


def growth_section(
    settings: GrowSettings, grown: "Grown", kept: "Preservation", effects: Mapping[str, Interval], model: str
) -> Section:
    """What was added and what training changed; the summary is the finding."""
    summary = (
        f"{model} grown by {grown.how} ({grown.added:,} numbers more) gives the same logits up to "
        f"{max(kept.prefill, kept.decode):.2g}, over all {kept.tokens} tokens of {kept.texts} texts."
    )
    if effects:
        changes = ", ".join(
            f"{name} {value.estimate:+.3f} [{value.lower:.3f}, {value.upper:.3f}]" for name, value in effects.items()
        )
        summary += (
            f" After {settings.steps} steps on {settings.train_on}, of the new parts alone, the loss changes by: "
            f"{changes}."
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
    return Section(
        id="growth",
        title="The larger model",
        summary=summary,
        meaning="What is added writes nothing at first (or, of experts, the same as before), so the larger model says "
        "what the old one says. Training then moves new numbers only; that every old one kept its bits is checked.",
        caution="Equal bits of old numbers do not mean equal answers on old text: where new parts see it they take "
        "part in it, which the losses on other capabilities show. A small training set teaches a small model little.",
        figures=[interval_bars(bars, effects, "nats per token (below 0 is better)")] if effects else [],
        tables=[Table(title="What was added", columns=["what", "value"], rows=facts, note=note)],
    )


JOBS = {"bricks grow": Job(settings=GrowSettings, work=grow_model)}


def run(arguments: Sequence[str]) -> int:
    """The action."""
    settings, options = read_run(GrowSettings, arguments, ProductOptions)
    if options.to is None:
        raise UsageError("give --to, the name of a new folder for the larger model.")
    writing = partial(grow_model, to=options.to)
    return run_delivered(JOBS["bricks grow"], settings, options, to=options.to, writing=writing)
