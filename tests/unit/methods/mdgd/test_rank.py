"""Effective rank and drift of image states: against NumPy, and what a callback tells of a training."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Trainer

from armillary.errors import ModelError, UsageError
from armillary.methods.mdgd.callbacks import VisualRankCallback, visual_rank
from armillary.methods.mdgd.drift import image_token_mask, visual_hidden_states
from armillary.models.tiny_models import tiny
from armillary.models.tiny_vision_models import VISION_KINDS, tiny_vision

from .mdgd_toy import make, run, weights


def by_numpy(x: torch.Tensor, center: bool) -> float:
    rows = x.double().numpy()
    s = np.linalg.svd(rows - rows.mean(0) if center else rows, compute_uv=False)
    p = s / s.sum()
    p = p[p > 1e-12]
    return math.exp(-(p * np.log(p)).sum())


def test_ranks_are_those_of_the_svd() -> None:
    images = [torch.randn(7, 12, generator=torch.Generator().manual_seed(seed)) + 3 for seed in range(9)]
    told = visual_rank(images, 4, drift=0.5, normalise=False)
    assert told.per_image == pytest.approx(np.mean([by_numpy(x, False) for x in images]), rel=1e-5)
    assert told.per_image_centred == pytest.approx(np.mean([by_numpy(x, True) for x in images]), rel=1e-5)
    pooled = torch.stack([x.mean(0) for x in images])
    assert told.dataset == pytest.approx(by_numpy(pooled, False), rel=1e-5)
    assert told.dataset_centred == pytest.approx(by_numpy(pooled, True), rel=1e-5)
    assert told.dataset < told.dataset_centred  # the shared offset collapses the raw value
    assert (told.layer, told.images, told.drift) == (4, 9, 0.5)
    assert told.to_dict()["dataset"] == told.dataset
    loud = [torch.cat([4 * x[:1], x[1:]]) for x in images]  # longer than others, but no sink
    assert visual_rank(loud).dataset == pytest.approx(visual_rank(images).dataset)


@pytest.mark.parametrize("size", [50.0, 1e3, 1e5])
def test_the_ranks_are_not_those_of_a_sink(size: float) -> None:
    images = [torch.randn(7, 12, generator=torch.Generator().manual_seed(seed)) for seed in range(9)]
    planted = []
    for seed, x in enumerate(images):
        channel = torch.zeros(1, 12)
        channel[0, 5] = size * (1 + 0.1 * seed)  # as massive activations are: one channel of the first token
        planted.append(torch.cat([channel, x]))
    assert visual_rank(planted) == visual_rank(images)
    raw, clean = visual_rank(planted, normalise=False), visual_rank(images, normalise=False)
    assert raw.per_image_centred < 0.6 * clean.per_image_centred  # type: ignore[operator]
    only = [x[:1] for x in planted[:1]] + planted[1:]  # an image of one token, which is a sink
    assert visual_rank(only).images == 9


def test_one_token_an_image_has_no_rank_of_its_own() -> None:
    told = visual_rank([torch.randn(1, 5) for _ in range(4)])
    assert told.per_image is None and told.per_image_centred is None and 1 <= told.dataset <= 4
    with pytest.raises(UsageError, match="at least 2"):
        visual_rank([torch.randn(3, 5)])


def test_collapsed_states_are_seen() -> None:
    images = [torch.randn(6, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(10)]
    direction = torch.randn(8)
    flat = [x @ torch.outer(direction, direction) for x in images]
    assert visual_rank(flat).dataset_centred == pytest.approx(1, abs=1e-4)
    assert visual_rank(images).dataset_centred > 5


def test_with_the_stock_trainer_it_reads_and_changes_nothing(tmp_path: Path) -> None:
    toy = tiny_vision()
    images = [toy.batch(4, seed=50), toy.batch(2, seed=51)]
    watching = VisualRankCallback(images, every=2)
    watched = run(tmp_path / "a", trainer=Trainer, extra={"callbacks": [watching]}, freeze_vision=False)
    plain = run(tmp_path / "b", trainer=Trainer, freeze_vision=False)
    assert torch.equal(weights(watched), weights(plain))
    assert [step for step, _ in watching.history] == [0, 2, 3]
    (_, first), (_, last) = watching.history[0], watching.history[-1]
    assert [reading.layer for reading in first] == [0, 1]
    assert all(reading.drift == 0 and reading.images == 6 for reading in first)
    assert all(reading.drift is not None and reading.drift > 0 for reading in last)
    line = next(line for line in watched.state.log_history if "visual_rank/1/drift" in line)
    assert line["visual_rank/1/dataset"] == first[1].dataset
    states = [visual_hidden_states(toy.model, batch, [1], toy.anatomy)[0] for batch in images]
    counts = [image_token_mask(toy.anatomy, batch).sum(1).tolist() for batch in images]
    images = [part for x, n in zip(states, counts, strict=True) for part in x.split(n)]
    assert first[1].dataset == pytest.approx(visual_rank(images).dataset, rel=1e-6)


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_every_kind_of_model(kind: str) -> None:
    toy = tiny_vision(kind)
    watching = VisualRankCallback([toy.batch(3)], layers="last")
    watching.take_baseline(tiny_vision(kind, seed=1).model)
    (reading,) = watching.measure(toy.model)
    assert reading.layer == 1 and reading.drift is not None and reading.drift > 0.1
    assert not toy.model.training


def test_the_trainer_takes_images_to_look_at(tmp_path: Path) -> None:
    batch = tiny_vision().batch(3)
    trainer = make(tmp_path, log_erank_steps=1, extra={"rank_batch": batch})
    trainer.train()
    assert sum("visual_rank/0/dataset_centred" in line for line in trainer.state.log_history) == 4


def test_bad_input_is_one_sentence() -> None:
    toy = tiny_vision()
    for batches, every in (([], 1), ([toy.batch(2)], 0)):
        with pytest.raises(UsageError, match="at least one batch"):
            VisualRankCallback(batches, every=every)
    with pytest.raises(UsageError, match="no image tokens"):
        VisualRankCallback([toy.batch(2, images=False)]).measure(toy.model)
    with pytest.raises(ModelError, match="is a text model"):
        VisualRankCallback([toy.batch(2)]).measure(tiny("llama").model)
