"""The stages of the MDGD reproduction: every arm on one seed, probes of the image states, the cost of a step.

Shapes: P pictures, D hidden size.
"""

import copy
import gc
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from armillary.data.picture_tasks import PictureExample
from armillary.experiments.mdgd_lab import Laboratory, Payload, advanced
from armillary.experiments.mdgd_scale import AFTERWARDS, ARMS, OLD_TASKS, PURELY_VISUAL, TARGET
from armillary.methods.mdgd import (
    MDGDSettings,
    MDGDTrainer,
    VisualRankCallback,
    interpolate_,
    keep_patch_,
    visual_hidden_states,
)
from armillary.models.vision import find_vision_anatomy

PROBED = ("fine_tuning", "align", "paper", "recommended")
ROUNDS = 5


def arm(lab: Laboratory, name: str) -> Payload:
    """One arm; from what fine-tuning ends with, also the arms that come afterwards."""
    model = lab.pretrained()
    seen, tuned = lab.tuned(name, model)
    if name in PROBED:
        seen["probe"] = probes(lab, tuned)
    if name == "fine_tuning":
        seen["afterwards"] = {other: _afterwards(lab, other, model, tuned) for other in AFTERWARDS}
    return seen


def start(lab: Laboratory) -> Payload:
    """What the pre-trained model can do, and what the most frequent answer would score."""
    model = lab.pretrained()
    majority = {}
    for task, asked in lab.asked.items():
        answers = [example.answer for example in asked]
        majority[task] = max(answers.count(answer) for answer in answers) / len(answers)
    ranks = VisualRankCallback(lab.watched)
    return {
        "accuracies": lab.accuracies(model),
        "majority": majority,
        "ranks": [reading.to_dict() for reading in ranks.measure(model)],
        "probe": probes(lab, model),
    }


def _afterwards(lab: Laboratory, name: str, before: nn.Module, tuned: nn.Module) -> Payload:
    model = copy.deepcopy(tuned)
    old = {key: value.detach().clone() for key, value in before.named_parameters()}
    if name == "wise":
        interpolate_(model, old, 0.5)
    else:
        keep_patch_(model, old, ratio=0.1)
    ranks = VisualRankCallback(lab.watched)
    ranks.take_baseline(before)
    readings = [reading.to_dict() for reading in ranks.measure(model)]
    return {"accuracies": lab.accuracies(model), "ranks": readings}


def probes(lab: Laboratory, model: nn.Module) -> dict[str, list[float]]:
    """Accuracy of a linear read-out of style and colour from the mean image state of each layer, test pictures.

    What the states still tell, whatever the answers have become.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found: dict[str, list[float]] = {}
    for task in PURELY_VISUAL:
        train = lab.course.examples(task, "train", limit=4 * lab.scale.pictures, seed=lab.seed)
        asked = lab.asked[task]
        fitted, tested = _pooled(lab, model, train), _pooled(lab, model, asked)
        answers, right = [example.answer for example in train], [example.answer for example in asked]
        found[task] = [
            float(
                make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
                .fit(x_PD, answers)
                .score(y_PD, right)
            )
            for x_PD, y_PD in zip(fitted, tested, strict=True)
        ]
    return found


def _pooled(lab: Laboratory, model: nn.Module, examples: Sequence[PictureExample]) -> list[NDArray[np.float64]]:
    """Mean image state of each picture, one array ``[P, D]`` a layer."""
    anatomy = find_vision_anatomy(model)
    layers = range(anatomy.num_layers)
    rows = [lab.course.row(example, answered=False) for example in examples]
    found: list[list[NDArray[np.float64]]] = [[] for _ in layers]
    for first in range(0, len(rows), 128):
        batch = lab.course.collate(rows[first : first + 128])
        given = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
        with torch.no_grad():
            for place, states in zip(found, visual_hidden_states(model, given, layers, anatomy), strict=True):
                pooled = states.double().view(len(batch["input_ids"]), lab.course.image_tokens, -1).mean(1)
                place.append(pooled.cpu().numpy())
    return [np.concatenate(parts) for parts in found]


def cost(lab: Laboratory) -> Payload:
    """Seconds of training some steps by each arm, in turn: plain, with a frozen copy, with cached states."""
    settings: dict[str, MDGDSettings] = {
        "plain": MDGDSettings(projection="none", visual_align_weight=0.0),
        "copy": MDGDSettings(preset="paper", reference="copy"),
        "cached": MDGDSettings(preset="paper", reference="cache"),
    }
    rows = lab.rows((TARGET,))[: lab.scale.timed_steps * lab.scale.tune_batch]
    trainers = {
        name: MDGDTrainer(
            model=copy.deepcopy(lab.pretrained()),
            args=lab.arguments(
                max_steps=lab.scale.timed_steps,
                per_device_train_batch_size=lab.scale.tune_batch,
                learning_rate=lab.scale.tune_rate,
            ),
            train_dataset=rows,
            data_collator=lab.course.collate,
            settings=one,
        )
        for name, one in settings.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    gc.collect()
    gc.freeze()  # a Trainer collects garbage before every training, which would make plain and ours more alike
    for turn in range(1 + ROUNDS):
        for name, trainer in trainers.items():
            started = time.perf_counter()
            advanced(trainer, f"timing: {name}", lab.scale.timed_steps)
            if turn:  # the first turn warms up, and fills the cache
                seconds[name].append(time.perf_counter() - started)
    gc.unfreeze()
    return seconds


__all__ = ["ARMS", "OLD_TASKS", "arm", "cost", "probes", "start"]
