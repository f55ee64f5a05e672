"""Several bricks or whole models joined into one, as a run of its own: what ``armillary bricks merge`` leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import tyro

from armillary.cli.bricks.delivery import BRICK, Delivery, Outcome, file_digest, finished_run, run_on_model, settings
from armillary.cli.bricks.options import Method, ModelOptions
from armillary.cli.options import Folder
from armillary.errors import StorageError, UsageError
from armillary.records.record import RunRecord
from armillary.records.sections import Cell, Finding, Section, Table
from armillary.runs.folder import RunFolder

if TYPE_CHECKING:
    from armillary.methods.bricks.brick import Brick
    from armillary.methods.bricks.merging.adapters import MergeReport
    from armillary.methods.bricks.merging.models import StateMerge
    from armillary.methods.bricks.merging.rules import MergeRule
    from armillary.models import LoadedModel

ADAPTER, CARD, MODEL = "adapter_config.json", "brick.json", "config.json"
"""Files by which the folder of an adapter, of a brick and of a whole model are told."""


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """What is merged, and by which rule; fields of the rule are those of ``MergeRule``."""

    model: str
    inputs: tuple[str, ...] = ()
    """Folders of adapters or bricks, or beginnings of ids in the library."""

    library: str | None = None
    """Where ids are looked up."""

    stand_ins: int = 0
    """So many random adapters in the place of inputs: the way without any of a user's."""

    method: str = "average"
    weights: tuple[float, ...] | None = None
    density: float | None = None
    scale: float = 1.0
    rank: int | None = None
    """Rank of the result in each module at most; without it averages and sums are exact."""

    allow_different_base: bool = False
    seed: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if not self.inputs and not self.stand_ins:
            raise UsageError("a merge needs one or more folders of adapters or models, or ids of a library's bricks.")
        if self.rank is not None and self.rank < 1:
            raise UsageError(f"rank must be 1 or more, got {self.rank}.")

    @property
    def number(self) -> int:
        """How many things are merged."""
        return len(self.inputs) or self.stand_ins

    def rule(self) -> "MergeRule":
        """The rule with its defaults filled in; UsageError where a setting does not fit it."""
        from armillary.methods.bricks.merging.rules import MergeRule

        return MergeRule.of(
            self.method,
            self.number,
            weights=self.weights,
            density=self.density,
            scale=self.scale,
            seed=self.seed,
        )


def run_merge(config: MergeConfig, out: Path, *, fresh: bool = False, delivery: Delivery | None = None) -> RunRecord:
    """The record of a merge of bricks, also left in ``out`` with its report and the brick. Raises ``ArmillaryError``.

    Inputs that are whole models go through ``run_model_merge``.
    """
    folders = [found_input(name, config.library) for name in config.inputs]
    files = {name: file_digest(folder) for name, folder in zip(config.inputs, folders, strict=True)}
    config.rule()

    def work(loaded: "LoadedModel", folder: RunFolder) -> Outcome:
        from armillary.methods.bricks.merging.adapters import merge

        bricks = [_opened(path, loaded, config) for path in folders] or stand_ins(loaded, config)
        merged = merge(
            bricks,
            config.method,
            weights=config.weights,
            density=config.density,
            scale=config.scale,
            rank=config.rank,
            seed=config.seed,
            allow_different_base=config.allow_different_base,
        )
        section, finding = _told(config, bricks, merged.report)
        return Outcome(
            title=f"{len(bricks)} bricks of {loaded.name} merged by {config.method}",
            sections=[section],
            findings=[finding],
            brick=merged.brick,
        )

    return run_on_model("merge", config, out, work, fresh=fresh, delivery=delivery, files=files)


def found_input(name: str, library: str | None) -> Path:
    """The folder of one input: an adapter, a brick, a whole model, or a library's brick by the beginning of its id.

    UsageError where it is none of these.
    """
    path = Path(name)
    if (path / BRICK / CARD).is_file():  # the folder of a run that made a brick
        return path / BRICK
    if path.is_dir():
        if not any((path / file).is_file() for file in (ADAPTER, CARD, MODEL)):
            raise UsageError(f"{name} has neither {ADAPTER} nor {MODEL}, so it is no adapter and no model.")
        return path
    if library is None:
        raise UsageError(f"there is no folder {name!r}; give an adapter's folder, or --library for the id of a brick.")
    if not Path(library).is_dir():
        raise StorageError(f"there is no library at {library}.")
    from armillary.methods.bricks.library.brick_library import BrickLibrary

    return BrickLibrary(library).folder(name)


def is_model(folder: Path) -> bool:
    """True of the folder of a whole model."""
    return (folder / MODEL).is_file() and not (folder / ADAPTER).is_file()


