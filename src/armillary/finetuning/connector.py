"""The work of ``armillary train connector``: an image-text model with a trained connector, and what it sees."""

import math
import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlavaForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from armillary.data.images.emoji import Emoji
from armillary.data.images.questions import ImageExample, ImageTask, image_examples
from armillary.errors import NumericError
from armillary.files import whole_folder
from armillary.finetuning.config import ConnectorConfig
from armillary.finetuning.connector_report import ConnectorResult, findings, measures, sections
from armillary.finetuning.image_evaluation import (
    ImageAnswer,
    caption,
    choose,
    evaluation,
    names_to_rank,
    over_identities,
    shuffled_images,
)
from armillary.finetuning.image_setup import ImageTextSetup, image_text_setup
from armillary.models.quiet import quiet
from armillary.models.vision import find_vision_anatomy, stored_states
from armillary.progress import counted
from armillary.runs.parts import Parts
from armillary.runs.run import Outcome, Run
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

MODEL = "model"
"""Folder, in that of the run, of the joined model: ``AutoModelForImageTextToText`` and ``AutoProcessor`` open it."""

TASKS: tuple[ImageTask, ...] = ("group", "style", "colour", "keyword", "keyword-choice", "name")
"""What is asked; "keyword-choice" is never asked in training."""

_HELD_OUT = 100
"""Validation questions whose loss is read before and after: enough for an interval, seconds of work."""


def train(run: Run[ConnectorConfig]) -> Outcome:
    """What the joined model sees, beside the same with shuffled images and before training.

    The model is left in the run's folder under ``model``. A killed run goes on from its last checkpoint.
    """
    config, parts = run.settings, run.parts
    loaded = run.models.pop("model")
    name, setup = loaded.name, image_text_setup(loaded, config.pictures, seed=config.seed)
    del loaded  # the set-up holds a copy
    model, emoji = setup.model, setup.emoji
    held_out = mixed_examples(emoji, "validation", _HELD_OUT, seed=config.seed)
    examples = {task: image_examples(emoji, task, "test", limit=config.questions, seed=config.seed) for task in TASKS}
    shuffled = {task: shuffled_images(of_task, emoji, seed=config.seed) for task, of_task in examples.items()}

    def nats() -> list[float]:
        return [float(value) for value in answer_nats(model, setup.rows, held_out)]

    with stored_states(model):
        before = parts.json("loss before", nats)
        untrained = _answers(setup, parts, "untrained", examples, config.seed)
        assert parts.folder is not None
        train_examples = mixed_examples(emoji, "train", config.steps * config.batch_size, seed=config.seed)
        # Also where training had ended before a kill: the weights are those of its last checkpoint.
        curve = train_connector(model, setup.rows, train_examples, config, parts.folder / "checkpoints")
    with quiet(), whole_folder(run.folder.path / MODEL, replace=True) as folder:
        model.save_pretrained(folder)
        setup.processor.save_pretrained(folder)
    with stored_states(model):
        after = parts.json("loss after", nats)
        seeing = _answers(setup, parts, "seeing", examples, config.seed)
        blind = _answers(setup, parts, "blind", shuffled, config.seed)
    answers = {task: {"untrained": untrained[task], "seeing": seeing[task], "blind": blind[task]} for task in examples}
    result = ConnectorResult(
        curve=curve,
        before=over_identities(before, held_out, emoji, seed=config.seed),
        after=over_identities(after, held_out, emoji, seed=config.seed),
        evaluation=evaluation(examples, answers, emoji, config.seed),
    )
    return Outcome(
        title=f"A connector for {name}",
        measures=measures(result),
        findings=findings(result),
        sections=sections(result),
        data=setup.sources(),
    )


