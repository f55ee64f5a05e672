"""Training a connector as a run of its own: what ``armillary train connector`` leaves."""

import math
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset
from transformers import LlavaForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from armillary.data.images.emoji import Emoji
from armillary.data.images.questions import ImageExample, ImageTask, image_examples
from armillary.errors import NumericError, StorageError, UsageError
from armillary.files import storage_sentence
from armillary.models.vision import find_vision_anatomy
from armillary.progress import counted
from armillary.records.record import RunRecord
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.scoring.answers import answer_log_probabilities
from armillary.training.checkpoints import (
    StepBar,
    TrainableWeightsMixin,
    last_checkpoint,
    only_trainable,
    train_or_resume,
)
from armillary.training.image_rows import ImageRows
from armillary.training.questions import answer_loss, with_answer_positions

if TYPE_CHECKING:
    from armillary.data.images.questions import ImageExample, ImageTask
    from armillary.finetuning.image_setup import ImageTextSetup

MODEL_FOLDER = "model"
TASKS: "tuple[ImageTask, ...]" = ("group", "style", "colour", "keyword", "keyword-choice", "name")
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
    """Asked of the test images at most, for each task."""

    pictures: Literal["emoji", "made-up"] = "emoji"
    """made-up images and a random vision tower need no download and prove that the path works, nothing else."""

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
        from armillary.finetuning.connector_report import findings, measures, sections
        from armillary.finetuning.image_setup import image_text_setup
        from armillary.models import load

        loaded = load(config.model)
        folder.bind({"model": loaded.fingerprint})
        finished = None if fresh else folder.finished()
        if finished is not None and (out / MODEL_FOLDER).is_dir():
            return finished
        facts = loaded.facts()
        setup = image_text_setup(loaded, config.pictures, seed=config.seed)
        del loaded  # the ground holds a copy
        found = _stages(config, setup, folder, out)
        record = RunRecord(
            kind="train",
            title=f"A connector for {facts['name']}",
            config=folder.config,
            models={"model": facts},
            seed=config.seed,
            measures=measures(found),
            findings=findings(found),
            sections=sections(found),
            data=[source.to_dict() for source in setup.sources()],
            versions=versions(),
            machine=machine(),
            started=folder.started,
            seconds=folder.seconds,
        )
        folder.finish(record)
        return record


def _stages(config: ConnectorConfig, setup: "ImageTextSetup", folder: RunFolder, out: Path) -> dict[str, Any]:
    """Plain data: losses, answers before and after, controls. Saves the model between."""
    from armillary.finetuning.image_evaluation import held_out_loss, summary
    from armillary.models.vision import stored_states

    model, rows, parts = setup.model, setup.rows, folder.parts
    held_out = mixed_examples(setup.emoji, "validation", _HELD_OUT, seed=config.seed)
    asked = _asked(config, setup)

    def nats() -> list[float]:
        return [float(value) for value in answer_nats(model, rows, held_out)]

    with stored_states(model):
        before = parts.json("loss before", nats)
        untrained = _answers(config, setup, folder, "untrained", asked)
        curve = _trained(config, setup, folder)
    _save(setup, out / MODEL_FOLDER)
    with stored_states(model):
        after = parts.json("loss after", nats)
        seeing = _answers(config, setup, folder, "seeing", asked)
        blind = _answers(config, setup, folder, "blind", _blind(config, setup, asked))
    told = {"untrained": untrained, "seeing": seeing, "blind": blind}
    loss = held_out_loss(before, after, held_out, setup.emoji, config.seed)
    return {"curve": curve, "loss": loss, **summary(asked, told, setup.emoji, config.seed)}


def _asked(config: ConnectorConfig, setup: "ImageTextSetup") -> dict[str, list["ImageExample"]]:
    from armillary.data.images.questions import image_examples

    return {
        task: image_examples(setup.emoji, task, "test", limit=config.questions, seed=config.seed) for task in TASKS
    }


def _blind(
    config: ConnectorConfig, setup: "ImageTextSetup", asked: dict[str, list["ImageExample"]]
) -> dict[str, list["ImageExample"]]:
    from armillary.finetuning.image_evaluation import shuffled_images

    return {task: shuffled_images(examples, setup.emoji, seed=config.seed) for task, examples in asked.items()}


def _answers(
    config: ConnectorConfig,
    setup: "ImageTextSetup",
    folder: RunFolder,
    who: str,
    asked: dict[str, list["ImageExample"]],
) -> dict[str, list[dict[str, Any]]]:
    """What is told to each question, a part a task, so that a killed run asks none twice."""
    from armillary.finetuning.image_evaluation import caption, choose, names_to_rank

    def ask(task: str, examples: Sequence["ImageExample"]) -> Callable[[], list[dict[str, Any]]]:
        label = f"Asking for {task} ({who})"

        def compute() -> list[dict[str, Any]]:
            if task == "name":
                names = names_to_rank(examples, seed=config.seed)
                told = caption(setup.model, setup.rows, examples, names, label=label)
            else:
                told = choose(setup.model, setup.rows, examples, label=label)
            return [one.to_dict() for one in told]

        return compute

    return {task: folder.parts.json(f"{who} {task}", ask(task, examples)) for task, examples in asked.items()}


