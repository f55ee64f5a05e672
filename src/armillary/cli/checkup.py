"""``armillary checkup MODEL``: look inside a model, or at what changed between two, and leave a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.checkup.config import CheckupConfig
from armillary.cli.options import DRY_BEFORE, DRY_MODEL, EarlierModel, ModelName, RunOptions, default_folder, read
from armillary.cli.running import run_in, settings_of, tell
from armillary.runs.record import RunRecord


@dataclass(frozen=True, kw_only=True)
class CheckupOptions(RunOptions):
    """Look inside a model and leave a report that says in words what each picture means and where it misleads.

    A run that was stopped goes on where it was when the same command is given again.
    """

    model: ModelName
    """Packaged name, folder, .gguf file or hub id of the model (`armillary models list` tells the packaged ones)."""

    before: EarlierModel = None
    """The model it came from, in the same forms: adds what changed between the two."""

    subjects: int = 1000
    """Vocabulary items that fill the slot of the prompts; half fit the linear maps, half test them."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


def settings(options: CheckupOptions) -> CheckupConfig:
    """What the check-up itself has to know."""
    if options.dry_run:
        before = DRY_BEFORE if options.before else None
        return CheckupConfig(
            model=DRY_MODEL, before=before, seed=options.seed, subjects=60, texts=8, text_tokens=32, clusters=4
        )
    return CheckupConfig(
        model=options.model,
        before=options.before,
        seed=options.seed,
        subjects=options.subjects,
        trust_remote_code=options.trust_remote_code,
    )


def execute(config: CheckupConfig, out: Path, *, fresh: bool) -> RunRecord:
    """The record of a check-up in the folder ``out``."""
    from armillary.checkup import run_checkup

    return run_in(out, lambda: run_checkup(config, out, fresh=fresh), fresh=fresh)


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """A check-up with the settings of a record."""
    return execute(CheckupConfig(**settings_of(config)), out, fresh=True)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(CheckupOptions, arguments, "checkup")
    config = settings(options)
    versus = ("vs", config.before) if config.before else ()
    out = options.out or default_folder("checkup", config.model, *versus)
    tell(execute(config, out, fresh=options.fresh), out, as_json=options.json)
    return 0
