"""What routing costs in bytes, time and quality; the way out as a Mixtral folder."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from armillary.errors import ModelError, StorageError, UsageError
from armillary.methods.bricks.experts.cost import DecodeCost, DecodeTimes, decode_cost, decode_times
from armillary.methods.bricks.experts.mixtral import mixtral_model, write_mixtral
from armillary.methods.bricks.experts.partitioning import partition_by_weights, random_partition
from armillary.methods.bricks.experts.quality import routing_curve
from armillary.methods.bricks.experts.routed_model import routed
from armillary.methods.bricks.experts.router import oracle
from armillary.methods.bricks.experts.router_fit import centroid_router, ridge_router
from armillary.models.tiny_models import tiny
from unit.methods.bricks.split_ffns import TEXTS, ids, logits


def test_cost_counts_every_byte_once() -> None:
    loaded, partition = tiny("opt"), random_partition(2, 48, 4, seed=0)
    ffn = 2 * (2 * 32 * 48 + 48 + 32) * 4
    whole = decode_cost(loaded, 1.0)
    assert whole.dense_ffn_bytes == whole.read_ffn_bytes == ffn
    assert whole.speed_limit == 1
    router = ridge_router(loaded, partition, TEXTS)
    quarter = decode_cost(loaded, 0.25, router)
    assert quarter.read_ffn_bytes == 2 * (2 * 32 * 12 + 12 + 32) * 4
    assert quarter.router_bytes == 2 * 4 * 33 * 4
    parameters = {id(one): one.numel() for one in loaded.model.parameters()}
    looked_up = loaded.model.model.decoder.embed_positions.weight.numel()
    if not loaded.anatomy.tied:
        looked_up += loaded.anatomy.embedding.weight.numel()
    assert quarter.other_bytes == (sum(parameters.values()) - looked_up) * 4 - ffn
    with pytest.raises(UsageError, match="0 to 1"):
        decode_cost(loaded, 1.1)


@pytest.mark.parametrize(("ffn", "whole", "limit"), [(79.6, 134.5, 1.80), (70.8, 268.0, 1.25), (5.6, 8.0, 2.1)])
def test_limits_of_known_models(ffn: float, whole: float, limit: float) -> None:
    """Parameters of SmolLM2-135M, Gemma-3-270M and Llama-3-8B, a quarter of the neurons read."""
    cost = DecodeCost(dense_ffn_bytes=ffn, read_ffn_bytes=ffn / 4, router_bytes=0, other_bytes=whole - ffn)
    assert cost.speed_limit == pytest.approx(limit, abs=0.01)


def test_curve_falls_to_nothing_at_all_experts() -> None:
    loaded = tiny("llama")
    partition = random_partition(2, 48, 4, seed=0)
    texts = {"cities": TEXTS[:2], "numbers": TEXTS[2:]}
    kept: dict[str, dict[str, np.ndarray]] = {}

    def store(name, compute):  # type: ignore[no-untyped-def]
        kept.setdefault(name, None) or kept.update({name: compute()})
        return kept[name]

    curve = routing_curve(loaded, partition, oracle(), texts, shares=(0.25, 0.5, 1.0), store=store)
    assert curve.ks == (1, 2, 4) and len(kept) == 8
    assert abs(curve.effect(4).delta_nll.estimate) < 1e-5 < abs(curve.effect(1).delta_nll.estimate)
    assert curve.costs[0].read_ffn_bytes * 4 == curve.costs[2].read_ffn_bytes == curve.costs[2].dense_ffn_bytes
    with routed(loaded, partition, oracle(), k=1):
        assert not torch.equal(logits(loaded, ids(loaded)), logits(tiny("llama"), ids(loaded)))
    routing_curve(loaded, partition, centroid_router(loaded, partition), texts, shares=(0.25,), store=store)
    assert len(kept) == 10
    for shares in ((), (0.5, 0.25), (0.01,), (1.5,)):
        with pytest.raises(UsageError, match="rise"):
            routing_curve(loaded, partition, oracle(), texts, shares=shares)
    with pytest.raises(UsageError, match="measured at k = 3"):
        curve.at(3)


def test_decoding_is_timed_by_turns() -> None:
    loaded = tiny("llama")
    entered: list[str] = []

    def arm(name: str):  # type: ignore[no-untyped-def]
        def enter():  # type: ignore[no-untyped-def]
            entered.append(name)
            return nullcontext()

        return enter

    tokens = ids(loaded, 1, 12)[0].tolist()
    result = decode_times(loaded, tokens, {"a": arm("a"), "b": arm("b")}, steps=4, warm_up=1, rounds=3)
    assert "".join(entered) == "abbaab"
    assert (result.seconds_R["a"] > 0).all() and result.seconds_R["b"].shape == (3,)
    known = DecodeTimes(seconds_R={"a": np.array([2.0, 8.0]), "b": np.array([1.0, 2.0])}, steps=4, threads=1)
    assert known.ratio("a", "b").estimate == pytest.approx(np.sqrt(8))
    assert known.ratio("b", "a").estimate == pytest.approx(1 / np.sqrt(8))
    with pytest.raises(UsageError, match="not timed"):
        known.ratio("a", "c")
    with pytest.raises(UsageError, match="12 tokens"):
        decode_times(loaded, tokens, {"a": arm("a")}, steps=12)


def test_mixtral_opens_elsewhere_and_agrees(tmp_path: Path) -> None:
    loaded = tiny("llama")
    partition = partition_by_weights(loaded, 6)
    router = ridge_router(loaded, partition, TEXTS, intercept=False)
    with routed(loaded, partition, router, k=2):
        wanted = logits(loaded, ids(loaded))
    out = write_mixtral(loaded, partition, router, 2, tmp_path / "mixtral")
    opened = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    assert opened.config.model_type == "mixtral"
    with torch.no_grad():
        result = opened(input_ids=ids(loaded)).logits
    assert float((result - wanted).abs().max()) < 1e-2 < float((wanted - logits(loaded, ids(loaded))).abs().max())
    # At 1e-6 the softmax's float32 no longer tells apart experts whose scores differ by 0.01, as some here do.
    smaller = mixtral_model(loaded, partition, router, 2, factor=1e-5)
    with torch.no_grad():
        error = float((smaller(input_ids=ids(loaded)).logits - wanted).abs().max())
    assert error < float((result - wanted).abs().max())
    with pytest.raises(StorageError, match="exists"):
        write_mixtral(loaded, partition, router, 2, out)


def test_what_mixtral_cannot_hold_is_refused() -> None:
    loaded, partition = tiny("llama"), random_partition(2, 48, 6, seed=0)
    straight = ridge_router(loaded, partition, TEXTS, intercept=False)
    with pytest.raises(UsageError, match="intercept=False"):
        mixtral_model(loaded, partition, ridge_router(loaded, partition, TEXTS), 2)
    with pytest.raises(UsageError, match="do not divide 48"):
        uneven = random_partition(2, 48, 5, seed=0)
        mixtral_model(loaded, uneven, ridge_router(loaded, uneven, TEXTS, intercept=False), 2)
    with pytest.raises(UsageError, match="k must be"):
        mixtral_model(loaded, partition, straight, 0)
    with pytest.raises(ModelError, match="llama or mistral"):
        mixtral_model(tiny("qwen3"), partition, straight, 2)
