"""Oracle scores against loops, choices by hand, routers against closed forms and planted answers."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from armillary.activations import run_texts, streaming
from armillary.activations.neurons import stream_ffns
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.experts.partitioning import partition_by_weights, random_partition
from armillary.methods.bricks.experts.quality import router_recall
from armillary.methods.bricks.experts.router import (
    ExpertChoice,
    ExpertScorer,
    Router,
    ScoreKind,
    oracle,
    score_mass,
)
from armillary.methods.bricks.experts.router_fit import centroid_router, mlp_router, ridge_router, train_mlp
from armillary.models import LoadedModel
from armillary.models.feed_forward import ffn_functions, weight_OI
from armillary.models.tiny_models import KINDS, tiny
from stored import Keep
from unit.methods.bricks.split_ffns import TEXTS, direct_sum, in_subspace


def seen(loaded: LoadedModel, layer: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and activations of a layer, first tokens left out."""
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def receive(place: int, _: list[int], x_BTD: torch.Tensor, a_BTM: torch.Tensor) -> None:
        if place == layer:
            kept.append((x_BTD.flatten(0, 1).clone(), a_BTM.flatten(0, 1).clone()))

    stream_ffns(loaded, ffn_functions(loaded), TEXTS, receive)
    return torch.cat([x for x, _ in kept]), torch.cat([a for _, a in kept])


@pytest.mark.parametrize("kind", KINDS)
def test_the_function_found_gives_the_activations_of_the_model(kind: str) -> None:
    loaded = tiny(kind)
    for layer, function in enumerate(ffn_functions(loaded)):
        x_ND, a_NM = seen(loaded, layer)
        torch.testing.assert_close(function.activations(x_ND), a_NM, rtol=1e-5, atol=1e-5)
        assert (function.up is None) == (kind in ("gpt2", "gpt_neox", "opt"))


def test_streaming_shows_every_token_but_the_first_of_each_text() -> None:
    loaded, keep = tiny("opt"), Keep()
    rows = loaded.tokenizer(TEXTS)["input_ids"]
    with streaming(loaded, "ffn", keep):
        run_texts(loaded, [TEXTS[0]])
    kept: list[torch.Tensor] = []
    count = stream_ffns(
        loaded,
        ffn_functions(loaded),
        [TEXTS[0]],
        lambda layer, _, x, a: kept.append(a[0].clone()) if not layer else None,
    )
    assert torch.equal(kept[0], keep.values(0)[1:]) and count == len(rows[0]) - 1
    with pytest.raises(UsageError, match="texts"):
        stream_ffns(loaded, ffn_functions(loaded), [], lambda *_: None)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("score", ["norm", "energy", "magnitude"])
def test_scores_equal_a_loop_over_neurons(kind: str, score: ScoreKind) -> None:
    loaded, partition = tiny(kind), random_partition(2, 48, 5, seed=0)
    function = ffn_functions(loaded)[1]
    _, a_NM = seen(loaded, 1)
    found_NE = ExpertScorer(function, partition, score)(a_NM)
    down_DM = weight_OI(function.parts.write).detach().double()
    for expert in range(5):
        total = torch.zeros(len(a_NM), dtype=torch.float64)
        written = torch.zeros(len(a_NM), 32, dtype=torch.float64)
        for neuron in np.flatnonzero(partition.labels_LM[1] == expert).tolist():
            a_N = a_NM[:, neuron].double()
            written += a_N[:, None] * down_DM[:, neuron]
            size = a_N.square() * down_DM[:, neuron].square().sum()
            total += size if score == "energy" else (a_N.abs() if kind == "llama" else a_N.relu())
        wanted = {"norm": written.norm(dim=1), "energy": total.sqrt(), "magnitude": total}[score]
        torch.testing.assert_close(found_NE[:, expert].double(), wanted, rtol=1e-4, atol=1e-5)


