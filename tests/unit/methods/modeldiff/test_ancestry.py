"""Descent by calibration: features grow with the distance, verdicts follow the rule, samples are drawn once."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from armillary.errors import UsageError
from armillary.methods.modeldiff import CompareConfig, InputSpace
from armillary.methods.modeldiff.ancestry import Kind, Lineage, Relative, known_derivations, lineage, noisy, rounded
from armillary.methods.modeldiff.curves import Spread
from armillary.methods.modeldiff.lineage_report import AUC
from armillary.methods.modeldiff.weights import compare_weights
from armillary.models import LoadedModel, load
from armillary.models.anatomy import find_anatomy
from armillary.models.tiny_models import tiny
from armillary.numerics.intervals import Interval
from copies import (
    changed,
    permuted,
    pruned,
    rounded_to_bfloat16,
    trained,
    with_tokens,
    with_tokens_exchanged,
    without_layer,
)

A = tiny("llama")
with torch.no_grad():
    # The padding token's embedding is all zeros: any noise on it, however small, is blown up by the first norm.
    A.anatomy.embedding.weight[0] = A.anatomy.embedding.weight[1]
STRANGER = tiny("llama", seed=1)
SPACE = InputSpace(length=5)
CONFIG = CompareConfig(samples=150, pilot=60, replicates=100, weighting="profile")
MAKERS = {f"noise {size:g}": partial(noisy, eps=size, seed=0) for size in (0.01, 0.05, 0.2)}


@pytest.fixture(scope="module")
def found() -> Lineage:
    unrelated = {"stranger": STRANGER}
    return lineage(
        A, noisy(A, 0.03, seed=9), SPACE, CONFIG, derivations=MAKERS, unrelated=unrelated, reference=STRANGER
    )


def test_the_spread_grows_with_the_noise(found: Lineage) -> None:
    spread = {one.name: one.spread.deviation.estimate for one in found.relatives}
    assert spread["noise 0.01"] < spread[found.candidate.name] < spread["noise 0.2"] < spread["stranger"]
    correlation = {one.name: one.spread.correlation for one in found.relatives}
    near, far = correlation["noise 0.01"], correlation["noise 0.2"]
    assert near is not None
    assert far is not None
    assert 1 >= near.estimate > far.estimate


@pytest.mark.parametrize(
    ("made", "verdict", "equal", "reordered"),
    [
        (lambda model: model, "identical", (1, 1), 0),
        (permuted, "identical", (0.6, 0.95), 3),
        (partial(permuted, layers=[1]), "identical", (0.6, 0.99), 1),
        (rounded_to_bfloat16, "derived", (0, 0.1), 0),
        (partial(rounded, bits=8), "derived", (0, 0.2), 0),
        (partial(rounded, bits=4), "derived", (0, 0.2), 0),
        (partial(noisy, eps=0.02, seed=1), "derived", (0, 0.1), 0),
        (partial(noisy, eps=0.5, seed=1), "derived", (0, 0.1), 0),
        (partial(without_layer, dropped=1), "derived", (1, 1), 0),
        (partial(pruned, share=0.2), "derived", (0.79, 0.81), 0),
        (partial(pruned, share=0.5), "derived", (0.49, 0.51), 0),
        (partial(trained, steps=10, rate=1e-3), "derived", (0, 0.5), 0),
        (lambda model: noisy(permuted(model), 0.05, seed=2), "derived", (0, 0.1), 3),
        (lambda model: with_tokens(model, ["<|im_end|>"]), "identical", (1, 1), 0),
        (lambda model: permuted(with_tokens_exchanged(model)), "derived", (0.6, 1), 3),
        (
            lambda model: trained(tiny("llama", layers=3, seed=1), steps=40, rate=3e-3),
            "no evidence of descent",
            (0, 0.01),
            0,
        ),
        (lambda model: tiny("llama", layers=3, seed=2), "no evidence of descent", (0, 0.01), 0),
        (lambda model: tiny("llama", layers=2, seed=3), "no evidence of descent", (0, 0.01), 0),
        (lambda model: tiny("qwen3", layers=3, seed=3), "no evidence of descent", (0, 0.01), 0),
        (lambda model: tiny("gpt2", layers=3, seed=4), "no evidence of descent", (0, 0.01), 0),
        (lambda model: tiny("llama", hidden=64, seed=4), "undecided", (0, 0), 0),
    ],
)
def test_weights_decide(
    origin: LoadedModel,
    made: Callable[[LoadedModel], LoadedModel],
    verdict: str,
    equal: tuple[float, float],
    reordered: int,
) -> None:
    """Without any derivation or unrelated model, as the command line does it."""
    result = lineage(origin, made(origin), InputSpace(length=4), CONFIG, derivations={})
    assert result.verdict == verdict, result.sentence()
    assert result.weights is not None
    assert equal[0] - 1e-9 <= result.weights.equal <= equal[1]
    if verdict in ("identical", "derived"):
        assert result.weights.reordered == reordered
        assert result.weights.neurons == pytest.approx(1, abs=0.02)
        assert result.weights.compared > 0.98
    elif result.weights.neurons is not None:
        assert result.weights.neurons < 0.05


@pytest.fixture(scope="module")
def origin() -> LoadedModel:
    return trained(tiny("llama", layers=3, seed=7), steps=40, rate=3e-3)


def test_a_model_that_can_not_be_sampled_is_judged_by_its_weights() -> None:
    config = AutoConfig.for_model(
        "mamba", vocab_size=1428, hidden_size=32, num_hidden_layers=2, state_size=8, bos_token_id=1, eos_token_id=2
    )
    a, b = (load((AutoModelForCausalLM.from_config(config).eval(), tiny("llama").tokenizer)) for _ in range(2))
    for other, verdict in ((a, "identical"), (noisy(a, 0.1, seed=0), "derived"), (b, "no evidence of descent")):
        result = lineage(a, other, SPACE, CONFIG, derivations={})
        assert result.verdict == verdict and "Predictions were not compared" in result.notes[0]


def test_a_head_that_is_the_embedding_is_counted_once() -> None:
    """Of a GPT-2 laid over a Llama only the embedding fits, and that is told as its share."""
    other = tiny("gpt2")
    weights = lineage(tiny("llama"), other, SPACE, CONFIG, derivations={}).weights
    matrices = sum(weight.numel() for weight in other.model.parameters() if weight.dim() >= 2)
    assert weights is not None and len(weights.matrices) == 2
    assert weights.compared == pytest.approx(other.anatomy.embedding.weight.numel() / matrices)


def test_models_set_beside_need_the_vocabulary() -> None:
    stranger = with_tokens_exchanged(tiny("llama", seed=1))
    with pytest.raises(UsageError, match=r"different vocabularies.*; models set beside A and B need their vocabulary"):
        lineage(tiny("llama"), tiny("llama"), SPACE, CONFIG, derivations={}, unrelated={"stranger": stranger})


def test_the_permutation_test_keeps_its_level() -> None:
    """Strangers, whose layers and neurons are paired by likeness: at most some are found related by chance."""
    accused, matrices = 0, 0
    for seed in range(16):
        a, b = tiny("llama", seed=2 * seed, layers=2), tiny("llama", seed=2 * seed + 1, layers=2 + seed % 2)
        result = compare_weights(a, b, seed=seed)
        accused += any(pair.p_value <= 0.05 for pair in result.matrices)
        matrices += len(result.matrices)
        assert min(pair.p_value for pair in result.matrices) >= 0.001
    # 5 % of 16 pairs with three standard errors on top, whatever the number of matrices.
    assert accused <= 3 and matrices > 200


def test_one_matrix_that_was_taken_over_is_no_verdict(origin: LoadedModel) -> None:
    """The embedding of A in a model trained on its own."""
    other = trained(tiny("llama", layers=3, seed=1), steps=20, rate=3e-3)
    mixed = changed(other, lambda model: model.model.embed_tokens.weight.copy_(origin.anatomy.embedding.weight))
    result = lineage(origin, mixed, InputSpace(length=4), CONFIG, derivations={})
    assert result.verdict == "undecided" and result.weights is not None
    assert [pair.name for pair in result.weights.related] == ["embedding"]


def test_a_disturbed_copy_is_derived_and_a_stranger_is_not(found: Lineage) -> None:
    assert found.verdict == "derived"
    other = lineage(A, tiny("llama", seed=2), SPACE, CONFIG, derivations=MAKERS, unrelated={"stranger": STRANGER})
    assert other.candidate.spread.deviation.estimate > max(other.deviations("derivation"))
    assert other.verdict == "no evidence of descent"


def test_equal_weights_of_another_configuration_are_derived_and_not_identical() -> None:
    other = changed(A, lambda model: None)
    other.model.config.rope_parameters["rope_theta"] = 100.0
    rebuilt = type(other.model)(other.model.config).eval()
    rebuilt.load_state_dict(other.model.state_dict())
    result = lineage(A, changed(A, lambda model: None), SPACE, CONFIG, derivations={})
    assert result.verdict == "identical"
    b = LoadedModel(rebuilt, A.tokenizer, find_anatomy(rebuilt), "other rope", "")
    apart = lineage(A, b, SPACE, CONFIG, derivations={})
    assert apart.verdict == "derived" and apart.weights is not None and apart.weights.equal == 1.0
    assert apart.candidate.spread.deviation.estimate > 1e-3


def test_samples_and_scores_are_kept() -> None:
    kept: dict[str, Any] = {}

    def store(name: str, compute: Callable[[], Any]) -> Any:
        return kept[name] if name in kept else kept.setdefault(name, compute())

    first = lineage(A, STRANGER, SPACE, CONFIG, derivations=MAKERS, store=store)
    broken = dict.fromkeys(MAKERS, lambda _: pytest.fail("made again"))
    assert lineage(A, STRANGER, SPACE, CONFIG, derivations=broken, store=store) == first


def relative(kind: Kind, low: float, high: float) -> Relative:
    one = Interval(estimate=(low + high) / 2, low=low, high=high)
    return Relative(name=kind, kind=kind, spread=Spread(mean=one, deviation=one, overlap=Interval(estimate=0.9)))


@pytest.mark.parametrize(
    ("low", "high", "unrelated", "verdict"),
    [
        (0.1, 0.2, (0.5,), "undecided"),
        (0.1, 0.2, (), "undecided"),
        (0.4, 0.6, (0.5,), "no evidence of descent"),
        (0.4, 0.6, (), "undecided"),
        (0.4, 0.45, (0.9,), "undecided"),
        (0.0, 0.0, (0.9,), "identical"),
    ],
)
def test_without_weights_nobody_is_accused(
    low: float, high: float, unrelated: tuple[float, ...], verdict: str
) -> None:
    others = [relative("unrelated", value, value) for value in unrelated]
    mean = Interval(estimate=low, low=low, high=low)
    candidate = relative("candidate", low, high)
    candidate = replace(candidate, spread=replace(candidate.spread, mean=mean))
    found = Lineage(relatives=(candidate, relative("derivation", 0.3, 0.3), *others))
    assert found.verdict == verdict
    assert found.sentence().lower().startswith(verdict)


def test_a_destroyed_derivation_does_not_widen_the_calibration() -> None:
    wreck = relative("derivation", 5.0, 5.0)
    wreck = replace(wreck, spread=replace(wreck.spread, overlap=Interval(estimate=0.1)))
    found = Lineage(
        relatives=(
            relative("candidate", 0.4, 0.6),
            relative("derivation", 0.3, 0.3),
            wreck,
            relative("unrelated", 0.5, 0.5),
        )
    )
    assert found.deviations("derivation") == [0.3] and found.verdict == "no evidence of descent"


def test_probability_zero_is_no_copy() -> None:
    """Infinite differences are told, and keep a model from being called the same."""
    a, vocabulary = tiny("llama"), len(tiny("llama").tokenizer)

    mute = changed(a, lambda model: None)
    mute.anatomy.head.register_forward_hook(
        lambda _, __, out: out.index_fill(-1, torch.arange(700, vocabulary), -torch.inf)
    )
    found = lineage(a, mute, SPACE, CONFIG, derivations={})
    impossible = found.candidate.spread.impossible
    assert impossible is not None and impossible.estimate > 0.5
    assert found.verdict == "derived" and "have probability 0 under the other model" in found.sentence()


def test_the_area_under_the_curve_is_the_recorded_one() -> None:
    record = json.loads(Path("results/modeldiff-laptop-smollm2-135m-instruct.json").read_text())
    assert round(record["measures"]["zoo/AUC by spread, copies against independent models"]["estimate"], 3) == AUC


def test_known_derivations_are_noise_and_rounding() -> None:
    makers = known_derivations(seeds=(0, 1))
    assert len(makers) == 10
    assert all(callable(make) for make in makers.values())


def test_several_temperatures_are_refused() -> None:
    with pytest.raises(UsageError, match="temperature 1 alone"):
        lineage(A, STRANGER, SPACE, CompareConfig(temperatures=(1.0, 1.3)))
