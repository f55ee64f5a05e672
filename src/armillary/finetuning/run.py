"""Tune an image-text model with a method: what it learned and forgot. ``armillary train mdgd|commit``."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from armillary.data.images.user_files import ImageQuestion
from armillary.errors import NumericError, UsageError
from armillary.files import whole_folder
from armillary.finetuning.arguments import method_settings, reading_steps, total_steps, training_arguments
from armillary.finetuning.config import TuningConfig, TuningLora
from armillary.finetuning.data import TuningQuestions
from armillary.finetuning.report import TuningResult, tuning_findings, tuning_measures, tuning_sections
from armillary.methods.commit import CoMMITConfig, CoMMITTrainer
from armillary.methods.commit.baselines import CoordinateDescent, feature_cd, language_cd
from armillary.methods.mdgd.baselines import L2SPTrainer, language_lora
from armillary.methods.mdgd.callbacks import VisualRankCallback
from armillary.methods.mdgd.config import MDGDSettings
from armillary.methods.mdgd.trainer import MDGDTrainer
from armillary.models.image_text import ImageTextModel, open_image_text_model
from armillary.models.quiet import quiet
from armillary.models.vision import find_vision_anatomy
from armillary.progress import counted
from armillary.runs.folder import RunFolder
from armillary.runs.run import Outcome
from armillary.training.checkpoints import StepBar, last_checkpoint, train_or_resume
from armillary.training.components import ComponentNorms, Components, ComponentTrainer, vision_components
from armillary.training.questions import QuestionEncoder, QuestionRows, right_answers

# A trainer for each arm: the method, or what it is compared with, on the same model, data and arguments.

_CD = {"feature_cd": feature_cd, "language_cd": language_cd}


def trained_network(config: TuningConfig, opened: ImageTextModel) -> nn.Module:
    """The model with frozen parts frozen, and with adapters where they are asked for."""
    for name, parameter in opened.model.named_parameters():
        if opened.anatomy.component(name) in config.freeze:
            parameter.requires_grad_(False)
    return opened.model if config.lora is None else _with_lora(opened.model, config.lora, config.seed)


def _with_lora(model: PreTrainedModel, lora: TuningLora, seed: int) -> nn.Module:
    from peft import get_peft_model

    more = {"lora_dropout": lora.dropout, **({} if lora.alpha is None else {"lora_alpha": lora.alpha})}
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        return cast(nn.Module, get_peft_model(model, language_lora(model, lora.rank, **more)))


def arm_trainer(
    config: TuningConfig,
    network: nn.Module,
    arguments: TrainingArguments,
    encoder: QuestionEncoder,
    rows: QuestionRows,
    callbacks: Sequence[TrainerCallback],
) -> Trainer:
    """The trainer of the settings' arm. UsageError where nothing is left to be trained."""
    common: dict[str, Any] = {
        "model": network,
        "args": arguments,
        "train_dataset": rows,
        "data_collator": encoder.collate,
    }
    settings = method_settings(config)
    _refuse_all_frozen(network, isinstance(settings, MDGDSettings) and settings.freeze_vision)
    if isinstance(settings, MDGDSettings):
        trainer: Trainer = _mdgd(config, settings, common, callbacks, encoder)
    else:
        trainer = _commit(config, settings, common, callbacks)
    # It would print its lines on stdout, where --json leaves nothing but the record.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _refuse_all_frozen(network: nn.Module, freeze_vision: bool) -> None:
    """UsageError where no part is left to be trained; each part is named."""
    anatomy = find_vision_anatomy(network)
    parts = {anatomy.component(name): False for name, _ in network.named_parameters()}
    for name, parameter in network.named_parameters():
        part = anatomy.component(name)
        parts[part] |= parameter.requires_grad and not (freeze_vision and part == "vision_tower")
    if not any(parts.values()):
        also = " (freeze_vision stands for vision_tower)" if freeze_vision else ""
        raise UsageError(f"freeze leaves nothing to be trained: {', '.join(parts)} are frozen{also}.")


def _mdgd(
    config: TuningConfig,
    settings: MDGDSettings,
    common: dict[str, Any],
    callbacks: Sequence[TrainerCallback],
    encoder: QuestionEncoder,
) -> Trainer:
    if config.arm != "l2_sp":
        return MDGDTrainer(**common, callbacks=list(callbacks), processor_marks=encoder.marks)
    if settings.freeze_vision:
        anatomy = find_vision_anatomy(common["model"])
        for name, parameter in common["model"].named_parameters():
            if anatomy.component(name) == "vision_tower":
                parameter.requires_grad_(False)
    return L2SPTrainer(**common, callbacks=list(callbacks))


def _commit(
    config: TuningConfig, settings: CoMMITConfig, common: dict[str, Any], callbacks: Sequence[TrainerCallback]
) -> Trainer:
    patterns = {name: list(expressions) for name, expressions in config.components.items()} or None
    parts: Components = patterns or vision_components(common["model"])
    grouped = {**common, "components": patterns, "learning_rates": config.learning_rates or None}
    if config.arm in _CD:
        descent: CoordinateDescent = _CD[config.arm]()
        # The norms come first: the descent drops the gradients of the part that rests.
        return ComponentTrainer(**grouped, callbacks=[ComponentNorms(parts), descent, *callbacks])
    return CoMMITTrainer(**grouped, commit=settings, callbacks=[ComponentNorms(parts), *callbacks])


