"""Seeing against blind: a model that can see, one that can't, controls by enumeration, and training that resumes."""

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import TrainerCallback

from armillary.data.images.questions import COLOURS, ImageExample, image_examples
from armillary.data.images.synthetic import synthetic_emoji
from armillary.errors import NumericError, UsageError
from armillary.finetuning.config import ConnectorConfig
from armillary.finetuning.connector.start import own_words, start_connector
from armillary.finetuning.connector.training import Reading, adapted, answer_nats, by_image, train_connector
from armillary.finetuning.connector.work import mixed_examples
from armillary.finetuning.image_evaluation import (
    ImageAnswer,
    caption,
    choose,
    evaluation,
    majority,
    names_to_rank,
    over_identities,
    shuffled_images,
    word_overlap,
)
from armillary.finetuning.image_setup import ImageTextSetup, image_text_setup
from armillary.models import tiny
from armillary.models.vision import stored_states
from armillary.training.questions import answer_loss, with_answer_positions


@cache
def _made() -> ImageTextSetup:
    return image_text_setup(tiny(), "synthetic")


def setup() -> ImageTextSetup:
    """With a model of its own, to be trained."""
    return replace(_made(), model=copy.deepcopy(_made().model))


def questions(emoji: Any, task: str, split: str, limit: int | None = None) -> list[ImageExample]:
    return image_examples(emoji, task, split, limit=limit)  # type: ignore[arg-type]


def named(emoji: Any) -> list[ImageExample]:
    """Eight pictures, each called by a word of its own."""
    asked = questions(emoji, "name", "train", 30)
    one_each = list({one.image: one for one in asked}.values())[:8]
    return [replace(one, answer=word) for one, word in zip(one_each, COLOURS, strict=True)]


