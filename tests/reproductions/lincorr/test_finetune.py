"""A fine-tune changes a copy, learns its text, and leaves the model it was given as it was."""

import torch

import armillary
from armillary.scoring import sequence_nll
from reproductions.lincorr.finetune import FineTuneConfig, fine_tune, relative_change

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
