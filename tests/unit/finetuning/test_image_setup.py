"""A joined model that was left in a folder is taken up again as it was, and only with the model it was made of."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from armillary.data.images.synthetic import synthetic_emoji
from armillary.errors import ModelError
from armillary.finetuning import image_setup
from armillary.finetuning.image_setup import image_text_setup, opened_setup, states_of
from armillary.models import load
from armillary.models.vision import stored_states


def test_a_model_with_pictures_is_opened_as_it_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = load("tiny-llama")
    setup = image_text_setup(text, "synthetic", seed=5)
    setup.model.save_pretrained(tmp_path)
    setup.processor.save_pretrained(tmp_path)
    states = states_of(setup.model, setup.processor, setup.emoji)
    monkeypatch.setattr(image_setup, "load_emoji", synthetic_emoji)
    monkeypatch.setattr(image_setup, "image_states", lambda emoji: states)
    opened = opened_setup(str(tmp_path), text)
    ids = torch.tensor([[5, 6, 7]])
    with stored_states(opened.model), torch.inference_mode():
        again = opened.model(input_ids=ids).logits
    with torch.inference_mode():
        assert torch.equal(again, setup.model(input_ids=ids).logits)
    other = replace(text, tokenizer=copy.deepcopy(text.tokenizer))
    other.tokenizer.add_tokens(["a word of another vocabulary", "and one more"])
    with pytest.raises(ModelError, match="not made of"):
        opened_setup(str(tmp_path), other)
    monkeypatch.setattr(image_setup, "image_states", lambda emoji: np.zeros_like(states))
    with pytest.raises(ModelError, match="another tower"):
        opened_setup(str(tmp_path), text)