def _opened(folder: Path, loaded: "LoadedModel", config: MergeConfig) -> "Brick":
    """The brick of a folder; UsageError where it is of another base than the model, unless that is allowed."""
    from armillary.methods.bricks.base import BaseRef
    from armillary.methods.bricks.library.folder import read_brick
    from armillary.methods.bricks.library.peft import brick_from_adapter

    if not (folder / CARD).is_file():
        return brick_from_adapter(folder, loaded)
    brick = read_brick(folder)
    here = BaseRef.of(loaded, brick.base.touched)
    sentence = brick.base.mismatch(here, f"the brick {brick.name!r}", loaded.name)
    if sentence is not None and not config.allow_different_base:
        raise UsageError(sentence)
    return brick


def stand_ins(loaded: "LoadedModel", config: MergeConfig) -> "list[Brick]":
    """Random adapters of rank 2 on the FFN writes, for a dry run."""
    import torch

    from armillary.methods.bricks.brick import Brick
    from armillary.methods.bricks.payloads import LowRank
    from armillary.models.feed_forward import feed_forward

    generator = torch.Generator().manual_seed(config.seed)
    shape, found = (loaded.anatomy.intermediate_size, loaded.anatomy.hidden_size), []
    for number in range(1, config.stand_ins + 1):
        factors = {
            feed_forward(loaded, layer).write_path: (
                torch.randn(2, shape[0], generator=generator) / shape[0],
                torch.randn(shape[1], 2, generator=generator),
            )
            for layer in range(loaded.anatomy.num_layers)
        }
        found.append(Brick.of(loaded, LowRank(factors), name=f"random adapter {number}"))
    return found


def _told(config: MergeConfig, bricks: "Sequence[Brick]", report: "MergeReport") -> tuple[Section, Finding]:
    error, squeezed = error_words(report.error), error_words(report.compression_error)
    ranks = sorted(set(report.ranks.values()))
    rank = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    told = (
        f"{len(bricks)} bricks merged by {config.method} into one of {rank} in {len(report.ranks)} modules; it lies "
        f"{error} from the exact weighted sum of the changes."
    )
    rows: list[list[Cell]] = [
        [brick.name, brick.id[:16], len(brick.sites), weight, coefficient]
        for brick, weight, coefficient in zip(bricks, report.rule.weights, report.rule.coefficients, strict=True)
    ]
    section = merge_section(told, config.method, rows, columns=["brick", "id", "modules", "weight", "factor"])
    facts: list[list[Cell]] = [
        ["distance from the exact weighted sum", error],
        ["distance from what the rule gave at full rank", squeezed],
        ["module in which the first is largest", report.worst_module],
        ["distance there", error_words(report.worst_error)],
        ["density", report.rule.density],
        ["what differed between the bases, and was allowed", report.different_base or "nothing"],
    ]
    section.tables.append(Table(title="Errors", columns=["what", "value"], rows=facts, note=EXACTLY))
    return section, Finding(text=told, interest=0.5, section="merge")


EXACTLY = (
    "Distances are relative Frobenius norms, computed over every entry in float64: they are no estimates and have no "
    "interval."
)


def merge_section(told: str, method: str, rows: list[list[Cell]], columns: list[str]) -> Section:
    """The section of a merge, of bricks or of whole models."""
    sums = "A sum of low-rank changes is one of the sum of their ranks, so averages and task arithmetic lose nothing. "
    bent = "TIES and DARE leave entries out on purpose: their distance from the plain sum is what they changed. "
    return Section(
        id="merge",
        title="What was merged",
        summary=told,
        meaning=f"Every input is taken as a change of the base model; {method} joins these changes entry by entry. "
        + (sums if method in ("average", "task_arithmetic") else bent),
        caution="Nothing here says that the result is good at what its parts were good at: measure its loss on texts "
        "of each. Parts that were trained from different starting points don't add up.",
        tables=[Table(title="Inputs", columns=columns, rows=rows)],
    )


def error_words(error: float | None) -> str:
    """A relative distance for a reader."""
    return "at an unknown distance (the exact sum is zero)" if error is None else f"{error:.2g}"


def recipe_of(config: MergeConfig) -> str:
    """The YAML with which mergekit does the same, adapters as "base+folder". Raises UsageError."""
    from armillary.methods.bricks.merging.rules import mergekit_recipe

    folders = [found_input(name, config.library) for name in config.inputs]
    if inexact := next((path for path in folders if not is_model(path) and not (path / ADAPTER).is_file()), None):
        raise UsageError(f"{inexact} is no adapter and no model, so mergekit can't read it.")
    names = [str(path) if is_model(path) else f"{config.model}+{path}" for path in folders]
    return mergekit_recipe(config.model, names, config.rule())


def model_inputs(config: MergeConfig) -> bool:
    """True where the inputs are whole models; UsageError where only some are."""
    kinds = {is_model(found_input(name, config.library)) for name in config.inputs}
    if len(kinds) > 1:
        raise UsageError("a merge takes adapters or whole models, and not some of each.")
    return kinds == {True}


