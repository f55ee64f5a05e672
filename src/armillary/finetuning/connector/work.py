"""The work of ``armillary train connector``: an image-text model with a trained connector, and what it sees."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from armillary.data.images.emoji import Emoji
from armillary.data.images.questions import ImageExample, ImageTask, image_examples
from armillary.extras import optional
from armillary.files import whole_folder
from armillary.finetuning.config import ConnectorConfig
from armillary.finetuning.connector.report import ABOVE, FIRST, ConnectorResult, findings, measures, sections
from armillary.finetuning.connector.start import start_connector
from armillary.finetuning.connector.training import LEARNED, Reading, adapted, answer_nats, train_connector
from armillary.finetuning.image_evaluation import (
    ATTRIBUTES,
    ImageAnswer,
    above_majority,
    caption,
    choose,
    evaluation,
    names_to_rank,
    over_identities,
    shuffled_images,
)
from armillary.finetuning.image_setup import ImageTextSetup, image_text_setup
from armillary.models.image_text import open_image_text_model
from armillary.models.quiet import quiet
from armillary.models.vision import stored_states
from armillary.runs.parts import Parts
from armillary.runs.run import Outcome, Run
from armillary.training.checkpoints import last_checkpoint
from armillary.training.image_rows import ImageRows

MODEL = "model"
"""Folder, in that of the run, of the joined model: ``AutoModelForImageTextToText`` and ``AutoProcessor`` open it."""

TASKS: tuple[ImageTask, ...] = ("group", "style", "colour", "keyword", "keyword-choice", "name")
"""What is asked; "keyword-choice" is never asked in training."""

_HELD_OUT = 100
"""Validation questions whose loss is read before and after: enough for an interval, seconds of work."""

_ON_THE_WAY = 50
"""Validation questions a task of one reading: an error of 7 points, and a small part of the training's time."""

_OPENED = 8
"""Questions a task that the saved model, opened again, is asked from pixels."""


def train(run: Run[ConnectorConfig]) -> Outcome:
    """What the joined model sees, beside the same with shuffled images and before training.

    The model is left in the run's folder under ``model``. A killed run goes on from its last checkpoint.
    """
    config, parts = run.settings, run.parts
    if config.lora_rank:
        optional("peft", "adapters")
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
        # Also where training had ended before a kill: the weights are those of its last checkpoint.
        curve, readings = see(setup, config, parts.folder / "checkpoints", read=partial(_on_the_way, setup, config))
        after = parts.json("loss after", nats)
        seeing = _answers(setup, parts, "seeing", examples, config.seed)
        blind = _answers(setup, parts, "blind", shuffled, config.seed)
    with quiet(), whole_folder(run.folder.path / MODEL, replace=True) as folder:
        model.save_pretrained(folder)
        setup.processor.save_pretrained(folder)
    answers = {task: {"untrained": untrained[task], "seeing": seeing[task], "blind": blind[task]} for task in examples}
    result = ConnectorResult(
        curve=curve,
        readings=readings,
        before=over_identities(before, held_out, emoji, seed=config.seed),
        after=over_identities(after, held_out, emoji, seed=config.seed),
        evaluation=evaluation(examples, answers, emoji, config.seed),
        above=above_majority(examples, seeing, emoji, config.seed),
        opened=parts.json("opened", lambda: _opened_again(run.folder.path / MODEL, setup, examples, seeing)),
    )
    return Outcome(
        title=f"A connector for {name}",
        measures=measures(result),
        findings=findings(result),
        sections=sections(result),
        data=setup.sources(),
    )


def see(
    setup: ImageTextSetup, config: ConnectorConfig, folder: Path, *, read: Callable[[], Reading] | None = None
) -> tuple[list[tuple[int, float]], list[tuple[int, Reading]]]:
    """The recipe: the connector by itself, then connector and adapters by steps, then adapters merged.

    To be called inside ``stored_states(model)``. Losses and readings by step.
    """
    if config.start_steps and last_checkpoint(folder) is None:
        start_connector(setup.model, setup.rows, config.start_steps, config.seed)
    with adapted(setup.model, config.lora_rank, config.seed) as groups:
        return train_connector(setup.model, setup.rows, groups, config, folder, read=read)


def _on_the_way(setup: ImageTextSetup, config: ConnectorConfig) -> Reading:
    emoji, seed = setup.emoji, config.seed
    count = min(_ON_THE_WAY, config.questions)
    examples = {task: image_examples(emoji, task, "validation", limit=count, seed=seed) for task in TASKS}
    answers = {task: choose(setup.model, setup.rows, examples[task]) for task in ATTRIBUTES}
    names = names_to_rank(examples["name"], seed=seed)
    ranked = caption(setup.model, setup.rows, examples["name"], names, speak=False)
    return {
        ABOVE: above_majority(examples, answers, emoji, seed).estimate,
        FIRST: float(np.mean([answer.rank_whole <= 1 for answer in ranked])),
    }


def _opened_again(
    folder: Path,
    setup: ImageTextSetup,
    examples: Mapping[ImageTask, Sequence[ImageExample]],
    seeing: Mapping[ImageTask, Sequence[ImageAnswer]],
) -> float:
    """Share of test questions that the saved model, opened by transformers and given pixels, answers as before."""
    opened = open_image_text_model(str(folder))
    joined, processor = cast(LlavaForConditionalGeneration, opened.model), cast(LlavaProcessor, opened.processor)
    cast(Any, joined).to(setup.model.device)
    rows = ImageRows.of(joined, processor, setup.emoji)
    same = [
        ours.answer == again.answer
        for task in ATTRIBUTES
        for ours, again in zip(seeing[task], choose(joined, rows, examples[task][:_OPENED]), strict=False)
    ]
    return float(np.mean(same))


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


def mixed_examples(emoji: Emoji, split: str, count: int, *, seed: int) -> list[ImageExample]:
    """About ``count`` examples of the learned tasks in a random order; fewer where one has no more images."""
    each = max(2, math.ceil(count / len(LEARNED)))
    examples = [example for task in LEARNED for example in image_examples(emoji, task, split, limit=each, seed=seed)]
    random.Random(f"mix {split} {seed}").shuffle(examples)
    return examples
