"""CoMMIT on small models trained from scratch: one run of an arm, and the stages made of such runs.

Shapes: T steps at which something was read.
"""

import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import PreTrainedModel, TrainerCallback

from armillary.errors import NumericError
from armillary.methods.commit import BalanceProbe, CoMMITConfig, CoMMITController
from armillary.methods.commit.baselines import FixedMultipliers, feature_cd, fixed_ratio, language_cd, mean_multipliers
from armillary.progress import track
from armillary.runs.parts import Parts
from armillary.training.components import FEATURE_ENCODER, LLM, component_groups, vision_components
from armillary.training.questions import answer_loss, answer_positions, with_answer_positions
from reproductions.commit.scale import ARMS, LEAST_MOVED, RATE, STARTS, Rates, Scale, Start, at_fixed_mean
from reproductions.commit.trainer import ShuffledMultipliers, TrainingRecord, exchanged, trained, trainer_of
from reproductions.images.dataset import Shape, WordDataset, WordRow
from reproductions.images.training import Readings, unsaved

_AT_ONCE = 128


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One training of a small model."""

    steps: list[int]
    losses: list[float]
    """Of the watched validation questions, at these steps."""

    final: float
    """Loss of all validation questions at the end, nats a token."""

    right: float
    """Share of them that is answered rightly."""

    record: TrainingRecord
    multipliers: dict[str, float]
    """Component -> mean over the steps."""

    @property
    def movement(self) -> float:
        """Geometric mean over probes of what a step of both components changed, nats a token; NaN without a probe."""
        totals = [sum(changes) for changes in zip(*self.record.changes.values(), strict=True)]
        return math.exp(float(np.mean(np.log(totals)))) if totals else float("nan")


Arms = dict[Start, dict[str, list[RunResult]]]
"""Start -> arm -> the run of each judged seed."""


@dataclass(frozen=True, eq=False)
class Context:
    """One data set at one scale. Every run is kept as a part of the whole."""

    dataset: WordDataset
    scale: Scale
    seed: int
    parts: Parts
    device: torch.device
    named: str = ""
    """What the names of its parts begin with, where there is another context beside it."""

    @property
    def judged(self) -> list[int]:
        """Seeds of the runs that claims are judged by; the context's own is left to the search for the best pair."""
        return [self.seed + 1 + offset for offset in range(self.scale.seeds)]

    @cached_property
    def rows(self) -> list[WordRow]:
        """Every question about the training split, with its answer."""
        examples = (example for task in self.dataset.tasks for example in self.dataset.examples(task, "train"))
        return [self.dataset.row(example) for example in examples]

    @cached_property
    def questions(self) -> list[Any]:
        """Of the validation split, the tasks by turns, so that a beginning has as many of each."""
        limit, seed = self.scale.questions, self.seed
        of_tasks = [self.dataset.examples(task, "validation", limit=limit, seed=seed) for task in self.dataset.tasks]
        return [example for turn in zip(*of_tasks, strict=False) for example in turn]

    @property
    def watched(self) -> list[Any]:
        """The first of the validation questions."""
        return self.questions[: self.scale.watched * len(self.dataset.tasks)]

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
        """A random model of this scale, where the context trains."""
        scale = self.scale
        shape = Shape(layers=scale.layers, width=scale.width, heads=scale.heads, inner=scale.inner)
        model = self.dataset.new_model(shape, seed)
        model.to(self.device)  # type: ignore[arg-type]
        return model

    def run(self, arm: str, rates: Rates, seed: int) -> RunResult:
        """A run of an arm from this pair of rates, made once."""
        name = f"{self.named}run {arm} {rates[0]:.3g} {rates[1]:.3g} seed {seed}"
        return self.parts.decoded(RunResult, name, lambda: self._run(arm, rates, seed))

    def _run(self, arm: str, rates: Rates, seed: int) -> RunResult:
        """A run whose multipliers are those of a lift run from the same start and seed makes that run first."""
        scale, model, settings = self.scale, self.new_model(seed), ARMS[arm].commit
        readings = Readings(partial(self.loss, model, self.watched), scale.watch_every)
        trainer = trainer_of(
            model,
            unsaved(
                scale.steps,
                scale.batch,
                1e-3,  # in place of which each component has its own
                seed,
                on_cpu=self.device.type == "cpu",
                lr_scheduler_type="cosine",
                warmup_steps=max(1, scale.steps // 20),
                weight_decay=0.0,
                logging_strategy="no",
            ),
            self.rows,
            self.collate,
            rates,
            CoMMITConfig(
                interval=scale.interval,
                first_probe=scale.first_probe,
                **({"gamma": 0.0} if settings is None else settings),
            ),
            watched_only=settings is None,
            callbacks=[readings, *self._baseline(arm, rates, seed)],
        )
        record = trained(trainer)
        controller = trainer.controller
        return RunResult(
            steps=readings.steps,
            losses=readings.values,
            final=self.loss(model, self.questions),
            right=float(self.dataset.right(model, self.questions).mean()),
            record=record,
            multipliers=mean_multipliers(controller.trace, controller.names, scale.steps),
        )

    def _baseline(self, arm: str, rates: Rates, seed: int) -> list[TrainerCallback]:
        if arm == "feature_cd":
            return [feature_cd(self.scale.block)]
        if arm == "language_cd":
            return [language_cd(self.scale.block)]
        if arm == "fixed_ratio":
            return [fixed_ratio(8.0, FEATURE_ENCODER)]
        if arm not in ("matched", "exchanged", "random"):
            return []
        lift = self.run("lift", rates, seed)
        if arm == "random":
            return [ShuffledMultipliers(lift.record, self.scale.interval, self.scale.first_probe, seed)]
        mean = lift.multipliers
        return [FixedMultipliers(exchanged(mean) if arm == "exchanged" else mean)]


# The stages: choices on a seed that is not judged, all arms, law of rates, time of a step.

LAW_RATES = {"small steps": RATE / 100, "training steps": RATE}
LAW_FACTORS = (1 / 3, 3.0)
BLOCK = 10
"""Optimiser steps that are timed together: one interval of probes as the method has it by default."""

Changes = dict[str, dict[str, tuple[float, float]]]
"""Size of step -> component -> change of log kappa for its rate at each of the two ``LAW_FACTORS``."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """What one and the same step of a model gave at several rates."""

    changes: Changes
    above_floor: float
    """The smallest change of any of these probes, over what rounding alone reads as there."""

    halves: list[float]
    """Log kappa at equal rates of the parameters divided at random in two, one a division."""


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """What was chosen on the seed that is not judged, and from what."""

    best: Rates
    """Of the grid, the pair with the lowest final loss."""

    path: list[list[float]]
    """log10 ratio of the rates at a fixed geometric mean, and the final loss there; the slow starts are the ends."""

    middle: Rates
    """The pair with the lowest loss between those ends."""

    lift: RunResult
    """From equal rates."""

    weights: dict[str, RunResult]
    """Arm of the regulariser -> its run from there."""

    weight: str
    """The arm with the lowest loss of those that move the output by ``LEAST_MOVED`` more than lift, or the largest."""


def pilot(context: Context) -> Pilot:
    """Every choice, each by the lowest final loss."""
    scale, seed = context.scale, context.seed

    def loss(rates: Rates) -> float:
        return context.run("constant", rates, seed).final

    grid = [(encoder, llm) for encoder in scale.grid for llm in scale.grid]
    lift = context.run("lift", STARTS["equal"], seed)
    weights = {
        arm: context.run(arm, STARTS["equal"], seed) for arm in (f"weight {weight:g}" for weight in scale.weights)
    }
    acting = [arm for arm, run in weights.items() if run.movement > (1 + LEAST_MOVED) * lift.movement]
    return Pilot(
        best=min(grid, key=loss),
        path=[[ratio, loss(at_fixed_mean(ratio))] for ratio in (-2.0, *scale.ratios, 2.0)],
        middle=min((at_fixed_mean(ratio) for ratio in scale.ratios), key=loss),
        lift=lift,
        weights=weights,
        weight=min(acting, key=lambda arm: weights[arm].final, default=[*weights][-1]),
    )


def arms(context: Context, runs: Mapping[Start, Sequence[str]], starts: Mapping[Start, Rates], label: str) -> Arms:
    """The run of each judged seed for every start and arm of ``runs``."""
    planned = [(start, arm) for start, names in runs.items() for arm in names]
    results: Arms = {}
    for start, arm in track(planned, f"{label}, arms of {len(context.judged)} seeds"):
        results.setdefault(start, {})[arm] = [context.run(arm, starts[start], seed) for seed in context.judged]
    return results


def untrained(context: Context) -> list[float]:
    """Share of right answers of each judged seed's model before training."""
    return [
        float(context.dataset.right(context.new_model(seed).eval(), context.questions).mean())
        for seed in context.judged
    ]


def majority(context: Context) -> float:
    """Share of right answers of somebody who answers without looking or listening: as in training most often."""
    usual = set()
    for task in context.dataset.tasks:
        examples = context.dataset.examples(task, "train")
        answers = Counter(example.answer for example in examples)
        usual.add((examples[0].question, answers.most_common(1)[0][0]))
    return float(np.mean([(example.question, example.answer) in usual for example in context.questions]))


class Loop:
    """A training loop of our own around one model, with or without CoMMIT, at one rate for both components."""

    def __init__(self, context: Context, seed: int, config: CoMMITConfig | None) -> None:
        self.model = context.new_model(seed).train()
        self.optimizer = AdamW(component_groups(self.model, vision_components(self.model), RATE))
        self.batches = self._batches(context, seed)
        self.controller = None
        if config is not None:
            self.controller = CoMMITController(self.model, config, optimizer=self.optimizer)

    @staticmethod
    def _batches(context: Context, seed: int) -> Iterator[dict[str, Tensor]]:
        """Random batches without end, where the model is."""
        generator = np.random.default_rng(seed)
        while True:
            chosen = generator.integers(0, len(context.rows), context.scale.batch)
            batch = context.collate([context.rows[int(index)] for index in chosen])
            yield {name: value.to(context.device) for name, value in batch.items()}

    def backward(self) -> dict[str, Tensor]:
        """Gradients of the answers' loss of the next batch, which is given back."""
        batch = next(self.batches)
        self.optimizer.zero_grad()
        given = {name: value for name, value in batch.items() if name != "labels"}
        outputs = self.model(**given, logits_to_keep=answer_positions(batch["labels"]))
        answer_loss(outputs, batch["labels"]).backward()
        return batch

    def step(self) -> None:
        """One step; multipliers are applied to the rate."""
        batch = self.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * group["multiplier"]
        if self.controller is not None:
            self.controller.before_step(batch)
        self.optimizer.step()
        if self.controller is not None:
            self.controller.after_step()

    def probe(
        self, batch: dict[str, Tensor], rates: Mapping[str, float], components: Callable[[str], str] | None = None
    ) -> BalanceProbe:
        """Of the step that the optimiser would take at these rates; model and optimiser are left as they were."""
        kept = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        state = copy.deepcopy(self.optimizer.state_dict())
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["name"]]
        controller = CoMMITController(self.model, CoMMITConfig(gamma=0.0, interval=1, first_probe=0), components)
        controller.before_step(batch)
        self.optimizer.step()
        measured = controller.after_step()
        self.model.load_state_dict(kept)
        self.optimizer.load_state_dict(state)
        if measured is None or measured.log_kappa is None:
            raise NumericError("a probe of the law of rates was no more than rounding; the model may not learn.")
        return measured


