"""Answers are scored as each image-text architecture itself would, with its own positions, or refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from armillary.errors import ModelError
from armillary.models.tiny_vision_models import VISION_KINDS, TinyVision, tiny_vision
from armillary.scoring.answers import answer_log_probabilities, greedy_answers

ANSWERS = [[[4, 5], [6], [9, 7, 8]], [[7, 8, 9]], [[5], [5, 5]]]


def padded(tiny: TinyVision) -> dict[str, Tensor]:
    batch = tiny.batch(3, text_tokens=6)
    batch.pop("labels")
    batch["attention_mask"][1, -2:] = 0
    return batch


def own_log_probability(tiny: TinyVision, batch: dict[str, Tensor], row: int, answer: list[int]) -> float:
    """From full logits of the whole batch, unpadded: all rows are cut to this one's length and get the answer."""
    length = int(batch["attention_mask"][row].sum())
    shape = batch["input_ids"].shape
    cut = {name: value[:, :length] if value.shape == shape else value for name, value in batch.items()}
    new = torch.tensor([answer]).expand(3, -1)
    more = {
        name: torch.cat([value, new if name == "input_ids" else (new * 0 + (name == "attention_mask"))], dim=1)
        if value.shape == (3, length)
        else value
        for name, value in cut.items()
    }
    with torch.no_grad():
        logs = tiny.model(**{**more, "attention_mask": torch.ones_like(more["input_ids"])}, use_cache=False).logits
    own = logs[row, length - 1 : -1].double().log_softmax(-1)
    return float(own.gather(1, torch.tensor(answer)[:, None]).sum())


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_scores_are_the_models_own(kind: str) -> None:
    tiny = tiny_vision(kind)
    batch = padded(tiny)
    scores = answer_log_probabilities(tiny.model, batch, ANSWERS)
    for row, answers in enumerate(ANSWERS):
        own = [own_log_probability(tiny, batch, row, answer) for answer in answers]
        assert scores[row].total.tolist() == pytest.approx(own, abs=1e-4)


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_the_likeliest_answer_is_the_models_own(kind: str) -> None:
    tiny = tiny_vision(kind)
    batch = padded(tiny)
    answers = greedy_answers(tiny.model, batch, max_new_tokens=3, end_id=-1)
    scores = answer_log_probabilities(tiny.model, batch, [[answer] for answer in answers])
    for row, answer in enumerate(answers):
        assert float(scores[row].total[0]) == pytest.approx(own_log_probability(tiny, batch, row, answer), abs=1e-4)
        for step in range(3):
            others = [[*answer[:step], token] for token in range(0, 60, 7) if token != answer[step]]
            best = own_log_probability(tiny, batch, row, answer[: step + 1])
            assert all(own_log_probability(tiny, batch, row, other) <= best for other in others)


def test_a_factor_behind_the_head_is_refused() -> None:
    tiny = tiny_vision("llava")
    model: Any = tiny.model
    forward = model.forward

    def scaled(*args: object, **given: object) -> object:
        out = forward(*args, **given)
        out.logits = out.logits * 0.5
        return out

    model.forward = scaled
    with pytest.raises(ModelError, match="LlavaForConditionalGeneration has a cap, a factor"):
        answer_log_probabilities(model, padded(tiny), ANSWERS)
