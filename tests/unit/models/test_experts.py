"""The neurons of experts: read and switched off as those of one wide FFN, or refused."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

import armillary
from armillary.activations import streaming
from armillary.activations.neurons import changed, column_norms, ffn_writes
from armillary.errors import ModelError
from armillary.models import LoadedModel
from armillary.models.batches import run_body
from armillary.models.experts import expert_write
from armillary.models.feed_forward import single_write, weight_OI
from armillary.models.tiny_models import tiny_tokenizer

IDS = torch.tensor([[5, 40, 300, 900, 77, 6, 1200]])
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "initializer_range": 0.3}  # fmt: skip
KINDS = {
    "mixtral": {"num_local_experts": 4},
    "gpt_oss": {"num_local_experts": 4, "head_dim": 8},
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 24, "num_experts_per_tok": 2, "head_dim": 8},
}


def opened(kind: str) -> LoadedModel:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **SMALL, **KINDS[kind])
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases too
            parameter.add_(0.1 * torch.randn_like(parameter))
    return armillary.load((model, tokenizer))


def experts_of(loaded: LoadedModel, layer: int) -> nn.Module:
    write = expert_write(loaded.anatomy.layers[layer])
    assert write is not None
    return write.module


class Keep:
    """A reducer that keeps everything."""

    def __init__(self) -> None:
        self.values: dict[int, Tensor] = {}

    def update(self, layer: int, x_ND: Tensor) -> None:
        self.values[layer] = x_ND.clone()


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_neurons_write_is_what_the_experts_give(kind: str) -> None:
    loaded = opened(kind)
    outputs: list[Tensor] = []
    keep = Keep()
    writes = ffn_writes(loaded)
    for layer in range(len(writes)):
        module: Any = experts_of(loaded, layer)
        module.register_forward_hook(lambda _module, _args, out: outputs.append(out.reshape(-1, out.shape[-1])))
        if module.has_bias:
            nn.init.zeros_(module.down_proj_bias)
    with torch.inference_mode(), streaming(loaded, "ffn", keep):
        run_body(loaded, IDS)
    for layer, (write, out_NH) in enumerate(zip(writes, outputs, strict=True)):
        a_NM, weight = keep.values[layer], weight_OI(write).detach()
        torch.testing.assert_close(a_NM @ weight.T, out_NH, rtol=0, atol=1e-5 * float(out_NH.abs().max()))
        assert (a_NM != 0).float().mean() <= (1 if kind == "gpt_oss" else 0.5)  # two of four experts at a token
        assert column_norms(loaded)[layer] == pytest.approx(weight.norm(dim=0).tolist(), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_switching_neurons_off_is_zeroing_their_columns(kind: str) -> None:
    loaded, other = opened(kind), opened(kind)
    size = ffn_writes(loaded)[1].weight.shape[1] // 4
    for expert, neuron in ((0, 3), (1, 0), (2, size - 1), (3, 7)):
        down = expert_write(other.anatomy.layers[1]).module.down_proj  # type: ignore[union-attr]
        with torch.no_grad():
            (down[expert] if expert_write(other.anatomy.layers[1]).module.is_transposed else down[expert].T)[
                neuron
            ] = 0  # type: ignore[union-attr]

    def silence(a_NM: Tensor) -> Tensor:
        return a_NM.index_fill(-1, torch.tensor([3, size, 3 * size - 1, 3 * size + 7]), 0)

    with torch.inference_mode():
        before = run_body(loaded, IDS)
        with changed(loaded, {1: silence}):
            off = run_body(loaded, IDS)
        zeroed = run_body(other, IDS)
        assert torch.equal(run_body(loaded, IDS), before)
    scale = float(before.abs().max())
    assert float((off - zeroed).abs().max()) < 1e-5 * scale
    assert float((off - before).abs().max()) > 1e-3 * scale


def test_experts_that_do_something_else_are_refused() -> None:
    loaded = opened("mixtral")
    experts_of(loaded, 0).register_forward_hook(lambda _module, _args, out: 1.01 * out)
    refused = pytest.raises(ModelError, match="other than what their neurons write")
    with refused, torch.inference_mode(), streaming(loaded, "ffn", Keep()):
        run_body(loaded, IDS)


def test_what_needs_one_matrix_says_what_can_be_read() -> None:
    with pytest.raises(ModelError, match="profiles and ablations read the neurons of its experts"):
        single_write(opened("mixtral"), 0)


def test_a_copy_has_the_same_activations() -> None:
    loaded = opened("qwen3_moe")
    twin = armillary.load((copy.deepcopy(loaded.model), loaded.tokenizer))
    values = []
    for each in (loaded, twin):
        keep = Keep()
        with torch.inference_mode(), streaming(each, "ffn", keep):
            run_body(each, IDS)
        values.append(keep.values)
    assert all(torch.equal(values[0][layer], values[1][layer]) for layer in (0, 1))