def _half_of(half: Mapping[str, str], name: str) -> str:
    return half.get(name, "b")


def law(context: Context, seed: int) -> Law:
    """One and the same step at several rates: base, and one component's rate times a factor.

    Weights, moments of AdamW, batch and gradients are the same for all; only rates differ.
    """
    loop = Loop(context, seed, None)
    for _ in range(context.scale.law_steps):
        loop.step()
    batch = loop.backward()
    probes: list[BalanceProbe] = []

    def log_kappa(rates: Mapping[str, float], components: Callable[[str], str] | None = None) -> float:
        probes.append(loop.probe(batch, rates, components))
        return cast(float, probes[-1].log_kappa)

    changes: Changes = {}
    for size, rate in LAW_RATES.items():
        equal = {FEATURE_ENCODER: rate, LLM: rate}
        base = log_kappa(equal)
        changes[size] = {}
        for name in equal:
            lower, upper = (log_kappa({**equal, name: rate * factor}) - base for factor in LAW_FACTORS)
            changes[size][name] = (lower, upper)
    above = min(min(probe.changes) / max(probe.floor, 1e-300) for probe in probes)
    names = [name for name, _ in loop.model.named_parameters()]
    draw, halves = np.random.default_rng(seed), []
    for _ in range(context.scale.halves):
        half = {names[index]: "a" for index in draw.permutation(len(names))[: len(names) // 2]}
        halves.append(log_kappa({FEATURE_ENCODER: RATE, LLM: RATE}, partial(_half_of, half)))
    return Law(changes=changes, above_floor=above, halves=halves)


def overhead(context: Context) -> dict[str, list[float]]:
    """Seconds of ten steps, without and with CoMMIT-CLR at its default interval, by turns.

    On a CPU it is the time of this process alone, since other programs may run beside it.
    """
    config = CoMMITConfig(interval=BLOCK, first_probe=0)
    loops = {"plain": Loop(context, context.seed, None), "commit": Loop(context, context.seed, config)}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(context.scale.timed_rounds + 1):
        for name in sorted(loops, reverse=turn % 2 == 1):
            started = _now(context.device)
            for _ in range(BLOCK):
                loops[name].step()
            if turn:  # the first warms up
                seconds[name].append(_now(context.device) - started)
    return seconds


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
