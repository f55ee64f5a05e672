"""States kept from before give what the tower gives."""

import pytest
import torch

from armillary.models.tiny_vision_models import tiny_vision
from armillary.models.vision import StoredStates, find_vision_anatomy, stored_states, tower_states


def test_a_model_that_reads_stored_states_answers_as_one_that_looks() -> None:
    tiny = tiny_vision("llava")
    batch = tiny.batch(3)
    with torch.no_grad():
        seen = tiny.model(**batch)
        (states,) = tower_states(tiny.model, [batch["pixel_values"]])
        with stored_states(tiny.model):
            stored = tiny.model(**{**batch, "pixel_values": states})
            other = tiny.model(**{**batch, "pixel_values": states.flip(0)})
        again = tiny.model(**batch)
    assert torch.equal(stored.logits, seen.logits) and torch.equal(again.logits, seen.logits)
    assert not torch.equal(other.logits, seen.logits)


def test_the_parts_are_found_and_the_tower_comes_back() -> None:
    tiny = tiny_vision("llava")
    tower, layer = find_vision_anatomy(tiny.model).vision_tower, tiny.model.config.vision_feature_layer
    with pytest.raises(ZeroDivisionError), stored_states(tiny.model):
        anatomy = find_vision_anatomy(tiny.model)
        assert isinstance(anatomy.vision_tower, StoredStates)
        assert anatomy.component("model.multi_modal_projector.linear_1.weight") == "connector"
        raise ZeroDivisionError
    assert find_vision_anatomy(tiny.model).vision_tower is tower and tiny.model.config.vision_feature_layer == layer
