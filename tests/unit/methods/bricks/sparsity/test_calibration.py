"""What reads the same input, targets that are met, and a greedy search that finds what costs nothing."""

import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.sparsity.calibration import Levels, SparsityCalibration, calibrate
from armillary.methods.bricks.sparsity.config import CalibrationConfig
from armillary.methods.bricks.sparsity.inputs import matrix_inputs
from armillary.methods.bricks.sparsity.reading import token_bytes
from armillary.methods.bricks.sparsity.sparse_model import sparsified
from armillary.models import LoadedModel, tiny
from unit.methods.bricks.bricks_toy import KINDS, logits, matrices

TEXTS = ["The capital of France is Paris and it is old.", "Rivers run to the sea.", "Water boils and then it is gone."]
FEW = CalibrationConfig(sample_tokens=12, step=0.1)


@pytest.fixture(scope="module")
def llama() -> SparsityCalibration:
    return calibrate(tiny("llama"), TEXTS, FEW)


def bytes_left_out(calibration: SparsityCalibration, levels: Levels, layer: int) -> float:
    """Share of a block's bytes."""
    inputs = calibration.inputs[layer]
    saved = sum(an_input.bytes * share for an_input, share in zip(inputs, levels.left_out[layer], strict=True))
    return saved / sum(an_input.bytes for an_input in inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_every_matrix_of_a_block_has_an_input(kind: str) -> None:
    loaded = tiny(kind)
    inputs = [an_input for layer in matrix_inputs(loaded) for an_input in layer]
    assert sorted(path for an_input in inputs for path in an_input.paths) == sorted(matrices(loaded))
    for an_input in inputs:
        shapes = [matrices(loaded)[path] for path in an_input.paths]
        assert {width for width, _ in shapes} == {an_input.width}
        assert an_input.bytes == sum(4 * rows * columns for rows, columns in shapes)
    together = {an_input.name for an_input in inputs if len(an_input.paths) > 1}
    assert (
        together
        == {
            "llama": {"q_proj, k_proj, v_proj", "gate_proj, up_proj"},
            "gemma3": {"q_proj, k_proj, v_proj", "gate_proj, up_proj"},
            "gpt2": set(),
            "opt": {"q_proj, k_proj, v_proj"},
        }[kind]
    )


def test_uniform_leaves_out_the_share_of_every_input(llama: SparsityCalibration) -> None:
    levels = llama.uniform(0.4)
    for row in levels.left_out:
        assert row == pytest.approx([0.4] * 4, abs=1e-3)
    read = token_bytes(llama.loaded, llama.inputs, levels.thresholds, TEXTS)  # the dense model, as it was calibrated
    for index in range(len(read.inputs)):
        assert read.share([index]) == pytest.approx(0.4, abs=0.01)


def test_greedy_meets_its_shares_and_the_smaller_lies_on_the_way(llama: SparsityCalibration) -> None:
    few, many = llama.greedy(0.22, 0.5)
    for levels in (few, many):
        for layer in range(2):
            assert bytes_left_out(llama, levels, layer) == pytest.approx(levels.share, abs=1e-3)
    (alone,) = llama.greedy(0.5)
    assert alone.thresholds == many.thresholds
    assert all(few.thresholds.least[path] <= least for path, least in many.thresholds.least.items())
    assert not any(llama.greedy(0.0)[0].thresholds.least.values())


def test_greedy_leaves_out_what_is_worth_nothing() -> None:
    loaded = tiny("llama")
    with torch.no_grad():
        for layer in loaded.model.model.layers:
            layer.mlp.down_proj.weight.zero_()  # so the whole FFN is idle: 60 % of the bytes of a block
    calibration = calibrate(loaded, TEXTS, FEW)
    (greedy,), uniform = calibration.greedy(0.5), calibration.uniform(0.5)
    dense = logits(loaded)
    with sparsified(loaded, greedy.thresholds):
        assert torch.equal(logits(loaded), dense)
    with sparsified(loaded, uniform.thresholds):
        assert float((logits(loaded) - dense).abs().max()) > 1e-2
    for layer in range(2):
        assert greedy.left_out[layer][:2] == (0.0, 0.0), "attention reads all"
        assert bytes_left_out(calibration, greedy, layer) == pytest.approx(0.5, abs=1e-3)


def test_greedy_costs_a_block_less_than_uniform(llama: SparsityCalibration) -> None:
    from armillary.methods.bricks.sparsity.calibration import _Block

    (greedy,), uniform = llama.greedy(0.4), llama.uniform(0.4)
    for layer, inputs in enumerate(llama.inputs):
        with torch.no_grad(), _Block(llama.loaded, layer, inputs, llama.calls[layer], 1) as block:
            errors = [
                block.error([levels.thresholds.least[an_input.paths[0]] for an_input in inputs])
                for levels in (greedy, uniform)
            ]
        assert 0 < errors[0] < errors[1]


def test_hooks_are_gone(llama: SparsityCalibration) -> None:
    llama.greedy(0.1)
    for module in llama.loaded.model.modules():
        assert not module._forward_pre_hooks and not module._forward_hooks


def broken(loaded: LoadedModel) -> LoadedModel:
    with torch.no_grad():
        loaded.model.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    return loaded


def test_refused(llama: SparsityCalibration) -> None:
    with pytest.raises(UsageError, match="at least one calibration text"):
        calibrate(llama.loaded, [])
    with pytest.raises(UsageError, match="it needs 2 or more"):
        calibrate(llama.loaded, [""])
    with pytest.raises(NumericError, match="NaN"):
        calibrate(broken(tiny("llama")), TEXTS)
    for shares in ((), (0.3, 0.2), (-0.1,), (0.96,)):
        with pytest.raises(UsageError, match="shares left out must rise"):
            llama.greedy(*shares)
    with pytest.raises(UsageError, match="sampled=True"):
        calibrate(llama.loaded, TEXTS, sampled=False).greedy(0.2)
    with pytest.raises(UsageError, match="step and most"):
        CalibrationConfig(step=0)