def run_either(config: MergeConfig, out: Path, *, fresh: bool = False, delivery: Delivery | None = None) -> RunRecord:
    """The record of a merge, of bricks or of whole models as the inputs are. Raises ``ArmillaryError``."""
    if not model_inputs(config):
        return run_merge(config, out, fresh=fresh, delivery=delivery)

    return run_model_merge(config, out, fresh=fresh, delivery=delivery)


@dataclass(frozen=True, kw_only=True)
class MergeOptions(ModelOptions):
    """Join adapters (PEFT folders, or bricks of a library), or whole models in folders, into one."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="BRICK_OR_FOLDER ...")]
    """Adapters, or ids of bricks with --library; or folders of models that come from MODEL, itself a folder then."""

    method: Method = "average"
    """Averages and sums of adapters are exact; ties_* are three libraries' conventions (docs/methods/bricks.md)."""

    weights: Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="W ...")] = None
    """One for each input; a negative one subtracts (task_arithmetic)."""

    density: float | None = None
    """Share of the entries that TIES and DARE keep."""

    scale: float = 1.0
    """Factor on the merged change."""

    rank: int | None = None
    """Rank of the merged adapter in each module at most; by default the sum of ranks, which loses nothing."""

    allow_different_base: bool = False
    """Merge adapters of another base of the same shape all the same; the result says so."""

    to: Folder = None
    """New folder: PEFT's for adapters, transformers' for models."""

    library: Folder = None
    """Library in which ids are looked up, and which gets the merged brick."""

    recipe: bool = False
    """Do nothing but print the recipe for mergekit (or write it to the file --to)."""


# Whole models on disk joined into one: what ``armillary bricks merge`` leaves where its inputs are model folders.


def run_model_merge(
    config: MergeConfig, out: Path, *, fresh: bool = False, delivery: Delivery | None = None
) -> RunRecord:
    """The record of a merge of model folders, which is written to the delivery's folder. Raises ``ArmillaryError``.

    Without one (a replay) the merge is made, measured and thrown away.
    """
    delivery = delivery or Delivery()
    delivery.check(out)
    if config.rank is not None or delivery.library is not None:
        raise UsageError("whole models have no rank and go into no library; leave --rank and --library out.")
    base = Path(config.model)
    if not base.is_dir() or not is_model(base):
        raise UsageError(
            f"whole models are merged tensor by tensor on disk, so the base must be a folder with safetensors; "
            f"got {config.model!r}."
        )
    config.rule()
    sources = {"base": base} | {
        f"model {number}": found_input(name, config.library) for number, name in enumerate(config.inputs, 1)
    }
    facts = {role: {"name": path.name, "fingerprint": file_digest(path)} for role, path in sources.items()}
    fingerprints = {role: one["fingerprint"] for role, one in facts.items()}
    with RunFolder.open(out, settings("merge", config), fingerprints) as folder:
        finished = None if fresh or delivery.to is not None else folder.finished()
        if finished is not None:
            return finished
        merged = _merged(config, base, [path for role, path in sources.items() if role != "base"], delivery.to, out)
        return finished_run(_report_models(config, merged), folder, facts, config.seed)


def _merged(config: MergeConfig, base: Path, models: list[Path], to: Path | None, out: Path) -> "StateMerge":
    from armillary.methods.bricks.merging.models import merge_models

    with TemporaryDirectory(prefix=".merge-", dir=out) as aside:
        return merge_models(
            base,
            models,
            to or Path(aside) / "merged",
            config.method,
            weights=config.weights,
            density=config.density,
            scale=config.scale,
            seed=config.seed,
        )


def _report_models(config: MergeConfig, merged: "StateMerge") -> Outcome:
    told = (
        f"{len(merged.models)} models merged by {config.method} onto {merged.base}: {merged.tensors} tensors, "
        f"{merged.bytes / 1e6:.1f} MB. The change, as stored, lies {error_words(merged.error)} from the exact "
        "weighted sum of theirs."
    )
    rows: list[list[Cell]] = [
        [name, weight, factor]
        for name, weight, factor in zip(merged.models, merged.rule.weights, merged.rule.coefficients, strict=True)
    ]
    section = merge_section(told, config.method, rows, columns=["model", "weight", "factor"])
    facts: list[list[Cell]] = [
        ["distance from the exact weighted sum", error_words(merged.error)],
        ["tensor in which it is largest", merged.worst_tensor],
        ["distance there", error_words(merged.worst_error)],
        ["density", merged.rule.density],
    ]
    section.tables.append(Table(title="Errors", columns=["what", "value"], rows=facts, note=EXACTLY))
    return Outcome(
        title=f"{len(merged.models)} models merged by {config.method}",
        sections=[section],
        findings=[Finding(text=told, interest=0.5, section="merge")],
    )
