"""Training a connector as a run of its own: what ``armillary train connector`` leaves."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from armillary.errors import StorageError, UsageError
from armillary.runs.atomic import storage_sentence
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord

if TYPE_CHECKING:
    from armillary.data.picture_tasks import PictureExample, PictureTask
    from armillary.experiments.picture_ground import PictureGround

MODEL_FOLDER = "model"
TASKS: "tuple[PictureTask, ...]" = ("group", "style", "colour", "keyword", "keyword-choice", "name")
"""What sight is measured on; "keyword-choice" is never asked in training."""

_HELD_OUT = 100


@dataclass(frozen=True, kw_only=True)
class ConnectorConfig:
    """Which model gets eyes, and how long they are trained."""

    model: str
    """Packaged name, folder, .gguf file or hub id of the language model."""

    steps: int = 500
    batch_size: int = 8
    learning_rate: float = 1e-3
    questions: int = 150
    """Asked of the test pictures at most, for each task."""

    pictures: Literal["emoji", "made-up"] = "emoji"
    """made-up pictures and a random vision tower need no download and prove that the path works, nothing else."""

    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 1), ("questions", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be {least} or more, got {getattr(self, name)}.")
        if not self.learning_rate > 0:
            raise UsageError(f"the learning rate must be above 0, got {self.learning_rate:g}.")


def run_connector(config: ConnectorConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of one training, also left in ``out`` with its report, beside the model in ``out/model``.

    ``AutoModelForImageTextToText`` and ``AutoProcessor`` open that folder. A killed run goes on from its last
    checkpoint. Raises ``ArmillaryError``.
    """
    with RunFolder.open(out, {"command": "train connector", **asdict(config)}) as folder:
        # Opened late: a wrong option should be told before torch and a model are loaded.
        from armillary.experiments.connector_sections import findings, measures, sections
        from armillary.experiments.picture_ground import picture_ground
        from armillary.models import load

        loaded = load(config.model)
        folder.bind({"model": loaded.fingerprint})
        finished = None if fresh else folder.finished()
        if finished is not None and (out / MODEL_FOLDER).is_dir():
            return finished
        facts = loaded.facts()
        ground = picture_ground(loaded, config.pictures, seed=config.seed)
        del loaded  # the ground holds a copy
        found = _stages(config, ground, folder, out)
        record = RunRecord(
            kind="train",
            title=f"A connector for {facts['name']}",
            config=folder.config,
            models={"model": facts},
            seed=config.seed,
            measures=measures(found),
            findings=findings(found),
            sections=sections(found),
            data=ground.sources(),
            versions=versions(),
            machine=machine(),
            started=folder.started,
            seconds=folder.seconds,
        )
        folder.finish(record)
        return record


def _stages(config: ConnectorConfig, ground: "PictureGround", folder: RunFolder, out: Path) -> dict[str, Any]:
    """Plain data: losses, answers before and after, controls. Saves the model between."""
    from armillary.experiments.connector_training import answer_nats, mixed_examples
    from armillary.experiments.sight_summary import held_out_loss, summary
    from armillary.models.stored_states import stored_states

    model, rows, parts = ground.model, ground.rows, folder.parts
    held_out = mixed_examples(ground.emoji, "validation", _HELD_OUT, seed=config.seed)
    asked = _asked(config, ground)

    def nats() -> list[float]:
        return [float(value) for value in answer_nats(model, rows, held_out)]

    with stored_states(model):
        before = parts.json("loss before", nats)
        untrained = _answers(config, ground, folder, "untrained", asked)
        curve = _trained(config, ground, folder)
    _save(ground, out / MODEL_FOLDER)
    with stored_states(model):
        after = parts.json("loss after", nats)
        seeing = _answers(config, ground, folder, "seeing", asked)
        blind = _answers(config, ground, folder, "blind", _blind(config, ground, asked))
    told = {"untrained": untrained, "seeing": seeing, "blind": blind}
    loss = held_out_loss(before, after, held_out, ground.emoji, config.seed)
    return {"curve": curve, "loss": loss, **summary(asked, told, ground.emoji, config.seed)}


def _asked(config: ConnectorConfig, ground: "PictureGround") -> dict[str, list["PictureExample"]]:
    from armillary.data.picture_tasks import picture_examples

    return {
        task: picture_examples(ground.emoji, task, "test", limit=config.questions, seed=config.seed) for task in TASKS
    }


def _blind(
    config: ConnectorConfig, ground: "PictureGround", asked: dict[str, list["PictureExample"]]
) -> dict[str, list["PictureExample"]]:
    from armillary.experiments.picture_sight import shuffled_pictures

    return {task: shuffled_pictures(examples, ground.emoji, seed=config.seed) for task, examples in asked.items()}


def _answers(
    config: ConnectorConfig,
    ground: "PictureGround",
    folder: RunFolder,
    who: str,
    asked: dict[str, list["PictureExample"]],
) -> dict[str, list[dict[str, Any]]]:
    """What is told to each question, a part a task, so that a killed run asks none twice."""
    from armillary.experiments.picture_sight import caption, choose, names_to_rank

    def ask(task: str, examples: Sequence["PictureExample"]) -> Callable[[], list[dict[str, Any]]]:
        label = f"Asking for {task} ({who})"

        def compute() -> list[dict[str, Any]]:
            if task == "name":
                names = names_to_rank(examples, seed=config.seed)
                told = caption(ground.model, ground.rows, examples, names, label=label)
            else:
                told = choose(ground.model, ground.rows, examples, label=label)
            return [one.to_dict() for one in told]

        return compute

    return {task: folder.parts.json(f"{who} {task}", ask(task, examples)) for task, examples in asked.items()}


def _trained(config: ConnectorConfig, ground: "PictureGround", folder: RunFolder) -> list[list[float]]:
    """The loss curve; afterwards the model in ``ground`` is trained, also where training had ended before a kill."""
    from armillary.experiments.connector_training import ConnectorTraining, mixed_examples, train_connector

    assert folder.parts.folder is not None
    settings = ConnectorTraining(
        steps=config.steps, batch_size=config.batch_size, learning_rate=config.learning_rate, seed=config.seed
    )
    examples = mixed_examples(ground.emoji, "train", config.steps * config.batch_size, seed=config.seed)
    curve = train_connector(ground.model, ground.rows, examples, settings, folder.parts.folder / "checkpoints")
    return [[step, loss] for step, loss in curve]


def _save(ground: "PictureGround", place: Path) -> None:
    """Model and processor at ``place``, whole or not at all; what was there before is replaced."""
    from armillary.models.quiet import quiet

    new = place.with_name(f".{place.name}-new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        with quiet():
            ground.model.save_pretrained(new)
            ground.processor.save_pretrained(new)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(new, place)
    except OSError as error:
        raise StorageError(storage_sentence(place, error)) from error
