"""The stages of the CoMMIT reproduction on small models: best pair, all arms, law of rates, time of a step.

Every function gives plain JSON data.
"""

import copy
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from armillary.experiments.commit_lab import Laboratory, Payload
from armillary.experiments.commit_scale import (
    RATE,
    RUNS,
    STARTS,
    Rates,
    Start,
    at_fixed_mean,
    with_one_lowered,
)
from armillary.methods.commit import CoMMITConfig, CoMMITController
from armillary.progress import track
from armillary.training.answer_loss import answer_loss, answer_positions
from armillary.training.component_groups import FEATURE_ENCODER, LLM, component_groups, vision_components

LAW_RATES = {"small steps": RATE / 100, "training steps": RATE}
LAW_FACTORS = (1 / 3, 3.0)
PATHS = {"fixed mean": at_fixed_mean, "one lowered": with_one_lowered}
BLOCK = 10
"""Optimiser steps that are timed together: one interval of probes as the method has it by default."""


def best_pair(lab: Laboratory) -> Payload:
    """Final loss of every pair of the grid, on the seed that is not judged, and the pair with the lowest."""
    grid = [(encoder, llm) for encoder in lab.scale.grid for llm in lab.scale.grid]
    losses = [lab.run("constant", rates, lab.seed)["final"] for rates in grid]
    return {"pairs": grid, "losses": losses, "best": grid[int(np.argmin(losses))]}


def planned(best: Rates) -> list[tuple[Start, str, Rates]]:
    """Start, arm and rates of each kind of run that is judged."""
    starts = {**STARTS, "best": best}
    return [(start, arm, starts[start]) for start, arms in RUNS.items() for arm in arms]


def arms(lab: Laboratory, best: Rates) -> Payload:
    """Start -> arm -> what the run of each judged seed left."""
    found: Payload = {}
    for start, arm, rates in track(planned(best), f"CoMMIT, arms of {len(lab.judged)} seeds"):
        found.setdefault(start, {})[arm] = [lab.run(arm, rates, seed) for seed in lab.judged]
    return found


def paths(lab: Laboratory) -> Payload:
    """Path of rates -> for each log10 ratio the final losses of the judged seeds, all at constant rates."""
    return {
        name: [[lab.run("constant", rates(ratio), seed)["final"] for seed in lab.judged] for ratio in lab.scale.ratios]
        for name, rates in PATHS.items()
    }


def majority(lab: Laboratory) -> float:
    """Share of right answers of somebody who answers without looking or listening: as in training most often."""
    usual = set()
    for task in lab.course.tasks:
        examples = lab.course.examples(task, "train")
        answers = Counter(example.answer for example in examples)
        usual.add((examples[0].question, answers.most_common(1)[0][0]))
    return float(np.mean([(example.question, example.answer) in usual for example in lab.asked]))


def batches(lab: Laboratory, seed: int) -> Iterator[dict[str, Tensor]]:
    """Random batches without end, where the model is."""
    generator = np.random.default_rng(seed)
    while True:
        chosen = generator.integers(0, len(lab.rows), lab.scale.batch)
        yield {name: value.to(lab.device) for name, value in lab.collate([lab.rows[int(i)] for i in chosen]).items()}


def backward(model: nn.Module, batch: dict[str, Tensor]) -> None:
    """Gradients of the answers' loss."""
    labels = batch["labels"]
    given = {name: value for name, value in batch.items() if name != "labels"}
    answer_loss(model(**given, logits_to_keep=answer_positions(labels)), labels).backward()


class Loop:
    """A training loop of our own around one model, with or without CoMMIT, at one rate for both components."""

    def __init__(self, lab: Laboratory, seed: int, config: CoMMITConfig | None) -> None:
        self.model = lab.new_model(seed).train()
        self.optimizer = AdamW(component_groups(self.model, vision_components(self.model), RATE))
        self.batches = batches(lab, seed)
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


def law(lab: Laboratory, seed: int) -> Payload:
    """Log kappa of one and the same step at several rates: base, and one component's rate times a factor.

    Weights, moments of AdamW, batch and gradients are the same for all; only rates differ.
    """
    loop = Loop(lab, seed, None)
    for _ in range(lab.scale.law_steps):
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


def overhead(lab: Laboratory) -> Payload:
    """Seconds of ten steps, without and with CoMMIT-CLR at its default interval, by turns.

    On a CPU it is the time of this process alone, since other programs may run beside it.
    """
    config = CoMMITConfig(interval=BLOCK, first_probe=0)
    loops = {"plain": Loop(lab, lab.seed, None), "commit": Loop(lab, lab.seed, config)}
    found: Payload = {name: [] for name in loops}
    for turn in range(lab.scale.timed_rounds + 1):
        for name in sorted(loops, reverse=turn % 2 == 1):
            started = _now(lab.device)
            for _ in range(BLOCK):
                loops[name].step()
            if turn:  # the first warms up
                found[name].append(_now(lab.device) - started)
    return found


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
