"""``armillary modeldiff lineage A B``: whether two models share an origin, by their weights and their predictions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import tyro

from armillary.cli.command import run_job
from armillary.methods.modeldiff.config import CompareConfig, InputSpace
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import DRY_BEFORE, DRY_MODEL, ModelSettings


@dataclass(frozen=True, kw_only=True)
class LineageSettings(ModelSettings):
    """Do models A and B share an origin? Their weights decide, where they can be laid over each other.

    The verdict is identical, derived, no evidence of descent or undecided; which of the two came first the weights do
    not tell. How the predictions differ is shown beside, among known derivations of A and unrelated models if given.
    """

    command: ClassVar[str] = "modeldiff lineage"

    model_a: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """The supposed origin, which draws the inputs: packaged name, folder, .gguf file or hub id."""

    model_b: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """The supposed copy, in the same forms; another vocabulary leaves its weights alone to be compared."""

    calibrate: bool = False
    """Make known derivations of A (weight noise, rounded weights) to hold the predictions against."""

    unrelated: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL")] = ()
    """Models of the same vocabulary that are known not to come from A."""

    length: int = 16
    """Tokens of a sequence."""

    samples: int = 512
    """Sequences drawn from A."""

    def __post_init__(self) -> None:
        # Both check their fields, so that a wrong setting is reported before a model is opened.
        self.space()
        self.compare()

    def models(self) -> dict[str, str]:
        """A, B, and the unrelated ones, numbered from 1."""
        strangers = {f"unrelated {number}": name for number, name in enumerate(self.unrelated, 1)}
        return {"a": self.model_a, "b": self.model_b, **strangers}

    def names(self) -> tuple[str, ...]:
        """A against B."""
        return self.model_a, "vs", self.model_b

    def dry(self) -> Self:
        """Two tiny random models and no others."""
        return replace(
            self,
            model_a=DRY_MODEL,
            model_b=DRY_BEFORE,
            unrelated=(),
            length=min(self.length, 8),
            samples=min(self.samples, 200),
        )

    def space(self) -> InputSpace:
        """The inputs on which the models are compared."""
        return InputSpace(length=self.length)

    def compare(self) -> CompareConfig:
        """How much is drawn."""
        return CompareConfig(samples=self.samples, weighting="profile", seed=self.seed)


def trace_lineage(run: Run[LineageSettings]) -> Outcome:
    """What the weights of A and B have in common, and how near their predictions are."""
    from armillary.methods.modeldiff import lineage
    from armillary.methods.modeldiff.lineage_report import lineage_measures, lineage_section
    from armillary.records.sections import Finding

    settings, a, b = run.settings, run.models["a"], run.models["b"]
    names = settings.models()
    result = lineage(
        a,
        b,
        settings.space(),
        settings.compare(),
        derivations=None if settings.calibrate else {},
        unrelated={names[role]: loaded for role, loaded in run.models.items() if role.startswith("unrelated")},
        store=run.parts.arrays,
    )
    return Outcome(
        title=f"Do {a.name} and {b.name} share an origin?",
        measures=lineage_measures(result),
        findings=[Finding(text=result.sentence(), interest=0.9, section="lineage")],
        sections=[lineage_section(result)],
    )


JOBS = {"modeldiff lineage": Job(settings=LineageSettings, work=trace_lineage)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_job(JOBS["modeldiff lineage"], arguments)