MODEL = "model"
"""Folder, in that of the run, of the tuned model: transformers' own, with its processor."""

_RANK_IMAGES, _RANK_AT_ONCE = 24, 8
"""Images over which effective rank and drift are read, and how many in one pass: their rank is at most their number,
and a reading should cost little beside a step."""


def tune(config: TuningConfig, questions: TuningQuestions, opened: ImageTextModel, folder: RunFolder) -> Outcome:
    """What the model learned and forgot; the tuned model is left in the run's folder under ``model``.

    Each stage is kept, so that a killed run goes on with the next; a killed training goes on from its last checkpoint,
    to the same final weights. UsageError where nothing can be trained or asked, NumericError where training diverges.
    """
    parts, encoder = folder.parts, QuestionEncoder(opened.processor, config.data.prompt)
    for of_task in (questions.train, *questions.tests.values()):
        encoder.check(of_task)
    assert parts.folder is not None
    # Among the parts, which are named for settings and weights: another run's checkpoints are not gone on with.
    checkpoints = parts.folder / "checkpoints"
    arguments = training_arguments(config, checkpoints, len(questions.train))

    def right(model: nn.Module, when: str) -> dict[str, list[float]]:
        model.to(arguments.device)
        return {
            task: right_answers(model, encoder, tests, label=f"Asking {task} {when}")
            for task, tests in questions.tests.items()
        }

    def after() -> dict[str, list[float]]:
        # The model that was saved is asked, not the one in memory: so it is known to open and to be right.
        saved = open_image_text_model(str(folder.path / MODEL), dtype=config.dtype)
        return right(saved.model, "after tuning")

    def train() -> list[dict[str, Any]]:
        network, log = _trained(config, questions, opened, encoder, arguments, last_checkpoint(checkpoints))
        save_tuned(network, opened, folder.path)
        return log

    before = parts.json("before", lambda: right(opened.model, "before tuning"))
    log = parts.json("trained", train)
    result = TuningResult(
        config=config,
        tests=questions.tests,
        rows=len(questions.train),
        before=before,
        after=parts.json("after", after),
        log=log,
    )
    return Outcome(
        title=f"{config.data.new_task} by {config.arm} ({opened.name})",
        measures=tuning_measures(result),
        findings=tuning_findings(result),
        sections=tuning_sections(result),
        data=questions.sources,
    )


def _trained(
    config: TuningConfig,
    questions: TuningQuestions,
    opened: ImageTextModel,
    encoder: QuestionEncoder,
    arguments: TrainingArguments,
    checkpoint: Path | None,
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """The trained network, and the Trainer's log."""
    network = trained_network(config, opened)
    rows = QuestionRows(encoder, questions.train)
    steps = total_steps(vars(arguments), len(rows))
    batches = _rank_batches(encoder, questions.tests)
    readings = VisualRankCallback(batches, every=reading_steps(config, steps))
    network.to(arguments.device)
    readings.take_baseline(network)  # of a resumed run too: the checkpoint is loaded later
    with counted(f"Tuning with {config.arm} (steps)", steps) as bar:
        trainer = arm_trainer(config, network, arguments, encoder, rows, [StepBar(bar), readings])
        with _without_library_bars():
            train_or_resume(trainer, checkpoint)
    log = cast(list[dict[str, Any]], trainer.state.log_history)
    _refuse_diverged(log)
    return cast(nn.Module, trainer.model), log


def _rank_batches(
    encoder: QuestionEncoder, tests: Mapping[str, Sequence[ImageQuestion]]
) -> list[dict[str, torch.Tensor]]:
    """Batches of different test images, by turns from the tasks. UsageError where there are fewer than two."""
    questions: list[ImageQuestion] = []
    seen: set[Any] = set()
    for of_tasks in zip_longest(*tests.values()):
        for question in of_tasks:
            if question is None or len(questions) == _RANK_IMAGES:
                continue
            key = question.image if isinstance(question.image, Path) else question.image.tobytes()
            if key not in seen:
                seen.add(key)
                questions.append(question)
    if len(questions) < 2:
        raise UsageError("the test questions are all about one image; effective rank needs at least 2.")
    prompts = [encoder.prompt_row(question) for question in questions]
    return [encoder.collate(prompts[start : start + _RANK_AT_ONCE]) for start in range(0, len(prompts), _RANK_AT_ONCE)]


@contextmanager
def _without_library_bars() -> Iterator[None]:
    """Inside, transformers draws no bars of its own (checkpoints); its warnings are heard, unlike inside ``quiet``."""
    had = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if had:
            logging.enable_progress_bar()


def _refuse_diverged(log: Sequence[Mapping[str, Any]]) -> None:
    for line in log:
        loss = line.get("loss")
        if loss is not None and not abs(loss) < float("inf"):
            raise NumericError(
                f"the loss was {loss} at step {line.get('step')}: the training diverged; give a lower learning_rate "
                "under [training]."
            )


def save_tuned(network: nn.Module, opened: ImageTextModel, out: Path) -> None:
    """Model and processor as one transformers folder ``out/model``, whole or not at all; adapters are merged."""
    merge = getattr(network, "merge_and_unload", None)
    model = cast(Any, network if merge is None else merge())
    with quiet(), whole_folder(out / MODEL, replace=True) as folder:
        model.save_pretrained(folder)
        opened.processor.save_pretrained(folder)
