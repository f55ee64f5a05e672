"""Whole models on disk joined into one: what ``armillary bricks merge`` leaves where its inputs are model folders."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from armillary.errors import UsageError
from armillary.experiments.bricks_merge_run import (
    EXACTLY,
    MergeConfig,
    error_words,
    found_input,
    is_model,
    merge_section,
)
from armillary.experiments.bricks_model_run import Delivery, Outcome, file_digest, finished_run, settings
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord
from armillary.runs.sections import Cell, Finding, Table

if TYPE_CHECKING:
    from armillary.methods.bricks.state_merge import StateMerge


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
        return finished_run(_told(config, merged), folder, facts, config.seed)


def _merged(config: MergeConfig, base: Path, models: list[Path], to: Path | None, out: Path) -> "StateMerge":
    from armillary.methods.bricks.state_merge import merge_models

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


def _told(config: MergeConfig, merged: "StateMerge") -> Outcome:
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
