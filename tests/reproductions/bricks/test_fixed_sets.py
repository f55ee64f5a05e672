"""The neurons that write most are found, and a model of them alone is the one without the others."""

import numpy as np
import pytest
import torch

from armillary.activations import run_texts, streaming
from armillary.activations.neurons import changed, column_norms
from armillary.models.tiny_models import KINDS, tiny
from reproductions.bricks.fixed_sets import neuron_energy, sliced
from stored import Keep
from unit.methods.bricks.split_ffns import TEXTS, ids, logits


def test_energy_is_what_neurons_write() -> None:
    loaded, keep = tiny("gemma2"), Keep()
    with streaming(loaded, "ffn", keep):
        run_texts(loaded, TEXTS)
    wanted = keep.values(1).double().square().mean(0).numpy() * column_norms(loaded)[1] ** 2
    np.testing.assert_allclose(neuron_energy(loaded, TEXTS)[1], wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_slice_equals_masking_the_rest(kind: str) -> None:
    loaded, energy_LM = tiny(kind), np.random.default_rng(0).random((2, 48))
    best_LM = torch.from_numpy(energy_LM >= np.sort(energy_LM)[:, -4:-3])
    dense = logits(loaded, ids(loaded))
    with changed(loaded, {layer: lambda x, own=own: x * own for layer, own in enumerate(best_LM)}):
        masked = logits(loaded, ids(loaded))
    with sliced(loaded, energy_LM, 4) as routing:
        torch.testing.assert_close(logits(loaded, ids(loaded)), masked, rtol=1e-5, atol=1e-5)
    assert routing.neurons_share == pytest.approx(4 / 48)
    assert torch.equal(logits(loaded, ids(loaded)), dense)