def test_choices_by_hand() -> None:
    scores = torch.tensor([[1.0, 4.0, 2.0, 3.0], [0.1, 0.0, 5.0, 0.0]])
    assert ExpertChoice(k=2).mask(scores).tolist() == [[False, True, False, True], [True, False, True, False]]
    assert ExpertChoice(k=2).of_one(scores[:1]) == [1, 3]
    assert not ExpertChoice(k=0).mask(scores).any() and ExpertChoice(k=4).mask(scores).all()
    mass = score_mass(scores, "norm")  # 1 16 4 9 of 30
    assert ExpertChoice(share=16 / 30).mask(scores, mass)[0].tolist() == [False, True, False, False]
    assert ExpertChoice(share=0.6).mask(scores, mass).tolist() == [
        [False, True, False, True],
        [False, False, True, False],
    ]
    assert ExpertChoice(share=0.6).of_one(scores[:1], mass[:1]) == [1, 3]
    assert ExpertChoice(share=1.0).mask(scores, mass)[0].all()
    assert ExpertChoice(share=0.5).mask(scores, torch.zeros(2, 4)).sum(1).tolist() == [1, 1]
    assert score_mass(torch.tensor([[-2.0, 3.0]]), "magnitude").tolist() == [[0, 3]]
    assert score_mass(torch.tensor([[-2.0, 3.0]]), "energy").tolist() == [[0, 9]]


def test_bad_choices_are_refused() -> None:
    for wrong in ({}, {"k": 1, "share": 0.5}, {"share": 0.0}, {"share": 1.5}):
        with pytest.raises(UsageError):
            ExpertChoice(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="0 to 4, the number of experts; got 5"):
        ExpertChoice(k=5).check(4)


def test_ridge_equals_the_solution_of_stored_inputs() -> None:
    loaded, partition = tiny("gemma3"), random_partition(2, 48, 6, seed=0)
    result = ridge_router(loaded, partition, TEXTS)
    for layer, function in enumerate(ffn_functions(loaded)):
        x_ND, a_NM = seen(loaded, layer)
        s_NE = ExpertScorer(function, partition, "norm")(a_NM).double()
        x_NK = functional.pad(x_ND.double(), (0, 1), value=1.0)
        penalty = torch.eye(33, dtype=torch.float64) * 0.01 * x_ND.double().square().sum(0).mean()
        penalty[32, 32] = 0
        wanted = torch.linalg.solve(x_NK.T @ x_NK + penalty, x_NK.T @ s_NE)
        predicted = result.scores(layer, x_ND)
        torch.testing.assert_close(predicted.double(), x_NK @ wanted, rtol=1e-4, atol=1e-4)
    without = ridge_router(loaded, partition, TEXTS, intercept=False)
    assert without.bias_LE is None and result.bias_LE is not None


def test_centroids_by_hand() -> None:
    loaded, partition = tiny("qwen3"), random_partition(2, 48, 4, seed=0)
    rows_MD = functional.normalize(weight_OI(ffn_functions(loaded)[1].gate).detach(), dim=1)
    wanted = rows_MD[partition.labels_LM[1] == 2].mean(0)
    x_ND = torch.randn(3, 32)
    result = centroid_router(loaded, partition).scores(1, x_ND)[:, 2]
    torch.testing.assert_close(result, functional.cosine_similarity(x_ND, wanted[None]))


@pytest.mark.parametrize("kind", ["centroid", "ridge", "mlp"])
def test_every_router_finds_the_planted_block(kind: str) -> None:
    """Inputs in one subspace need the experts that read it: the oracle is sure of it, a router must learn it."""
    loaded, owner_LM = direct_sum(2)
    partition = partition_by_weights(loaded, 2)
    owners = [owner_LM[0][partition.labels_LM[0] == expert][0] for expert in range(2)]
    inputs = [in_subspace(block, 2, 200).abs() for block in range(2)]
    function = ffn_functions(loaded)[0]
    x_ND = torch.cat(inputs)
    s_NE = ExpertScorer(function, partition, "norm")(function.activations(x_ND)).detach()
    assert s_NE.argmax(1).tolist() == [owners.index(0)] * 200 + [owners.index(1)] * 200
    assert float(s_NE.min(1).values.max()) == 0
    centroids = centroid_router(loaded, partition)
    if kind == "ridge":
        weight = torch.linalg.lstsq(functional.pad(x_ND, (0, 1), value=1.0), s_NE).solution
        router = Router(kind="ridge", score="norm", first_LED=weight[:32].T[None], bias_LE=weight[32][None])
    elif kind == "mlp":
        assert centroids.first_LED is not None
        first, second = train_mlp(x_ND, s_NE, centroids.first_LED[0], epochs=5)
        router = Router(kind="mlp", score="norm", first_LED=first[None], second_LEE=second[None])
    else:
        router = centroids
    assert (router.scores(0, x_ND).argmax(1) == s_NE.argmax(1)).float().mean() > 0.99


