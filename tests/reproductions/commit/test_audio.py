"""Sounds as lessons for a small audio-text model, and the given model's controls."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import TrainerControl, TrainerState

from reproductions.commit.scale import SCALES, SOUND_RUNS, SOUND_SCALES
from reproductions.commit.sounds.dataset import SoundDataset, synthetic_sounds
from reproductions.commit.sounds.questions import SOUND_TASKS
from reproductions.commit.trainer import ShuffledMultipliers, TrainingRecord, exchanged
from reproductions.images.dataset import END, IGNORED, MEDIA, PAD, Shape

SMALL = Shape(layers=1, width=16, heads=2, inner=24)


@pytest.fixture(scope="module")
def dataset() -> SoundDataset:
    return SoundDataset(synthetic_sounds())


def test_rows_and_batches(dataset: SoundDataset) -> None:
    asked = [dataset.examples(task, "train", limit=1)[0] for task in SOUND_TASKS]
    words = {token: word for word, token in dataset.words.items()}
    for example in asked:
        row = dataset.row(example)
        assert [words[token] for token in row["labels"] if token not in (IGNORED, END)] == [example.answer]
        assert row["input_ids"].count(MEDIA) == 8 and row["input_ids"][-1] == END
        assert dataset.row(example, answered=False)["input_ids"] == row["input_ids"][:-2]
    batch = dataset.collate([dataset.row(example) for example in asked])
    assert batch["input_features"].shape == (3, *dataset.features.shape[1:])
    assert torch.equal(batch["input_features"][1], torch.from_numpy(dataset.features[asked[1].sound]))
    assert torch.equal(batch["attention_mask"] == 0, batch["input_ids"] == PAD)
    assert not (batch["labels"][batch["attention_mask"] == 0] != IGNORED).any()


def test_right_answers_are_told_from_wrong_ones(dataset: SoundDataset) -> None:
    model = dataset.new_model(SMALL, 0)
    examples = [one for task in SOUND_TASKS for one in dataset.examples(task, "validation")]
    for parameter in model.parameters():
        parameter.data.zero_()
    # All logits are alike: the first of the choices is taken.
    right = dataset.right(model, examples)
    assert right.tolist() == [float(one.answer == one.choices[0]) for one in examples]
    assert 0 < np.mean(right) < 1


def test_synthetic_sounds_differ_in_all_that_is_asked(dataset: SoundDataset) -> None:
    for task in SOUND_TASKS:
        for split in ("train", "validation"):
            examples = dataset.examples(task, split)
            assert {one.answer for one in examples} == set(examples[0].choices)


def test_what_is_run_on_sounds() -> None:
    assert set(SOUND_SCALES) == set(SCALES)
    assert {"constant", "lift", "matched", "exchanged"} <= set(SOUND_RUNS["slow encoder"])
    assert "constant" in SOUND_RUNS["equal"]


def test_exchanged_multipliers() -> None:
    assert exchanged({"feature_encoder": 7.0, "llm": 1.0}) == {"feature_encoder": 1.0, "llm": 7.0}


def test_shuffled_multipliers_are_those_of_the_run_for_either_component() -> None:
    run = TrainingRecord(
        steps=[2, 4], log_kappa=[1.0, 2.0], changes={}, multipliers={"feature_encoder": [3.0, 7.0], "llm": [1.0, 1.0]},
        floors=[], below_floor=0, noted=[], rates={}, losses=[], norms={},
    )  # fmt: skip
    names = ("feature_encoder", "llm")
    parts = [torch.nn.Parameter(torch.zeros(1)) for _ in names]
    optimizer = torch.optim.SGD(
        [{"params": [part], "name": name} for part, name in zip(parts, names, strict=True)], 0.1
    )
    shuffled = ShuffledMultipliers(run, interval=2, first=2, seed=0)
    read = []
    for step in range(40):
        state = TrainerState(global_step=step)
        shuffled.on_optimizer_step(cast(Any, None), state, TrainerControl(), optimizer=optimizer)
        read.append(tuple(group.get("multiplier", 1.0) for group in optimizer.param_groups))
    assert read[:2] == [(1.0, 1.0)] * 2 and all(
        before == after for before, after in zip(read[2::2], read[3::2], strict=True)
    )
    assert set(read[2:]) == {(3.0, 1.0), (1.0, 3.0), (7.0, 1.0), (1.0, 7.0)}
