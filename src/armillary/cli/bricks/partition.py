"""A split of every FFN into experts as a run of its own: what ``armillary bricks partition`` leaves."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from armillary.cli.bricks.delivery import Delivery, Outcome, run_on_model
from armillary.cli.bricks.options import ModelOptions, Names
from armillary.cli.options import Folder
from armillary.data import capability_source, equal_capability_texts
from armillary.data.texts.pieces import Split
from armillary.errors import UsageError
from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.numerics.intervals import Interval
from armillary.records.record import RunRecord
from armillary.records.sections import Cell, Finding, Section, Table, interval_bars
from armillary.runs.folder import RunFolder

if TYPE_CHECKING:
    from armillary.methods.bricks.experts.partitioning import FunctionalExperts
    from armillary.methods.bricks.payloads import Partition
    from armillary.models import LoadedModel

Splitting = Literal["weights", "coactivation", "random"]
HOW: dict[Splitting, str] = {
    "weights": "rows of the gate that point the same way",
    "coactivation": "neurons that are large at the same tokens",
    "random": "lot",
}


@dataclass(frozen=True, kw_only=True)
class PartitionConfig:
    """How the FFNs are split, and on which texts the experts are looked at."""

    model: str
    experts: int = 32
    by: Splitting = "weights"
    capabilities: tuple[str, ...] = CAPABILITIES
    texts: int = 20
    """Texts of each capability that tell which neurons are its best."""

    calibration: int = 12
    """Texts of each capability by which co-activation is read; none of them is among those above."""

    tokens: int = 128
    """Tokens of a text that are read."""

    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        least = {"experts": 1, "texts": 20, "calibration": 1, "tokens": 2}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise UsageError(f"{name} must be {number} or more, got {getattr(self, name)}.")


def run_partition(
    config: PartitionConfig, out: Path, *, fresh: bool = False, delivery: Delivery | None = None
) -> RunRecord:
    """The record of a partition, also left in ``out`` with its report and the brick. Raises ``ArmillaryError``."""
    # Read first: an unknown capability should be told before a model is opened.
    asked = capability_texts_of(config, "score", config.texts)

    def work(loaded: "LoadedModel", folder: RunFolder) -> Outcome:
        from armillary.methods.bricks.brick import Brick, BrickMeta, Provenance
        from armillary.runs.environment import versions

        split = partitioned(loaded, config, folder)
        found = _judged(loaded, split, config, folder, asked)
        made = Provenance(method=f"partition by {config.by}", base=config.model, seed=config.seed, versions=versions())
        name = f"{config.experts} experts by {config.by}"
        brick = Brick.of(loaded, split, name=name, meta=BrickMeta(provenance=made))
        section, finding = _told(config, found, loaded.name)
        return Outcome(
            title=f"{name} of {loaded.name}",
            sections=[section],
            findings=[finding],
            measures=_measures(found),
            data=capability_sources(config.capabilities),
            brick=brick,
        )

    return run_on_model("partition", config, out, work, fresh=fresh, delivery=delivery)


def capability_texts_of(config: Any, split: Split, limit: int) -> dict[str, list[str]]:
    """The same number of texts of each capability that ``config`` names; UsageError for one that is not known."""
    return equal_capability_texts(config.capabilities, split=split, limit=limit, seed=config.seed)


def capability_sources(names: tuple[str, ...]) -> list[Any]:
    """Every origin of the texts, each once."""
    return list({source.name: source for source in map(capability_source, names)}.values())


def calibration_texts(config: Any) -> list[str]:
    """The calibration texts of all capabilities in turn."""
    found = capability_texts_of(config, "calibrate", config.calibration)
    return [text for row in zip(*found.values(), strict=True) for text in row]


def partitioned(loaded: "LoadedModel", config: Any, folder: RunFolder) -> "Partition":
    """The split that ``config`` (``experts``, ``by``, ``seed`` and texts) asks for, kept as a part of the run."""
    from armillary.methods.bricks.experts import partitioning as ways
    from armillary.methods.bricks.payloads import Partition

    width = loaded.anatomy.intermediate_size
    if config.experts > width:
        raise UsageError(f"experts must be 1 to {width}, the neurons of a layer; got {config.experts}.")

    def compute() -> dict[str, Any]:
        if config.by == "weights":
            return {"labels": ways.partition_by_weights(loaded, config.experts, seed=config.seed).labels_LM}
        if config.by == "coactivation":
            texts = calibration_texts(config)
            found = ways.partition_by_coactivation(
                loaded, texts, config.experts, max_tokens=config.tokens, seed=config.seed
            )
            return {"labels": found.labels_LM}
        found = ways.random_partition(loaded.anatomy.num_layers, width, config.experts, seed=config.seed)
        return {"labels": found.labels_LM}

    return Partition(folder.parts.arrays("partition", compute)["labels"], config.experts)


def _judged(
    loaded: "LoadedModel", split: "Partition", config: PartitionConfig, folder: RunFolder, asked: dict[str, list[str]]
) -> "dict[str, FunctionalExperts]":
    from armillary.methods.bricks.experts.partitioning import TOP, functional_experts
    from armillary.methods.bricks.neurons.config import ProfileConfig
    from armillary.methods.bricks.neurons.profiling import profile
    from armillary.methods.bricks.neurons.scores import functional_scores
    from armillary.methods.bricks.neurons.sets import specialised

    reading = ProfileConfig(max_tokens=config.tokens, detail_texts=1)
    scores = functional_scores(profile(loaded, asked, reading, store=folder.parts.arrays))
    best = {name: specialised(scores.of(name), TOP) for name in config.capabilities}
    return functional_experts(split, best, seed=config.seed)


def _measures(found: "Mapping[str, FunctionalExperts]") -> dict[str, Interval]:
    return {f"functional experts above chance/{name}": _above(one) for name, one in found.items()}


def _above(one: "FunctionalExperts") -> Interval:
    """Functional experts less those of a random partition; the range is that of the random ones."""
    null = one.null_number
    return Interval(
        estimate=one.number - null.estimate,
        low=one.number - null.upper,
        high=one.number - null.lower,
        n=null.n,
        how=f"less the {null.how}",
    )


def _told(config: PartitionConfig, found: "Mapping[str, FunctionalExperts]", model: str) -> tuple[Section, Finding]:
    total = next(iter(found.values())).functional_LE.size
    best = max(found.values(), key=lambda one: _above(one).estimate)
    sure = [name for name, one in found.items() if _above(one).lower > 0]
    told = (
        f"Of the {total} experts of {model}, made by {HOW[config.by]}, {best.number} collect more of the best neurons "
        f"for {best.capability} than chance allows; of a random partition {best.null_number.estimate:.1f} do "
        f"(95 % of {best.null_number.n} have {best.null_number.lower:g} to {best.null_number.upper:g})."
    )
    rows: list[list[Cell]] = [
        [name, one.number, one.null_number.estimate, one.null_number.lower, one.null_number.upper, one.p_of_number,
         one.degree, one.concentration]
        for name, one in found.items()
    ]  # fmt: skip
    section = Section(
        id="partition",
        title="Experts out of the feed-forward blocks",
        summary=f"{told} Above every usual random partition: {', '.join(sure) or 'no capability'}.",
        meaning="Each feed-forward block is split into groups of neurons of equal size. A group is functional for a "
        "capability where it holds more of that capability's best neurons (the top 1 % of its layer) than a random "
        "group would in one of a thousand cases. Many functional groups mean that the split follows what neurons do.",
        caution="Which neurons are best is told by few texts. Random partitions, drawn with the same sizes, stand "
        "beside every count; that experts collect functions does not yet mean that few of them are enough to run: "
        "`armillary bricks route` measures that.",
        figures=[interval_bars("Functional experts above those of random partitions", _measures(found), "experts")],
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
    return section, Finding(text=told, interest=0.6 if sure else 0.3, section="partition")


@dataclass(frozen=True, kw_only=True)
class PartitionOptions(ModelOptions):
    """Split every feed-forward block into experts, and tell whether they collect functions."""

    experts: int = 32
    """Experts of a layer."""

    by: Splitting = "weights"
    """weights groups gate rows that point the same way, coactivation what fires together, random is the baseline."""

    capabilities: Names = None
    """Capabilities whose best neurons are looked for in the experts; by default six."""

    texts: int = 20
    """Texts of each capability that tell its best neurons, 20 or more."""

    library: Folder = None
    """Library that gets the partition as a brick."""