@pytest.fixture(scope="module")
def seeing() -> ImageTextSetup:
    """A model all of whose weights learned the colours of forty pictures and the names of eight by heart."""
    made = setup()
    torch.manual_seed(0)
    examples = [*questions(made.emoji, "colour", "train", 40), *named(made.emoji) * 2]
    optimiser = torch.optim.AdamW(made.model.parameters(), lr=5e-3)
    collate = with_answer_positions(made.rows.collate)
    with stored_states(made.model):
        for _ in range(300):
            drawn = [examples[i] for i in torch.randperm(len(examples))[:16]]
            batch = collate([made.rows.row(one) for one in drawn])
            labels = batch.pop("labels")
            loss = answer_loss(made.model(**batch), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if float(loss.detach()) < 0.003:
                break
    made.model.eval()
    return made


def test_who_can_see_is_right_and_blind_is_at_chance(seeing: ImageTextSetup) -> None:
    asked = questions(seeing.emoji, "colour", "train", 40)
    blind = shuffled_images(asked, seeing.emoji, seed=0)
    with stored_states(seeing.model):
        right = [one.right for one in choose(seeing.model, seeing.rows, asked)]
        told = choose(seeing.model, seeing.rows, blind)
    assert np.mean(right) == 1.0
    # A perfect seer tells the colour of the picture it is shown; that this is the asked one's is chance.
    shown = {(one.image, one.style): one.answer for one in asked}
    assert [one.answer for one in told] == [shown[one.image, one.style] for one in blind]
    shares = np.unique([one.answer for one in asked], return_counts=True)[1] / len(asked)
    chance = float(np.square(shares).sum())
    assert abs(np.mean([one.right for one in told]) - chance) < 3 * (chance * (1 - chance) / len(asked)) ** 0.5


def test_captions_of_who_can_see(seeing: ImageTextSetup) -> None:
    asked = named(seeing.emoji)
    blind = shuffled_images(asked, seeing.emoji, seed=1)
    names = names_to_rank(asked, seed=0, count=6)
    assert all(len(set(given)) == 6 and one.answer in given for one, given in zip(asked, names, strict=True))
    with stored_states(seeing.model):
        told, other = (caption(seeing.model, seeing.rows, some, names) for some in (asked, blind))
    assert [one.answer for one in told] == [one.answer for one in asked]
    assert all(one.right == one.overlap == one.rank == one.rank_whole == 1 for one in told)
    assert np.mean([one.right for one in other]) == 0 and np.mean([one.rank for one in other]) > 2


def test_who_never_learned_sees_nothing() -> None:
    made = setup()
    asked = questions(made.emoji, "colour", "train", 80)
    with stored_states(made.model):
        right, other = (
            np.mean([one.right for one in choose(made.model, made.rows, some)])
            for some in (asked, shuffled_images(asked, made.emoji, seed=0))
        )
    assert abs(right - other) < 0.25


def test_ranks_of_choices_by_both_rules(seeing: ImageTextSetup) -> None:
    asked = questions(seeing.emoji, "colour", "train", 3)
    with stored_states(seeing.model):
        for one in choose(seeing.model, seeing.rows, asked):
            assert one.rank == one.rank_whole == 1
        with pytest.raises(UsageError, match="without choices"):
            choose(seeing.model, seeing.rows, questions(seeing.emoji, "name", "train", 2))


def test_shuffling_uses_every_image_once_and_none_for_itself() -> None:
    emoji = synthetic_emoji()
    asked = questions(emoji, "colour", "train", 60)
    blind = shuffled_images(asked, emoji, seed=4)
    images = [[(one.image, one.style) for one in some] for some in (asked, blind)]
    assert sorted(images[0]) == sorted(images[1])
    assert [(one.question, one.answer) for one in asked] == [(one.question, one.answer) for one in blind]
    assert all(one.image != other.image for one, other in zip(asked, blind, strict=True))
    assert blind == shuffled_images(asked, emoji, seed=4) != shuffled_images(asked, emoji, seed=5)
    assert shuffled_images(asked[:1], emoji, seed=0) == asked[:1]


def test_small_measures() -> None:
    assert word_overlap("red apple", "red apple") == 1 and word_overlap("", "owl") == 0
    assert word_overlap("green apple pie", "red apple") == pytest.approx(2 / 5)
    asked = questions(synthetic_emoji(), "colour", "train", 40)
    most = majority(asked, asked)
    assert sum(most) == max(np.unique([one.answer for one in asked], return_counts=True)[1])


def test_intervals_are_over_identities() -> None:
    emoji = synthetic_emoji()
    asked = [one for one in questions(emoji, "group", "train") if one.image < 40]
    values = [float(one.image % 2) for one in asked]
    found = over_identities(values, asked, emoji, seed=0)
    images = {one.image for one in asked}
    assert found.estimate == pytest.approx(np.mean(values)) and found.n == len(images) < len(asked)
    # Two styles of an emoji say the same here: asking both tells no more than asking one.
    once = {one.image: (value, one) for value, one in zip(values, asked, strict=True)}
    single = over_identities([v for v, _ in once.values()], [one for _, one in once.values()], emoji, seed=0)
    assert found.upper - found.lower == pytest.approx(single.upper - single.lower, abs=0.03)
    with pytest.raises(UsageError, match="1 values came for"):
        over_identities([1.0], asked, emoji, seed=0)


def test_an_evaluation_pairs_seeing_with_blind() -> None:
    emoji = synthetic_emoji()
    asked = {"colour": questions(emoji, "colour", "test", 8), "name": questions(emoji, "name", "test", 8)}

    def answers(right: float, count: int) -> list[ImageAnswer]:
        return [ImageAnswer(answer="red", rank=1.0, rank_whole=2.0, overlap=0.5, right=right)] * count

    given = {
        task: {who: answers(float(who == "seeing"), len(examples)) for who in ("seeing", "blind", "untrained")}
        for task, examples in asked.items()
    }
    found = evaluation(asked, given, emoji, seed=0)
    colour, captions = found.tasks["colour"], found.captions
    assert colour.right.gain.estimate == 1 and colour.chance == 1 / 8
    assert colour.whole.seeing.estimate == 0, "ranked second by the whole answer"
    assert captions is not None and set(found.tasks) == {"colour"}
    assert captions.measures["right"].gain.estimate == 1 and captions.measures["overlap"].gain.estimate == 0
    assert len({row[2] for row in captions.sheet}) == len(captions.sheet) <= 8


class _Stop(TrainerCallback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.at:
            raise KeyboardInterrupt


SETTINGS = ConnectorConfig(model="tiny-llama", steps=9, batch_size=4, learning_rate=1e-2, readings=3, lora_rank=2)


def trained(
    made: ImageTextSetup, folder: Path, *, stop: int | None = None
) -> tuple[list[tuple[int, float]], list[tuple[int, Reading]]]:
    def read() -> Reading:
        embedding = made.model.get_input_embeddings()
        return {"weights": float(sum(weight.double().sum() for weight in embedding.parameters()))}

    with stored_states(made.model), adapted(made.model, SETTINGS.lora_rank, 0) as groups:
        callbacks = [] if stop is None else [_Stop(stop)]
        return train_connector(
            made.model, made.rows, groups, SETTINGS, folder, read=read, save_every=2, callbacks=callbacks
        )


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, killed, again = setup(), setup(), setup()
    start = {name: weight.clone() for name, weight in whole.model.state_dict().items()}
    given = trained(whole, tmp_path / "whole")
    assert [step for step, _ in given[1]] == [0, 3, 6, 9]
    with pytest.raises(KeyboardInterrupt):
        trained(killed, tmp_path / "killed", stop=7)
    assert trained(again, tmp_path / "killed") == given
    ended = whole.model.state_dict()
    assert ended.keys() == start.keys()  # adapters are merged
    assert all(torch.equal(weight, ended[name]) for name, weight in again.model.state_dict().items())
    moved = {name for name, weight in ended.items() if not torch.equal(weight, start[name])}
    parts = ("linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias")
    assert {name for name in moved if "language_model" not in name} == {
        f"model.multi_modal_projector.{name}" for name in parts
    }
    assert {name.rpartition(".layers.")[2].split(".")[0] for name in moved if "language_model" in name} == {"0", "1"}
    assert all(weight.requires_grad and weight.grad is None for weight in whole.model.parameters())
    # What is finished is not trained again.
    once_more = setup()
    assert trained(once_more, tmp_path / "whole") == given
    assert all(torch.equal(weight, ended[name]) for name, weight in once_more.model.state_dict().items())


def test_training_lowers_the_loss_on_its_answers(tmp_path: Path) -> None:
    made = setup()
    examples = mixed_examples(made.emoji, "train", 20, seed=0)
    with stored_states(made.model):
        before = answer_nats(made.model, made.rows, examples).mean()
    trained(made, tmp_path)
    with stored_states(made.model):
        assert answer_nats(made.model, made.rows, examples).mean() < before - 0.3


def test_the_start_turns_outputs_towards_true_words() -> None:
    """Nearer to the embedding of an image's own name and keywords than before, at the length of the embeddings."""
    made = setup()
    names = functional.normalize(own_words(made.model, made.rows), dim=-1)
    chosen = list(made.emoji.split("train"))
    assert made.rows.states is not None
    states = torch.from_numpy(made.rows.states[chosen][:, 0, 1:]).float()
    connector = made.model.model.multi_modal_projector

    def cosine() -> float:
        outputs = connector(states).mean(1).detach()
        return float((functional.normalize(outputs - outputs.mean(0), dim=-1) * names[chosen]).sum(-1).mean())

    before = cosine()
    start_connector(made.model, made.rows, 60, 0)
    assert cosine() > before + 0.1
    embedding = made.model.get_input_embeddings().weight
    assert torch.isclose(connector(states).square().mean(), embedding.square().mean(), rtol=0.01)


def test_every_image_is_asked_once_in_a_row_of_all_its_questions() -> None:
    made = setup()
    rows = by_image(made.emoji, "train", seed=0)
    assert len(rows) == len({(row[0].image, row[0].style) for row in rows})
    assert all(len({(example.image, example.style) for example in row}) == 1 for row in rows)
    assert all(len({example.question for example in row}) == len(row) for row in rows)


def test_a_rate_that_breaks_the_model_is_told(tmp_path: Path) -> None:
    made = setup()
    settings = ConnectorConfig(model="tiny-llama", steps=4, batch_size=2, learning_rate=1e30)
    groups = [list(made.model.model.multi_modal_projector.parameters())]
    with stored_states(made.model), pytest.raises(NumericError, match="lower the learning rate of 1e"):
        train_connector(made.model, made.rows, groups, settings, tmp_path)
