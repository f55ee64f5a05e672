"""What a run of ``armillary bricks`` makes beside its record, and where it is put.

A brick is kept in the folder of the run, from which it goes to ``--to`` and ``--library`` once the record is there; a
whole model is written by the run itself. Where a product goes is no setting: the same run may be delivered again, or
replayed without it.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from armillary.cli.command import execute, print_summary
from armillary.cli.options import Folder, RunOptions, default_folder
from armillary.errors import StorageError, UsageError
from armillary.files import whole_folder
from armillary.records.record import FILE_NAME
from armillary.runs.environment import versions
from armillary.runs.folder import RunFolder
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import OneModelSettings, RunSettings

if TYPE_CHECKING:
    from armillary.methods.bricks.brick import Brick, Kind
    from armillary.methods.bricks.payloads import Payload

SettingsT = TypeVar("SettingsT", bound=RunSettings)
OneModelT = TypeVar("OneModelT", bound=OneModelSettings)

BRICK = "brick"
"""Folder, in that of the run, of the brick that the run made."""


@dataclass(frozen=True, kw_only=True)
class ProductOptions(RunOptions):
    """Where a run and what it makes go."""

    to: Folder = None
    """New folder for what the run makes: PEFT's for a brick, transformers' for a model."""


@dataclass(frozen=True, kw_only=True)
class BrickOptions(ProductOptions):
    """Where a run and its brick go."""

    library: Folder = None
    """Library that gets the brick (`armillary bricks library`)."""


def keep_new_brick(
    run: Run[OneModelT],
    payload: "Payload",
    *,
    name: str,
    method: str,
    data: str = "",
    kind: "Kind | None" = None,
    notes: Mapping[str, Any] | None = None,
) -> "Brick":
    """A brick of the run's model that says how it was made, kept in the folder of the run."""
    from armillary.methods.bricks.brick import Brick, BrickMeta, Provenance

    base, seed = run.settings.model, run.settings.seed
    provenance = Provenance(method=method, base=base, data=data, seed=seed, versions=versions())
    meta = BrickMeta(provenance=provenance, notes=dict(notes or {}))
    brick = Brick.of(run.model, payload, name=name, kind=kind, meta=meta)
    keep_brick(brick, run.folder)
    return brick


def keep_brick(brick: "Brick", folder: RunFolder) -> None:
    """The brick in the folder of its run, in place of an earlier one."""
    from armillary.methods.bricks.library.folder import write_brick

    # The old record goes first: beside a new brick it would be taken for that one's.
    (folder.path / FILE_NAME).unlink(missing_ok=True)
    shutil.rmtree(folder.path / BRICK, ignore_errors=True)
    with whole_folder(folder.path / BRICK) as aside:
        write_brick(brick, aside)


def has_brick(out: Path, settings: RunSettings) -> bool:
    """True where the brick of a finished run is still in its folder."""
    return (out / BRICK).is_dir()


def run_delivered(
    job: Job[SettingsT],
    settings: SettingsT,
    options: RunOptions,
    *,
    to: Path | None = None,
    library: Path | None = None,
    writing: Callable[[Run[SettingsT]], Outcome] | None = None,
) -> int:
    """Run the job, then put its brick into a new PEFT folder and a library.

    ``writing`` is the job's work where that itself writes a model to ``to``.

    Raises:
        StorageError: ``to`` exists; told before any work.
        UsageError: ``to`` is the folder of the run.
    """
    out = options.out or default_folder(*settings.command.split(), *settings.names())
    if to is not None and to.exists():
        raise StorageError(f"{to} exists already; give the name of a new folder.")
    if to is not None and to.resolve() == out.resolve():
        raise UsageError(f"{to} is the folder of the run; give another one for what the run makes.")
    if writing is not None:
        # The folder is new, so a finished run does its work anew to fill it.
        job = replace(job, work=writing, is_complete=lambda out, settings: False)
    record, _ = execute(job, settings, replace(options, out=out))
    if (out / BRICK).is_dir() and (to is not None or library is not None):
        from armillary.methods.bricks.library.brick_library import BrickLibrary
        from armillary.methods.bricks.library.folder import read_brick
        from armillary.methods.bricks.library.peft import write_adapter

        brick = read_brick(out / BRICK)
        if library is not None:
            BrickLibrary(library).add(brick)
        if to is not None:
            write_adapter(brick, to)
    print_summary(record, out, as_json=options.json)
    return 0
