"""Tune an image-text model with a method and tell what it learned and forgot: ``armillary train mdgd|commit``."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers.utils import logging

from armillary.data.picture_files import AskedPicture
from armillary.errors import NumericError, UsageError
from armillary.experiments.tuning_arguments import (
    check_training,
    reading_steps,
    total_steps,
    training_arguments,
)
from armillary.experiments.tuning_config import TuningConfig
from armillary.experiments.tuning_data import TuningQuestions, file_digests, tuning_questions
from armillary.experiments.tuning_sections import TuningResult, tuning_findings, tuning_measures, tuning_sections
from armillary.experiments.tuning_trainer import arm_trainer, trained_network
from armillary.methods.mdgd.rank_callback import VisualRankCallback
from armillary.models.picture_folder import TINY, PictureModel, open_picture_model
from armillary.models.quiet import quiet
from armillary.progress import counted
from armillary.runs.environment import machine, versions
from armillary.runs.folder import RunFolder
from armillary.runs.record import RunRecord
from armillary.training.checkpoint_weights import train_or_resume
from armillary.training.peft_package import peft_package
from armillary.training.question_rows import QuestionEncoder, QuestionRows
from armillary.training.question_scores import right_answers
from armillary.training.step_bar import StepBar
from armillary.training.trainable_weights import last_checkpoint

MODEL = "model"
"""Folder, in that of the run, of the tuned model: transformers' own, with its processor."""

CHECKPOINTS = ".checkpoints"
_RANK_PICTURES, _RANK_AT_ONCE = 24, 8


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
        opened = open_picture_model(TINY if config.dry_run else config.model, dtype=config.dtype)
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
        self, config: TuningConfig, questions: TuningQuestions, opened: PictureModel, folder: RunFolder
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
        saved = open_picture_model(str(self.folder.path / MODEL), dtype=self.config.dtype)
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
        """Batches of different test pictures, by turns from the tasks."""
        asked: list[AskedPicture] = []
        seen: set[Any] = set()
        longest = max(map(len, self.questions.tests.values()))
        for place in range(longest):
            for one in (tests[place] for tests in self.questions.tests.values() if place < len(tests)):
                key = one.picture if isinstance(one.picture, Path) else one.picture.tobytes()
                if key not in seen and len(asked) < _RANK_PICTURES:
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


def save_tuned(network: nn.Module, opened: PictureModel, out: Path) -> None:
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
