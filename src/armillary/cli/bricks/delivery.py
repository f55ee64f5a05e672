"""What every action of ``armillary bricks`` does around its own work: folder, model, resume, record, product.

A product is what a run leaves beside its record: a brick, which is also kept in the folder of the run, or the folder
of a whole model. Where it is put is no setting: the same run may be delivered again, or replayed without it.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from armillary.errors import StorageError, UsageError
from armillary.numerics.intervals import Interval
from armillary.records.record import FILE_NAME, RunRecord
from armillary.records.sections import Finding, Section
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder

if TYPE_CHECKING:
    from armillary.methods.bricks.brick import Brick
    from armillary.models import LoadedModel

BRICK = "brick"
"""Folder, in that of the run, of the brick that the run made."""


class ModelConfig(Protocol):
    """What the settings of every action have."""

    @property
    def model(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def trust_remote_code(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Where the product goes; nowhere by default."""

    to: Path | None = None
    """A new folder: PEFT's for a brick, transformers' for a model."""

    library: Path | None = None
    """A library that gets the brick."""

    def check(self, out: Path) -> None:
        """StorageError where ``to`` exists, UsageError where it is the folder of the run: before any work."""
        if self.to is None:
            return
        if self.to.exists():
            raise StorageError(f"{self.to} exists already; give the name of a new folder.")
        if self.to.resolve() == out.resolve():
            raise UsageError(f"{self.to} is the folder of the run; give another one for what the run makes.")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the work of an action found and made."""

    title: str
    sections: list[Section]
    findings: list[Finding]
    measures: dict[str, Interval] = field(default_factory=dict)
    data: Sequence[Any] = ()
    """Sources of the texts (``data.DataSource``)."""

    brick: "Brick | None" = None
    save: Callable[[Path], object] | None = None
    """Writes the model that was made into a new folder."""


Work = Callable[["LoadedModel", RunFolder], Outcome]


def run_on_model(
    action: str,
    config: ModelConfig,
    out: Path,
    work: Work,
    *,
    fresh: bool = False,
    delivery: Delivery | None = None,
    files: Mapping[str, str] | None = None,
) -> RunRecord:
    """The record of one action on one model, also left in ``out`` with its report; its product is delivered first.

    A finished run is read again, and its brick delivered from its folder; a model that is to be written needs the work
    anew. ``files`` are digests of what is read beside the model. Raises ``ArmillaryError``.
    """
    delivery = delivery or Delivery()
    delivery.check(out)
    with RunFolder.open(out, settings(action, config, files)) as folder:
        # Opened late: a wrong setting should be told before torch and a model are loaded.
        from armillary.models import load

        loaded = load(config.model, trust_remote_code=config.trust_remote_code)
        folder.bind({"model": loaded.fingerprint})
        finished = None if fresh else _delivered_again(folder, delivery)
        if finished is not None:
            return finished
        outcome = work(loaded, folder)
        _deliver(outcome, folder, delivery)
        return finished_run(outcome, folder, {"model": loaded.facts()}, config.seed)


def settings(action: str, config: Any, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the folder of a run is opened with."""
    return {"command": f"bricks {action}", **asdict(config), **({"files": dict(files)} if files else {})}


def finished_run(outcome: Outcome, folder: RunFolder, models: dict[str, dict[str, Any]], seed: int) -> RunRecord:
    """The record of what was found, written with its report."""
    record = RunRecord(
        kind="bricks",
        title=outcome.title,
        config=folder.config,
        models=models,
        seed=seed,
        measures=outcome.measures,
        findings=outcome.findings,
        sections=outcome.sections,
        data=[asdict(source) for source in outcome.data],
        versions=versions(),
        machine=machine(),
        started=folder.started,
        seconds=folder.seconds,
    )
    folder.finish(record)
    return record


def file_digest(path: Path) -> str:
    """Sixteen hex digits of a file, or of all files of a folder with their names; another content is another run.

    StorageError where one can't be read.
    """
    found = hashlib.sha256()
    try:
        for file in sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]:
            found.update(f"{file.relative_to(path) if path.is_dir() else ''}\n".encode())
            with open(file, "rb") as opened:
                while block := opened.read(1 << 20):
                    found.update(block)
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror or error}.") from error
    return found.hexdigest()[:16]


def _delivered_again(folder: RunFolder, delivery: Delivery) -> RunRecord | None:
    """The finished record, its brick delivered; None where something that is wanted is no longer there."""
    record = folder.finished()
    if record is None:
        return None
    made = (folder.path / BRICK).is_dir()
    if not made and (delivery.to is not None or delivery.library is not None):
        return None
    if made:
        _hand_out(folder.path / BRICK, delivery)
    return record


def _deliver(outcome: Outcome, folder: RunFolder, delivery: Delivery) -> None:
    kept = folder.path / BRICK
    # The old record goes first: beside a new brick it would be taken for that one's.
    (folder.path / FILE_NAME).unlink(missing_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    if outcome.brick is not None:
        from armillary.files import whole_folder
        from armillary.methods.bricks.library.folder import write_brick

        with whole_folder(kept) as aside:
            write_brick(outcome.brick, aside)
        _hand_out(kept, delivery)
    elif outcome.save is not None and delivery.to is not None:
        outcome.save(delivery.to)


def _hand_out(kept: Path, delivery: Delivery) -> None:
    if delivery.to is None and delivery.library is None:
        return
    from armillary.methods.bricks.library.brick_library import BrickLibrary
    from armillary.methods.bricks.library.folder import read_brick
    from armillary.methods.bricks.library.peft import write_adapter

    brick = read_brick(kept)
    if delivery.library is not None:
        BrickLibrary(delivery.library).add(brick)
    if delivery.to is not None:
        write_adapter(brick, delivery.to)
