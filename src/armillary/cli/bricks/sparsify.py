"""``armillary bricks sparsify MODEL``: thresholds that leave out small inputs of every matrix, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from armillary.cli.bricks.delivery import has_brick, keep_new_brick, run_delivered
from armillary.cli.bricks.partition import CalibratedSettings, PartitionOptions
from armillary.cli.options import read_run
from armillary.errors import UsageError
from armillary.methods.bricks.sparsity.config import Allocation, CalibrationConfig
from armillary.records.sections import Finding
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import at_least

if TYPE_CHECKING:
    from armillary.methods.bricks.payloads import Thresholds
    from armillary.methods.bricks.sparsity.report import SparseReading
    from armillary.runs.parts import Arrays


@dataclass(frozen=True, kw_only=True)
class SparsifySettings(CalibratedSettings):
    """Leave out small inputs of every matrix at a token: loss on held-out texts, and what is still read."""

    command: ClassVar[str] = "bricks sparsify"

    share: float = 0.25
    """Share of the weights of every block that a token leaves unread."""

    allocation: Allocation = "greedy"
    """greedy leaves out what costs a block's output least, uniform the same share of every input: the baseline."""

    texts: int = 8
    """Held-out texts of each capability."""

    def __post_init__(self) -> None:
        at_least(self, texts=1, calibration=1, tokens=2)
        if not 0 < self.share <= CalibrationConfig.most:
            raise UsageError(f"share must lie above 0 and be at most {CalibrationConfig.most}, got {self.share}.")

    def names(self) -> tuple[str, ...]:
        """Model, share and how it is spread."""
        return self.model, f"{self.share:g}", self.allocation

    def check(self) -> None:
        """Refuse a capability that is not known."""
        self.texts_of("test", self.texts)

    def dry(self) -> Self:
        """Two held-out texts of each capability."""
        return replace(super().dry(), texts=min(self.texts, 2))


def leave_out(run: Run[SparsifySettings]) -> Outcome:
    """The thresholds, kept as a brick, and what the model loses and still reads with them."""
    from armillary.methods.bricks.sparsity.report import SparseReading, section

    settings, loaded = run.settings, run.model
    thresholds = thresholds_of(run)
    reading = run.parts.decoded(SparseReading, "reading", lambda: measured(run, thresholds))
    keep_new_brick(
        run,
        thresholds,
        name=f"{settings.share:.3g} left out, {settings.allocation}",
        method="thresholds on the inputs of matrices (TEAL)",
        data=", ".join(settings.capabilities),
        notes={"share": settings.share, "allocation": settings.allocation},
    )
    page = section(reading, loaded.name, settings.allocation)
    return Outcome(
        title=f"{loaded.name} with {settings.share:.3g} of every block left out",
        sections=[page],
        findings=[Finding(text=page.summary, interest=0.6, section=page.id)],
        measures={
            "rise of the loss": reading.rise,
            **{f"rise of the loss/{name}": rise for name, rise in reading.rises.items()},
            "byte limit": reading.limit,
        },
        data=settings.sources(),
    )


def thresholds_of(run: Run[SparsifySettings]) -> "Thresholds":
    """The thresholds that the settings ask for, kept as a part of the run."""
    import numpy as np

    from armillary.methods.bricks.payloads import Thresholds
    from armillary.methods.bricks.sparsity.calibration import calibrate
    from armillary.methods.bricks.sparsity.inputs import matrix_inputs

    settings = run.settings
    paths = [path for layer in matrix_inputs(run.model) for an_input in layer for path in an_input.paths]

    def least() -> "Arrays":
        greedy = settings.allocation == "greedy"
        config = CalibrationConfig(max_tokens=settings.tokens)
        calibration = calibrate(run.model, settings.calibration_texts(), config, sampled=greedy)
        (levels,) = calibration.greedy(settings.share) if greedy else [calibration.uniform(settings.share)]
        return {"least": np.array([levels.thresholds.least[path] for path in paths])}

    kept = run.parts.arrays("thresholds", least)["least"]
    return Thresholds(dict(zip(paths, kept.tolist(), strict=True)))


def measured(run: Run[SparsifySettings], thresholds: "Thresholds") -> "SparseReading":
    """Losses of the dense and of the sparsified model on held-out texts, and the share of every input left out."""
    from armillary.methods.bricks.losses import effect, text_losses
    from armillary.methods.bricks.sparsity.inputs import matrix_inputs
    from armillary.methods.bricks.sparsity.reading import token_bytes
    from armillary.methods.bricks.sparsity.report import SparseReading
    from armillary.methods.bricks.sparsity.sparse_model import sparsified

    settings, loaded = run.settings, run.model
    held_out = settings.texts_of("test", settings.texts)
    texts = [text for rows in held_out.values() for text in rows]
    before = text_losses(loaded, held_out, max_tokens=settings.tokens)
    with sparsified(loaded, thresholds):
        after = text_losses(loaded, held_out, max_tokens=settings.tokens)
        read = token_bytes(loaded, matrix_inputs(loaded), thresholds, texts, max_tokens=settings.tokens)
    return SparseReading.of(
        share=settings.share,
        base=before.per_token(),
        rise=effect(before, after, seed=settings.seed).delta_nll,
        rises={name: effect(before, after, name, seed=settings.seed).delta_nll for name in held_out},
        read=read,
        thresholds=thresholds,
        seed=settings.seed,
    )


JOBS = {"bricks sparsify": Job(settings=SparsifySettings, work=leave_out, is_complete=has_brick)}


def run(arguments: Sequence[str]) -> int:
    """The action."""
    settings, options = read_run(SparsifySettings, arguments, PartitionOptions)
    return run_delivered(JOBS["bricks sparsify"], settings, options, library=options.library)
