"""``armillary bricks merge MODEL BRICK ...``: several bricks, or whole models in folders, joined into one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

import tyro

from armillary.cli.bricks.delivery import BRICK, ProductOptions, has_brick, keep_brick, run_delivered
from armillary.cli.options import read_run
from armillary.errors import StorageError, UsageError
from armillary.files import digest_of, write_atomic
from armillary.methods.bricks.merging.config import Method
from armillary.records.sections import Cell, Finding, Section, Table
from armillary.runs.run import Job, OpenedModel, Outcome, Run, load_model
from armillary.runs.settings import OneModelSettings, at_least

if TYPE_CHECKING:
    from armillary.methods.bricks.brick import Brick
    from armillary.methods.bricks.merging.adapters import MergeReport
    from armillary.methods.bricks.merging.models import StateMerge
    from armillary.methods.bricks.merging.rules import MergeRule
    from armillary.models import LoadedModel

Result = TypeVar("Result")

ADAPTER, CARD, MODEL = "adapter_config.json", "brick.json", "config.json"
"""Files by which the folder of an adapter, of a brick and of a whole model are told."""


@dataclass(frozen=True, kw_only=True)
class MergeSettings(OneModelSettings):
    """Join adapters (PEFT folders, or bricks of a library), or whole models in folders, into one."""

    command: ClassVar[str] = "bricks merge"

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="BRICK_OR_FOLDER ...")] = ()
    """Adapters, or ids of bricks with --library; or folders of models that come from MODEL, itself a folder then."""

    library: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """Library in which ids are looked up, and which gets the merged brick."""

    stand_ins: Annotated[int, tyro.conf.Suppress] = 0
    """So many random adapters in the place of inputs: a dry run has none of a user's."""

    method: Method = "average"
    """Averages and sums of adapters are exact; ties_* are three libraries' conventions (docs/methods/bricks.md)."""

    weights: Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="W ...")] = None
    """One for each input; a negative one subtracts (task_arithmetic)."""

    density: float | None = None
    """Share of the entries that TIES and DARE keep."""

    scale: float = 1.0
    """Factor on the merged change."""

    rank: int | None = None
    """Rank of the merged adapter in each module at most; by default what loses nothing: the sum of ranks for average
    and task_arithmetic, that of full matrices for ties_* and dare*, of which a lower one may lose 5 % at most."""

    allow_different_base: bool = False
    """Merge adapters of another base, by its weights or by its name, of the same shape; the result says so."""

    def __post_init__(self) -> None:
        if not self.inputs and not self.stand_ins:
            raise UsageError("a merge needs one or more folders of adapters or models, or ids of a library's bricks.")
        at_least(self, rank=1)

    def folders(self) -> list[Path]:
        """Where each input lies. UsageError where it is neither a folder nor an id, StorageError without a library."""
        return [input_folder(name, self.library) for name in self.inputs]

    def merges_models(self) -> bool:
        """True where the inputs are whole models; UsageError where only some are."""
        kinds = {is_model(folder) for folder in self.folders()}
        if len(kinds) > 1:
            raise UsageError("a merge takes adapters or whole models, and not some of each.")
        return kinds == {True}

    def models(self) -> dict[str, str]:
        """The base, and beside it the models that are merged."""
        if not self.merges_models():
            return super().models()
        return {"base": self.model} | {f"model {number}": name for number, name in enumerate(self.inputs, 1)}

    def files(self) -> dict[str, str]:
        """The adapters that are merged."""
        if self.merges_models():
            return {}
        return {name: str(folder) for name, folder in zip(self.inputs, self.folders(), strict=True)}

    def names(self) -> tuple[str, ...]:
        """Model, method and the first inputs: more would make the name of the folder too long."""
        return self.model, self.method, *self.inputs[:4]

    def check(self) -> None:
        """Refuse a rule that does not fit the number of inputs, and what whole models have not."""
        self.rule()
        if not self.merges_models():
            return
        if self.rank is not None or self.library is not None:
            raise UsageError("whole models have no rank and go into no library; leave --rank and --library out.")
        if not is_model(Path(self.model)):
            raise UsageError(
                "whole models are merged tensor by tensor on disk, so the base must be a folder with safetensors; got "
                f"{self.model!r}."
            )

    def dry(self) -> Self:
        """Random adapters in the place of the inputs."""
        return replace(super().dry(), inputs=(), library=None, stand_ins=max(1, len(self.inputs)))

    def rule(self) -> "MergeRule":
        """The rule with its defaults filled in; UsageError where a setting does not fit it."""
        from armillary.methods.bricks.merging.rules import MergeRule

        return self.merged_by(MergeRule.of, count=len(self.inputs) or self.stand_ins)

    def merged_by(self, merge: Callable[..., Result], *inputs: Any, **more: Any) -> Result:
        """What ``merge`` makes of these inputs by the method and its numbers."""
        how = {name: getattr(self, name) for name in ("method", "weights", "density", "scale", "seed")}
        return merge(*inputs, **how, **more)


