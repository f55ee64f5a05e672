"""A fine-tune changes a copy, learns its text, and leaves the model it was given as it was."""

import torch

import armillary
from armillary.scoring import sequence_nll
from reproductions.lincorr.finetune import FineTuneConfig, fine_tune, relative_change, untrained

TEXTS = ["the lamp stood by the sea and the keeper wrote the weather in a book " * 4] * 8


def test_copy_learns_and_original_stays() -> None:
    loaded = armillary.tiny("llama")
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    tuned = fine_tune(loaded, TEXTS, FineTuneConfig(steps=6, batch_size=2, tokens=16, learning_rate=1e-2))
    assert not tuned.model.training
    assert all(torch.equal(before[name], value) for name, value in loaded.model.state_dict().items())
    assert tuned.fingerprint != loaded.fingerprint
    assert relative_change(loaded, loaded) == 0.0 < relative_change(loaded, tuned)
    old, new = (sum(sequence_nll(model, TEXTS[:1]).nll) for model in (loaded, tuned))
    assert new < old - 1.0


def test_an_untrained_model_has_the_shape_and_other_weights_by_seed() -> None:
    loaded = armillary.tiny("llama")
    state = torch.random.get_rng_state()
    first, again, other = (untrained(loaded, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    shapes = [[tuple(p.shape) for p in model.model.parameters()] for model in (loaded, first)]
    assert shapes[0] == shapes[1] and relative_change(loaded, first) > 0.5