def test_training_helps_and_never_ends_worse_than_it_began() -> None:
    generator = torch.Generator().manual_seed(0)
    x_ND, true = torch.randn(1500, 16, generator=generator), torch.randn(16, 10, generator=generator)
    s_NE = (x_ND @ true).relu()
    wrong = functional.normalize(torch.randn(10, 16, generator=generator), dim=1)

    def caught(first: torch.Tensor, second: torch.Tensor) -> float:
        logits = (functional.normalize(x_ND, dim=1) @ first.T).tanh() @ second.T
        return float(s_NE.gather(1, logits.topk(2, dim=1).indices).sum() / s_NE.topk(2, dim=1).values.sum())

    start = caught(*train_mlp(x_ND, s_NE, wrong, epochs=0))
    assert start == pytest.approx(caught(wrong, torch.eye(10)))
    assert caught(*train_mlp(x_ND, s_NE, wrong, epochs=30)) > max(0.8, start + 0.2)
    with pytest.raises(UsageError, match="20 tokens"):
        train_mlp(x_ND[:5], s_NE[:5], wrong)
    with pytest.raises(NumericError, match="above 0"):
        train_mlp(x_ND, 0 * s_NE, wrong)


def test_recall_of_the_oracle_is_one_and_of_constant_scores_by_loop() -> None:
    loaded, partition = tiny("llama"), random_partition(2, 48, 6, seed=0)
    sure = router_recall(loaded, partition, oracle(), TEXTS, 2)
    assert sure.mean.estimate == 1 and sure.oracle_share.estimate == sure.router_share.estimate
    fixed = Router(
        kind="ridge", score="norm", first_LED=torch.zeros(2, 6, 32), bias_LE=torch.arange(6.0).flip(0).expand(2, 6)
    )
    result = router_recall(loaded, partition, fixed, TEXTS, 2)
    for layer, function in enumerate(ffn_functions(loaded)):
        _, a_NM = seen(loaded, layer)
        mass_NE = ExpertScorer(function, partition, "norm")(a_NM).double().square()
        wanted = (mass_NE[:, :2].sum(1) / mass_NE.topk(2, dim=1).values.sum(1)).mean()
        assert result.layers[layer].estimate == pytest.approx(float(wanted), rel=1e-6)
    assert result.mean.low is not None and result.mean.low < result.mean.estimate < 1
    full = router_recall(loaded, partition, fixed, TEXTS, 6)
    assert full.mean.estimate == pytest.approx(1) and full.oracle_share.estimate == pytest.approx(1)


@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_fitted_routers_beat_chance_on_the_texts_they_were_fitted_on(kind: str) -> None:
    loaded = tiny(kind)
    partition = partition_by_weights(loaded, 6)
    for router in (
        ridge_router(loaded, partition, TEXTS),
        mlp_router(loaded, partition, TEXTS, epochs=10),
    ):
        result = router_recall(loaded, partition, router, TEXTS, 2)
        assert result.router_share.estimate > 2 / 6 + 0.02
        assert result.mean.estimate <= 1


def test_bad_routers_are_refused() -> None:
    loaded, partition = tiny("llama"), random_partition(2, 48, 4, seed=0)
    with pytest.raises(UsageError, match="other weights"):
        Router(kind="oracle", score="norm", first_LED=torch.zeros(1, 1, 1))
    with pytest.raises(UsageError, match="not finite"):
        Router(kind="ridge", score="norm", first_LED=torch.full((1, 1, 1), torch.nan))
    with pytest.raises(UsageError, match="oracle"):
        oracle().scores(0, torch.zeros(1, 2))
    with pytest.raises(UsageError, match="only orders"):
        centroid_router(loaded, partition).mass(torch.zeros(1, 4))
    with pytest.raises(UsageError, match="penalty"):
        ridge_router(loaded, partition, TEXTS, ridge=-1)
    with pytest.raises(UsageError, match="3 layers"):
        ridge_router(loaded, random_partition(3, 48, 4, seed=0), TEXTS)
    with pytest.raises(UsageError, match="k must be 1 to 4"):
        router_recall(loaded, partition, oracle(), TEXTS, 5)
    with pytest.raises(UsageError, match="norm, energy, magnitude"):
        ExpertScorer(ffn_functions(loaded)[0], partition, "loudness")  # type: ignore[arg-type]