@dataclass(frozen=True, kw_only=True)
class MergeOptions(ProductOptions):
    """Where a merge goes."""

    recipe: bool = False
    """Do nothing but print the recipe for mergekit (or write it to the file --to)."""


def input_folder(name: str, library: str | None) -> Path:
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


@dataclass(frozen=True)
class ModelFolder:
    """A model that is merged on disk and never opened."""

    name: str
    identity: str
    """Of all its files."""

    def facts(self) -> dict[str, Any]:
        """What the record holds of it."""
        return {"name": self.name, "fingerprint": self.identity}


def open_base(name: str, settings: MergeSettings) -> OpenedModel:
    """The base of a merge of adapters, opened; of whole models only their digests."""
    if settings.merges_models():
        return ModelFolder(name=Path(name).name, identity=digest_of(input_folder(name, None)))
    return load_model(name, settings)


def merge_inputs(run: Run[MergeSettings], *, to: Path | None = None) -> Outcome:
    """The inputs joined: adapters into a brick, whole models into the folder ``to``.

    Without ``to`` (a replay) whole models are merged, measured and thrown away.
    """
    title, section = merge_folders(run, to) if run.settings.merges_models() else merge_bricks(run)
    return Outcome(
        title=f"{title} merged by {run.settings.method}",
        sections=[section],
        findings=[Finding(text=section.summary, interest=0.5, section=section.id)],
    )


def merge_bricks(run: Run[MergeSettings]) -> tuple[str, Section]:
    """One brick for several, kept in the folder of the run; what was merged, in words and as a section."""
    from armillary.methods.bricks.merging.adapters import merge

    settings, loaded = run.settings, run.model
    bricks = [opened_brick(path, loaded, settings) for path in settings.folders()]
    bricks = bricks or random_adapters(loaded, settings)
    merged = settings.merged_by(merge, bricks, rank=settings.rank, allow_different_base=settings.allow_different_base)
    keep_brick(merged.brick, run.folder)
    return f"{len(bricks)} bricks of {loaded.name}", bricks_section(settings, bricks, merged.report)


def merge_folders(run: Run[MergeSettings], to: Path | None) -> tuple[str, Section]:
    """One model for several, written tensor by tensor; what was merged, in words and as a section."""
    from armillary.methods.bricks.merging.models import merge_models

    settings = run.settings
    with TemporaryDirectory(prefix=".merge-", dir=run.folder.path) as aside:
        out = to or Path(aside) / "merged"
        merged = settings.merged_by(merge_models, settings.model, settings.folders(), out)
    return f"{len(merged.models)} models", models_section(settings, merged)


def opened_brick(folder: Path, loaded: "LoadedModel", settings: MergeSettings) -> "Brick":
    """The brick of a folder; UsageError where it is of another base than the model, unless that is allowed."""
    from armillary.methods.bricks.base import BaseRef
    from armillary.methods.bricks.library.folder import read_brick
    from armillary.methods.bricks.library.peft import brick_from_adapter

    if not (folder / CARD).is_file():
        return brick_from_adapter(folder, loaded, allow_different_base=settings.allow_different_base)
    brick = read_brick(folder)
    here = BaseRef.of(loaded, brick.base.touched)
    sentence = brick.base.mismatch(here, f"the brick {brick.name!r}", loaded.name)
    if sentence is not None and not settings.allow_different_base:
        raise UsageError(sentence)
    return brick


def random_adapters(loaded: "LoadedModel", settings: MergeSettings) -> "list[Brick]":
    """Random adapters of rank 2 on the FFN writes, for a dry run."""
    import torch

    from armillary.methods.bricks.brick import Brick
    from armillary.methods.bricks.payloads import LowRank
    from armillary.models.feed_forward import feed_forward

    generator = torch.Generator().manual_seed(settings.seed)
    inner, outer = loaded.anatomy.intermediate_size, loaded.anatomy.hidden_size
    bricks = []
    for number in range(1, settings.stand_ins + 1):
        factors = {
            feed_forward(loaded, layer).write_path: (
                torch.randn(2, inner, generator=generator) / inner,
                torch.randn(outer, 2, generator=generator),
            )
            for layer in range(loaded.anatomy.num_layers)
        }
        bricks.append(Brick.of(loaded, LowRank(factors), name=f"random adapter {number}"))
    return bricks


def bricks_section(settings: MergeSettings, bricks: "Sequence[Brick]", report: "MergeReport") -> Section:
    """What was merged and what it lost; the summary is the finding."""
    from armillary.methods.bricks.library.peft import stated_base

    ranks = sorted(set(report.ranks.values()))
    rank = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    if settings.rank is not None and settings.rank > ranks[-1]:
        rank += f" (they need no more of the {settings.rank} allowed)"
    lost = "" if report.rule.how.is_sum else f"{error_words(report.compression_error)} from what the rule gave, and "
    summary = (
        f"{len(bricks)} bricks merged by {settings.method} into one of {rank} in {len(report.ranks)} modules; it lies "
        f"{lost}{error_words(report.error)} from the exact weighted sum of the changes."
    )
    inputs: list[list[Cell]] = [
        [brick.name, brick.id[:16], len(brick.sites), weight, coefficient]
        for brick, weight, coefficient in zip(bricks, report.rule.weights, report.rule.coefficients, strict=True)
    ]
    facts: list[list[Cell]] = [
        ["distance from the exact weighted sum", error_words(report.error)],
        ["distance from what the rule gave at full rank", error_words(report.compression_error)],
        ["module in which the first is largest", report.worst_module],
        ["distance there", error_words(report.worst_error)],
        ["density", report.rule.density],
        ["what differed between the bases, and was allowed", report.different_base or "nothing"],
    ]
    bases = [(brick.name, stated_base(brick)) for brick in bricks]
    facts += [[f"base that {name} states", base.words] for name, base in bases if base is not None]
    columns = ["brick", "id", "modules", "weight", "factor"]
    return merge_section(settings.method, summary, columns, inputs, facts)


