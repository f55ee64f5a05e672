"""``armillary ocean align MODEL CHAINS``: a model tuned towards a graph on chains that it wrote."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

from armillary.cli.command import execute, print_summary
from armillary.cli.ocean.evaluate import OceanChainSettings, read_logged
from armillary.cli.options import RunOptions, read_run
from armillary.errors import UsageError
from armillary.extras import optional_version
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import at_least

MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class OceanAlignSettings(OceanChainSettings):
    """Raise the value of a model by chains that it wrote, towards a graph, and leave the adapter or the model.

    CHAINS were written by MODEL as it is, which stays the base policy. A share of the prompts is held out and valued
    before and after. A run that was killed goes on where it was. Where chains with known right answers can be made
    for each prompt, DPO on right against wrong ones is the simple rival; the documentation says what was measured.
    """

    command: ClassVar[str] = "ocean align"

    objective: Literal["kg_ips_stable", "kg_ips"] = "kg_ips_stable"
    """kg_ips is the paper's; the stable one has a baseline, clipped weights and a bound on how far the model moves."""

    learning_rate: float = 1e-4
    """For 0 of --lora-rank rather 1e-5."""

    epochs: float = 1
    max_steps: int = -1
    """Optimiser steps in place of epochs."""

    batch_size: int = 8
    accumulation: int = 1
    """Batches of one optimiser step."""

    lora_rank: int = 8
    """Rank of an adapter on all linear layers (extra adapters); 0 trains every weight."""

    beta_kl: float = 1.0
    """Weight of the divergence from the base policy (stable objective)."""

    weight_clip: float = 10.0
    """Largest ratio of the model to the base policy that still pushes (stable objective)."""

    held_out: float = 0.2
    """Share of the prompts that are kept from training."""

    save_steps: int = 20
    """Steps between checkpoints from which a killed run goes on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, batch_size=1, accumulation=1, lora_rank=0, save_steps=1)
        if not 0 < self.held_out < 1:
            raise UsageError(f"held_out must be a share between 0 and 1, got {self.held_out}.")
        if not 0 < self.learning_rate < math.inf or not 0 < self.epochs < math.inf:
            raise UsageError(
                f"learning_rate and epochs must be above 0 and finite, got {self.learning_rate} and {self.epochs}."
            )
        if not 0 <= self.beta_kl < math.inf or not 1 < self.weight_clip < math.inf:
            raise UsageError(
                "beta_kl must be 0 or more, weight_clip above 1, and both finite, got "
                f"{self.beta_kl} and {self.weight_clip}."
            )
        if self.max_steps != -1 and self.max_steps < 1:
            raise UsageError(f"max_steps must be 1 or more, or -1 for none, got {self.max_steps}.")

    def dry(self) -> Self:
        """Two steps."""
        return replace(super().dry(), max_steps=2, batch_size=2, accumulation=1, lora_rank=min(self.lora_rank, 2))

    def check(self) -> None:
        """Refuse packed weights, missing packages and a single prompt, before a model is opened."""
        from armillary.methods.ocean.chains import read_written

        if self.quantize is not None:
            raise UsageError(f"packed weights ({self.quantize}) can't be trained; leave --quantize out.")
        if self.lora_rank:
            optional_version("peft", "adapters")
        super().check()
        if len({chain.prompt for chain in read_written(self.chains, self.limit)}) < 2:
            raise UsageError(f"alignment holds out prompts and needs two at least; {self.chains} has one.")


def align(run: Run[OceanAlignSettings]) -> Outcome:
    """The aligned model in the run's folder, and how its training went."""
    from armillary.methods.ocean.aligning import AlignPlan, aligned, split_by_prompt
    from armillary.methods.ocean.report import alignment_page
    from armillary.records.sections import Finding

    settings, loaded = run.settings, run.model
    name = loaded.name
    rows, policy = read_logged(settings, loaded, run)
    train, held_out = split_by_prompt(rows, settings.held_out, settings.seed)
    plan = AlignPlan(
        objective=settings.objective, learning_rate=settings.learning_rate, epochs=settings.epochs,
        max_steps=settings.max_steps, batch_size=settings.batch_size, accumulation=settings.accumulation,
        lora_rank=settings.lora_rank, beta_kl=settings.beta_kl, weight_clip=settings.weight_clip,
        propensity_floor=settings.propensity_floor, max_length=settings.max_length, save_steps=settings.save_steps,
        seed=settings.seed,
    )  # fmt: skip
    made = aligned(run.models.pop("model"), policy, train, held_out, plan, run.parts, run.folder.path)
    page = alignment_page(made.log, made.before, made.after)
    turn = "moved" if made.gain.excludes(0) else "did not clearly move"
    finding = Finding(
        text=f"On {made.rows[1]:,} chains of prompts held out the value {turn}: {made.gain.estimate:+.4f} "
        f"[{made.gain.lower:+.4f}, {made.gain.upper:+.4f}] nats a token, chain by chain.",
        interest=0.9, section="value", basis=made.gain.how,
    )  # fmt: skip
    return Outcome(
        title=f"{name} aligned on {made.rows[0]:,} chains of {Path(settings.chains).name}",
        measures={**page.measures, "after - before": made.gain},
        findings=[finding, *page.findings],
        sections=page.sections,
    )


def has_model(out: Path, settings: OceanAlignSettings) -> bool:
    """Whether the model or adapter is still in the folder of a finished run."""
    return any((out / MODEL / name).is_file() for name in ("config.json", "adapter_config.json"))


JOBS = {"ocean align": Job(settings=OceanAlignSettings, work=align, is_complete=has_model)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    settings, options = read_run(OceanAlignSettings, arguments, RunOptions)
    record, out = execute(JOBS["ocean align"], settings, options)
    print_summary(record, out, as_json=options.json)
    if not options.json:
        print(f"\nModel: {out / MODEL}")
    return 0
