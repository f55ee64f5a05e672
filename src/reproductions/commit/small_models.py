"""What the stages of the CoMMIT reproduction share: lessons, rows, questions to be asked, and one run of an arm.

Shapes: T steps at which something was read.
"""

import copy
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

from armillary.methods.commit import CoMMITConfig, CoMMITController
from armillary.methods.commit.baselines import FixedMultipliers, feature_cd, fixed_ratio, language_cd, mean_multipliers
from armillary.progress import track
from armillary.runs.parts import Parts
from armillary.training.components import FEATURE_ENCODER, LLM, component_groups, vision_components
from armillary.training.questions import answer_loss, answer_positions, with_answer_positions
from reproductions.commit.scale import ARMS, RATE, RUNS, STARTS, Rates, Scale, Start, at_fixed_mean, with_one_lowered
from reproductions.commit.trainer import WatchedTrainer, trained, trainer_of
from reproductions.images.dataset import Shape

Payload = dict[str, Any]
_AT_ONCE = 128


class QuestionDataset(Protocol):
    """Questions about pictures or sounds, as data for a small model that reads them: what a laboratory needs."""

    @property
    def tasks(self) -> Sequence[Any]: ...

    @property
    def words(self) -> Mapping[str, int]: ...

    def examples(self, task: Any, split: str, *, limit: int | None = None, seed: int = 0) -> list[Any]: ...

    def row(self, example: Any, *, answered: bool = True) -> dict[str, Any]: ...

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]: ...

    def new_model(self, shape: Shape, seed: int) -> PreTrainedModel: ...

    def right(self, model: nn.Module, examples: Sequence[Any]) -> NDArray[np.float64]: ...