def models_section(settings: MergeSettings, merged: "StateMerge") -> Section:
    """The same of whole models."""
    summary = (
        f"{len(merged.models)} models merged by {settings.method} onto {merged.base}: {merged.tensors} tensors, "
        f"{merged.bytes / 1e6:.1f} MB. The change, as stored, lies {error_words(merged.error)} from the exact "
        "weighted sum of theirs."
    )
    inputs: list[list[Cell]] = [
        [name, weight, factor]
        for name, weight, factor in zip(merged.models, merged.rule.weights, merged.rule.coefficients, strict=True)
    ]
    facts: list[list[Cell]] = [
        ["distance from the exact weighted sum", error_words(merged.error)],
        ["tensor in which it is largest", merged.worst_tensor],
        ["distance there", error_words(merged.worst_error)],
        ["density", merged.rule.density],
    ]
    if merged.left_out:
        facts.append(["left out, since only some models hold it and none reads it", ", ".join(merged.left_out)])
    if merged.settings:
        facts.append(["settings that differ from the base's, which are taken", ", ".join(merged.settings)])
    return merge_section(settings.method, summary, ["model", "weight", "factor"], inputs, facts)


def merge_section(
    method: str, summary: str, columns: list[str], inputs: list[list[Cell]], facts: list[list[Cell]]
) -> Section:
    """The section of a merge, of bricks or of whole models."""
    sums = "A sum of low-rank changes is one of the sum of their ranks, so averages and task arithmetic lose nothing. "
    bent = "TIES and DARE leave entries out on purpose: their distance from the plain sum is what they changed. "
    exactly = (
        "Distances are relative Frobenius norms, computed over every entry in float64: they are no estimates and have "
        "no interval."
    )
    return Section(
        id="merge",
        title="What was merged",
        summary=summary,
        meaning=f"Every input is taken as a change of the base model; {method} joins these changes entry by entry. "
        + (sums if method in ("average", "task_arithmetic") else bent),
        caution="Nothing here says that the result is good at what its parts were good at: measure its loss on texts "
        "of each. Parts that were trained from different starting points don't add up.",
        tables=[
            Table(title="Inputs", columns=columns, rows=inputs),
            Table(title="Errors", columns=["what", "value"], rows=facts, note=exactly),
        ],
    )


def error_words(error: float | None) -> str:
    """A relative distance for a reader."""
    return "at an unknown distance (the exact sum is zero)" if error is None else f"{error:.2g}"


def print_recipe(settings: MergeSettings, to: Path | None) -> None:
    """The YAML with which mergekit does the like, adapters as "base+folder", on stdout or in a new file.

    UsageError where mergekit knows no such merge, StorageError where the file exists.
    """
    from armillary.methods.bricks.merging.rules import mergekit_recipe

    names = []
    for folder in settings.folders():
        if not is_model(folder) and not (folder / ADAPTER).is_file():
            raise UsageError(f"{folder} is no adapter and no model, so mergekit can't read it.")
        names.append(str(folder) if is_model(folder) else f"{settings.model}+{folder}")
    text = mergekit_recipe(settings.model, names, settings.rule())
    if to is None:
        print(text, end="")
        return
    if to.exists():
        raise StorageError(f"{to} exists already; give the name of a new file.")
    write_atomic(to, text)
    print(f"Recipe: {to}")


def is_complete(out: Path, settings: MergeSettings) -> bool:
    """True where a merged brick is still in the folder of its run; a merged model is never kept there."""
    return settings.merges_models() or has_brick(out, settings)


JOBS = {"bricks merge": Job(settings=MergeSettings, work=merge_inputs, is_complete=is_complete, open_model=open_base)}


def run(arguments: Sequence[str]) -> int:
    """The action."""
    settings, options = read_run(MergeSettings, arguments, MergeOptions)
    if options.recipe:
        if options.dry_run:
            raise UsageError("a recipe runs nothing, so it has no dry run; leave --dry-run out.")
        print_recipe(settings, options.to)
        return 0
    to, library = options.to, None if settings.library is None else Path(settings.library)
    writing = partial(merge_inputs, to=to) if to is not None and settings.merges_models() else None
    return run_delivered(JOBS["bricks merge"], settings, options, to=to, library=library, writing=writing)
