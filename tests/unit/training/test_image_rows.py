"""Rows and batches of questions about images, and the loss that asks for the answers' logits only."""

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from armillary.data.images.questions import ImageExample
from armillary.errors import ModelError
from armillary.models.vision import stored_states, text_before_images
from armillary.training.image_rows import ImageRows
from armillary.training.questions import IGNORED, answer_loss, answer_positions, with_answer_positions

from .image_parts import image_rows, some_examples

_EXAMPLE = ImageExample(image=5, style=1, question="Which colour is this?", answer="red", choices=("red", "blue"))


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_a_row_is_the_tokens_of_the_whole_text(kind: str) -> None:
    _, rows = image_rows(kind)
    row = rows.row(_EXAMPLE)
    text = "<image>" * 9 + "\nWhich colour is this?\nAnswer: red"
    whole = rows.processor.tokenizer(text)["input_ids"]
    assert row["input_ids"] == [*whole, rows.end_id]
    learned = [label for label in row["labels"] if label != IGNORED]
    assert learned == [*rows.processor.tokenizer(" red", add_special_tokens=False)["input_ids"], rows.end_id]
    assert row["labels"][-len(learned) :] == learned and len(row["labels"]) == len(row["input_ids"])
    assert rows.row(_EXAMPLE, answered=False)["input_ids"] == whole[: len(whole) - len(learned) + 1]
    assert rows.text(learned) == "red"


def test_the_processor_makes_the_same_row_of_one_image() -> None:
    _, rows = image_rows()
    image = rows.emoji.images[_EXAMPLE.image, _EXAMPLE.style]
    batch = rows.collate([rows.row(_EXAMPLE, answered=False)])
    theirs = rows.processor(
        images=[Image.fromarray(image)], text=["<image>\nWhich colour is this?\nAnswer:"], return_tensors="pt"
    )
    for name in ("input_ids", "attention_mask", "pixel_values"):
        assert torch.equal(batch[name], theirs[name]), name


def test_a_batch_is_padded_at_the_right_and_tells_its_images() -> None:
    _, rows = image_rows()
    asked = some_examples(rows, ("name", "keyword-choice"), each=3)
    batch = rows.collate([rows.row(example) for example in asked])
    lengths = batch["attention_mask"].sum(1)
    assert lengths.min() < lengths.max() == batch["input_ids"].shape[1]
    for row, length in enumerate(lengths):
        assert (batch["labels"][row, length:] == IGNORED).all() and batch["attention_mask"][row, :length].all()
    assert (batch["labels"] != IGNORED).sum(1).tolist() == [len(rows.answer(example.answer)) for example in asked]
    assert (batch["input_ids"] == rows.image_token_id).sum(1).tolist() == [9] * len(asked)
    assert len(text_before_images(batch["input_ids"], rows.image_token_id, batch["attention_mask"])) == 1
    assert batch["image_key"].tolist() == [2 * example.image + example.style for example in asked]


def test_stored_states_come_for_the_same_images() -> None:
    _, rows = image_rows(stored=True)
    assert rows.states is not None and rows.states.shape == (96, 2, 10, 16)
    batch = rows.collate([rows.row(example) for example in some_examples(rows, ("colour",))])
    flat = rows.states.reshape(-1, 10, 16)
    assert np.array_equal(batch["pixel_values"].numpy(), flat[batch["image_key"].numpy()].astype(np.float32))


def test_a_tokenizer_that_does_not_fit_is_refused() -> None:
    model, rows = image_rows()
    processor = copy.deepcopy(rows.processor)
    processor.image_token = "<picture>"
    with pytest.raises(ModelError, match="makes 0 image tokens of 9 times <image>"):
        ImageRows.of(model, processor, rows.emoji)
    processor.tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end token"):
        ImageRows.of(model, processor, rows.emoji)


@pytest.mark.parametrize("items", [None, 40])
def test_the_loss_and_its_gradient_are_those_of_all_logits(items: int | None) -> None:
    model, rows = image_rows()
    full = rows.collate([rows.row(example) for example in some_examples(rows, ("name", "colour", "keyword"), each=2)])
    few = with_answer_positions(rows.collate)(
        [rows.row(example) for example in some_examples(rows, ("name", "colour", "keyword"), each=2)]
    )
    assert "image_key" not in few and few["logits_to_keep"].tolist() == answer_positions(full["labels"]).tolist()
    weight = model.model.multi_modal_projector.linear_1.weight
    counted: dict[str, Any] = {} if items is None else {"num_items_in_batch": items}
    given = {name: full[name] for name in ("input_ids", "attention_mask", "pixel_values", "labels")}
    expected = model(**given, **counted).loss
    labels = few.pop("labels")
    outputs = model(**few)
    assert outputs.logits.shape[1] < full["input_ids"].shape[1] / 2
    loss = answer_loss(outputs, labels, items)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)
    (ours,), (theirs,) = torch.autograd.grad(loss, [weight]), torch.autograd.grad(expected, [weight])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_the_loss_is_the_cross_entropy_of_the_learned_tokens() -> None:
    labels = torch.tensor([[IGNORED, IGNORED, 1, 2], [IGNORED, 0, 3, IGNORED]])
    logits = torch.randn(2, 3, 5, dtype=torch.float64)
    assert answer_positions(labels).tolist() == [0, 1, 2]
    told = logits.log_softmax(-1)
    expected = -(told[0, 1, 1] + told[0, 2, 2] + told[1, 0, 0] + told[1, 1, 3]) / 4
    assert float(answer_loss(SimpleNamespace(logits=logits), labels)) == pytest.approx(float(expected), rel=1e-6)
    assert float(answer_loss({"logits": logits}, labels, torch.tensor(8))) == pytest.approx(
        float(expected) / 2, rel=1e-6
    )


def test_questions_in_one_row_are_answered_as_alone() -> None:
    """Each question sees the image and itself only: states at its answer are those of a row of its own."""
    model, rows = image_rows(stored=True)
    asked = [
        [_EXAMPLE, replace(_EXAMPLE, question="Which group?", answer="food"), replace(_EXAMPLE, question="What?")],
        [replace(_EXAMPLE, image=7), replace(_EXAMPLE, image=7, question="Is it?", answer="yes")],
    ]
    shared = rows.collate([rows.shared_row(of_image) for of_image in asked])
    mask = torch.zeros(shared["attention_mask"].shape).masked_fill(~shared["attention_mask"], torch.finfo().min)
    given = {name: shared[name] for name in ("input_ids", "position_ids", "pixel_values")}
    with torch.inference_mode(), stored_states(model):
        together = model.base_model(**given, attention_mask=mask).last_hidden_state
        for row, of_image in enumerate(asked):
            alone = []
            for example in of_image:
                batch = rows.collate([rows.row(example)])
                own = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
                alone.append(model.base_model(**own).last_hidden_state[0][batch["labels"][0] != IGNORED])
            assert torch.allclose(together[row][shared["labels"][row] != IGNORED], torch.cat(alone), atol=1e-5)
