"""Tune an image-text model with a method and tell what it learned and forgot: ``armillary train mdgd|commit``."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from armillary.data.images.user_files import ImageQuestion
from armillary.errors import NumericError, UsageError
from armillary.extras import peft_package
from armillary.finetuning.arguments import (
    check_training,
    method_settings,
    reading_steps,
    total_steps,
    training_arguments,
)
from armillary.finetuning.config import TuningConfig, TuningLora
from armillary.finetuning.data import TuningQuestions, file_digests, tuning_questions
from armillary.finetuning.report import TuningResult, tuning_findings, tuning_measures, tuning_sections
from armillary.methods.commit import CoMMITConfig, CoMMITTrainer
from armillary.methods.commit.baselines import CoordinateDescent, feature_cd, language_cd
from armillary.methods.mdgd.baselines import L2SPTrainer, language_lora
from armillary.methods.mdgd.callbacks import VisualRankCallback
from armillary.methods.mdgd.config import MDGDSettings
from armillary.methods.mdgd.trainer import MDGDTrainer
from armillary.models.image_text import TINY, ImageTextModel, open_image_text_model
from armillary.models.quiet import quiet
from armillary.models.vision import find_vision_anatomy
from armillary.progress import counted
from armillary.records.record import RunRecord
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
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

CHECKPOINTS = ".checkpoints"
_RANK_IMAGES, _RANK_AT_ONCE = 24, 8


def run_tuning(config: TuningConfig, out: Path, *, fresh: bool = False) -> RunRecord:
    """The record of a tuning run, also left in ``out`` with its report and the tuned model in ``out/model``.

    A run that was killed goes on from its last checkpoint, with the same final weights; a finished one is read again.
    Raises ``ArmillaryError``.
    """
    check_training(config)
    if config.lora is not None:
        peft_package()
    questions = tuning_questions(config)
    identity = {"command": f"train {config.method}", **asdict(config), "files": file_digests(config.data)}
    with RunFolder.open(out, identity) as folder:
        opened = open_image_text_model(TINY if config.dry_run else config.model, dtype=config.dtype)
        folder.bind({"model": opened.fingerprint})
        if fresh:
            shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
        elif (out / MODEL / "config.json").is_file() and (finished := folder.finished()) is not None:
            return finished
        record = _Run(config, questions, opened, folder).record()
        folder.finish(record)
        shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
        return record


class _Run:
    """The stages of one run; each is kept in the folder, so that a killed run goes on with the next."""

    def __init__(
        self, config: TuningConfig, questions: TuningQuestions, opened: ImageTextModel, folder: RunFolder
    ) -> None:
        self.config, self.questions, self.opened, self.folder = config, questions, opened, folder
        self.facts = opened.facts()
        self.encoder = QuestionEncoder(opened.processor, config.data.prompt)
        kept = folder.parts.folder
        assert kept is not None
        # Named like the parts, for settings and weights: another run's checkpoints are not gone on with.
        checkpoints = folder.path / CHECKPOINTS / kept.name
        self.arguments = training_arguments(config, checkpoints, len(questions.train))
        self.checkpoints = checkpoints

    def record(self) -> RunRecord:
        parts = self.folder.parts
        before = parts.json("before", lambda: self._right(self.opened.model, "before tuning"))
        log = parts.json("trained", self._trained)
        after = parts.json("after", self._after)
        result = TuningResult(
            config=self.config, tests=self.questions.tests, rows=len(self.questions.train), before=before, after=after,
            log=log,
        )  # fmt: skip
        return RunRecord(
            kind="train",
            title=f"{self.config.data.new_task} by {self.config.arm} ({self.facts['name']})",
            config=self.folder.config,
            models={"model": self.facts},
            seed=self.config.seed,
            measures=tuning_measures(result),
            findings=tuning_findings(result),
            sections=tuning_sections(result),
            data=self.questions.sources,
            versions=versions(),
            machine=machine(),
            started=self.folder.started,
            seconds=self.folder.seconds,
        )

    def _right(self, model: nn.Module, when: str) -> dict[str, list[float]]:
        model.to(self.arguments.device)
        return {
            task: right_answers(model, self.encoder, asked, label=f"Asking {task} {when}")
            for task, asked in self.questions.tests.items()
        }

    def _after(self) -> dict[str, list[float]]:
        """The model that was saved is asked, not the one in memory: so it is known to open and to be right."""
        saved = open_image_text_model(str(self.folder.path / MODEL), dtype=self.config.dtype)
        return self._right(saved.model, "after tuning")

    def _trained(self) -> list[dict[str, Any]]:
        """Trains, saves the model, and gives the Trainer's log."""
        network = trained_network(self.config, self.opened)
        rows = QuestionRows(self.encoder, self.questions.train)
        steps = total_steps(vars(self.arguments), len(rows))
        readings = VisualRankCallback(self._rank_batches(), every=reading_steps(self.config, steps))
        network.to(self.arguments.device)
        readings.take_baseline(network)  # of a resumed run too: the checkpoint is loaded later
        with counted(f"Tuning with {self.config.arm} (steps)", steps) as bar:
            callbacks = [StepBar(bar), readings]
            trainer = arm_trainer(self.config, network, self.arguments, self.encoder, rows, callbacks)
            checkpoint = last_checkpoint(self.checkpoints)
            with _without_library_bars():
                train_or_resume(trainer, checkpoint)
        log = cast(list[dict[str, Any]], trainer.state.log_history)
        _refuse_diverged(log)
        save_tuned(cast(nn.Module, trainer.model), self.opened, self.folder.path)
        return log

    def _rank_batches(self) -> list[dict[str, torch.Tensor]]:
        """Batches of different test images, by turns from the tasks."""
        asked: list[ImageQuestion] = []
        seen: set[Any] = set()
        longest = max(map(len, self.questions.tests.values()))
        for place in range(longest):
            for one in (tests[place] for tests in self.questions.tests.values() if place < len(tests)):
                key = one.image if isinstance(one.image, Path) else one.image.tobytes()
                if key not in seen and len(asked) < _RANK_IMAGES:
                    seen.add(key)
                    asked.append(one)
        if len(asked) < 2:
            raise UsageError("the test questions are all about one picture; effective rank needs at least 2.")
        prompts = [self.encoder.prompt_row(one) for one in asked]
        return [
            self.encoder.collate(prompts[start : start + _RANK_AT_ONCE])
            for start in range(0, len(prompts), _RANK_AT_ONCE)
        ]


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
    partial, final = out / f".{MODEL}-partial", out / MODEL
    shutil.rmtree(partial, ignore_errors=True)
    with quiet():
        model.save_pretrained(partial)
        opened.processor.save_pretrained(partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
