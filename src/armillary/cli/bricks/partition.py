"""``armillary bricks partition MODEL``: every feed-forward block split into experts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import tyro

from armillary.cli.bricks.delivery import has_brick, keep_new_brick, run_delivered
from armillary.cli.bricks.profile import FEW
from armillary.cli.options import Folder, RunOptions, read_run
from armillary.data import capability_source, equal_capability_texts
from armillary.data.sources import DataSource
from armillary.data.texts.pieces import Split
from armillary.errors import UsageError
from armillary.methods.bricks.experts.config import Splitting
from armillary.methods.bricks.neurons.config import CAPABILITIES, LEAST_TEXTS, ProfileConfig
from armillary.numerics.intervals import Interval
from armillary.records.sections import Cell, Finding, Section, Table, interval_bars
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import OneModelSettings, at_least

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from armillary.methods.bricks.experts.modularity import FunctionalExperts
    from armillary.methods.bricks.payloads import Partition
    from armillary.models import LoadedModel
    from armillary.runs.parts import Parts

HOW: dict[Splitting, str] = {
    "weights": "rows of the gate that point the same way",
    "coactivation": "neurons that are large at the same tokens",
    "random": "lot",
}


@dataclass(frozen=True, kw_only=True)
class CalibratedSettings(OneModelSettings):
    """The texts of capabilities that something is fitted to, and others that it is looked at on."""

    capabilities: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = CAPABILITIES
    """Capabilities whose texts are read, by default six."""

    calibration: int = 12
    """Texts of each capability to fit to; none of them is looked at afterwards."""

    tokens: int = 128
    """Tokens of a text that are read."""

    def dry(self) -> Self:
        """Short texts of two capabilities."""
        return replace(
            super().dry(),
            tokens=min(self.tokens, 16),
            calibration=min(self.calibration, 2),
            capabilities=FEW if self.capabilities == CAPABILITIES else self.capabilities,
        )

    def texts_of(self, split: Split, limit: int) -> dict[str, list[str]]:
        """The same number of texts of each capability; UsageError for one that is not known."""
        return equal_capability_texts(self.capabilities, split=split, limit=limit, seed=self.seed)

    def calibration_texts(self) -> list[str]:
        """The calibration texts of all capabilities in turn."""
        texts = self.texts_of("calibrate", self.calibration)
        return [text for row in zip(*texts.values(), strict=True) for text in row]

    def sources(self) -> list[DataSource]:
        """Where the texts come from."""
        return [capability_source(name) for name in self.capabilities]


@dataclass(frozen=True, kw_only=True)
class SplitSettings(CalibratedSettings):
    """How every feed-forward block is split into experts, and by which texts."""

    experts: int = 32
    """Experts of a layer."""

    by: Splitting = "weights"
    """weights groups gate rows that point the same way, coactivation what fires together, random is the baseline."""

    def names(self) -> tuple[str, ...]:
        """Model, number of experts and how they are made."""
        return self.model, str(self.experts), self.by

    def dry(self) -> Self:
        """Four experts of few neurons."""
        return replace(super().dry(), experts=min(self.experts, 4))


def split_of(loaded: "LoadedModel", settings: SplitSettings, parts: "Parts") -> "Partition":
    """The split that the settings ask for, kept as a part of the run. UsageError for more experts than neurons."""
    from armillary.methods.bricks.experts.partitioning import partitioned
    from armillary.methods.bricks.payloads import Partition

    width = loaded.anatomy.intermediate_size
    if settings.experts > width:
        raise UsageError(f"experts must be 1 to {width}, the neurons of a layer; got {settings.experts}.")

    def labels() -> "dict[str, NDArray[np.int64]]":
        texts = settings.calibration_texts()
        split = partitioned(
            loaded, settings.by, settings.experts, texts, max_tokens=settings.tokens, seed=settings.seed
        )
        return {"labels": split.labels_LM}

    return Partition(parts.arrays("partition", labels)["labels"], settings.experts)


@dataclass(frozen=True, kw_only=True)
class PartitionSettings(SplitSettings):
    """Split every feed-forward block into experts, and tell whether they collect functions."""

    command: ClassVar[str] = "bricks partition"

    texts: int = LEAST_TEXTS
    """Texts of each capability that tell its best neurons, 20 or more."""

    def __post_init__(self) -> None:
        at_least(self, experts=1, texts=LEAST_TEXTS, calibration=1, tokens=2)

    def check(self) -> None:
        """Refuse a capability that is not known."""
        self.texts_of("score", self.texts)


@dataclass(frozen=True, kw_only=True)
class PartitionOptions(RunOptions):
    """Where a run and its brick go."""

    library: Folder = None
    """Library that gets the brick as well (`armillary bricks library`)."""


def split_experts(run: Run[PartitionSettings]) -> Outcome:
    """The partition, kept as a brick, and which of its experts are functional."""
    from armillary.methods.bricks.experts.modularity import TOP, functional_experts
    from armillary.methods.bricks.neurons.profiling import profile
    from armillary.methods.bricks.neurons.scores import functional_scores
    from armillary.methods.bricks.neurons.sets import specialised

    settings, loaded = run.settings, run.model
    split = split_of(loaded, settings, run.parts)
    # Histograms and firing, which detail_texts bounds, are not looked at here.
    reading = ProfileConfig(max_tokens=settings.tokens, detail_texts=1)
    texts = settings.texts_of("score", settings.texts)
    scores = functional_scores(profile(loaded, texts, reading, store=run.parts.arrays))
    best = {name: specialised(scores.of(name), TOP) for name in settings.capabilities}
    experts = functional_experts(split, best, seed=settings.seed)
    name = f"{settings.experts} experts by {settings.by}"
    keep_new_brick(run, split, name=name, method=f"partition by {settings.by}")
    section, finding = partition_report(settings.by, experts, loaded.name)
    return Outcome(
        title=f"{name} of {loaded.name}",
        sections=[section],
        findings=[finding],
        measures=partition_measures(experts),
        data=settings.sources(),
    )


def partition_measures(experts: "Mapping[str, FunctionalExperts]") -> dict[str, Interval]:
    """Functional experts less those of a random partition; the range is that of the random ones."""
    measures = {}
    for name, result in experts.items():
        null = result.null_number
        measures[f"functional experts above chance/{name}"] = Interval(
            estimate=result.number - null.estimate,
            low=result.number - null.upper,
            high=result.number - null.lower,
            n=null.n,
            how=f"less the {null.how}",
        )
    return measures


def partition_report(by: Splitting, experts: "Mapping[str, FunctionalExperts]", model: str) -> tuple[Section, Finding]:
    """Functional experts by capability beside those of random partitions, and the one sentence."""
    measures = partition_measures(experts)
    total = next(iter(experts.values())).functional_LE.size
    above = dict(zip(experts, measures.values(), strict=True))
    best = experts[max(above, key=lambda name: above[name].estimate)]
    sure = [name for name, value in above.items() if value.lower > 0]
    sentence = (
        f"Of the {total} experts of {model}, made by {HOW[by]}, {best.number} collect more of the best neurons "
        f"for {best.capability} than chance allows; of a random partition {best.null_number.estimate:.1f} do "
        f"(95 % of {best.null_number.n} have {best.null_number.lower:g} to {best.null_number.upper:g})."
    )
    rows: list[list[Cell]] = [
        [name, result.number, result.null_number.estimate, result.null_number.lower, result.null_number.upper,
         result.p_of_number, result.degree, result.concentration]
        for name, result in experts.items()
    ]  # fmt: skip
    section = Section(
        id="partition",
        title="Experts out of the feed-forward blocks",
        summary=f"{sentence} Above every usual random partition: {', '.join(sure) or 'no capability'}.",
        meaning="Each feed-forward block is split into groups of neurons of equal size. A group is functional for a "
        "capability where it holds more of that capability's best neurons (the top 1 % of its layer) than a random "
        "group would in one of a thousand cases. Many functional groups mean that the split follows what neurons do.",
        caution="Which neurons are best is told by few texts. Random partitions, drawn with the same sizes, stand "
        "beside every count; that experts collect functions does not yet mean that few of them are enough to run: "
        "`armillary bricks route` measures that.",
        figures=[interval_bars("Functional experts above those of random partitions", measures, "experts")],
        tables=[
            Table(
                title="Functional experts by capability",
                columns=["capability", "functional", "random: mean", "random: low", "random: high", "p",
                         "degree", "share of best neurons in them"],
                rows=rows,
                note=f"All {total} experts of all layers together. The degree is the mean of count over expected "
                "count in functional experts; p is how often a random partition has as many.",
            )
        ],
    )  # fmt: skip
    return section, Finding(text=sentence, interest=0.6 if sure else 0.3, section="partition")


JOBS = {"bricks partition": Job(settings=PartitionSettings, work=split_experts, is_complete=has_brick)}


def run(arguments: Sequence[str]) -> int:
    """The action."""
    settings, options = read_run(PartitionSettings, arguments, PartitionOptions)
    return run_delivered(JOBS["bricks partition"], settings, options, library=options.library)