def _answers(
    setup: ImageTextSetup, parts: Parts, who: str, examples: Mapping[ImageTask, Sequence[ImageExample]], seed: int
) -> dict[ImageTask, list[ImageAnswer]]:
    """An answer to each question, a part a task, so that a killed run asks none twice."""

    def ask(task: str, of_task: Sequence[ImageExample]) -> list[ImageAnswer]:
        label = f"Asking for {task} ({who})"
        if task == "name":
            return caption(setup.model, setup.rows, of_task, names_to_rank(of_task, seed=seed), label=label)
        return choose(setup.model, setup.rows, of_task, label=label)

    return {
        task: parts.decoded(list[ImageAnswer], f"{who} {task}", partial(ask, task, of_task))
        for task, of_task in examples.items()
    }


# Stage 1 of an image-text model: only the connector learns, from questions about images (LLaVA, section 4.2).
#
# [derived] The mix of questions and the settings are ours; LLaVA's first stage captions images.

MIX: tuple[ImageTask, ...] = ("name", "group", "style", "colour", "keyword")
"""Tasks that are learned, each as often as the others while its images last."""

_SCORED_AT_ONCE = 32


_WARMUP = 0.03
"""Share of the steps in which the rate rises: the first steps of a random connector should be small."""

_SAVE_EVERY = 50
"""Steps between checkpoints, which hold the connector alone: a kill costs a minute or so."""


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
    config: ConnectorConfig,
    folder: Path,
    *,
    save_every: int = _SAVE_EVERY,
    callbacks: Sequence[TrainerCallback] = (),
) -> list[tuple[int, float]]:
    """Trains the connector in place; (step, mean training loss in nats since the step before) along the way.

    Checkpoints of the connector alone go to ``folder``; a run that was killed goes on from the last one there, to the
    same weights. With stored states in ``rows`` call it inside ``stored_states(model)``. NumericError where the loss
    stops being finite.
    """
    connector = find_vision_anatomy(model).connector
    assert connector is not None
    with only_trainable(model, list(connector.parameters())), counted("Training the connector", config.steps) as bar:
        trainer = _ConnectorTrainer(
            model=model,
            args=_arguments(config, folder, save_every, on_cpu=model.device.type == "cpu"),
            train_dataset=cast(Any, [rows.row(example) for example in examples]),
            data_collator=with_answer_positions(rows.collate),
            compute_loss_func=answer_loss,
            callbacks=[StepBar(bar), *callbacks],
        )
        # It would print its own summary on stdout, where --json leaves nothing but the record.
        trainer.remove_callback(PrinterCallback)
        train_or_resume(trainer, last_checkpoint(folder))
    model.eval()
    curve = [(int(log["step"]), float(log["loss"])) for log in trainer.state.log_history if "loss" in log]
    finite = all(bool(torch.isfinite(cast(torch.Tensor, weight)).all()) for weight in connector.parameters())
    if not finite or not all(math.isfinite(loss) for _, loss in curve):
        raise NumericError(
            f"the training loss stopped being finite; lower the learning rate of {config.learning_rate:g}."
        )
    return curve


def answer_nats(
    model: LlavaForConditionalGeneration, rows: ImageRows, examples: Sequence[ImageExample]
) -> NDArray[np.float64]:
    """Negative log-likelihood (nats a token) of each right answer with its end token."""
    nats: list[float] = []
    for start in range(0, len(examples), _SCORED_AT_ONCE):
        batch = examples[start : start + _SCORED_AT_ONCE]
        prompts = rows.collate([rows.row(example, answered=False) for example in batch])
        scores = answer_log_probabilities(
            model, prompts, [[rows.answer(example.answer)] for example in batch], nameless=rows.nameless
        )
        nats += [-float(score.mean[0]) for score in scores]
    return np.array(nats)


class _ConnectorTrainer(TrainableWeightsMixin, Trainer):
    """The stock Trainer; its checkpoints hold the connector alone."""


def _arguments(config: ConnectorConfig, folder: Path, save_every: int, *, on_cpu: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(_WARMUP * config.steps),
        weight_decay=0.0,
        save_strategy="steps",
        save_steps=save_every,
        save_total_limit=2,
        logging_steps=max(1, config.steps // 40),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
