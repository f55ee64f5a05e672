"""Whether one model comes from another, as a run of its own: what ``armillary modeldiff lineage A B`` leaves."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from armillary.errors import UsageError
from armillary.methods.modeldiff.config import CompareConfig, InputSpace
from armillary.numerics.intervals import Interval
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord
from armillary.runs.sections import Cell, Finding, Section, Table, interval_bars

if TYPE_CHECKING:
    from armillary.methods.modeldiff.descent import Lineage


@dataclass(frozen=True, kw_only=True)
class LineageConfig:
    """Which model is held against which, and what is known to compare with."""

    model_a: str
    """The supposed origin, which draws the inputs."""

    model_b: str
    """The supposed copy."""

    calibrate: bool = False
    """Make known derivations of A (weight noise, rounded weights) and put B among them."""

    unrelated: tuple[str, ...] = ()
    """Models of the same vocabulary that are known not to come from A."""

    length: int = 16
    samples: int = 512
    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UsageError(f"samples must be 2 or more, got {self.samples}.")
        self.space()

    def space(self) -> InputSpace:
        """The inputs on which the models are compared."""
        return InputSpace(length=self.length)

    def compare(self) -> CompareConfig:
        """How much is drawn."""
        return CompareConfig(n_samples=self.samples, weighting="profile", seed=self.seed)


def run_lineage(config: LineageConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of one question of descent, also left in ``out`` with its report; resumes like every run.

    Raises ``ArmillaryError`` for models that can't be opened or have different vocabularies.
    """
    with RunFolder.open(out, {"command": "modeldiff lineage", **asdict(config)}) as folder:
        # Opened late: a wrong setting should be told before torch and the models are loaded.
        from armillary.methods.modeldiff import lineage
        from armillary.models import load

        roles = {"a": config.model_a, "b": config.model_b}
        roles |= {f"unrelated {number}": name for number, name in enumerate(config.unrelated, 1)}
        models = {role: load(name, trust_remote_code=config.trust_remote_code) for role, name in roles.items()}
        folder.bind({role: loaded.fingerprint for role, loaded in models.items()})
        finished = None if fresh else folder.finished()
        if finished is not None:
            return finished
        found = lineage(
            models["a"],
            models["b"],
            config.space(),
            config.compare(),
            derivations=None if config.calibrate else {},
            unrelated={roles[role]: loaded for role, loaded in models.items() if role.startswith("unrelated")},
            store=folder.parts.arrays,
        )
        record = RunRecord(
            kind="modeldiff",
            title=f"Does {models['b'].name} come from {models['a'].name}?",
            config=folder.config,
            models={role: loaded.facts() for role, loaded in models.items()},
            seed=config.seed,
            measures=_measures(found),
            findings=[Finding(text=found.sentence(), interest=0.9, section="lineage")],
            sections=[_section(found)],
            versions=versions(),
            machine=machine(),
            started=folder.started,
            seconds=folder.seconds,
        )
        folder.finish(record)
        return record


def _measures(found: "Lineage") -> dict[str, Interval]:
    measures = {f"spread of D/{one.name} ({one.kind})": one.spread.deviation for one in found.relatives}
    return measures | {f"plausible to both/{one.name} ({one.kind})": one.spread.overlap for one in found.relatives}


def _section(found: "Lineage") -> Section:
    ordered = sorted(found.relatives, key=lambda one: one.spread.deviation.estimate)
    bars = {f"{one.name} ({one.kind})": one.spread.deviation for one in ordered}
    rows: list[list[Cell]] = [
        [one.name, one.kind, one.spread.mean.estimate, one.spread.deviation.estimate, one.spread.overlap.estimate]
        for one in ordered
    ]
    needed = "" if found.verdict != "undecided" else (
        "\n\nA verdict needs known derivations (--calibrate) and models known to be unrelated (--unrelated) to hold "
        "it against."
    )  # fmt: skip
    return Section(
        id="lineage",
        title="How near the model is to its supposed origin",
        summary=found.sentence() + needed,
        meaning="Over inputs that the supposed origin finds plausible, the difference of the two models' NLL spreads "
        "little for a copy, even one that was disturbed, rounded or tuned a little, and widely for a model that was "
        "trained on its own. The bars put the model in question among models whose descent is known.",
        caution="The decision holds for the derivations and the unrelated models it was calibrated on: a long "
        "fine-tune may lie outside the one, a model of the same data inside the other. Features and rule are ours, "
        "not the paper's.",
        figures=[interval_bars("Spread of the difference", bars, "nats per token (near 0 for a copy)")],
        tables=[
            Table(
                title="Features, flat over the NLL window of the origin",
                columns=["model", "kind", "mean of D, nats per token", "spread of D, nats per token",
                         "share plausible to it too"],
                rows=rows,
            )
        ],
    )  # fmt: skip