@dataclass(frozen=True, eq=False)
class Context:
    """One course at one scale. Every run is kept as a part of the whole."""

    dataset: QuestionDataset
    scale: Scale
    seed: int
    parts: Parts
    device: torch.device
    named: str = ""
    """What the names of its parts begin with, where there is another laboratory beside it."""

    @property
    def judged(self) -> list[int]:
        """Seeds of the runs that claims are judged by; the lab's own is left to the search for the best pair."""
        return [self.seed + 1 + offset for offset in range(self.scale.seeds)]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Every question about the training split, with its answer."""
        return [self.dataset.row(one) for task in self.dataset.tasks for one in self.dataset.examples(task, "train")]

    @cached_property
    def asked(self) -> list[Any]:
        """Validation questions, the tasks by turns, so that a beginning has as many of each."""
        limit = self.scale.asked
        found = [self.dataset.examples(task, "validation", limit=limit, seed=self.seed) for task in self.dataset.tasks]
        shortest = min(len(examples) for examples in found)
        return [examples[place] for place in range(shortest) for examples in found]

    @property
    def watched(self) -> list[Any]:
        """The first of the validation questions."""
        return self.asked[: self.scale.watched * len(self.dataset.tasks)]

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """A batch as the model takes it."""
        return {name: value for name, value in self.dataset.collate(rows).items() if name != "image_key"}

    @torch.inference_mode()
    def loss(self, model: nn.Module, examples: Sequence[Any]) -> float:
        """Mean negative log-likelihood of the answers' tokens, nats; that of chance where it is not finite."""
        was = model.training
        model.eval()
        device = next(model.parameters()).device
        total, tokens = 0.0, 0
        collate = with_answer_positions(self.dataset.collate)
        for start in range(0, len(examples), _AT_ONCE):
            batch = collate([self.dataset.row(example) for example in examples[start : start + _AT_ONCE]])
            labels = batch.pop("labels").to(device)
            outputs = model(**{name: value.to(device) for name, value in batch.items()})
            total += float(answer_loss(outputs, labels, 1))
            tokens += int((labels[:, 1:] != -100).sum())
        model.train(was)
        return total / tokens if math.isfinite(total) else math.log(len(self.dataset.words))

    def new_model(self, seed: int) -> PreTrainedModel:
        """A random model of this scale, where the lab trains."""
        scale = self.scale
        shape = Shape(layers=scale.layers, width=scale.width, heads=scale.heads, inner=scale.inner)
        model = self.dataset.new_model(shape, seed)
        model.to(self.device)  # type: ignore[arg-type]
        return model

    def arguments(self, steps: int, batch: int, seed: int) -> TrainingArguments:
        """AdamW without weight decay, cosine behind a short warm-up, nothing written."""
        return TrainingArguments(
            output_dir=tempfile.gettempdir(),  # nothing is written: no checkpoint, no log
            max_steps=steps,
            per_device_train_batch_size=batch,
            learning_rate=1e-3,  # each component has its own
            lr_scheduler_type="cosine",
            warmup_steps=max(1, steps // 20),
            weight_decay=0.0,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=seed,
            data_seed=seed,
            use_cpu=self.device.type == "cpu",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )

    def probing(self, **settings: Any) -> CoMMITConfig:
        """Settings of the method with this scale's probes."""
        return CoMMITConfig(interval=self.scale.interval, first_probe=self.scale.first_probe, **settings)

    def run(self, arm: str, rates: Rates, seed: int) -> Payload:
        """What a run of an arm left, from this pair of rates; see ``_run``."""
        name = f"{self.named}run {arm} {rates[0]:.3g} {rates[1]:.3g} seed {seed}"
        found: Payload = self.parts.json(name, lambda: self._run(arm, rates, seed))
        return found

    def _run(self, arm: str, rates: Rates, seed: int) -> Payload:
        """Losses on the way and at the end, share of right answers, probes, rates and gradient norms.

        A run whose multipliers are those of a lift run from the same start and seed makes that run first.
        """
        model, settings = self.new_model(seed), ARMS[arm].commit
        watcher = _Watcher(self, model)
        trainer = trainer_of(
            model,
            self.arguments(self.scale.steps, self.scale.batch, seed),
            self.rows,
            self.collate,
            rates,
            self.probing(**({"gamma": 0.0} if settings is None else settings)),
            watched_only=settings is None,
            callbacks=[watcher, *self._baseline(arm, rates, seed)],
        )
        record = trained(trainer, "")
        return {
            "watch": {"steps": watcher.steps, "loss": watcher.losses},
            "final": self.loss(model, self.asked),
            "right": float(self.dataset.right(model, self.asked).mean()),
            "record": record,
            "multipliers": self._mean_multipliers(trainer),
        }

    def _baseline(self, arm: str, rates: Rates, seed: int) -> list[TrainerCallback]:
        if arm == "feature_cd":
            return [feature_cd(self.scale.block)]
        if arm == "language_cd":
            return [language_cd(self.scale.block)]
        if arm == "fixed_ratio":
            return [fixed_ratio(8.0, FEATURE_ENCODER)]
        if arm not in ("matched", "exchanged"):
            return []
        mean = self.run("lift", rates, seed)["multipliers"]
        if arm == "exchanged":
            mean = {FEATURE_ENCODER: mean[LLM], LLM: mean[FEATURE_ENCODER]}
        return [FixedMultipliers(mean)]

    def _mean_multipliers(self, trainer: WatchedTrainer) -> dict[str, float]:
        controller = trainer.monitor.controller
        assert controller is not None
        return mean_multipliers(controller.trace, controller.names, self.scale.steps)


class _Watcher(TrainerCallback):
    """The loss on the watched questions before training, every so many steps, and at the end."""

    def __init__(self, context: Context, model: nn.Module) -> None:
        self.context, self.model = context, model
        self.steps: list[int] = []
        self.losses: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._look(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.context.scale.watch_every == 0 or state.global_step == state.max_steps:
            self._look(state.global_step)

    def _look(self, step: int) -> None:
        self.steps.append(step)
        self.losses.append(self.context.loss(self.model, self.context.watched))


# The stages of the CoMMIT reproduction on small models: best pair, all arms, law of rates, time of a step.
#
# Every function gives plain JSON data.

LAW_RATES = {"small steps": RATE / 100, "training steps": RATE}
LAW_FACTORS = (1 / 3, 3.0)
PATHS = {"fixed mean": at_fixed_mean, "one lowered": with_one_lowered}
BLOCK = 10
"""Optimiser steps that are timed together: one interval of probes as the method has it by default."""


def best_pair(context: Context) -> Payload:
    """Final loss of every pair of the grid, on the seed that is not judged, and the pair with the lowest."""
    grid = [(encoder, llm) for encoder in context.scale.grid for llm in context.scale.grid]
    losses = [context.run("constant", rates, context.seed)["final"] for rates in grid]
    return {"pairs": grid, "losses": losses, "best": grid[int(np.argmin(losses))]}


def planned(best: Rates) -> list[tuple[Start, str, Rates]]:
    """Start, arm and rates of each kind of run that is judged."""
    starts = {**STARTS, "best": best}
    return [(start, arm, starts[start]) for start, arms in RUNS.items() for arm in arms]


def arms(context: Context, best: Rates) -> Payload:
    """Start -> arm -> what the run of each judged seed left."""
    found: Payload = {}
    for start, arm, rates in track(planned(best), f"CoMMIT, arms of {len(context.judged)} seeds"):
        found.setdefault(start, {})[arm] = [context.run(arm, rates, seed) for seed in context.judged]
    return found


def paths(context: Context) -> Payload:
    """Path of rates -> for each log10 ratio the final losses of the judged seeds, all at constant rates."""
    return {
        name: [
            [context.run("constant", rates(ratio), seed)["final"] for seed in context.judged]
            for ratio in context.scale.ratios
        ]
        for name, rates in PATHS.items()
    }


def majority(context: Context) -> float:
    """Share of right answers of somebody who answers without looking or listening: as in training most often."""
    usual = set()
    for task in context.dataset.tasks:
        examples = context.dataset.examples(task, "train")
        answers = Counter(example.answer for example in examples)
        usual.add((examples[0].question, answers.most_common(1)[0][0]))
    return float(np.mean([(example.question, example.answer) in usual for example in context.asked]))


def batches(context: Context, seed: int) -> Iterator[dict[str, Tensor]]:
    """Random batches without end, where the model is."""
    generator = np.random.default_rng(seed)
    while True:
        chosen = generator.integers(0, len(context.rows), context.scale.batch)
        yield {
            name: value.to(context.device)
            for name, value in context.collate([context.rows[int(i)] for i in chosen]).items()
        }


def backward(model: nn.Module, batch: dict[str, Tensor]) -> None:
    """Gradients of the answers' loss."""
    labels = batch["labels"]
    given = {name: value for name, value in batch.items() if name != "labels"}
    answer_loss(model(**given, logits_to_keep=answer_positions(labels)), labels).backward()


class Loop:
    """A training loop of our own around one model, with or without CoMMIT, at one rate for both components."""

    def __init__(self, context: Context, seed: int, config: CoMMITConfig | None) -> None:
        self.model = context.new_model(seed).train()
        self.optimizer = AdamW(component_groups(self.model, vision_components(self.model), RATE))
        self.batches = batches(context, seed)
        self.controller = None
        if config is not None:
            self.controller = CoMMITController(self.model, config, optimizer=self.optimizer)

    def step(self) -> None:
        """One step; multipliers are applied to the rate."""
        batch = next(self.batches)
        self.optimizer.zero_grad()
        backward(self.model, batch)
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * group["multiplier"]
        if self.controller is not None:
            self.controller.before_step(batch)
        self.optimizer.step()
        if self.controller is not None:
            self.controller.after_step()


def law(context: Context, seed: int) -> Payload:
    """Log kappa of one and the same step at several rates: base, and one component's rate times a factor.

    Weights, moments of AdamW, batch and gradients are the same for all; only rates differ.
    """
    loop = Loop(context, seed, None)
    for _ in range(context.scale.law_steps):
        loop.step()
    batch = next(loop.batches)
    loop.optimizer.zero_grad()
    backward(loop.model, batch)
    measure = partial(_log_kappa, loop, batch)
    found: Payload = {}
    for told, rate in LAW_RATES.items():
        base = measure({FEATURE_ENCODER: rate, LLM: rate})
        found[told] = {
            name: [measure({FEATURE_ENCODER: rate, LLM: rate, name: rate * a}) - base for a in LAW_FACTORS]
            for name in (FEATURE_ENCODER, LLM)
        }
    return found


def _log_kappa(loop: Loop, batch: dict[str, Tensor], rates: dict[str, float]) -> float:
    """Of the step that the optimiser would take at these rates; model and optimiser are left as they were."""
    kept = {name: value.detach().clone() for name, value in loop.model.state_dict().items()}
    state = copy.deepcopy(loop.optimizer.state_dict())
    for group in loop.optimizer.param_groups:
        group["lr"] = rates[group["name"]]
    controller = CoMMITController(loop.model, CoMMITConfig(gamma=0.0, interval=1, first_probe=0))
    controller.before_step(batch)
    loop.optimizer.step()
    probe = controller.after_step()
    loop.model.load_state_dict(kept)
    loop.optimizer.load_state_dict(state)
    if probe is None or probe.log_kappa is None:
        return float("nan")
    return probe.log_kappa


def overhead(context: Context) -> Payload:
    """Seconds of ten steps, without and with CoMMIT-CLR at its default interval, by turns.

    On a CPU it is the time of this process alone, since other programs may run beside it.
    """
    config = CoMMITConfig(interval=BLOCK, first_probe=0)
    loops = {"plain": Loop(context, context.seed, None), "commit": Loop(context, context.seed, config)}
    found: Payload = {name: [] for name in loops}
    for turn in range(context.scale.timed_rounds + 1):
        for name in sorted(loops, reverse=turn % 2 == 1):
            started = _now(context.device)
            for _ in range(BLOCK):
                loops[name].step()
            if turn:  # the first warms up
                found[name].append(_now(context.device) - started)
    return found


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
