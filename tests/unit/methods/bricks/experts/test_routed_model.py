"""Routed models against the dense one, against masks, and against what they were before."""

import pytest
import torch
from torch import Tensor

from armillary.activations import streaming
from armillary.activations.neurons import changed
from armillary.errors import ModelError, UsageError
from armillary.methods.bricks.experts.partitioning import partition_by_weights, random_partition
from armillary.methods.bricks.experts.routed_model import routed
from armillary.methods.bricks.experts.router import ExpertChoice, ExpertScorer, Router, oracle
from armillary.methods.bricks.experts.router_fit import centroid_router, ridge_router
from armillary.models import LoadedModel
from armillary.models.feed_forward import bias_O, ffn_functions
from armillary.models.tiny_models import KINDS, tiny
from stored import Keep
from unit.methods.bricks.split_ffns import TEXTS, direct_sum, ids, in_subspace, logits


def masked(loaded: LoadedModel, kept_LM: Tensor, tokens: Tensor) -> Tensor:
    """Logits with all but the kept neurons silent."""
    with changed(loaded, {layer: lambda x, own=own: x * own for layer, own in enumerate(kept_LM)}):
        return logits(loaded, tokens)


def close(result: Tensor, wanted: Tensor) -> None:
    """Equal but for the order of sums."""
    assert float((result - wanted).abs().max()) <= 1e-6 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 7), (1, 1)])
