"""From a folder of training data to a tuned model: reconstruction, then pairs of its own responses, then preferences.

Each stage is kept: a killed run goes on with the first that is not finished, a killed training from its last
checkpoint, and both end with the same weights.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from armillary.errors import UsageError
from armillary.extras import optional
from armillary.files import read_text, whole_folder
from armillary.methods.ultragen.building import PairPlan, paired
from armillary.methods.ultragen.config import SEPARATOR, PreferenceConfig, ReconstructionConfig
from armillary.methods.ultragen.report import StageSummary, UltragenPage, train_page
from armillary.methods.ultragen.set_files import read_sets
from armillary.methods.ultragen.training import FALL, TrainedStage, prefer, reconstruct
from armillary.methods.ultragen.training_data import as_completion, as_prompt
from armillary.models.loaded import LoadedModel
from armillary.models.loading import load
from armillary.models.quiet import quiet
from armillary.runs.parts import Parts

Stages = Literal["both", "reconstruction", "preferences"]

MODEL = "model"
"""Folder of the tuned model, within that of the run."""


@dataclass(frozen=True, kw_only=True)
class TuningPlan:
    """Everything that decides what is trained."""

    data: str
    """Folder that ``armillary ultragen build`` left."""

    stages: Stages
    reconstruction: ReconstructionConfig
    preferences: PreferenceConfig
    pairs: PairPlan
    dtype: str


def tuned(plan: TuningPlan, loaded: LoadedModel, parts: Parts, folder: Path) -> UltragenPage:
    """Trains, leaves the model in ``folder/model``, and tells how it went.

    UsageError for a folder without the rows that a stage needs, without TRL, or where no set gives a pair.
    """
    assert parts.folder is not None
    chat = bool(loaded.tokenizer.chat_template)
    reconstructed, preferred = parts.folder / "reconstructed", parts.folder / "preferred"
    summaries, left_out, notes = {}, Counter[str](), []
    device = str(loaded.device)

    def stage(name: str, target: Path, train: Callable[[Path], TrainedStage]) -> StageSummary:
        """The stage's summary; its model stands in ``target`` afterwards."""

        def work() -> StageSummary:
            made = train(parts_folder / f"checkpoints-{name}")
            with quiet(), whole_folder(target, replace=True) as saved:
                made.loaded.model.save_pretrained(saved)
                made.loaded.tokenizer.save_pretrained(saved)
            steps = [line["step"] for line in made.log if "loss" in line]
            return StageSummary(
                rows=made.rows, left_out=made.left_out, steps=steps, losses=made.losses, chosen_fall=made.chosen_fall
            )

        summary = parts.decoded(StageSummary, name, work)
        if not (target / "config.json").is_file():
            raise UsageError(f"the model after {name} is no longer in {target}; give --fresh to train again.")
        return summary

    parts_folder, model = parts.folder, loaded
    if plan.stages != "preferences":
        rows = _rows(_lines(Path(plan.data) / "ar.jsonl"), ("completion",), "ar.jsonl", chat=chat)
        summaries["reconstruction"] = stage(
            "reconstruction",
            reconstructed,
            lambda checkpoints: reconstruct(
                loaded, rows, plan.reconstruction, checkpoints=checkpoints, label="reconstruction (steps)"
            ),
        )
        # Read back from its folder whether it was trained now or before a kill, so that both go on alike.
        model = load(str(reconstructed), dtype=plan.dtype, device=device)
    if plan.stages != "reconstruction":
        lines, left_out = _pairs(plan, model, parts)
        pairs = _rows(lines, ("chosen", "rejected"), "the pairs", chat=chat)
        summaries["preferences"] = stage(
            "preferences",
            preferred,
            lambda checkpoints: prefer(
                model, pairs, plan.preferences, checkpoints=checkpoints, label="preferences (steps)"
            ),
        )
        fall = summaries["preferences"].chosen_fall
        if fall is not None and fall > FALL:
            notes.append(f"The chosen responses lost {fall:.0f} nats in stage 2; --sft-weight 0.1 to 1 holds them.")
    with whole_folder(folder / MODEL, replace=True) as target:
        shutil.copytree(reconstructed if plan.stages == "reconstruction" else preferred, target, dirs_exist_ok=True)
    return train_page(summaries, left_out, notes)


def _pairs(plan: TuningPlan, model: LoadedModel, parts: Parts) -> tuple[list[str], Counter[str]]:
    """Pairs of the reconstructed model's own responses; those in the folder where that stage is left out."""
    given = Path(plan.data) / "pairs.jsonl"
    if plan.stages == "preferences" and given.is_file():
        return _lines(given), Counter()
    lines, left_out = [], Counter[str]()
    for some in paired(model, read_sets(Path(plan.data) / "sets.jsonl"), plan.pairs, parts):
        lines += some.lines
        left_out.update(some.left_out)
    if not lines:
        reasons = "; ".join(f"{count} of {reason}" for reason, count in left_out.items())
        raise UsageError(f"no set gave a pair ({reasons}); draw more responses (--k) or lower --margin.")
    return lines, left_out


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise UsageError(f"{path} is not there; give the folder that `armillary ultragen build` left.")
    lines = [line for line in read_text(path).split("\n") if line.strip()]
    if not lines:
        raise UsageError(f"{path} holds no row; give the folder that `armillary ultragen build` left.")
    return lines


def _rows(lines: list[str], columns: tuple[str, ...], where: str, *, chat: bool) -> Any:
    """The rows of JSON lines, as messages or plain text whichever the model reads."""
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            request = _text(row["prompt"])
            texts = {name: _text(row[name]) for name in columns}
        except (ValueError, KeyError, TypeError, IndexError):
            raise UsageError(f"line {number} of {where} is no row with prompt, {' and '.join(columns)}.") from None
        request = request.removesuffix(SEPARATOR)
        rows.append(
            {
                "prompt": as_prompt(request, chat=chat),
                **{name: as_completion(text, chat=chat) for name, text in texts.items()},
            }
        )
    return optional("datasets", "trl").Dataset.from_list(rows)


def _text(cell: Any) -> str:
    """Plain text, or the content of the last message."""
    return cell if isinstance(cell, str) else str(cell[-1]["content"])
