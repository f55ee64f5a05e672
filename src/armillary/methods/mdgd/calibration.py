"""What is read from the training data before training: batches in a known order, and each tensor's mask.

The trainer's random state is as before afterwards.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from armillary.errors import UsageError
from armillary.methods.mdgd.config import MDGDSettings
from armillary.methods.mdgd.core import decouple
from armillary.methods.mdgd.mask import ScoreSums, topk_indices
from armillary.progress import track

if TYPE_CHECKING:
    from armillary.training.second_gradient import SecondGradientMixin


def unchanged_random(device: torch.device) -> AbstractContextManager[None]:
    """Inside, random numbers may be drawn; after it the generators of the CPU and of ``device`` are as before."""
    return cast(AbstractContextManager[None], torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))


def dataset_batches(trainer: "SecondGradientMixin", *, seed: int | None = None) -> Iterator[dict[str, Any]]:
    """The training set through the trainer's collator, once: in its own order, or shuffled by ``seed``.

    Every process sees all of it. UsageError without a training set.
    """
    dataset, collate = trainer.train_dataset, trainer.data_collator
    if dataset is None:
        raise UsageError("there is no training set; give train_dataset.")
    if hasattr(dataset, "remove_columns") and hasattr(dataset, "column_names"):
        dataset = trainer._remove_unused_columns(dataset, description="training")
    else:
        collate = trainer._get_collator_with_removed_columns(collate, description="training")
    shuffled = seed is not None and not isinstance(dataset, IterableDataset)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=trainer.args.per_device_train_batch_size,
        collate_fn=collate,
        shuffle=shuffled,
        generator=torch.Generator().manual_seed(seed or 0),
    )
    for batch in loader:
        yield trainer._prepare_inputs(batch)


def kept_positions(trainer: "SecondGradientMixin", settings: MDGDSettings) -> dict[nn.Parameter, Tensor]:
    """The flat positions of each trainable tensor that may change.

    Scores are averages over ``mask_batches`` batches. Since the drift has no gradient at the pre-trained weights,
    scores that need one are read a small step off them: along the task gradient of the first batch, ``mask_probe``
    times as long as all trainable weights. The weights are back bit for bit afterwards.
    """
    parameters = trainer.trainable()
    seeds = [1_000_003 * trainer.args.seed + number for number in range(len(parameters))]
    sums = [ScoreSums(settings.mask_score, p, seed) for p, seed in zip(parameters, seeds, strict=True)]
    if settings.mask_score != "random":
        with unchanged_random(trainer.args.device):
            _measure(trainer, settings, parameters, sums)
    return {
        parameter: topk_indices(total.score(), settings.mask_ratio)
        for parameter, total in zip(parameters, sums, strict=True)
    }


def _measure(
    trainer: "SecondGradientMixin", settings: MDGDSettings, parameters: list[nn.Parameter], sums: list[ScoreSums]
) -> None:
    # Processes read different batches; the gradients are averaged over them.
    seed = trainer.args.seed + 7919 * trainer.accelerator.process_index
    batches = [
        batch for _, batch in zip(range(settings.mask_batches), dataset_batches(trainer, seed=seed), strict=False)
    ]
    if not batches:
        raise UsageError("the training set is empty, so there is nothing to choose a mask by.")
    model = trainer.network
    saved: list[Tensor] = []
    mode = model.training
    model.train()
    try:
        if settings.mask_score != "task_magnitude":
            saved = [parameter.detach().cpu().clone() for parameter in parameters]
            _probe(trainer, settings, parameters, batches[0])
        for batch in track(batches, "Scoring the entries that may change"):
            task, visual = trainer.gradients(model, batch)
            # One tensor at a time where the scope allows, so that gradients are let go as their scores are added.
            everything = list(zip(parameters, sums, strict=True))
            for some in [everything] if settings.projection_scope == "global" else [[one] for one in everything]:
                task_P = [task.pop(parameter, None) for parameter, _ in some]
                visual_P = [visual.pop(parameter, None) for parameter, _ in some]
                decoupled, _ = decouple(
                    task_P, visual_P, mode=settings.projection or "none", scope=settings.projection_scope
                )
                for (_, total), g, v, edited in zip(some, task_P, visual_P, decoupled, strict=True):
                    total.add(g, v, edited)
    finally:
        with torch.no_grad():
            for parameter, before in zip(parameters, saved, strict=False):
                parameter.copy_(before)
        model.train(mode)


@torch.no_grad()
def _probe(
    trainer: "SecondGradientMixin", settings: MDGDSettings, parameters: list[nn.Parameter], batch: dict[str, Any]
) -> None:
    with torch.enable_grad():
        task, _ = trainer.gradients(trainer.network, batch)
    size = torch.stack([torch.linalg.vector_norm(p.float()) for p in parameters]).norm()
    slope = torch.stack([torch.linalg.vector_norm(g.float()) for g in task.values()]).norm()
    step = settings.mask_probe * size / slope.clamp_min(torch.finfo(torch.float32).tiny)
    for parameter, gradient in task.items():
        parameter.sub_((step * gradient).to(parameter.dtype))
