"""``armillary ultragen train MODEL DATA``: a model tuned to satisfy tens of attributes at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import tyro

from armillary.cli.command import execute, print_summary
from armillary.cli.options import RunOptions, read_run
from armillary.errors import UsageError
from armillary.extras import optional_version
from armillary.methods.ultragen.config import PairConfig, PreferenceConfig, ReconstructionConfig, SamplingConfig
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import OneModelSettings

DataFolder = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]

AR, SETS, PAIRS, MODEL = "ar.jsonl", "sets.jsonl", "pairs.jsonl", "model"


@dataclass(frozen=True, kw_only=True)
class UltragenTrainSettings(OneModelSettings):
    """Tune a model to reconstruct texts from their attributes, then to prefer its better responses to new sets.

    DATA is a folder that `armillary ultragen build` left. Both stages run on TRL's trainers (extra trl). The tuned
    model stands in the run's folder under model, as transformers has it; a run that was killed goes on where it was.
    """

    command: ClassVar[str] = "ultragen train"

    data: DataFolder
    """Folder with ar.jsonl and sets.jsonl (and pairs.jsonl)."""

    stages: Literal["both", "reconstruction", "preferences"] = "both"
    """preferences alone takes the pairs of DATA, where it has some."""

    lora_rank: int = 16
    """Rank of an adapter on all linear layers, which is merged; 0 trains every weight."""

    ar_learning_rate: float = 2e-4
    """Of reconstruction; for 0 of --lora-rank rather 1e-5."""

    ar_epochs: float = 3
    ar_steps: int = -1
    """Optimiser steps of reconstruction in place of epochs."""

    gpo_learning_rate: float = 5e-5
    """Of preferences; for 0 of --lora-rank rather 3e-6."""

    gpo_epochs: float = 1
    gpo_steps: int = -1
    """Optimiser steps of preferences in place of epochs."""

    beta: float = 0.1
    """How much a change of likelihood counts as preference."""

    sft_weight: float = 0.0
    """Weight of the chosen responses' own likelihood beside the preference."""

    batch_size: int = 1
    accumulation: int = 8
    """Batches of one optimiser step."""

    max_tokens: int = 1024
    """Tokens of prompt and text; longer rows are left out."""

    gradient_checkpointing: bool = False
    """Less memory, about a fifth slower."""

    k: int = 4
    """Responses to each set, of which the best and the worst make a pair."""

    margin: float = 0.1
    """Least difference of their satisfied shares."""

    max_new_tokens: int = 512
    temperature: float = 0.9
    top_p: float = 0.95

    def __post_init__(self) -> None:
        if self.lora_rank < 0:
            raise UsageError(f"lora_rank must be 1 or more, or 0 for none, got {self.lora_rank}.")
        self.reconstruction()
        self.preferences()
        self.pairing()
        self.sampling()

    def reconstruction(self) -> ReconstructionConfig:
        """Stage 1. UsageError for a setting out of range, as the three below."""
        return ReconstructionConfig(
            learning_rate=self.ar_learning_rate, epochs=self.ar_epochs, max_steps=self.ar_steps,
            batch_size=self.batch_size, accumulation=self.accumulation, max_tokens=self.max_tokens,
            lora_rank=self.lora_rank or None, gradient_checkpointing=self.gradient_checkpointing, seed=self.seed,
        )  # fmt: skip

    def preferences(self) -> PreferenceConfig:
        """Stage 2."""
        return PreferenceConfig(
            learning_rate=self.gpo_learning_rate, epochs=self.gpo_epochs, max_steps=self.gpo_steps,
            batch_size=self.batch_size, accumulation=self.accumulation, max_tokens=self.max_tokens,
            lora_rank=self.lora_rank or None, gradient_checkpointing=self.gradient_checkpointing, seed=self.seed,
            beta=self.beta, sft_weight=self.sft_weight,
        )  # fmt: skip

    def pairing(self) -> PairConfig:
        """How pairs are chosen."""
        return PairConfig(k=self.k, margin=self.margin)

    def sampling(self) -> SamplingConfig:
        """How responses are drawn."""
        return SamplingConfig(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)

    def files(self) -> dict[str, str]:
        """The rows and sets that the stages read."""
        folder = Path(self.data)
        names = {"both": (AR, SETS), "reconstruction": (AR,), "preferences": (SETS, PAIRS)}[self.stages]
        return {name: str(folder / name) for name in names if (folder / name).is_file()}

    def names(self) -> tuple[str, ...]:
        """Data and model."""
        return Path(self.data).name, self.model

    def dry(self) -> Self:
        """One step of each stage on a tiny model."""
        return replace(
            super().dry(), ar_steps=1, gpo_steps=1, accumulation=1, k=6, margin=0.0, max_new_tokens=16, lora_rank=2,
            max_tokens=512,
        )  # fmt: skip

    def check(self) -> None:
        """Refuse a folder without data, and missing packages, before a model is opened."""
        if self.quantize is not None:
            raise UsageError(f"packed weights ({self.quantize}) can't be trained; leave --quantize out.")
        optional_version("trl", "trl")
        if self.lora_rank:
            optional_version("peft", "adapters")
        needed = AR if self.stages != "preferences" else SETS
        other = self.stages == "preferences" and (Path(self.data) / PAIRS).is_file()
        if not (Path(self.data) / needed).is_file() and not other:
            raise UsageError(f"{self.data} holds no {needed}; give a folder that `armillary ultragen build` left.")


def train(run: Run[UltragenTrainSettings]) -> Outcome:
    """The tuned model in the run's folder, and how its training went."""
    from armillary.methods.ultragen.building import PairPlan
    from armillary.methods.ultragen.tuning import TuningPlan, tuned

    settings = run.settings
    plan = TuningPlan(
        data=settings.data,
        stages=settings.stages,
        reconstruction=settings.reconstruction(),
        preferences=settings.preferences(),
        pairs=PairPlan(
            config=settings.pairing(),
            sampling=settings.sampling(),
            chat=True,  # only how pairs are kept between stages
            seed=settings.seed,
        ),
        dtype=settings.dtype,
    )
    name = run.model.name
    page = tuned(plan, run.models.pop("model"), run.parts, run.folder.path)
    return Outcome(
        title=f"{name} tuned on {Path(settings.data).name}",
        measures=page.measures,
        findings=page.findings,
        sections=page.sections,
    )


def has_model(out: Path, settings: UltragenTrainSettings) -> bool:
    """Whether the tuned model is still in the folder of a finished run."""
    return (out / MODEL / "config.json").is_file()


JOBS = {"ultragen train": Job(settings=UltragenTrainSettings, work=train, is_complete=has_model)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    settings, options = read_run(UltragenTrainSettings, arguments, RunOptions)
    record, out = execute(JOBS["ultragen train"], settings, options)
    print_summary(record, out, as_json=options.json)
    if not options.json:
        held_out = Path(settings.data) / "test.jsonl"
        print(f"\nModel: {out / MODEL}\nNext: armillary ultragen evaluate {out / MODEL} {held_out}")
    return 0