def _trained(config: ConnectorConfig, setup: "ImageTextSetup", folder: RunFolder) -> list[list[float]]:
    """The loss curve; afterwards the model in ``setup`` is trained, also where training had ended before a kill."""

    assert folder.parts.folder is not None
    settings = ConnectorTraining(
        steps=config.steps, batch_size=config.batch_size, learning_rate=config.learning_rate, seed=config.seed
    )
    examples = mixed_examples(setup.emoji, "train", config.steps * config.batch_size, seed=config.seed)
    curve = train_connector(setup.model, setup.rows, examples, settings, folder.parts.folder / "checkpoints")
    return [[step, loss] for step, loss in curve]


def _save(setup: "ImageTextSetup", place: Path) -> None:
    """Model and processor at ``place``, whole or not at all; what was there before is replaced."""
    from armillary.models.quiet import quiet

    new = place.with_name(f".{place.name}-new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        with quiet():
            setup.model.save_pretrained(new)
            setup.processor.save_pretrained(new)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(new, place)
    except OSError as error:
        raise StorageError(storage_sentence(place, error)) from error


# Stage 1 of an image-text model: only the connector learns, from questions about images (LLaVA, section 4.2).
#
# [derived] The mix of questions and the settings are ours; LLaVA's first stage captions images.

MIX: tuple[ImageTask, ...] = ("name", "group", "style", "colour", "keyword")
"""Tasks that are learned, each as often as the others while its images last."""

_SCORED_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class ConnectorTraining:
    """AdamW with a cosine schedule."""

    steps: int = 500
    batch_size: int = 8
    learning_rate: float = 1e-3
    warmup: float = 0.03
    """Share of the steps in which the rate rises."""

    save_every: int = 50
    """Steps between checkpoints."""

    seed: int = 0


def mixed_examples(emoji: Emoji, split: str, count: int, *, seed: int) -> list[ImageExample]:
    """About ``count`` examples of the mix in a random order; fewer where a task has no more images."""
    each = max(2, math.ceil(count / len(MIX)))
    examples = [example for task in MIX for example in image_examples(emoji, task, split, limit=each, seed=seed)]
    random.Random(f"mix {split} {seed}").shuffle(examples)
    return examples


def train_connector(
    model: LlavaForConditionalGeneration,
    rows: ImageRows,
    examples: Sequence[ImageExample],
    settings: ConnectorTraining,
    folder: Path,
    *,
    callbacks: Sequence[TrainerCallback] = (),
) -> list[tuple[int, float]]:
    """Trains the connector in place; (step, mean training loss in nats since the step before) along the way.

    Checkpoints of the connector alone go to ``folder``; a run that was killed goes on from the last one there, to the
    same weights. With stored states in ``rows`` call it inside ``stored_states(model)``. NumericError where the loss
    stops being finite.
    """
    connector = find_vision_anatomy(model).connector
    assert connector is not None
    with only_trainable(model, list(connector.parameters())), counted("Training the connector", settings.steps) as bar:
        trainer = _ConnectorTrainer(
            model=model,
            args=_arguments(settings, folder, on_cpu=model.device.type == "cpu"),
            train_dataset=_Rows([rows.row(example) for example in examples]),
            data_collator=with_answer_positions(rows.collate),
            compute_loss_func=answer_loss,
            callbacks=[StepBar(bar), *callbacks],
        )
        # It would print its own summary on stdout, where --json leaves nothing but the record.
        trainer.remove_callback(PrinterCallback)
        train_or_resume(trainer, last_checkpoint(folder))
    model.eval()
    curve = [(int(log["step"]), float(log["loss"])) for log in trainer.state.log_history if "loss" in log]
    if not all(math.isfinite(loss) for _, loss in curve) or not _finite(connector):
        raise NumericError(
            f"the training loss stopped being finite; lower the learning rate of {settings.learning_rate:g}."
        )
    return curve


def answer_nats(
    model: LlavaForConditionalGeneration, rows: ImageRows, examples: Sequence[ImageExample]
) -> NDArray[np.float64]:
    """Negative log-likelihood (nats a token) of each right answer with its end token."""
    found = []
    for start in range(0, len(examples), _SCORED_AT_ONCE):
        asked = examples[start : start + _SCORED_AT_ONCE]
        prompts = rows.collate([rows.row(example, answered=False) for example in asked])
        scores = answer_log_probabilities(model, prompts, [[rows.answer(example.answer)] for example in asked])
        found += [-float(score.mean[0]) for score in scores]
    return np.array(found)


class _ConnectorTrainer(TrainableWeightsMixin, Trainer):
    """The stock Trainer; its checkpoints hold the connector alone."""


class _Rows(Dataset[dict[str, Any]]):
    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]


def _arguments(settings: ConnectorTraining, folder: Path, *, on_cpu: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup * settings.steps),
        weight_decay=0.0,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=2,
        logging_steps=max(1, settings.steps // 40),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )


def _finite(module: nn.Module) -> bool:
    return all(bool(torch.isfinite(cast(torch.Tensor, weight)).all()) for weight in module.parameters())
