"""What is known of a model: its fingerprint and facts."""

import copy
import hashlib
import json
from dataclasses import replace

import pytest
import torch

from armillary.errors import ModelError
from armillary.models import LoadedModel, tiny
from armillary.models.anatomy import find_anatomy


def test_the_fingerprint_is_the_sha256_of_all_parameters() -> None:
    made = tiny("gpt2")
    digest = hashlib.sha256()
    for name, parameter in made.model.named_parameters():
        digest.update(
            f"{name} {tuple(parameter.shape)} torch.float32\n".encode() + parameter.detach().numpy().tobytes()
        )
    assert made.fingerprint == digest.hexdigest()[:16]


def test_one_changed_weight_shows() -> None:
    made, changed = tiny(), tiny()
    with torch.no_grad():
        changed.anatomy.layers[-1].mlp.down_proj.weight[3, 5] += 1e-6  # type: ignore[union-attr,operator,index]
    assert made.fingerprint != changed.fingerprint


def test_another_dtype_shows_and_can_be_read() -> None:
    made, half = tiny(), tiny()
    half.model.to(torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert half.fingerprint != made.fingerprint


def test_facts_are_plain_data() -> None:
    made = tiny("gpt_neox")
    facts = made.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["parameters"] == sum(parameter.numel() for parameter in made.model.parameters())
    assert (facts["layers"], facts["hidden"], facts["dtype"]) == (2, 32, "float32")
    assert (facts["name"], facts["architecture"]) == ("tiny-gpt_neox", "GPTNeoXForCausalLM")


def test_it_says_where_inputs_have_to_be() -> None:
    made = tiny()
    assert isinstance(made, LoadedModel)
    assert made.device == torch.device("cpu")


def test_the_anatomy_of_another_model_is_refused() -> None:
    loaded = tiny("llama")
    copied = copy.deepcopy(loaded.model)
    with pytest.raises(ModelError, match="the anatomy given with tiny-llama is of another model"):
        replace(loaded, model=copied)
    own = replace(loaded, model=copied, anatomy=find_anatomy(copied))
    assert own.fingerprint == loaded.fingerprint
