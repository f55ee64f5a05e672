"""Grafts are exact: a reader answers from other eyes' image states as from its own where these are the same."""

import copy

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from reproductions.images.dataset import ImageDataset, Shape
from reproductions.mdgd.grafts import Quiz
from reproductions.mdgd.run import dataset
from reproductions.mdgd.scale import OLD_TASKS, SCALES


@pytest.fixture(scope="module")
def data() -> ImageDataset:
    return dataset(SCALES["quick"], 0)


@pytest.fixture(scope="module")
def quiz(data: ImageDataset) -> Quiz:
    return Quiz(data, images=12, seed=0)


@pytest.fixture
def model(data: ImageDataset) -> LlavaForConditionalGeneration:
    return data.new_model(Shape(layers=3, width=32, heads=2, inner=48), 1)


def changed(model: LlavaForConditionalGeneration, *parts: str) -> LlavaForConditionalGeneration:
    """A copy with other weights in these parts."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if any(part in name for part in parts):
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    return other


def test_each_image_is_asked_every_question(quiz: Quiz) -> None:
    images = {task: [quiz.dataset.key(example) for example in examples] for task, examples in quiz.examples.items()}
    assert len(set(map(tuple, images.values()))) == 1 and 0 < len(images["colour"]) <= 12


def test_with_its_own_eyes_a_model_answers_as_without_a_graft(
    data: ImageDataset, quiz: Quiz, model: LlavaForConditionalGeneration
) -> None:
    for reader in (model, changed(model, "q_proj")):
        stock = {task: float(data.right(reader, examples).mean()) for task, examples in quiz.examples.items()}
        seen = quiz.seen(reader)
        assert quiz.answers(reader, seen) == pytest.approx(stock)
        assert quiz.answers(reader, seen) == pytest.approx(stock), "the cache is left as it was"


def test_only_what_image_states_are_made_of_is_the_eyes(quiz: Quiz, model: LlavaForConditionalGeneration) -> None:
    before = quiz.answers(model, quiz.seen(model), OLD_TASKS)
    # No later position reads what the last layer makes of an image behind its keys and values.
    other_reader = changed(model, "layers.2.mlp")
    assert quiz.answers(model, quiz.seen(other_reader), OLD_TASKS) == before
    other_eyes = changed(model, "multi_modal_projector")
    assert quiz.answers(other_eyes, quiz.seen(model), OLD_TASKS) == before
    assert quiz.answers(other_eyes, quiz.seen(other_eyes), OLD_TASKS) != before