def test_all_experts_are_the_dense_model(kind: str, shape: tuple[int, int]) -> None:
    loaded = tiny(kind)
    tokens, partition = ids(loaded, *shape), random_partition(2, 48, 7, seed=0)
    dense = logits(loaded, tokens)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    with routed(loaded, partition, centroid_router(loaded, partition), k=7) as routing:
        close(logits(loaded, tokens), dense)
    assert (routing.experts_per_token, routing.neurons_share) == (7, 1)
    with routed(loaded, partition, oracle(), share=1.0):
        close(logits(loaded, tokens), dense)
    assert torch.equal(logits(loaded, tokens), dense)
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
    assert not any("forward" in vars(module) for module in loaded.model.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_no_experts_leave_the_bias_alone(kind: str) -> None:
    loaded = tiny(kind)
    write = loaded.anatomy.ffn_writes[0]
    assert write is not None
    outputs: list[Tensor] = []
    partition = random_partition(2, 48, 4, seed=0)
    with routed(loaded, partition, oracle(), k=0) as routing:
        handle = write.register_forward_hook(lambda _, __, output: outputs.append(output))
        result = logits(loaded, ids(loaded))
    handle.remove()
    bias = bias_O(write)
    assert torch.equal(outputs[0], torch.zeros_like(outputs[0]) if bias is None else bias.expand_as(outputs[0]))
    assert torch.equal(result, masked(loaded, torch.zeros(2, 48), ids(loaded)))
    assert (bias is None) == (kind not in ("gpt2", "opt", "gpt_neox")) and routing.neurons_share == 0


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2", "opt", "gpt_neox"])
@pytest.mark.parametrize("rows", [(3, 5), (1, 1)])
def test_routing_equals_masking_the_other_experts(kind: str, rows: tuple[int, int]) -> None:
    """Layer by layer: with the oracle's own choice as a mask at every token."""
    loaded, partition = tiny(kind), random_partition(2, 48, 5, seed=0)
    labels_LM = torch.from_numpy(partition.labels_LM)
    tokens = ids(loaded, *rows)

    def kept(a: Tensor, layer: int) -> Tensor:
        scores_NE = ExpertScorer(ffn_functions_[layer], partition, "energy")(a.reshape(-1, 48))
        mask_NM = ExpertChoice(k=2).mask(scores_NE)[:, labels_LM[layer]]
        return a * mask_NM.reshape(a.shape)

    ffn_functions_ = ffn_functions(loaded)
    with changed(loaded, {layer: lambda a, layer=layer: kept(a, layer) for layer in range(2)}):
        wanted = logits(loaded, tokens)
    with routed(loaded, partition, oracle("energy"), k=2) as routing:
        result = logits(loaded, tokens)
    close(result, wanted)
    assert float((result - logits(loaded, tokens)).abs().max()) > 1e-3
    assert routing.experts_per_token == 2 and 16 / 48 < routing.neurons_share < 24 / 48


def test_a_fitted_router_chooses_in_the_model_what_it_scores_highest() -> None:
    loaded, partition = tiny("qwen3"), random_partition(2, 48, 6, seed=0)
    router = ridge_router(loaded, partition, TEXTS)
    inputs: list[Tensor] = []
    with routed(loaded, partition, router, k=2):
        handle = ffn_functions_gate(loaded).register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        keep = Keep()
        with streaming(loaded, "ffn", keep):
            logits(loaded, ids(loaded))
        handle.remove()
    chosen_NE = ExpertChoice(k=2).mask(router.scores(0, inputs[0].reshape(-1, 32)))
    active_NM = keep.values(0) != 0
    assert torch.equal(active_NM, chosen_NE[:, torch.from_numpy(partition.labels_LM[0])])


def ffn_functions_gate(loaded: LoadedModel) -> torch.nn.Module:
    return loaded.anatomy.layers[0].get_submodule("mlp.gate_proj")


def test_a_larger_share_runs_more_experts() -> None:
    loaded, partition = tiny("llama"), random_partition(2, 48, 8, seed=0)
    run = []
    for share in (0.2, 0.6, 0.95):
        with routed(loaded, partition, oracle(), share=share) as routing:
            logits(loaded, ids(loaded))
        run.append(routing.experts_per_token)
    assert 1 <= run[0] < run[1] < run[2] <= 8


def test_planted_blocks_are_exact_with_half_the_experts() -> None:
    """Tokens in one subspace: the two experts of its block give the whole FFN, any other two do not."""
    loaded, owner_LM = direct_sum(2)
    partition = partition_by_weights(loaded, 2)
    assert len(set(owner_LM[0][partition.labels_LM[0] == 0])) == 1
    x_ND = in_subspace(1, 2, 20)
    block = loaded.anatomy.layers[0].get_submodule("mlp")
    with torch.no_grad():
        dense = block(x_ND)
        with routed(loaded, partition, oracle(), k=1):
            assert float((block(x_ND) - dense).abs().max()) <= 1e-6 * float(dense.abs().max())
        backwards = centroid_router(loaded, partition)
        assert backwards.first_LED is not None
        wrong = Router(kind="centroid", score="norm", first_LED=-backwards.first_LED)
        x_ND = x_ND.abs()
        with routed(loaded, partition, backwards, k=1):
            right_by = float((block(x_ND) - block_dense(loaded, x_ND)).abs().max())
        with routed(loaded, partition, wrong, k=1):
            assert float(block(x_ND).abs().max()) == 0
    assert right_by <= 1e-5


def block_dense(loaded: LoadedModel, x_ND: Tensor) -> Tensor:
    """Layer 0's FFN from its weights, whatever is mounted."""
    mlp = loaded.anatomy.layers[0].get_submodule("mlp")
    gate, up, down = (mlp.get_submodule(f"{name}_proj").weight for name in ("gate", "up", "down"))
    result: Tensor = (torch.nn.functional.silu(x_ND @ gate.T) * (x_ND @ up.T)) @ down.T
    return result


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_cached_decoding_equals_one_forward(kind: str) -> None:
    loaded, partition = tiny(kind), random_partition(2, 48, 6, seed=0)
    router, tokens = ridge_router(loaded, partition, TEXTS), ids(loaded, 1, 6)
    with routed(loaded, partition, router, k=2), torch.no_grad():
        whole = logits(loaded, tokens)
        first = loaded.model(input_ids=tokens[:, :3], use_cache=True)
        steps, cache = [first.logits], first.past_key_values
        for position in range(3, 6):
            step = loaded.model(input_ids=tokens[:, position : position + 1], past_key_values=cache, use_cache=True)
            steps.append(step.logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=1e-4, atol=1e-4)


def test_an_error_inside_and_a_forward_of_its_own_are_survived() -> None:
    loaded, partition = tiny("llama"), random_partition(2, 48, 4, seed=0)
    gate = ffn_functions(loaded)[0].gate
    own = gate.forward
    gate.forward = own  # as libraries do that wrap a module
    dense = logits(loaded, ids(loaded))
    with pytest.raises(RuntimeError, match="stop"), routed(loaded, partition, oracle(), k=1):
        raise RuntimeError("stop")
    assert vars(gate)["forward"] is own
    assert torch.equal(logits(loaded, ids(loaded)), dense)
    twice = routed(loaded, partition, oracle(), k=1)
    with routed(loaded, partition, oracle(), k=1), pytest.raises(UsageError, match="already"), twice:
        pass
    assert torch.equal(logits(loaded, ids(loaded)), dense)


@pytest.mark.parametrize("kind", ["llama", "opt"])
@pytest.mark.parametrize("rows", [(2, 5), (1, 1)])
def test_a_mask_on_the_activations_works_on_the_experts_that_run(kind: str, rows: tuple[int, int]) -> None:
    loaded, partition = tiny(kind), random_partition(2, 48, 4, seed=0)
    mask_LM = torch.ones(2, 48)
    mask_LM[:, ::3] = 0
    wanted = masked(loaded, mask_LM, ids(loaded, *rows))
    silent = changed(loaded, {layer: lambda x, own=own: x * own for layer, own in enumerate(mask_LM)})
    with silent, routed(loaded, partition, oracle(), k=4):
        inside = logits(loaded, ids(loaded, *rows))
    with routed(loaded, partition, oracle(), k=4):
        outside = masked(loaded, mask_LM, ids(loaded, *rows))
    close(inside, wanted)
    close(outside, wanted)


def test_bad_requests_are_refused() -> None:
    loaded, partition = tiny("llama"), random_partition(2, 48, 4, seed=0)
    centroids = centroid_router(loaded, partition)
    for wrong in ({"k": 5}, {"k": -1}, {}, {"k": 2, "share": 0.5}, {"share": 0.5}):
        with pytest.raises(UsageError), routed(loaded, partition, centroids, **wrong):  # type: ignore[arg-type]
            pass
    six, narrow = random_partition(2, 48, 6, seed=0), random_partition(2, 47, 4, seed=0)
    with pytest.raises(UsageError, match="router's first"), routed(loaded, six, centroids, k=1):
        pass
    with pytest.raises(UsageError, match="48 neurons"), routed(loaded, narrow, oracle(), k=1):
        pass


def test_an_ffn_of_another_form_is_refused() -> None:
    loaded = tiny("llama")
    mlp = loaded.anatomy.layers[1].get_submodule("mlp")
    mlp.forward = lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) + mlp.up_proj(x))  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="layer 1"), routed(loaded, random_partition(2, 48, 4, seed=0), oracle(), k=1):
        pass
    mlp.forward = lambda x: x  # type: ignore[method-assign]
    with (
        pytest.raises(ModelError, match="without its matrices"),
        routed(loaded, random_partition(2, 48, 4, seed=0), oracle(), k=1),
    ):
        pass
